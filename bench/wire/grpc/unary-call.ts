import { decodeInferResponse } from '../../../clients/typescript/src/grpc/decode-infer-response.ts';
import type { AnswerHeaders } from './answer-headers.ts';
import { type CallEnd, endOfReset, endOfStatus, endOfStream, GOOD, WRONG } from './call-end.ts';
import { Http2Stream, type StreamBytes } from './http2-stream.ts';
import type { InferMessage, MessageMarks } from './infer-message.ts';
import type { LanePlan } from './lane-plan.ts';
import { MessageReader } from './message-reader.ts';

const INTERNAL = 13;
const UNIMPLEMENTED = 12;
/** For an end that came with the last bytes. */
const NO_TRAILERS: AnswerHeaders = { httpStatus: 0, contentType: '', grpcStatus: -1, grpcMessage: '' };

/** Hears of the end of a call; the call may be used again from within. */
export interface CallOwner {
  readonly plan: LanePlan;
  now(): number;
  /** `hasAnswerEnded`: the server has ended its side of the stream. */
  onCallEnd(call: UnaryCall, end: CallEnd, hasAnswerEnded: boolean): void;
}

/** One ModelInfer: a stream, its request, and what has come of the answer. */
export class UnaryCall extends Http2Stream implements StreamBytes, MessageMarks {
  readonly endsStream = true;
  readonly number = 0;
  slot = 0;
  index = 0;
  sequenceId = 0;
  isSequenceStart = false;
  isSequenceEnd = false;
  length = 0;
  readonly #owner: CallOwner;
  readonly #reader: MessageReader = new MessageReader();
  #message: InferMessage;
  #isValidated = false;
  /** On the owner's clock; 0: none. */
  #deadlineAtMs = 0;
  #first: AnswerHeaders | null = null;
  #messages = 0;
  /** Of an answer that is looked at: '' is right. */
  #wrong = '';

  constructor(owner: CallOwner) {
    super();
    this.#owner = owner;
    this.#message = owner.plan.messages[0]!;
  }

  begin(slot: number, index: number, isValidated: boolean, deadlineMs: number): void {
    this.slot = slot;
    this.index = index;
    this.#message = this.#owner.plan.messages[index]!;
    this.length = this.#message.length;
    this.#isValidated = isValidated;
    this.#deadlineAtMs = deadlineMs > 0 ? this.#owner.now() + deadlineMs : 0;
    this.#first = null;
    this.#messages = 0;
    this.#wrong = '';
    this.#reader.reset();
  }

  copyTo(into: Buffer, at: number, from: number, to: number): void {
    this.#message.copyTo(into, at, from, to, this);
  }

  onSent(): void {}

  onHeaders(headers: AnswerHeaders, isEnd: boolean): void {
    if (isEnd) {
      this.#end(headers);
      return;
    }
    // An interim answer (1xx) is followed by the answer itself.
    if (headers.httpStatus >= 200) this.#first = headers;
  }

  onData(bytes: Buffer, from: number, to: number, isEnd: boolean): void {
    const reader = this.#reader;
    for (let at = from; at < to; ) {
      at = reader.read(bytes, at, to, this.#isValidated ? Number.POSITIVE_INFINITY : 0);
      if (reader.isWhole && !this.#take(reader)) return;
    }
    // An answer without trailers is none of gRPC's.
    if (isEnd) this.#end(NO_TRAILERS);
  }

  onReset(code: number): void {
    this.#owner.onCallEnd(this, endOfReset(code, this.#deadlineAtMs > 0 && this.#owner.now() >= this.#deadlineAtMs), true);
  }

  /** A whole message; false: the call is over. */
  #take(reader: MessageReader): boolean {
    this.#messages++;
    if (reader.isCompressed) {
      this.#owner.onCallEnd(this, endOfStatus(UNIMPLEMENTED, 'the server compressed its answer, which it was not asked to do'), false);
      return false;
    }
    if (this.#isValidated && this.#messages === 1) this.#wrong = this.#check(reader);
    return true;
  }

  #check(reader: MessageReader): string {
    const { plan } = this.#owner;
    try {
      const { outputs } = decodeInferResponse(reader.bytes.subarray(reader.start, reader.end), this.#message.request);
      return plan.checker.check(this.index, outputs);
    } catch (error) {
      return (error as Error).message;
    }
  }

  #end(last: AnswerHeaders): void {
    let end = endOfStream(this.#first, last);
    if (end === GOOD) {
      if (this.#messages !== 1 || this.#reader.isInside) {
        const got = this.#reader.isInside ? 'one that is cut off' : this.#messages === 0 ? 'none' : `${this.#messages}`;
        end = endOfStatus(INTERNAL, `expected one message with status OK, got ${got}`);
      } else if (this.#wrong !== '') {
        end = { outcome: 'wrong', status: WRONG, message: this.#wrong };
      }
    }
    this.#owner.onCallEnd(this, end, true);
  }
}
