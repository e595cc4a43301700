/** @hotpath ModelStreamInfer: one InferStream per call, one StreamedRequest per inference request (measured by unary-infer.bench.ts) */

import { InferenceError } from '../../../proto/inference-error.ts';
import type { InferenceCaller, InferenceRequest } from '../../inference/inference-request.ts';
import type { InferenceResponse } from '../../inference/inference-response.ts';
import type { Model } from '../../repository/model.ts';
import type { RpcCancelListener, StreamCall, StreamListener, StreamMethod } from '../../transports/rpc-call.ts';
import type { ProtocolContext } from '../protocol.ts';
import { type RoutedCall, RouteWait } from '../route-wait.ts';
import { InferRequestMessage } from './decode-infer-request.ts';
import { encodeEmptyFinalResponse, encodeInferResponse, encodeStreamFailure, encodeStreamRefusal } from './encode-infer-response.ts';
import { isPastDeadline } from './is-past-deadline.ts';

/** Requests of one stream that are not answered, or whose answers wait for their turn: beyond it the stream is not read until half of them are out. */
export const MAX_IN_FLIGHT = 1_024;
/**
 * The same for bytes: of requests in flight and of answers that wait. An answer's size is not known before it is there, so a request counts as the largest answer
 * that the stream has had, where that is more.
 */
const MAX_HELD_BYTES = 64 * 1024 * 1024;

export function streamInferMethod(path: string, context: ProtocolContext): StreamMethod {
  return {
    kind: 'stream',
    path,
    open: (call) => {
      const stream = new InferStream(call, context);
      call.listener = stream;
      call.cancelListener = stream;
    },
  };
}

/**
 * Any number of requests, for any models, in flight together. Models with one response a request are answered in the order of the requests; decoupled ones as their
 * responses come. A failed request is a message, and the stream goes on; with the metadata `triton_grpc_error: true` the first that fails in its model ends the stream.
 */
class InferStream implements StreamListener, RpcCancelListener {
  readonly context: ProtocolContext;
  readonly #call: StreamCall;
  readonly #failsWhole: boolean;
  readonly #deadlineNs: number;
  /** Those that are answered in order, oldest first. */
  #head: StreamedRequest | null = null;
  #tail: StreamedRequest | null = null;
  readonly #decoupled: Set<StreamedRequest> = new Set();
  #inFlight = 0;
  #heldBytes = 0;
  #largestAnswer = 0;
  #isPaused = false;
  /** The connection takes nothing at the moment. */
  #isBlocked = false;
  #isHalfClosed = false;
  #isDraining = false;
  #isOver = false;

  constructor(call: StreamCall, context: ProtocolContext) {
    this.#call = call;
    this.context = context;
    this.#failsWhole = call.metadata('triton_grpc_error') === 'true';
    this.#deadlineNs = call.deadlineMs * 1e6;
  }

