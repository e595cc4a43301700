/** @hotpath counts what is in flight in one instance of a process host, of either kind (measured by instance-channel.bench.ts) */

import type { ModelTensors } from './model-tensors.ts';

/** What the channels of batches and of decoupled requests have in common: their life. */
export abstract class ProcessChannel {
  readonly tensors: ModelTensors;
  /** The instance's number in its host. */
  readonly instance: number;
  /** Already in a list of channels to be told of capacity. */
  isToBeTold = false;
  readonly #onCapacity: () => void;
  readonly #dispose: (instance: number) => Promise<void>;
  #inflightCount = 0;
  #isAlive = true;
  #isReleased = false;
  #onDrained: (() => void) | null = null;

  constructor(tensors: ModelTensors, instance: number, onCapacity: () => void, dispose: (instance: number) => Promise<void>) {
    this.tensors = tensors;
    this.instance = instance;
    this.#onCapacity = onCapacity;
    this.#dispose = dispose;
  }

  get inflightCount(): number {
    return this.#inflightCount;
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  protected get takesWork(): boolean {
    return this.#isAlive && !this.#isReleased;
  }

  /** The link: something of this channel is on its way. */
  submitted(): void {
    this.#inflightCount++;
  }

  /** The link: it left the host. */
  settled(): void {
    this.#inflightCount--;
    if (this.#inflightCount === 0) this.#onDrained?.();
  }

  /** The link: `hasCapacity` may have changed. */
  tellCapacity(): void {
    this.isToBeTold = false;
    this.#onCapacity();
  }

  /** The host: it has ended. */
  hostEnded(): void {
    this.#isAlive = false;
    this.#onDrained?.();
  }

  async release(): Promise<void> {
    if (this.#isReleased) return;
    this.#isReleased = true;
    if (this.#inflightCount > 0 && this.#isAlive) {
      await new Promise<void>((resolve) => {
        this.#onDrained = resolve;
      });
    }
    if (!this.#isAlive) return;
    this.#isAlive = false;
    await this.#dispose(this.instance);
  }
}
