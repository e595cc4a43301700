import { createHash } from 'node:crypto';
import type { OutputTensor } from '../../clients/typescript/src/transport.ts';
import type { ExpectedOutput } from '../load/load-plan.ts';
import { compareTensors } from './compare-tensors.ts';

/** Answers that are kept whole, of all requests together, so that a later one that differs can be told by its element; beyond it a digest is kept. */
const MAX_KEPT_BYTES = 8 * 1024 * 1024;

interface FirstOutput {
  readonly name: string;
  readonly datatype: string;
  readonly shape: string;
  /** null: only its digest is kept. */
  readonly data: Uint8Array | null;
  readonly digest: string;
}

/** The first answer of each request, which all later ones must equal. One entry for each request of the plan. */
export class FirstAnswers {
  readonly #answers: (readonly FirstOutput[] | null)[];
  #keptBytes = 0;

  constructor(requests: number) {
    this.#answers = Array.from({ length: requests }, () => null);
  }

  /** '' when it is the first answer, or equals it; else what differs. Outputs whose values are `expected` have been looked at already, with their tolerance. */
  check(index: number, outputs: readonly OutputTensor[], expected: readonly ExpectedOutput[]): string {
    const first = this.#answers[index]!;
    if (first === null) {
      this.#answers[index] = outputs.filter(({ name }) => !expected.some((one) => one.name === name)).map((output) => this.#keep(output));
      return '';
    }
    for (const one of first) {
      const wrong = this.#compare(one, outputs);
      if (wrong !== '') return `not the answer that the same request had before: outputs.${one.name}${wrong}`;
    }
    return '';
  }

  #keep({ name, datatype, shape, data }: OutputTensor): FirstOutput {
    const form = { name, datatype, shape: shape.join(', ') };
    if (data === null) return { ...form, data: null, digest: '' };
    if (this.#keptBytes + data.length > MAX_KEPT_BYTES) return { ...form, data: null, digest: digestOf(data) };
    this.#keptBytes += data.length;
    return { ...form, data: new Uint8Array(data), digest: '' };
  }

  #compare(first: FirstOutput, outputs: readonly OutputTensor[]): string {
    const output = outputs.find(({ name }) => name === first.name);
    if (output === undefined) return ' is missing';
    const { datatype, shape, data } = output;
    if (datatype !== first.datatype) return `: expected datatype ${first.datatype}, got ${datatype}`;
    if (shape.join(', ') !== first.shape) return `: expected shape [${first.shape}], got [${shape.join(', ')}]`;
    if (data === null) return '';
    if (first.data !== null) return compareTensors(datatype, shape, first.data, data, 0);
    if (first.digest === '' || first.digest === digestOf(data)) return '';
    return `: expected the same ${data.length} bytes, got others (too many are kept already to say which element differs)`;
  }
}

function digestOf(data: Uint8Array): string {
  return createHash('sha1').update(data).digest('base64');
}
