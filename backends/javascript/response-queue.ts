/** @hotpath once per response of a decoupled model that is code (measured by decoupled-channel.bench.ts) */

import { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';

interface WaitingResponse {
  readonly tensors: readonly Tensor[];
  readonly resolve: () => void;
  readonly reject: (error: InferenceError) => void;
}

/** Sent without waiting for those before: more, and the code does not await `send`. */
const MAX_WAITING = 64;

/** Between code that sends when it likes and a host that asks for the next when there is room. */
export class ResponseQueue {
  readonly #read: (outputs: unknown) => readonly Tensor[];
  readonly #waiting: WaitingResponse[] = [];
  #wake: (() => void) | null = null;
  #isEnded = false;
  #isClosed = false;
  #error: InferenceError | null = null;

  /** `read`: checks what is sent. */
  constructor(read: (outputs: unknown) => readonly Tensor[]) {
    this.#read = read;
  }

  async send(outputs: unknown): Promise<void> {
    if (this.#isEnded) throw new InferenceError('INTERNAL', 'send was called after execute had ended; await what sends');
    if (this.#isClosed) throw cancelled();
    if (this.#waiting.length >= MAX_WAITING)
      throw new InferenceError('RESOURCE_EXHAUSTED', `${MAX_WAITING} responses wait to be sent; await send before the next one`);
    // The code may use its arrays again before they are sent.
    const tensors = this.#read(outputs).map((tensor) => ({ ...tensor, data: tensor.data.slice() }));
    await new Promise<void>((resolve, reject) => {
      this.#waiting.push({ tensors, resolve, reject });
      this.#wakeUp();
    });
  }

  /** The code has ended, with an error or none; what it sent before goes out first. */
  end(error: InferenceError | null): void {
    this.#isEnded = true;
    this.#error = error;
    this.#wakeUp();
  }

  /** Nobody takes responses any more. */
  close(): void {
    this.#isClosed = true;
    for (const { reject } of this.#waiting.splice(0)) reject(cancelled());
  }

  async *responses(): AsyncGenerator<readonly Tensor[]> {
    for (;;) {
      const next = this.#waiting[0];
      if (next !== undefined) {
        yield next.tensors;
        this.#waiting.shift();
        next.resolve();
      } else if (this.#isEnded) {
        if (this.#error !== null) throw this.#error;
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }

  #wakeUp(): void {
    const wake = this.#wake;
    this.#wake = null;
    wake?.();
  }
}

function cancelled(): InferenceError {
  return new InferenceError('CANCELLED', 'the caller has gone', { failureReason: 'CANCELED' });
}
