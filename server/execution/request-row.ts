/** @hotpath a request in the header of a frame to a model that is code, and out of it (measured by request-channel.bench.ts) */

import type { ModelRequest, RequestPlace } from '../../backends/api/backend.ts';
import type { Tensor } from '../../proto/tensor.ts';
import type { DecoupledExecution } from './decoupled-execution.ts';
import type { BatchRequest } from './execution-host.ts';
import {
  decodeSequence,
  decodeValues,
  encodeSequence,
  encodeValues,
  type TensorFrameReader,
  type TensorRow,
  tensorRow,
} from './tensor-frame.ts';

/** Short names: they are written and read for every request. */
export interface RequestRow {
  readonly id: string;
  readonly p: unknown;
  readonly n: number;
  readonly s: unknown;
  readonly o: readonly string[];
  readonly b: number;
  /** Milliseconds that are left; -1: no deadline. */
  readonly d: number;
  readonly i: readonly TensorRow[];
}

/** Adds the request's inputs to `tensors`, in the row's order. */
export function requestRow(request: BatchRequest, tensors: Tensor[]): RequestRow {
  const { boundInputs, deadlineNs, outputs } = request;
  const rows: TensorRow[] = [];
  for (let i = 0; i < boundInputs.length; i++) {
    const input = boundInputs[i];
    if (input === null || input === undefined) continue;
    rows.push(tensorRow(input));
    tensors.push(input);
  }
  return {
    id: request.id,
    p: encodeValues(request.parameters),
    n: request.priority,
    s: encodeSequence(request.sequence),
    o: outputs.length === 0 ? none : outputs.map((output) => output.name),
    b: request.batchSize,
    d: deadlineNs === Number.POSITIVE_INFINITY ? -1 : Math.max(0, deadlineNs / 1e6 - performance.now()),
    i: rows,
  };
}

const none: readonly string[] = [];

/** What a host that runs code is told of a decoupled model's request beside its inputs: a row without them, as JSON. */
export function describeRequest({ request, parameters, inputs }: DecoupledExecution): Uint8Array {
  const bare = {
    id: '',
    priority: 0,
    sequence: null,
    outputs: [],
    batchSize: inputs[0]?.shape[0] ?? 1,
    deadlineNs: Number.POSITIVE_INFINITY,
    depth: 0,
    isDone: false,
  };
  const row = requestRow({ ...(request === undefined ? { ...bare, parameters } : pick(request)), boundInputs: [] }, []);
  return Buffer.from(JSON.stringify(row), 'utf8');
}

/** A request's own getters and the rest of it stay where they are. */
function pick({
  id,
  parameters,
  priority,
  sequence,
  outputs,
  batchSize,
  deadlineNs,
  depth,
  isDone,
}: BatchRequest): Omit<BatchRequest, 'boundInputs'> {
  return { id, parameters, priority, sequence, outputs, batchSize, deadlineNs, depth, isDone };
}

export function parseRequest(described: Buffer, sequence: number, inputs: readonly Tensor[]): HostedRequest {
  return new HostedRequest(JSON.parse(described.toString('utf8')) as RequestRow, { execution: sequence, index: -1 }, null, inputs);
}

/** In the host: a request as its model gets it. Its signal is made when somebody asks for it. */
export class HostedRequest implements ModelRequest {
  readonly id: string;
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly string[];
  readonly parameters: Readonly<Record<string, string | number | boolean>>;
  readonly priority: number;
  readonly sequence: ModelRequest['sequence'];
  readonly batchSize: number;
  readonly deadlineMs: number;
  readonly place: RequestPlace;
  #controller: AbortController | null = null;
  #isAborted = false;

  /** `inputs`: null where the row's are the next tensors of `reader`. */
  constructor(row: RequestRow, place: RequestPlace, reader: TensorFrameReader | null, inputs: readonly Tensor[] | null) {
    this.id = row.id;
    this.inputs = inputs ?? reader!.tensors(row.i);
    this.outputs = row.o;
    this.parameters = decodeValues(row.p);
    this.priority = row.n;
    this.sequence = decodeSequence(row.s);
    this.batchSize = row.b;
    this.deadlineMs = row.d < 0 ? Number.POSITIVE_INFINITY : performance.now() + row.d;
    this.place = place;
  }

  get signal(): AbortSignal {
    if (this.#controller === null) {
      this.#controller = new AbortController();
      if (this.#isAborted) this.#controller.abort();
    }
    return this.#controller.signal;
  }

  abort(): void {
    this.#isAborted = true;
    this.#controller?.abort();
  }
}
