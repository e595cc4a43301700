/** @hotpath which streams of a connection a client may still send frames of, though they are closed (measured by grpc-transport.bench.ts) */

/** Of the streams that this side reset last; frames of older ones that are on their way are answered with another reset. */
const KEPT = 2048;

/** Streams that this side reset: their client may not know it yet (RFC 9113, section 5.1). */
export class ClosedStreams {
  /** The oldest first. */
  readonly #ids = new Set<number>();
  /** Numbers that the client jumped over last: these were never open. */
  #skippedFrom = 0;
  #skippedTo = 0;

  reset(id: number): void {
    this.#ids.add(id);
    if (this.#ids.size <= KEPT) return;
    for (const oldest of this.#ids) {
      this.#ids.delete(oldest);
      return;
    }
  }

  wasReset(id: number): boolean {
    return this.#ids.has(id);
  }

  skipped(from: number, to: number): void {
    this.#skippedFrom = from;
    this.#skippedTo = to;
  }

  wasSkipped(id: number): boolean {
    return id >= this.#skippedFrom && id < this.#skippedTo;
  }
}
