import type { OutputTensor } from '../../clients/typescript/src/transport.ts';
import { type Datatype, elementCount, findDatatype } from '../../proto/datatype.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import type { ExpectedOutput, LoadPlan } from '../load/load-plan.ts';
import { compareTensors, countElements } from './compare-tensors.ts';
import { FirstAnswers } from './first-answers.ts';

interface OutputRule {
  readonly name: string;
  readonly datatype: string;
}

/** What answers to one request of the plan are held to. */
interface AnswerRules {
  readonly outputs: readonly OutputRule[];
  readonly expected: readonly ExpectedOutput[];
}

/**
 * Looks at decoded answers: that the outputs are there and have the datatypes that the model's metadata says, that their bytes are what datatype and shape ask for, that the values are
 * the expected ones, and, where the plan says that the model is deterministic, that a request has the same answer each time. One for all lanes of a load process.
 */
export class AnswerChecker {
  readonly #rules: readonly AnswerRules[];
  readonly #firsts: FirstAnswers | null;

  constructor(plan: LoadPlan) {
    this.#rules = plan.requests.map(({ infer, expected }) => {
      const asked = infer?.outputs ?? [];
      const known = plan.validation.outputs;
      return {
        // A request that names its outputs gets these alone, and a classification is BYTES whatever the output is.
        outputs:
          asked.length === 0
            ? known
            : asked.map(({ name, classification }) => ({
                name,
                datatype: classification > 0 ? 'BYTES' : (known.find((output) => output.name === name)?.datatype ?? ''),
              })),
        expected: expected ?? [],
      };
    });
    this.#firsts = plan.validation.isDeterministic ? new FirstAnswers(plan.requests.length) : null;
  }

  /** '' when the answer to request `index` is right; else what is wrong with it, in a sentence. */
  check(index: number, outputs: readonly OutputTensor[]): string {
    const { outputs: required, expected } = this.#rules[index]!;
    for (const rule of required) {
      const output = find(outputs, rule.name);
      if (output === undefined) return missing(rule.name, outputs);
      if (rule.datatype !== '' && rule.datatype !== output.datatype) {
        return `outputs.${rule.name}: expected datatype ${rule.datatype}, got ${output.datatype}`;
      }
    }
    for (const output of outputs) {
      const wrong = checkSize(output);
      if (wrong !== '') return wrong;
    }
    for (const one of expected) {
      const output = find(outputs, one.name);
      if (output === undefined) return missing(one.name, outputs);
      if (output.data === null) return `outputs.${one.name}: expected its values in the answer, got them written to shared memory`;
      const wrong = compareTensors(output.datatype, output.shape, one.data, output.data, one.tolerance);
      if (wrong !== '') return `outputs.${one.name}${wrong}`;
    }
    return this.#firsts === null ? '' : this.#firsts.check(index, outputs, expected);
  }
}

function find(outputs: readonly OutputTensor[], name: string): OutputTensor | undefined {
  for (const output of outputs) if (output.name === name) return output;
  return undefined;
}

function missing(name: string, outputs: readonly OutputTensor[]): string {
  const names = outputs.map((output) => output.name);
  return `outputs.${name} is missing: the answer has ${names.join(', ') || 'no outputs'}${didYouMean(name, names)}`;
}

/** That the bytes are as many as datatype and shape ask for; decoders for HTTP have looked already, others have not. */
function checkSize({ name, datatype, shape, data }: OutputTensor): string {
  if (findDatatype(datatype) === undefined) return `outputs.${name}: expected a datatype of the protocol, got '${String(datatype)}'`;
  const count = elementCount(shape);
  if (count < 0) return `outputs.${name}: expected a shape of integers from 0 on, got [${shape.join(', ')}]`;
  if (data === null) return '';
  const got = countElements(datatype as Datatype, data);
  if (got === count) return '';
  const found = got < 0 ? `${data.length} bytes, which end within an element` : `${got} elements`;
  return `outputs.${name}: expected ${count} elements for shape [${shape.join(', ')}], got ${found}`;
}
