/**
 * Every message that crosses the boundary between the gateway and an execution host, and the form of a frame on their socket. Both sides import it.
 *
 * A frame is `[u32 length][u8 kind][payload]`, little-endian; the length counts kind and payload. Control frames carry JSON, tensor frames the layout of
 * `execution-record.ts`. Neither side trusts a frame: lengths are bounded by kind, and a kind that isn't known ends the connection, and with it the host.
 */

import type { EngineStatistics, ModelMetadata, ModelSpec } from '../../backends/api/backend.ts';
import type { StatusCode } from '../../proto/inference-error.ts';

/** Changes whenever a frame or the shared memory's layout does: a host of another build is refused at its `ready`. */
export const BOUNDARY_VERSION = 4;

/** Where an execution host finds what the gateway made for it: indexes of its inherited file descriptors. */
export const HOST_FDS: { readonly control: number; readonly wake: number; readonly lifeline: number; readonly memory: number } = {
  /** The socket of frames. */
  control: 3,
  /** Shared memory only: a byte here wakes the gateway. */
  wake: 4,
  /** Held open by the gateway and never written: its end is the gateway's. */
  lifeline: 5,
  /** Shared memory only: the memfd. */
  memory: 6,
};

export const FRAME_HEADER_BYTES = 5;

/** What can be sent, by its number on the wire. */
export const FRAME_KIND: {
  readonly hello: 1;
  readonly load: 2;
  readonly unload: 3;
  readonly createInstance: 4;
  readonly disposeInstance: 5;
  readonly execute: 6;
  readonly wake: 7;
  readonly start: 8;
  readonly cancel: 9;
  readonly credit: 10;
  readonly executeRequests: 11;
  readonly abandon: 12;
  readonly callResponse: 13;
  readonly callEnded: 14;
  readonly ready: 16;
  readonly loaded: 17;
  readonly done: 18;
  readonly failed: 19;
  readonly result: 20;
  readonly largeOutput: 21;
  readonly response: 22;
  readonly ended: 23;
  readonly results: 24;
  readonly waiting: 25;
  readonly call: 26;
  readonly cancelCall: 27;
  readonly callCredit: 28;
  readonly log: 29;
  readonly progress: 30;
  readonly statistics: 31;
} = {
  // gateway to host
  hello: 1,
  load: 2,
  unload: 3,
  createInstance: 4,
  disposeInstance: 5,
  /** Tensor frame: an execution record. Socket transport only. */
  execute: 6,
  /** Empty: there is something in the ring. For a host that sleeps in its event loop. */
  wake: 7,
  /** Tensor frame: an execution record, for an instance of a decoupled model. This kind and those below are for hosts of such models. */
  start: 8,
  /** `[f64 sequence]`: nobody waits for the responses any more. Its `ended` comes all the same. */
  cancel: 9,
  /** `[f64 sequence][f64 count]`: so many more responses may be sent. */
  credit: 10,
  /** `tensor-frame.ts`: a batch whose requests are kept apart. This kind and those below are for hosts that run models' own code. */
  executeRequests: 11,
  /** `[f64 sequence][f64 index]`: nobody waits for this request of the batch any more. */
  abandon: 12,
  /** `tensor-frame.ts`: one response to a call that the host made. */
  callResponse: 13,
  /** `tensor-frame.ts` without tensors: the end of a call, with an error or none. */
  callEnded: 14,
  // host to gateway
  ready: 16,
  loaded: 17,
  done: 18,
  failed: 19,
  /** Tensor frame: a response record and the outputs' bytes. Socket transport only. */
  result: 20,
  /** Tensor frame: one output that didn't fit the output area: `[f64 sequence][f64 output index][bytes]`. Shared memory only. */
  largeOutput: 21,
  /** Tensor frame: a response record and the outputs' bytes. */
  response: 22,
  /** A response record without outputs, with an error or none: the request's last frame. */
  ended: 23,
  /** `tensor-frame.ts`: what became of each request of a batch. */
  results: 24,
  /** `[f64 sequence]`: the batch waits for something, and the host has time for others. */
  waiting: 25,
  /** `tensor-frame.ts`: a request to another model. */
  call: 26,
  /** `[f64 call]`: its responses are not wanted any more. Its `callEnded` comes all the same. */
  cancelCall: 27,
  /** `[f64 call][f64 count]`: so many more responses may be sent. */
  callCredit: 28,
  /** JSON: what a model says. */
  log: 29,
  /** `[f64 sequence]`: a request of a decoupled model gets on, without a response. */
  progress: 30,
  /** JSON: what an instance of a decoupled model says of itself. */
  statistics: 31,
};

/** Of a largeOutput frame: sequence and output index, doubles. */
export const LARGE_OUTPUT_PREFIX_BYTES = 16;

export const CANCEL_BYTES = 8;
export const CREDIT_BYTES = 16;
/** Of a `log` frame. */
const MAX_LOG_BYTES = 65_536;
/** Of a `statistics` frame. */
const MAX_STATISTICS_BYTES = 1024;
/** Of an `ended` frame: more than an error's text takes. */
const MAX_ENDED_BYTES = 4096;

export type FrameKind = (typeof FRAME_KIND)[keyof typeof FRAME_KIND];

/** A model's configuration and metadata are the biggest things among control messages. */
export const MAX_CONTROL_BYTES: number = 8 * 1024 * 1024;
/** Tensor frames are assembled in one piece of memory. */
export const MAX_TENSOR_FRAME_BYTES: number = 2 ** 31;

