/** @hotpath one request and one answer at a time over a keep-alive connection (measured by response-parser.bench.ts) */

import { InferenceError } from '../../../proto/inference-error.ts';
import type { Lane, LaneSink, SequenceStamp } from '../../load/lane.ts';
import type { LoadTarget } from '../../load/load-plan.ts';
import type { Outcome } from '../../load/load-window.ts';
import type { LoadSocket, SocketHandler, SocketLoop } from '../../load/socket-loop.ts';
import { httpStatusText, outcomeOfHttpStatus } from '../outcome-of-status.ts';
import type { Conversation, StartConversation } from './conversation.ts';
import type { ErrorTexts } from './error-texts.ts';
import { ResponseParser } from './response-parser.ts';

/** A lane over HTTP/1.1: no pipelining, so it carries one request. What is said is its conversation's affair. */
export class HttpConnection implements Lane, SocketHandler {
  readonly capacity: number = 1;
  readonly #sink: LaneSink;
  readonly #conversation: Conversation;
  readonly #errors: ErrorTexts;
  readonly #parser: ResponseParser;
  #socket: LoadSocket | null = null;
  #isOpen = true;
  #slot = -1;
  /** Why it closed before anybody had it. */
  #early = '';

  private constructor(sink: LaneSink, start: StartConversation, errors: ErrorTexts) {
    this.#sink = sink;
    this.#conversation = start(sink);
    this.#errors = errors;
    this.#parser = new ResponseParser(this.#conversation.listener);
  }

  /** Rejects with UNAVAILABLE when the server cannot be reached. */
  static async open(loop: SocketLoop, target: LoadTarget, sink: LaneSink, start: StartConversation, errors: ErrorTexts): Promise<Lane> {
    const lane = new HttpConnection(sink, start, errors);
    let socket: LoadSocket;
    try {
      socket = await loop.connect(target, lane);
    } catch (error) {
      if (error instanceof InferenceError) throw error;
      const text = error instanceof Error ? error.message : String(error);
      throw new InferenceError('UNAVAILABLE', `cannot connect to ${target.host} port ${target.port}: ${text}`, { cause: error });
    }
    if (!lane.#isOpen) {
      throw new InferenceError('UNAVAILABLE', `${target.host} port ${target.port} closed the connection at once: ${lane.#early}`);
    }
    lane.#socket = socket;
    return lane;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  send(slot: number, index: number, stamp: SequenceStamp | null, validate: boolean): void {
    this.#slot = slot;
    this.#parser.begin(this.#conversation.begin(slot, index, validate));
    this.#sink.sentBytes(this.#conversation.write(this.#socket!, index, stamp));
  }

  abandon(slot: number): void {
    if (slot === this.#slot) this.close();
  }

  close(): void {
    this.#isOpen = false;
    if (this.#slot >= 0) this.#conversation.abort();
    this.#slot = -1;
    this.#socket?.close();
  }

  onBytes(bytes: Buffer, length: number): void {
    this.#sink.receivedBytes(length);
    if (!this.#isOpen) return;
    if (this.#slot < 0) {
      this.#shut('bytes came that no request had asked for');
      return;
    }
    const parser = this.#parser;
    const end = parser.parse(bytes, 0, length);
    // Whoever heard of a part may have closed the lane.
    if (this.#slot < 0) return;
    if (parser.fault !== '') this.#lose('malformed answer', parser.fault);
    else if (!parser.isDone) return;
    else if (end < length) this.#lose('malformed answer', `${length - end} bytes more came than the answer has`);
    else this.#complete('the server closes the connection after its answer');
  }

  onClose(reason: string): void {
    if (!this.#isOpen) return;
    if (this.#socket === null) {
      this.#isOpen = false;
      this.#early = reason;
    } else if (this.#slot < 0) this.#shut(reason);
    else if (this.#parser.finish()) this.#complete(reason);
    else this.#lose('connection lost', this.#parser.status === 0 ? reason : `${reason}, within an answer`);
  }

  #complete(reason: string): void {
    const parser = this.#parser;
    const slot = this.#slot;
    let outcome: Outcome = outcomeOfHttpStatus(parser.status);
    let status = '';
    let message = '';
    if (outcome === 'ok') {
      outcome = this.#conversation.judge(parser);
      // The judge reports the parts of an answer, and whoever hears of them may have closed the lane.
      if (this.#slot < 0) return;
      if (outcome !== 'ok') ({ status, message } = this.#conversation);
    } else {
      this.#conversation.abort();
      status = httpStatusText(parser.status);
      message = this.#errors.read(parser.body);
    }
    this.#slot = -1;
    if (parser.keepsAlive) {
      // The last thing done here: the next request may be on its way before it returns.
      this.#sink.ended(slot, outcome, status, message);
      return;
    }
    this.#isOpen = false;
    this.#socket!.close();
    this.#sink.ended(slot, outcome, status, message);
    this.#sink.closed(this, reason);
  }

  /** Ends what is in flight, and the lane. */
  #lose(status: string, message: string): void {
    const slot = this.#slot;
    this.#slot = -1;
    this.#isOpen = false;
    this.#conversation.abort();
    this.#socket!.close();
    this.#sink.ended(slot, 'failed', status, message);
    this.#sink.closed(this, message);
  }

  #shut(reason: string): void {
    this.#isOpen = false;
    this.#socket!.close();
    this.#sink.closed(this, reason);
  }
}
