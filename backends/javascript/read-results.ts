/** @hotpath what `execute` gave, made into tensors or errors, one by one (measured by request-channel.bench.ts) */

import { InferenceError, type StatusCode } from '../../proto/inference-error.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import { STATUS_FORMS } from '../../proto/status-forms.ts';
import type { Tensor } from '../../proto/tensor.ts';
import type { ModelMetadata } from '../api/backend.ts';
import { type ExpectedTensor, shown, tensorFrom } from './tensor-from.ts';

/** Reads what one model's code gives. */
export class ResultReader {
  readonly #modelName: string;
  readonly #metadata: ModelMetadata;
  readonly #names: readonly string[];
  readonly #isBatching: boolean;

  constructor(modelName: string, metadata: ModelMetadata) {
    this.#modelName = modelName;
    this.#metadata = metadata;
    this.#names = metadata.outputs.map(({ name }) => name);
    this.#isBatching = (metadata.maxBatchSize ?? 0) > 0;
  }

  /** For each of the requests, whose numbers of rows are given. Throws InferenceError where it is not a result for each. */
  results(given: unknown, rows: readonly number[]): (readonly Tensor[] | InferenceError)[] {
    if (!Array.isArray(given))
      throw this.#fault(`execute gave ${shown(given)}, expected an array of ${rows.length} results, one for each request`);
    if (given.length !== rows.length)
      throw this.#fault(`execute gave ${given.length} results for ${rows.length} requests; expected one for each, in order`);
    return rows.map((count, i) => this.result(() => given[i] as unknown, count));
  }

  /** `rows`: of the request. Never throws: whatever is wrong is this request's error. */
  result(take: () => unknown, rows: number): readonly Tensor[] | InferenceError {
    try {
      const given = take();
      return isError(given) ? this.errorFrom(given) : this.outputs(given, rows);
    } catch (error) {
      return error instanceof OutputFault ? this.#fault(error.message) : this.errorFrom(error);
    }
  }

  /** Throws {@link OutputFault}, or what the model's own getters throw. */
  outputs(given: unknown, rows: number): Tensor[] {
    if (typeof given !== 'object' || given === null || Array.isArray(given))
      throw new OutputFault(`execute gave ${shown(given)} for a request, expected its outputs by name`);
    if (given instanceof Promise)
      throw new OutputFault(
        'execute gave a promise for a request, expected its outputs by name; write return Promise.all(requests.map(...))',
      );
    for (const name of Object.keys(given)) {
      if (!this.#names.includes(name))
        throw new OutputFault(
          `gave output '${name}', which it doesn't have; it has ${this.#names.join(', ')}${didYouMean(name, this.#names)}`,
        );
    }
    return this.#metadata.outputs.map(({ name, datatype, shape }) => {
      const value = (given as Readonly<Record<string, unknown>>)[name];
      if (value === undefined || value === null)
        throw new OutputFault(`gave no output '${name}'; expected all of ${this.#names.join(', ')}`);
      const expected: ExpectedTensor = { datatype, shape: this.#isBatching ? [rows, ...shape.slice(1)] : shape };
      try {
        return tensorFrom(`output '${name}'`, name, value, expected);
      } catch (error) {
        throw error instanceof InferenceError ? new OutputFault(error.message) : error;
      }
    });
  }

  /** Its own code where it has one of the protocol's; INTERNAL else. */
  errorFrom(thrown: unknown): InferenceError {
    if (thrown instanceof InferenceError) return thrown;
    if (thrown instanceof OutputFault) return this.#fault(thrown.message);
    const { code, message } = readThrown(thrown);
    return code === null ? this.#fault(`failed: ${message}`) : new InferenceError(code, message, { failureReason: 'BACKEND' });
  }

  #fault(text: string): InferenceError {
    return new InferenceError('INTERNAL', `model '${this.#modelName}': ${text}`, { failureReason: 'BACKEND' });
  }
}

/** What a model gave is not what it should be. */
export class OutputFault extends Error {}

/** Errors of another realm, of a `vm` context for one, are errors too. */
function isError(value: unknown): boolean {
  return value instanceof Error || Object.prototype.toString.call(value) === '[object Error]';
}

function readThrown(thrown: unknown): { code: StatusCode | null; message: string } {
  try {
    if (!isError(thrown)) return { code: null, message: typeof thrown === 'string' ? thrown : `it threw ${shown(thrown)}` };
    const { code, message } = thrown as { code?: unknown; message: unknown };
    return { code: typeof code === 'string' && Object.hasOwn(STATUS_FORMS, code) ? (code as StatusCode) : null, message: String(message) };
  } catch {
    return { code: null, message: 'it threw a value that has no text' };
  }
}