/** Bytes that are not frames: whoever reads them has lost its place. */
export class FrameError extends RangeError {
  override readonly name = 'FrameError';
}

/** Longest payload that a kind may have; -1 for a kind that doesn't exist. */
export function maxPayloadBytes(kind: number): number {
  switch (kind) {
    case FRAME_KIND.hello:
    case FRAME_KIND.load:
    case FRAME_KIND.unload:
    case FRAME_KIND.createInstance:
    case FRAME_KIND.disposeInstance:
    case FRAME_KIND.ready:
    case FRAME_KIND.loaded:
    case FRAME_KIND.done:
    case FRAME_KIND.failed:
      return MAX_CONTROL_BYTES;
    case FRAME_KIND.wake:
      return 0;
    case FRAME_KIND.execute:
    case FRAME_KIND.result:
    case FRAME_KIND.largeOutput:
    case FRAME_KIND.start:
    case FRAME_KIND.response:
    case FRAME_KIND.executeRequests:
    case FRAME_KIND.callResponse:
    case FRAME_KIND.results:
    case FRAME_KIND.call:
      return MAX_TENSOR_FRAME_BYTES;
    case FRAME_KIND.cancel:
    case FRAME_KIND.waiting:
    case FRAME_KIND.cancelCall:
    case FRAME_KIND.progress:
      return CANCEL_BYTES;
    case FRAME_KIND.credit:
    case FRAME_KIND.abandon:
    case FRAME_KIND.callCredit:
      return CREDIT_BYTES;
    case FRAME_KIND.log:
      return MAX_LOG_BYTES;
    case FRAME_KIND.statistics:
      return MAX_STATISTICS_BYTES;
    case FRAME_KIND.callEnded:
    case FRAME_KIND.ended:
      return MAX_ENDED_BYTES;
    default:
      return -1;
  }
}

/** First message to a host. */
export interface HelloMessage {
  /** Bytes of the shared memory behind HOST_FDS.memory; 0: the socket carries tensors too. */
  readonly memoryBytes: number;
  /** Longest spin before the host sleeps, microseconds; 0: none. */
  readonly spinUs: number;
  /** `--backend-config`: backend name to its settings. */
  readonly backendSettings: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** The backend that the first load will probably ask for; '': not known. */
  readonly preload: string;
  /** The host is for one instance of a model that is code. */
  readonly runsCode: boolean;
  /** Between two `progress` frames of a request, at least, ms; 0: none are wanted. */
  readonly progressMs: number;
}

/** `id` in each request below comes back in its `loaded`, `done` or `failed`. */
export interface LoadMessage {
  readonly id: number;
  /** The gateway's number for the model, unique in the host's life. */
  readonly model: number;
  readonly spec: ModelSpec;
}

export interface UnloadMessage {
  readonly id: number;
  readonly model: number;
}

export interface CreateInstanceMessage {
  readonly id: number;
  readonly model: number;
  /** The gateway's number for the instance, unique in the host's life; 1 or more. */
  readonly instance: number;
  /** An instance that takes `start` frames instead of `execute`. */
  readonly isDecoupled: boolean;
}

export interface DisposeInstanceMessage {
  readonly id: number;
  readonly instance: number;
}

export interface ReadyMessage {
  readonly boundaryVersion: number;
  readonly pid: number;
}

export interface LoadedMessage {
  readonly id: number;
  readonly metadata: ModelMetadata;
  /** By how much the host's private memory grew; 0: not known. */
  readonly memoryBytes: number;
}

export interface DoneMessage {
  readonly id: number;
  /** Of a decoupled instance: how many requests its backend takes at once; 0 or none: as many as it is given. */
  readonly maxRequests?: number;
  /** Of an instance that was created; as in {@link LoadedMessage}. */
  readonly memoryBytes?: number;
  /** Of a decoupled instance that tells any. */
  readonly statistics?: EngineStatistics;
}

export interface FailedMessage {
  readonly id: number;
  readonly code: StatusCode;
  readonly message: string;
  /** For the gateway's log: what the host knew beyond the message; '' for nothing. */
  readonly detail: string;
}

export interface StatisticsMessage {
  readonly instance: number;
  readonly statistics: EngineStatistics;
}

/** What a model said, by its logger. */
export interface LogMessage {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly text: string;
}

/** Status codes as numbers, for records and for checking what a host names. The order is part of the boundary. */
export const STATUS_CODES: readonly StatusCode[] = [
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'UNAUTHENTICATED',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'UNAVAILABLE',
  'DEADLINE_EXCEEDED',
  'CANCELLED',
  'UNIMPLEMENTED',
  'INTERNAL',
];

/** Header of a frame whose payload of `payloadBytes` follows in other writes. */
export function frameHeader(kind: FrameKind, payloadBytes: number): Buffer {
  const header = Buffer.allocUnsafe(FRAME_HEADER_BYTES);
  writeFrameHeader(header, 0, kind, payloadBytes);
  return header;
}

export function writeFrameHeader(target: Buffer, at: number, kind: FrameKind, payloadBytes: number): void {
  target.writeUInt32LE(payloadBytes + 1, at);
  target[at + 4] = kind;
}

/** A whole control frame. Throws RangeError when the message is over the bound, which the other side would take for a fault. */
export function controlFrame(kind: FrameKind, message: object): Buffer {
  const json = Buffer.from(JSON.stringify(message), 'utf8');
  if (json.length > MAX_CONTROL_BYTES)
    throw new RangeError(`a control message of ${json.length} bytes is over the limit of ${MAX_CONTROL_BYTES}`);
  return Buffer.concat([frameHeader(kind, json.length), json]);
}
