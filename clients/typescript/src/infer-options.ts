import { type InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import { didYouMean } from '../../../proto/nearest-name.ts';
import type { CallOptions } from './call-scope.ts';
import type { ModelMetadata } from './server-facts.ts';
import type { InferParameter, InferParameters, RequestedOutput } from './transport.ts';

/** Requests that belong together and meet the same model instance, in order. They are never repeated. Source: Triton's sequence extension. */
export interface SequenceOptions {
  /** Not 0 and not ''. */
  readonly id: number | bigint | string;
  readonly start?: boolean;
  readonly end?: boolean;
}

export interface OutputOptions<N extends string = string> {
  readonly name: N;
  /** The K best classes of the output, as BYTES, in place of the output itself. */
  readonly classification?: number;
  readonly sharedMemory?: Readonly<{ region: string; byteSize: number; offset?: number }>;
  /** As the binary tensor extension; by default as the request says (`json`). */
  readonly binaryData?: boolean;
}

export interface InferOptions<N extends string = string> extends CallOptions {
  /** Left out: all of the model's. */
  readonly outputs?: readonly (N | OutputOptions<N>)[];
  /** Comes back with the answer, and stands in the server's log. */
  readonly id?: string;
  /** For the model, or a server's own; a bigint for integers past the safe ones. */
  readonly parameters?: InferParameters;
  /** 1 is the first; 0, the default, is the model's own default. */
  readonly priority?: number;
  /** How long the server may let the request wait in its queue, where the model's configuration allows to say; microseconds. */
  readonly queueTimeoutUs?: number;
  readonly sequence?: SequenceOptions;
  /** Tensors go and come as JSON, in place of binary data: to look at, or through what takes nothing else. */
  readonly json?: boolean;
}

/** An output under construction, by the name of Triton's clients. */
export class InferRequestedOutput<N extends string = string> implements OutputOptions<N> {
  readonly name: N;
  readonly classification: number;
  readonly binaryData?: boolean;
  sharedMemory?: Readonly<{ region: string; byteSize: number; offset?: number }>;

  constructor(name: N, options: { readonly classification?: number; readonly binaryData?: boolean } = {}) {
    this.name = name;
    this.classification = options.classification ?? 0;
    if (options.binaryData !== undefined) this.binaryData = options.binaryData;
  }

  setSharedMemory(region: string, byteSize: number, offset = 0): this {
    this.sharedMemory = { region, byteSize, offset };
    return this;
  }
}

/** The parameters as they go on the wire. */
export function inferParameters(options: InferOptions): InferParameters {
  const parameters: Record<string, InferParameter> = { ...options.parameters };
  if (options.priority !== undefined) parameters['priority'] = wholeNumber(options.priority, 'priority');
  if (options.queueTimeoutUs !== undefined) parameters['timeout'] = wholeNumber(options.queueTimeoutUs, 'queueTimeoutUs');
  if (options.sequence !== undefined) {
    const { id, start = false, end = false } = options.sequence;
    if (id === '' || (typeof id !== 'string' && (id <= 0 || (typeof id === 'number' && !Number.isSafeInteger(id))))) {
      throw invalidArgument(`sequence.id: expected a text or a whole number above 0 (a bigint past 2^53), got ${String(id) || "''"}`);
    }
    parameters['sequence_id'] = id;
    parameters['sequence_start'] = start;
    parameters['sequence_end'] = end;
  }
  return parameters;
}

/** The requested outputs, with their defaults. `metadata`: null for a model of which nothing is known, else names are checked. */
export function inferOutputs(outputs: InferOptions['outputs'], json: boolean, metadata: ModelMetadata | null): readonly RequestedOutput[] {
  if (outputs === undefined) return [];
  return outputs.map((output) => {
    const {
      name,
      classification = 0,
      sharedMemory,
      binaryData = !json,
    }: OutputOptions = typeof output === 'string' ? { name: output } : output;
    if (metadata !== null && !metadata.outputs.some((known) => known.name === name))
      throw unknownName('output', name, metadata.outputs, metadata);
    wholeNumber(classification, `outputs.${name}.classification`);
    const range = sharedMemory === undefined ? null : { ...sharedMemory, offset: sharedMemory.offset ?? 0 };
    return { name, binaryData: binaryData && range === null, classification, sharedMemory: range };
  });
}

export function unknownName(
  kind: 'input' | 'output',
  name: string,
  known: readonly { name: string }[],
  metadata: ModelMetadata,
): InferenceError {
  const names = known.map((tensor) => tensor.name);
  return invalidArgument(
    `${kind}s.${name}: model '${metadata.name}' has no such ${kind}: it has ${names.join(', ') || 'none'}${didYouMean(name, names)}`,
  );
}

function wholeNumber(value: number, what: string): number {
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw invalidArgument(`${what}: expected a whole number >= 0, got ${String(value)}`);
}