  onMessage(bytes: Uint8Array): void {
    if (this.#isOver) return;
    const { context } = this;
    const message = new InferRequestMessage(bytes);
    const entry = new StreamedRequest(this, bytes.length, this.#largestAnswer);
    this.#inFlight++;
    this.#heldBytes += entry.heldBytes;
    try {
      message.open();
      const routed = context.door.route(message.modelName, message.modelVersion);
      if (routed instanceof Promise) {
        const waiting = new WaitingMessage(this, entry, message);
        entry.wait = RouteWait.start(context, routed, bytes.length, waiting, Number.POSITIVE_INFINITY);
        // Whatever its model turns out to be: what has one answer keeps its place.
        this.#append(entry);
      } else {
        entry.model = routed;
        if (routed.isDecoupled) this.#decoupled.add(entry);
        else this.#append(entry);
        this.#infer(entry, message, routed);
      }
    } catch (error) {
      // What never came to a model keeps its place among the answers too.
      if (entry.model === null) this.#append(entry);
      this.#refuse(entry, message, error);
    }
    this.#settleReading();
  }

  /** The model of a message that waited. */
  routed(entry: StreamedRequest, message: InferRequestMessage, model: Model): void {
    entry.wait = null;
    if (this.#isOver) return;
    entry.model = model;
    if (model.isDecoupled) {
      this.#decoupled.add(entry);
      entry.hasLeftOrder = true;
      if (entry === this.#head && !this.#isBlocked) this.#sendAnswered();
    }
    this.#infer(entry, message, model);
    this.#settleReading();
  }

  notRouted(entry: StreamedRequest, message: InferRequestMessage, error: unknown): void {
    entry.wait = null;
    this.#refuse(entry, message, error);
  }

  #infer(entry: StreamedRequest, message: InferRequestMessage, model: Model): void {
    const request = message.decode(model.signature, entry);
    request.deadlineNs = this.#deadlineNs;
    entry.wantsEmptyFinal = message.parameters.wantsEmptyFinalResponse;
    entry.askedVersion = message.modelVersion;
    entry.request = request;
    // Paused from the start: its first response would find no room.
    if (this.#isBlocked && model.isDecoupled) request.pauseResponses();
    this.context.door.infer(request, model);
  }

  #refuse(entry: StreamedRequest, message: InferRequestMessage, error: unknown): void {
    const { context } = this;
    context.reportFault(error);
    const refusal = InferenceError.from(error);
    context.door.refused(message.modelName, refusal);
    entry.request = null;
    this.answer(entry, encodeStreamRefusal(refusal, message.id));
  }

  onHalfClose(): void {
    this.#isHalfClosed = true;
    this.#endIfDone();
  }

  onDrain(): void {
    if (this.#isOver) return;
    this.#isBlocked = false;
    this.#sendAnswered();
    for (const entry of this.#decoupled) {
      if (this.#isBlocked) break;
      entry.request?.resumeResponses();
    }
    this.#settleReading();
    this.#endIfDone();
  }

  onDrainRequested(): void {
    this.#isDraining = true;
    this.#endIfDone();
  }

  onRpcCancelled(): void {
    this.#finish();
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** The one answer of a request, or the last thing said about it. */
  answer(entry: StreamedRequest, message: Buffer): void {
    if (this.#isOver || entry.isEnded) return;
    if (message.length > this.#largestAnswer) this.#largestAnswer = message.length;
    if (this.#decoupled.has(entry)) {
      this.#send(message);
      this.complete(entry);
      return;
    }
    this.#heldBytes += message.length - entry.heldBytes;
    entry.heldBytes = message.length;
    entry.isEnded = true;
    entry.answer = message;
    entry.request = null;
    if (entry === this.#head && !this.#isBlocked) this.#sendAnswered();
    else {
      entry.isWaiting = true;
      this.#call.holdAnswer(message.length);
    }
    this.#settleReading();
    this.#endIfDone();
  }

  /** One response of several. */
  stream(message: Buffer): void {
    if (!this.#isOver) this.#send(message);
  }

  /** A decoupled request is over. */
  complete(entry: StreamedRequest): void {
    if (!this.#decoupled.delete(entry)) return;
    entry.isEnded = true;
    this.#inFlight--;
    this.#heldBytes -= entry.heldBytes;
    this.#settleReading();
    this.#endIfDone();
  }

  /** A request failed in its model. */
  fail(entry: StreamedRequest, request: InferenceRequest, error: InferenceError): void {
    if (this.#isOver || entry.isEnded) return;
    if (this.#failsWhole) {
      this.#finish();
      this.#call.fail(error);
      return;
    }
    this.answer(entry, encodeStreamFailure(error, request.modelName, request.modelVersion, request.id));
  }

  #append(entry: StreamedRequest): void {
    if (this.#tail === null) this.#head = entry;
    else this.#tail.next = entry;
    this.#tail = entry;
  }

  #sendAnswered(): void {
    let head = this.#head;
    while (head !== null && !this.#isBlocked) {
      if (head.hasLeftOrder) {
        head = head.next;
        continue;
      }
      if (head.answer === null) break;
      this.#inFlight--;
      this.#heldBytes -= head.heldBytes;
      if (head.isWaiting) this.#call.holdAnswer(-head.answer.length);
      this.#send(head.answer);
      head = head.next;
    }
    this.#head = head;
    if (head === null) this.#tail = null;
  }

  #send(message: Buffer): void {
    if (this.#call.send(message, true) || this.#isBlocked) return;
    this.#isBlocked = true;
    for (const entry of this.#decoupled) entry.request?.pauseResponses();
  }

  /** Reads on while there is room: for the answers on the connection, and for more requests here. */
  #settleReading(): void {
    if (this.#isOver) return;
    if (!this.#isPaused) {
      if (!this.#isBlocked && this.#inFlight < MAX_IN_FLIGHT && this.#heldBytes < MAX_HELD_BYTES) return;
      this.#isPaused = true;
      this.#call.pause();
    } else if (!this.#isBlocked && this.#inFlight <= MAX_IN_FLIGHT / 2 && this.#heldBytes <= MAX_HELD_BYTES / 2) {
      this.#isPaused = false;
      this.#call.resume();
    }
  }

  #endIfDone(): void {
    if (!(this.#isHalfClosed || this.#isDraining) || this.#inFlight > 0 || this.#isOver) return;
    this.#isOver = true;
    if (this.#isHalfClosed) this.#call.end();
    else this.#call.fail(new InferenceError('UNAVAILABLE', 'the server is shutting down; every request of this stream is answered'));
  }

  /** Nobody hears any more: what is in flight is cancelled. */
  #finish(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const isLate = isPastDeadline(this.#call);
    for (let entry = this.#head; entry !== null; entry = entry.next) {
      entry.wait?.cancel();
      if (isLate) entry.request?.expire();
      else entry.request?.cancel();
    }
    for (const entry of this.#decoupled) {
      if (isLate) entry.request?.expire();
      else entry.request?.cancel();
    }
    this.#head = null;
    this.#tail = null;
    this.#decoupled.clear();
  }
}

/** One request of a stream, from its message to its last response. */
class StreamedRequest implements InferenceCaller {
  /** Null until it is decoded, and once it is answered. */
  request: InferenceRequest | null = null;
  model: Model | null = null;
  /** Its model is being loaded. */
  wait: RouteWait | null = null;
  /** It waited in the order of answers for a model that turned out to be decoupled. */
  hasLeftOrder = false;
  /** As the request wrote it. */
  askedVersion = '';
  wantsEmptyFinal = false;
  /** All is said; what a cancelled request still reports is nobody's. */
  isEnded = false;
  /** Its answer, when others go first. */
  answer: Buffer | null = null;
  /** It could not go out when it came. */
  isWaiting = false;
  /** What it counts for among the bytes that the stream holds. */
  heldBytes: number;
  next: StreamedRequest | null = null;
  readonly #stream: InferStream;

  constructor(stream: InferStream, messageBytes: number, largestAnswer: number) {
    this.#stream = stream;
    this.heldBytes = Math.max(messageBytes, largestAnswer);
  }

  onResponse(request: InferenceRequest, response: InferenceResponse, isFinal: boolean): void {
    if (this.#stream.isOver || this.isEnded) return;
    let message: Buffer;
    try {
      message = encodeInferResponse(request, response, this.model!.signature, isFinal ? 'streamed-final' : 'streamed');
    } catch (error) {
      this.#stream.context.reportFault(error);
      // First the reason: the cancel ends the request before it returns.
      this.#stream.fail(this, request, InferenceError.from(error));
      if (!isFinal) request.cancel();
      return;
    }
    if (isFinal) this.#stream.answer(this, message);
    else this.#stream.stream(message);
  }

  onComplete(request: InferenceRequest): void {
    if (this.#stream.isOver || this.isEnded) return;
    if (this.wantsEmptyFinal) this.#stream.answer(this, encodeEmptyFinalResponse(request.modelName, this.askedVersion, request.id));
    else this.#stream.complete(this);
  }

  onError(request: InferenceRequest, error: InferenceError): void {
    if (this.#stream.isOver || this.isEnded) return;
    this.#stream.context.reportFault(error);
    this.#stream.fail(this, request, error);
  }
}

/** A message whose model is being loaded. */
class WaitingMessage implements RoutedCall {
  readonly #stream: InferStream;
  readonly #entry: StreamedRequest;
  readonly #message: InferRequestMessage;

  constructor(stream: InferStream, entry: StreamedRequest, message: InferRequestMessage) {
    this.#stream = stream;
    this.#entry = entry;
    this.#message = message;
  }

  onRouted(model: Model): void {
    this.#stream.routed(this.#entry, this.#message, model);
  }

  onRouteFailed(error: unknown): void {
    this.#stream.notRouted(this.#entry, this.#message, error);
  }
}
