import type { AnswerHeaders } from './answer-headers.ts';
import { type CallEnd, endOfReset, endOfStream } from './call-end.ts';
import { Http2Stream } from './http2-stream.ts';
import { MessageReader } from './message-reader.ts';
import { StreamAnswer } from './stream-answer.ts';

/** Of an answer that is not looked at: whose it is stands at its beginning. */
const HEAD_BYTES = 16 * 1024;

/** For an end that came with the last bytes. */
const NO_TRAILERS: AnswerHeaders = { httpStatus: 0, contentType: '', grpcStatus: -1, grpcMessage: '' };

export interface InferStreamOwner {
  readonly looksAtAnswers: boolean;
  onAnswer(answer: StreamAnswer, reader: MessageReader): void;
  onCompressedAnswer(): void;
  onStreamEnd(end: CallEnd): void;
}

/** The HTTP/2 stream of a ModelStreamInfer: cuts what comes into answers. */
export class InferStream extends Http2Stream {
  readonly #owner: InferStreamOwner;
  readonly #reader: MessageReader = new MessageReader();
  readonly #answer: StreamAnswer = new StreamAnswer();
  #first: AnswerHeaders | null = null;

  constructor(owner: InferStreamOwner) {
    super();
    this.#owner = owner;
  }

  onHeaders(headers: AnswerHeaders, isEnd: boolean): void {
    if (isEnd) this.#owner.onStreamEnd(endOfStream(this.#first, headers));
    else if (headers.httpStatus >= 200) this.#first = headers;
  }

  onData(bytes: Buffer, from: number, to: number, isEnd: boolean): void {
    const reader = this.#reader;
    // The owner may close its connection at any answer, which forgets this stream.
    for (let at = from; at < to && this.id !== 0; ) {
      at = reader.read(bytes, at, to, this.#owner.looksAtAnswers ? Number.POSITIVE_INFINITY : HEAD_BYTES);
      if (!reader.isWhole) return;
      if (reader.isCompressed) {
        this.#owner.onCompressedAnswer();
        return;
      }
      this.#answer.read(reader.bytes, reader.start, reader.end);
      this.#owner.onAnswer(this.#answer, reader);
    }
    if (isEnd && this.id !== 0) this.#owner.onStreamEnd(endOfStream(this.#first, NO_TRAILERS));
  }

  onReset(code: number): void {
    this.#owner.onStreamEnd(endOfReset(code, false));
  }
}
