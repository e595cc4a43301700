import { decodeStreamResponse } from '../../../clients/typescript/src/grpc/decode-infer-response.ts';
import type { StatusCode } from '../../../proto/inference-error.ts';
import { STATUS_FORMS } from '../../../proto/status-forms.ts';
import type { LaneSink, SequenceStamp } from '../../load/lane.ts';
import type { LoadTarget } from '../../load/load-plan.ts';
import type { SocketLoop } from '../../load/socket-loop.ts';
import { type CallEnd, endOfStatus, GOOD, LOST, WRONG } from './call-end.ts';
import { ConnectedLane } from './connected-lane.ts';
import { InferStream } from './infer-stream.ts';
import type { LanePlan } from './lane-plan.ts';
import type { MessageReader } from './message-reader.ts';
import { RequestTable } from './request-table.ts';
import { NO_ID, type StreamAnswer } from './stream-answer.ts';
import type { StreamRequest } from './stream-request.ts';

/** Requests in flight; Nereid reads no more from a stream that has 1,024. */
const MAX_REQUESTS = 256;

/**
 * ModelStreamInfer: one stream for all requests of the lane, whose answers are told apart by their ids. There is no way to call back one of them, so the answer to an abandoned one is passed over when it comes; and no place for
 * a deadline.
 */
export class StreamLane extends ConnectedLane {
  readonly #plan: LanePlan;
  readonly #table: RequestTable = new RequestTable();
  readonly #stream: InferStream = new InferStream(this);

  constructor(plan: LanePlan, sink: LaneSink) {
    super(plan.headers, sink);
    this.#plan = plan;
  }

  override async open(loop: SocketLoop, target: LoadTarget, timeoutMs: number): Promise<void> {
    await super.open(loop, target, timeoutMs);
    this.connection.open(this.#stream, 0);
    this.connection.flush();
  }

  get capacity(): number {
    return MAX_REQUESTS;
  }

  /** Whether answers must be kept whole, as far as is known before they are. */
  get looksAtAnswers(): boolean {
    return this.#table.validated > 0;
  }

  send(slot: number, index: number, stamp: SequenceStamp | null, validate: boolean, _deadlineMs: number): void {
    const { messages, hasParts } = this.#plan;
    const request = this.#table.begin(slot, index, messages[index]!, hasParts[index]!, validate);
    if (stamp !== null) {
      request.sequenceId = stamp.id;
      request.isSequenceStart = stamp.isStart;
      request.isSequenceEnd = stamp.isEnd;
    }
    this.connection.send(this.#stream, request);
    this.connection.flush();
  }

  abandon(slot: number): void {
    const request = this.#table.ofSlot(slot);
    if (request === null) return;
    if (!request.isSent && this.connection.withdraw(this.#stream, request)) request.isSent = true;
    this.#table.end(request);
    this.closeIfDone();
  }

  /** A message of the stream. `reader` has its bytes, or their beginning. */
  onAnswer(answer: StreamAnswer, reader: MessageReader): void {
    const table = this.#table;
    // Some servers give errors no id, or echo none at all: answers of one response each come in the order of the requests.
    const request = answer.number === NO_ID ? table.oldest() : table.find(answer.number);
    if (request === null) return;
    if (answer.hasError) {
      this.#end(request, endOfStatus(statusOf(answer.errorCode), answer.errorMessage));
      return;
    }
    if (request.isValidated && request.wrong === null && (answer.hasOutputs || !request.hasParts))
      request.wrong = this.#check(request, reader);
    if (request.hasParts) {
      if (answer.hasOutputs) this.sink.part(request.slot, 1);
      // A server that does not know the parameter says nothing of it, and answers once.
      if (answer.isFinal === false) return;
    }
    const { wrong } = request;
    this.#end(request, wrong === null || wrong === '' ? GOOD : { outcome: 'wrong', status: WRONG, message: wrong });
  }

  onCompressedAnswer(): void {
    this.fail('the server compressed an answer, which it was not asked to do');
  }

  /** The stream is over, and with it all that was in flight. */
  onStreamEnd(end: CallEnd): void {
    const slots = this.#table.endAll();
    const why = end === GOOD ? 'the server ended the stream' : `the server ended the stream: ${end.status}: ${end.message}`;
    this.retire(why);
    for (const slot of slots) {
      if (end === GOOD) this.sink.ended(slot, 'failed', LOST, why);
      else this.sink.ended(slot, end.outcome, end.status, end.message);
    }
    this.closeIfDone();
  }

  protected override get inFlight(): number {
    return this.#table.awaited;
  }

  protected override endAll(reason: string): void {
    for (const slot of this.#table.endAll()) this.sink.ended(slot, 'failed', LOST, reason);
  }

  #end(request: StreamRequest, { outcome, status, message }: CallEnd): void {
    const { slot } = request;
    this.#table.end(request);
    this.sink.ended(slot, outcome, status, message);
    this.closeIfDone();
  }

  #check(request: StreamRequest, reader: MessageReader): string {
    try {
      const { response } = decodeStreamResponse(reader.bytes.subarray(reader.start, reader.end), request.message.request);
      return this.#plan.checker.check(request.index, response.outputs);
    } catch (error) {
      return (error as Error).message;
    }
  }
}

/** gRPC's number of the code that Nereid puts beside the text; others put none: UNKNOWN. */
function statusOf(code: string): number {
  return Object.hasOwn(STATUS_FORMS, code) ? STATUS_FORMS[code as StatusCode].grpc : STATUS_FORMS.UNKNOWN.grpc;
}
