/** @hotpath one per WebSocket connection: its messages to inference requests, and their answers back, as they come */

import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import { didYouMean } from '../../../proto/nearest-name.ts';
import { STATUS_FORMS } from '../../../proto/status-forms.ts';
import type { InferenceRequest } from '../../inference/inference-request.ts';
import { InferenceResponse, type ResponseTiming } from '../../inference/inference-response.ts';
import type { Model } from '../../repository/model.ts';
import type { Waiting } from '../../repository/waiting.ts';
import type { WebSocketConnection, WebSocketListener } from '../../transports/web-socket.ts';
import { createInferRequest, explainCut, type InferTarget } from '../oip-json/decode-request.ts';
import { KnownRequest, RememberedHeaders } from '../oip-json/remembered-headers.ts';
import { type ReadRequest, RequestJsonParser } from '../oip-json/request-json.ts';
import type { ProtocolContext } from '../protocol.ts';
import { RouteWait } from '../route-wait.ts';
import { GOING_AWAY } from './close-codes.ts';
import { findId } from './find-id.ts';
import { type BacklogBudget, MessageBacklog } from './message-backlog.ts';
import { type InferEnvelope, MESSAGE_TYPES, MessageEnvelope } from './message-envelope.ts';
import { JSON_LENGTH_BYTES, sendError, sendResponse } from './send-answer.ts';
import { type CallSession, SessionCall } from './session-call.ts';
import { WaitingMessage, type WaitingSession } from './waiting-message.ts';

export interface SessionLimits {
  /** Requests of one connection that are not answered yet. */
  readonly maxInflightRequests: number;
  /** Bytes of their messages; one message more may be taken. As many may be put aside where the engine goes on delivering, as far as the budget of all connections goes. */
  readonly maxInflightBytes: number;
  /** Answers that wait to be sent, bytes. */
  readonly maxUnsentBytes: number;
}

/** Unsent bytes (or half of `maxUnsentBytes`, if that is less) above which nothing more is read, and decoupled models are held back; from half of it on both go on. */
export const HIGH_WATER_BYTES: number = 1024 * 1024;

const NO_TENSORS: readonly never[] = Object.freeze([]);
const NO_TIMING: ResponseTiming = Object.freeze({ queueNs: 0, computeInputNs: 0, computeInferNs: 0, computeOutputNs: 0 });
const NOTHING_KNOWN: InferTarget = { modelName: '', modelVersion: '', maxBatchSize: 0, inputs: [], outputs: [] };

export class WebSocketSession implements WebSocketListener, CallSession, WaitingSession {
  readonly #connection: WebSocketConnection;
  readonly #context: ProtocolContext;
  readonly #limits: SessionLimits;
  readonly #highWaterBytes: number;
  readonly #envelope = new MessageEnvelope();
  readonly #headers: RememberedHeaders<InferEnvelope> = new RememberedHeaders();
  /** Not answered yet, by id. */
  readonly #calls: Map<string, SessionCall> = new Map();
  readonly #backlog: MessageBacklog;
  /** The model that the last message named: the next one most likely names it as well. */
  #likely: InferTarget = NOTHING_KNOWN;
  /** Of the calls, those that end by themselves. */
  #unaryCount = 0;
  #heldBytes = 0;
  /** The peer does not read as quickly as it is answered. */
  #isStalled = false;
  /** Nothing is read: the peer is to read first, or requests are to end first. */
  #isPaused = false;
  #isResumeDue = false;
  #isDraining = false;
  /** Closed, or about to be. */
  #isOver = false;

  constructor(connection: WebSocketConnection, context: ProtocolContext, limits: SessionLimits, backlogBudget: BacklogBudget) {
    this.#connection = connection;
    this.#context = context;
    this.#limits = limits;
    this.#backlog = new MessageBacklog(limits.maxInflightBytes, backlogBudget);
    this.#highWaterBytes = Math.min(HIGH_WATER_BYTES, limits.maxUnsentBytes / 2);
  }

  onText(message: Uint8Array): void {
    this.#take(message, false);
  }

