import type { ModelGoldenCheck } from '../../../backends/api/model-config.ts';
import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import { didYouMean } from '../../../proto/nearest-name.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { InferenceCaller } from '../../inference/inference-request.ts';
import type { ModelSignature } from '../../inference/model-signature.ts';
import { coordinates, type Difference, findDifference, type Tolerance } from './compare-tensors.ts';
import { memberSpans } from './json-spans.ts';
import type { ModelFileReader } from './model-file-reader.ts';
import type { PreparationRun } from './preparation-run.ts';
import type { RequestReader } from './request-reader.ts';
import { preparationFailure, readRequest } from './warm-up.ts';

const MAX_GOLDEN_FILE_BYTES = 64 * 1024 * 1024;
/** Elements compared in one turn of the event loop. */
const COMPARED_TOGETHER = 65_536;

/**
 * Runs the request of every golden check and holds its answer to the one expected. Rejects with the check, and where the answer differs or why
 * there is none.
 */
export async function runGoldenChecks(run: PreparationRun, files: ModelFileReader, reader: RequestReader): Promise<void> {
  for (const check of run.model.config.goldenCheck) {
    try {
      await runGoldenCheck(check, run, files, reader);
    } catch (error) {
      throw preparationFailure(`golden check '${check.name === '' ? check.file : check.name}' of ${run.label} failed`, error);
    }
  }
}

async function runGoldenCheck(check: ModelGoldenCheck, run: PreparationRun, files: ModelFileReader, reader: RequestReader): Promise<void> {
  const members = memberSpans(await files.read('golden', check.file, MAX_GOLDEN_FILE_BYTES));
  const request = readRequest(member(members, 'request', 'the file'), run, reader);
  if (request.outputs.some(({ classification }) => classification > 0)) {
    throw invalidArgument("request.outputs: a golden check compares tensors; remove 'classification'");
  }
  const expected = readExpected(member(members, 'response', 'the file'), run.signature, reader);
  const { responseCount, outputs } = await run.onOneInstance(request);
  if (responseCount !== 1) throw invalidArgument(`expected one response, the model gave ${responseCount}`);
  const tolerance = { absolute: check.absoluteTolerance, relative: check.relativeTolerance };
  for (const wanted of expected) await compare(wanted, outputs, tolerance, run);
}

function member(members: ReadonlyMap<string, Uint8Array>, name: string, of: string): Uint8Array {
  const found = members.get(name);
  if (found !== undefined) return found;
  throw invalidArgument(`${of} has no '${name}'${didYouMean(name, members.keys())}`);
}

/** The expected outputs, read as if they were a request's inputs: numbers keep all their digits, and there is one decoder. */
function readExpected(response: Uint8Array, signature: ModelSignature, reader: RequestReader): readonly Tensor[] {
  const outputs = member(memberSpans(response), 'outputs', "'response'");
  const body = Buffer.concat([Buffer.from('{"inputs":'), outputs, Buffer.from('}')]);
  const inputs = signature.outputs.map((spec) => ({ ...spec, optional: true }));
  try {
    const expected = reader.decodeRequest(
      body,
      { ...signature, inputs, inputIndex: signature.outputIndex, requiredInputs: 0 },
      noCaller,
    ).inputs;
    if (expected.length === 0) throw invalidArgument('expected at least one output, got none');
    return expected;
  } catch (error) {
    const { code, message } = InferenceError.from(error);
    throw new InferenceError(code, `response: ${message.replaceAll(/\binput(?=s?\b)/g, 'output')}`, { cause: error });
  }
}

const noCaller: InferenceCaller = { onResponse: (): void => {}, onComplete: (): void => {}, onError: (): void => {} };

async function compare(expected: Tensor, outputs: readonly Tensor[], tolerance: Tolerance, run: PreparationRun): Promise<void> {
  const { name, datatype, shape } = expected;
  const got = outputs.find((output) => output.name === name);
  if (got === undefined) {
    const names = outputs.map((output) => output.name);
    throw invalidArgument(
      `the answer has no output '${name}'${didYouMean(name, names)} It has ${names.map((one) => `'${one}'`).join(', ')}`,
    );
  }
  if (got.datatype !== datatype) throw invalidArgument(`output '${name}': expected ${datatype}, got ${got.datatype}`);
  if (got.shape.length !== shape.length || got.shape.some((dim, index) => dim !== shape[index])) {
    throw invalidArgument(`output '${name}': expected the shape [${shape.join(',')}], got [${got.shape.join(',')}]`);
  }
  const search = findDifference(expected, got, tolerance, COMPARED_TOGETHER);
  for (let step = search.next(); ; step = search.next()) {
    if (!step.done) await run.pause();
    else if (step.value === null) return;
    else throw invalidArgument(describe(name, shape, step.value, tolerance));
  }
}

function describe(name: string, shape: readonly number[], difference: Difference, { absolute, relative }: Tolerance): string {
  const { index, expected, got, allowed } = difference;
  const by = `absolute_tolerance ${absolute} + relative_tolerance ${relative} * |expected|`;
  const bound = allowed === null ? 'it must be equal' : `it may differ by ${allowed} (${by})`;
  return `output '${name}' at ${coordinates(index, shape)}: expected ${expected}, got ${got}; ${bound}`;
}
