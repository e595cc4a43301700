import type { StreamBytes } from './http2-stream.ts';
import type { InferMessage, MessageMarks } from './infer-message.ts';

/** Where requests without bytes left to send go back to. */
export interface RequestOwner {
  onRequestSent(request: StreamRequest): void;
}

/** One request of a stream. It is free for another when nobody waits for its answer and all of it is in frames: half a message cannot be taken back. */
export class StreamRequest implements StreamBytes, MessageMarks {
  readonly endsStream = false;
  /** Its place in the lane's table. */
  readonly place: number;
  /** On the wire, as its id; `place` and how often it was used before. */
  number: number;
  slot = 0;
  index = 0;
  /** Whether its end is to be reported. */
  isAwaited = false;
  isSent = true;
  isValidated = false;
  hasParts = false;
  /** The order in which the requests of the lane were sent. */
  order = 0;
  sequenceId = 0;
  isSequenceStart = false;
  isSequenceEnd = false;
  length = 0;
  /** Of an answer that was looked at: '' is right; null: none was yet. */
  wrong: string | null = null;
  #message: InferMessage | null = null;
  readonly #owner: RequestOwner;

  constructor(owner: RequestOwner, place: number) {
    this.#owner = owner;
    this.place = place;
    this.number = place;
  }

  take(message: InferMessage): void {
    this.#message = message;
    this.length = message.length;
  }

  get message(): InferMessage {
    return this.#message!;
  }

  copyTo(into: Buffer, at: number, from: number, to: number): void {
    this.#message!.copyTo(into, at, from, to, this);
  }

  onSent(): void {
    this.isSent = true;
    this.#owner.onRequestSent(this);
  }
}