  onBinary(message: Uint8Array): void {
    this.#take(message, true);
  }

  onDrain(): void {
    if (!this.#isStalled || this.#connection.unsentBytes > this.#highWaterBytes / 2) return;
    this.#isStalled = false;
    for (const call of this.#calls.values()) {
      if (call.isStream) call.request?.resumeResponses();
      // What it gave at once was too much again.
      if (this.#isStalled) return;
    }
    this.#resumeSoon();
  }

  onDrainRequested(): void {
    this.#isDraining = true;
    this.#closeWhenDrained();
  }

  onClose(): void {
    this.#abandon();
  }

  onCallResponse(call: SessionCall, request: InferenceRequest, response: InferenceResponse, isFinal: boolean): void {
    try {
      sendResponse(this.#connection, request, response, isFinal, call.model!.signature, this.#limits.maxUnsentBytes);
      if (isFinal) this.#end(call);
    } catch (error) {
      // An output that this encoding cannot carry (BYTES that are no text, in JSON) is this caller's answer and nobody else's.
      this.onCallError(call, InferenceError.from(error));
      request.cancel();
    }
    if (this.#connection.unsentBytes > this.#highWaterBytes) this.#stall();
  }

  onCallComplete(call: SessionCall, request: InferenceRequest): void {
    const { name, version } = call.model!;
    this.onCallResponse(call, request, new InferenceResponse(name, version, NO_TENSORS, null, NO_TIMING), true);
  }

  onCallError(call: SessionCall, error: InferenceError): void {
    this.#context.reportFault(error);
    sendError(this.#connection, call.id, error);
    this.#end(call);
  }

  #take(message: Uint8Array, isBinary: boolean): void {
    if (this.#isOver) return;
    if (!this.#isPaused) this.#receive(message, isBinary, false);
    else if (!this.#backlog.push(message, isBinary)) this.#receive(message, isBinary, true);
  }

  /** `isTooMany`: whatever it asks for is refused, unless it is a cancel. */
  #receive(message: Uint8Array, isBinary: boolean, isTooMany: boolean): void {
    this.#envelope.reset(this.#likely.modelName);
    let body = message;
    let jsonBytes = message.length;
    let read: ReadRequest | null = null;
    try {
      if (isBinary) {
        jsonBytes = readJsonLength(message);
        read = this.#recall(message, jsonBytes);
      }
      if (read === null) {
        if (isBinary) body = message.subarray(JSON_LENGTH_BYTES);
        const parser = new RequestJsonParser(body, jsonBytes, this.#likely.inputs, this.#likely.outputs, this.#envelope);
        read = parser;
        parser.parse();
        if (isBinary && parser.id !== '' && !this.#envelope.isControl) {
          const { modelName, modelVersion, timeoutMs } = this.#envelope;
          this.#headers.remember(message, JSON_LENGTH_BYTES, jsonBytes, parser, { modelName, modelVersion, timeoutMs });
        }
      }
      if (read.id === '') throw noId();
      if (this.#envelope.isControl) this.#control(read.id);
      else this.#infer(read, message.length, isTooMany);
    } catch (error) {
      const explained = isBinary ? explainCut(error, jsonBytes, body.length, 'the length before it') : error;
      this.#refuse(explained, read === null ? null : read.id || findId(body.subarray(0, jsonBytes)));
    }
  }

  /** The request of a binary message whose JSON is, but for the id, that of one before; else null. */
  #recall(message: Uint8Array, jsonBytes: number): ReadRequest | null {
    const known = this.#headers.find(message, JSON_LENGTH_BYTES, jsonBytes);
    if (known === null) return null;
    this.#envelope.recall(known.envelope);
    return new KnownRequest(known, message, JSON_LENGTH_BYTES, jsonBytes);
  }

  #infer(read: ReadRequest, bytes: number, isTooMany: boolean): void {
    const { id } = read;
    const { modelName, modelVersion } = this.#envelope;
    if (this.#calls.has(id)) throw idTaken(id);
    if (isTooMany || this.#isFull) throw this.#full();
    if (modelName === '') {
      throw invalidArgument("Unable to parse 'model_name': expected the name of a model, got none: a message says which model it is for");
    }
    const { door } = this.#context;
    const deadlineNs = door.deadlineAfter(this.#envelope.timeoutMs);
    const model = door.route(modelName, modelVersion);
    if (model instanceof Promise) {
      this.#wait(read, bytes, model, modelName, deadlineNs);
      return;
    }
    this.#likely = model.signature;
    const call = new SessionCall(this, id, model, bytes, deadlineNs);
    const request = createInferRequest(read, model.signature, call);
    request.deadlineNs = deadlineNs;
    door.infer(request, model);
    call.request = request;
    this.#hold(call);
  }

  /** The call counts as any other from here on, while its model is being loaded. */
  #wait(read: ReadRequest, bytes: number, routed: Waiting<Model>, modelName: string, deadlineNs: number): void {
    const call = new SessionCall(this, read.id, null, bytes, deadlineNs);
    call.wait = RouteWait.start(this.#context, routed, bytes, new WaitingMessage(this, call, read, modelName), deadlineNs);
    this.#hold(call);
  }

  #hold(call: SessionCall): void {
    this.#calls.set(call.id, call);
    this.#heldBytes += call.bytes;
    if (!call.isStream) this.#unaryCount++;
    if (this.#isFull && this.#unaryCount > 0) this.#pause();
  }

  onMessageRouted(call: SessionCall, read: ReadRequest, model: Model): void {
    call.wait = null;
    if (call.isEnded) return;
    call.model = model;
    if (model.isDecoupled) {
      call.isStream = true;
      this.#unaryCount--;
    }
    const request = createInferRequest(read, model.signature, call);
    request.deadlineNs = call.deadlineNs;
    if (this.#isStalled && call.isStream) request.pauseResponses();
    call.request = request;
    this.#context.door.infer(request, model);
    // Where only streams are left, reading on is the only way to hear of a cancel.
    if (this.#isPaused) this.#resumeSoon();
  }

  onMessageNotRouted(call: SessionCall, modelName: string, error: unknown): void {
    call.wait = null;
    const refusal = InferenceError.from(error);
    this.#context.door.refused(modelName, refusal);
    if (call.isEnded) return;
    this.onCallError(call, refusal);
    if (this.#connection.unsentBytes > this.#highWaterBytes) this.#stall();
  }

  #control(id: string): void {
    const { type } = this.#envelope;
    if (type !== 'cancel') {
      throw invalidArgument(`type: expected one of ${MESSAGE_TYPES.join(', ')}, got '${type}'${didYouMean(type, MESSAGE_TYPES)}`);
    }
    const call = this.#calls.get(id);
    // Its answer is on its way: the two crossed.
    if (call === undefined) return;
    sendError(this.#connection, id, new InferenceError('CANCELLED', 'cancelled by the client'));
    this.#end(call);
    call.cancel();
  }

  /** A message came to nothing. `id` is null or '' where it has none. */
  #refuse(error: unknown, id: string | null): void {
    this.#context.reportFault(error);
    let refusal = InferenceError.from(error);
    this.#context.door.refused(this.#envelope.modelName, refusal);
    const hasUnknownType = !MESSAGE_TYPES.includes(this.#envelope.type);
    if (!id || hasUnknownType) {
      this.#close(STATUS_FORMS[refusal.code].webSocketClose, refusal.message);
      return;
    }
    // Any other error would read as the end of the request that has the id already.
    if (refusal.code !== 'ALREADY_EXISTS' && this.#calls.has(id)) refusal = idTaken(id);
    sendError(this.#connection, id, refusal);
    if (this.#connection.unsentBytes > this.#highWaterBytes) this.#stall();
  }

  #end(call: SessionCall): void {
    if (call.isEnded) return;
    call.isEnded = true;
    this.#calls.delete(call.id);
    this.#heldBytes -= call.bytes;
    if (!call.isStream) this.#unaryCount--;
    if (this.#isPaused) this.#resumeSoon();
    if (this.#isDraining) this.#closeWhenDrained();
  }

  get #isFull(): boolean {
    return this.#calls.size >= this.#limits.maxInflightRequests || this.#heldBytes >= this.#limits.maxInflightBytes;
  }

  /** A little below full, so that not every answer stops and starts the socket. */
  get #hasRoom(): boolean {
    const { maxInflightRequests, maxInflightBytes } = this.#limits;
    return this.#calls.size < 0.75 * maxInflightRequests && this.#heldBytes < 0.75 * maxInflightBytes;
  }

  #pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.#connection.pause();
  }

  #stall(): void {
    if (this.#isStalled || this.#isOver) return;
    this.#isStalled = true;
    for (const call of this.#calls.values()) if (call.isStream) call.request?.pauseResponses();
    this.#pause();
  }

  /** On a tick of its own: this runs inside an answer, with others waiting behind it. */
  #resumeSoon(): void {
    if (!this.#isPaused || this.#isStalled || this.#isResumeDue || this.#isOver) return;
    // Where only streams are left, none may ever end; reading on is the only way to hear of a cancel.
    if (this.#unaryCount > 0 && !this.#hasRoom) return;
    this.#isResumeDue = true;
    setImmediate(resumeReading, this);
  }

  resumeReading(): void {
    this.#isResumeDue = false;
    const backlog = this.#backlog;
    while (!this.#isOver && !this.#isStalled && !(this.#isFull && this.#unaryCount > 0)) {
      if (backlog.isEmpty) {
        this.#isPaused = false;
        this.#connection.resume();
        break;
      }
      const isBinary = backlog.nextIsBinary;
      this.#receive(backlog.shift(), isBinary, false);
    }
    this.#closeWhenDrained();
  }

  #closeWhenDrained(): void {
    if (this.#isDraining && this.#calls.size === 0 && this.#backlog.isEmpty) this.#close(GOING_AWAY, 'the server is shutting down');
  }

  #close(code: number, reason: string): void {
    if (this.#isOver) return;
    this.#abandon();
    this.#connection.close(code, reason);
  }

  /** Nobody is left to answer. */
  #abandon(): void {
    this.#isOver = true;
    this.#backlog.clear();
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    this.#unaryCount = 0;
    this.#heldBytes = 0;
    // One may end others with it: those of its sequence.
    for (const call of calls) call.isEnded = true;
    for (const call of calls) call.cancel();
  }

  #full(): InferenceError {
    const { maxInflightRequests, maxInflightBytes } = this.#limits;
    const unread = this.#isStalled ? ', and answers that its client has not read' : '';
    return new InferenceError(
      'UNAVAILABLE',
      `this connection has ${this.#calls.size} requests of ${this.#heldBytes} bytes in flight${unread}; it may have ${maxInflightRequests}, or ${maxInflightBytes} bytes: wait for answers, or open another connection`,
      { failureReason: 'REJECTED', retryAfterSeconds: 1 },
    );
  }
}

function resumeReading(session: WebSocketSession): void {
  session.resumeReading();
}

/** The length of the JSON in a binary message, which may not be more than what follows it. */
function readJsonLength(message: Uint8Array): number {
  if (message.length < JSON_LENGTH_BYTES) {
    throw invalidArgument(`binary message: expected ${JSON_LENGTH_BYTES} bytes with the length of the JSON first, got ${message.length}`);
  }
  const length = (message[0]! | (message[1]! << 8) | (message[2]! << 16) | (message[3]! << 24)) >>> 0;
  if (length > message.length - JSON_LENGTH_BYTES) {
    throw invalidArgument(
      `binary message: its first ${JSON_LENGTH_BYTES} bytes say ${length} bytes of JSON, ${message.length - JSON_LENGTH_BYTES} follow`,
    );
  }
  return length;
}

function noId(): InferenceError {
  return invalidArgument("Unable to parse 'id': expected a string that no request in flight has, got none: answers are told apart by it");
}

function idTaken(id: string): InferenceError {
  return new InferenceError(
    'ALREADY_EXISTS',
    `id '${id}': a request with this id is in flight; this is about the later one, which was not run`,
  );
}
