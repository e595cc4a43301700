/**
 * The control requests of the gateway that a host has not answered yet: load, unload, create and dispose instances.
 */

import { InferenceError } from '../../proto/inference-error.ts';
import { HostFault } from './check-response.ts';
import { type FailedMessage, FRAME_KIND, type LogMessage, STATUS_CODES } from './messages.ts';

interface OpenRequest {
  readonly resolve: (answer: Record<string, unknown>) => void;
  readonly reject: (error: InferenceError) => void;
}

export class HostRequests {
  readonly #open: Map<number, OpenRequest> = new Map();
  readonly #onDetail: (detail: string) => void;
  #lastId = 0;

  /** `onDetail` gets what a host knows of a failure beyond its message: for the log, not for callers. */
  constructor(onDetail: (detail: string) => void) {
    this.#onDetail = onDetail;
  }

  get count(): number {
    return this.#open.size;
  }

  /** `send` gets the request's id. The promise ends with the host's answer, or with {@link failAll}. */
  open(send: (id: number) => void): Promise<Record<string, unknown>> {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#open.set(id, { resolve, reject });
      try {
        send(id);
      } catch (error) {
        this.#open.delete(id);
        reject(InferenceError.from(error));
      }
    });
  }

  /** A `loaded`, `done` or `failed` frame. Throws HostFault for what answers nothing. */
  settle(kind: number, payload: Buffer): void {
    const message = parseControl(payload);
    const request = typeof message['id'] === 'number' ? this.#open.get(message['id']) : undefined;
    if (request === undefined) throw new HostFault('answered a request that nobody made');
    this.#open.delete(message['id'] as number);
    if (kind === FRAME_KIND.failed) request.reject(this.#rejection(message));
    else request.resolve(message);
  }

  failAll(error: InferenceError): void {
    const open = [...this.#open.values()];
    this.#open.clear();
    for (const request of open) request.reject(error);
  }

  #rejection(message: Partial<Record<keyof FailedMessage, unknown>>): InferenceError {
    const code = STATUS_CODES.find((known) => known === message.code) ?? 'INTERNAL';
    if (typeof message.detail === 'string' && message.detail !== '') this.#onDetail(message.detail);
    return new InferenceError(code, String(message.message), { failureReason: 'BACKEND' });
  }
}

/** Throws HostFault for anything but a JSON object. */
export function parseControl(payload: Buffer): Record<string, unknown> {
  try {
    const message: unknown = JSON.parse(payload.toString('utf8'));
    if (typeof message === 'object' && message !== null) return message as Record<string, unknown>;
  } catch {
    // Said below.
  }
  throw new HostFault('sent a control message that is not a JSON object');
}

/** What a host answers to the creation of an instance. */
export interface CreatedInstance {
  readonly instance: number;
  /** What it takes at once; 0 or NaN: it does not say. */
  readonly maxRequests: number;
  readonly memoryBytes: number;
  /** As the host said it; undefined where it said nothing. */
  readonly statistics?: unknown;
}

/** What a host says of its own memory is for sums alone: a number that can't be is none. */
export function grownBytes(answer: Readonly<Record<string, unknown>>): number {
  const bytes = answer['memoryBytes'];
  return typeof bytes === 'number' && Number.isSafeInteger(bytes) && bytes >= 0 ? bytes : 0;
}

/** Throws HostFault for anything but a message of a model's logger. */
export function readLogMessage(payload: Buffer): LogMessage {
  const { level, text } = parseControl(payload);
  const known = (['debug', 'info', 'warn', 'error'] as const).find((one) => one === level);
  if (known === undefined || typeof text !== 'string') throw new HostFault('sent a log message without level or text');
  return { level: known, text };
}
