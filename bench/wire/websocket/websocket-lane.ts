import { decodeBinaryMessage, decodeTextMessage, type ServerMessage } from '../../../clients/typescript/src/websocket/decode-message.ts';
import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { CreateLaneFactory, Lane, LaneFactory, LaneSink, SequenceStamp } from '../../load/lane.ts';
import type { LoadPlan } from '../../load/load-plan.ts';
import type { Outcome } from '../../load/load-window.ts';
import type { LoadSocket, SocketHandler, SocketLoop } from '../../load/socket-loop.ts';
import { AnswerChecker } from '../answer-checker.ts';
import { outcomeOfCodeName } from '../outcome-of-status.ts';
import { type FrameListener, FrameReader } from './frame-reader.ts';
import { CLOSE, closePayload, frameHeadBytes, PONG, TEXT, writeFrameHead } from './frames.ts';
import { Handshake } from './handshake.ts';
import { RequestMessage } from './request-message.ts';
import { AnswerScan } from './scan-answer.ts';
import { SendBuffer } from './send-buffer.ts';
import { WIRE_ID_BYTES, writeWireId } from './wire-id.ts';

const PATH = '/v2/ws';
/** As many as Nereid takes on a connection by default (--websocket-max-inflight-requests); what is more would wait in the socket. */
const ENTRY_BITS = 8;
const CAPACITY = 2 ** ENTRY_BITS;
const SERIAL_LIMIT = 2 ** (32 - ENTRY_BITS);
/** Requests given up without an end to them: a server that has so many to itself does not listen. */
const MAX_ABANDONED = CAPACITY;
/** For the handshake, whatever the plan's patience with answers is. */
const LEAST_OPEN_MS = 1000;
const MAX_OPEN_MS = 10_000;
const MAX_MESSAGE_BYTES = 1024 * 1024 * 1024;
/** Pings above it go without a pong: the server does not read. */
const MAX_QUEUED_BYTES = 1024 * 1024;
const NORMAL_CLOSURE = 1000;
const PROTOCOL_ERROR = 1002;
const NO_CODE = 1005;

const WRONG = 'wrong answer';
const LOST = 'connection lost';
const CANCEL = Buffer.from(`{"type":"cancel","id":"${'0'.repeat(WIRE_ID_BYTES)}"}`);
const CANCEL_ID_AT = CANCEL.indexOf('0');
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

interface Opening {
  readonly handshake: Handshake;
  resolve(): void;
  reject(error: InferenceError): void;
}

/**
 * Nereid's WebSocket protocol, many requests in flight on a socket. Requests are told apart by an id of ours: the place that the request has here, and a number that makes it another id
 * each time, so that the late answer to a request that was given up is nobody else's.
 *
 * Source: docs/websocket.md, RFC 6455.
 */
class WebSocketLane implements Lane, SocketHandler, FrameListener {
  readonly capacity: number = CAPACITY;
  readonly #messages: readonly RequestMessage[];
  readonly #checker: AnswerChecker;
  readonly #sink: LaneSink;
  readonly #reader: FrameReader = new FrameReader(this, MAX_MESSAGE_BYTES);
  readonly #scan = new AnswerScan();
  #socket: LoadSocket | null = null;
  #out: SendBuffer | null = null;
  #opening: Opening | null = null;
  #isOpen = false;
  /** What is sent meanwhile goes out behind it, in one write. */
  #isReading = false;
  #serial = 0;
  #abandonedCount = 0;
  /** By entry. An id of 0: free. */
  readonly #ids = new Uint32Array(CAPACITY);
  readonly #slots = new Float64Array(CAPACITY);
  readonly #indexes = new Uint32Array(CAPACITY);
  readonly #parts = new Float64Array(CAPACITY);
  readonly #isValidated = new Uint8Array(CAPACITY);
  readonly #wrong: string[] = Array.from({ length: CAPACITY }, () => '');
  readonly #free = Uint16Array.from({ length: CAPACITY }, (_, entry) => CAPACITY - 1 - entry);
  #freeCount = CAPACITY;

  constructor(messages: readonly RequestMessage[], checker: AnswerChecker, sink: LaneSink) {
    this.#messages = messages;
    this.#checker = checker;
    this.#sink = sink;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  async open(loop: SocketLoop, plan: LoadPlan): Promise<void> {
    const handshake = new Handshake(plan.target, PATH);
    const socket = await loop.connect(plan.target, this);
    this.#socket = socket;
    const limitMs = Math.max(LEAST_OPEN_MS, Math.min(plan.timeoutMs, MAX_OPEN_MS));
    let timer: NodeJS.Timeout | null = null;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#opening = { handshake, resolve, reject };
        const late = `${handshake.url}: expected the answer to the handshake within ${limitMs} ms, got none`;
        timer = setTimeout(() => reject(new InferenceError('DEADLINE_EXCEEDED', late)), limitMs);
        socket.write(handshake.request);
      });
    } catch (error) {
      this.#opening = null;
      socket.close();
      throw error;
    } finally {
      if (timer !== null) clearTimeout(timer);
    }
  }

  send(slot: number, index: number, stamp: SequenceStamp | null, validate: boolean, deadlineMs: number): void {
    const entry = this.#free[--this.#freeCount]!;
    this.#serial = this.#serial + 1 === SERIAL_LIMIT ? 1 : this.#serial + 1;
    const id = ((this.#serial << ENTRY_BITS) | entry) >>> 0;
    this.#ids[entry] = id;
    this.#slots[entry] = slot;
    this.#indexes[entry] = index;
    this.#parts[entry] = 0;
    this.#isValidated[entry] = validate ? 1 : 0;
    this.#wrong[entry] = '';
    const message = this.#messages[index]!;
    const out = this.#out!;
    const at = out.reserve(message.head.length);
    message.put(out.chunk, at, id, stamp, deadlineMs);
    if (message.rest.length > 0) out.flushWith(message.rest);
    else if (!this.#isReading) out.flush();
  }

  abandon(slot: number): void {
    for (let entry = 0; entry < CAPACITY; entry++) {
      const id = this.#ids[entry]!;
      if (id === 0 || this.#slots[entry] !== slot) continue;
      this.#release(entry);
      if (++this.#abandonedCount > MAX_ABANDONED) {
        this.#end('connection stalled', `${MAX_ABANDONED} requests were given up, and the server neither answered nor cancelled them`);
        return;
      }
      const at = this.#putFrame(TEXT, CANCEL, 0, CANCEL.length);
      writeWireId(this.#out!.chunk, at + CANCEL_ID_AT, id);
      if (!this.#isReading) this.#out!.flush();
      return;
    }
  }

  close(): void {
    if (this.#isOpen) this.#closeSocket(NORMAL_CLOSURE, '');
  }

  onBytes(bytes: Buffer, length: number): void {
    let at = 0;
    if (this.#opening !== null) {
      at = this.#shakeHands(bytes, length);
      if (at < 0) return;
    }
    if (!this.#isOpen) return;
    this.#sink.receivedBytes(length - at);
    this.#isReading = true;
    this.#reader.push(bytes, at, length);
    this.#isReading = false;
    if (this.#isOpen) this.#out!.flush();
  }

  onClose(reason: string): void {
    const opening = this.#opening;
    if (opening === null) {
      if (this.#isOpen) this.#end(LOST, reason);
      return;
    }
    this.#opening = null;
    opening.reject(new InferenceError('UNAVAILABLE', `${opening.handshake.url}: the connection was lost during the handshake: ${reason}`));
  }

  wantsAll(isText: boolean, bytes: Buffer, start: number, end: number): boolean {
    const scan = this.#scan;
    if (!scan.scan(isText, bytes, start, end)) return true;
    const entry = scan.id % CAPACITY;
    return this.#ids[entry] === scan.id && (scan.isError || this.#isValidated[entry] === 1);
  }

  onMessage(isText: boolean, bytes: Buffer, start: number, end: number): void {
    const scan = this.#scan;
    if (!scan.scan(isText, bytes, start, end)) {
      const text = bytes.toString('latin1', start, Math.min(end, start + 100));
      this.#fault(`a message that is no answer to any request: ${JSON.stringify(text)}`);
      return;
    }
    const entry = scan.id % CAPACITY;
    if (this.#ids[entry] !== scan.id) {
      // Of a request that was given up. The cancel and an answer may have crossed, but one end comes in any case.
      if ((scan.isError || scan.isFinal) && this.#abandonedCount > 0) this.#abandonedCount--;
      return;
    }
    if (scan.isError) {
      this.#takeError(entry, isText, bytes, start, end);
      return;
    }
    const parts = this.#parts[entry]!;
    const hasMore = !scan.isFinal;
    // A stream ends with a message without outputs, which is no part of it.
    const isPart = hasMore || (parts > 0 && scan.hasOutputs);
    if (this.#isValidated[entry] === 1 && (isPart || parts === 0)) this.#validate(entry, isText, bytes, start, end);
    if (isPart) {
      this.#parts[entry] = parts + 1;
      this.#sink.part(this.#slots[entry]!, 1);
    }
    // The sink may have given it up, or closed the lane.
    if (hasMore || this.#ids[entry] !== scan.id) return;
    const wrong = this.#wrong[entry]!;
    if (wrong === '') this.#finish(entry, 'ok', '', '');
    else this.#finish(entry, 'wrong', WRONG, wrong);
  }

  onPing(bytes: Buffer, start: number, end: number): void {
    if (this.#socket!.queuedBytes <= MAX_QUEUED_BYTES) this.#putFrame(PONG, bytes, start, end);
  }

  onCloseFrame(code: number, reason: string): void {
    const what = code === NO_CODE ? 'WebSocket close' : `WebSocket close ${code}`;
    this.#end(what, reason === '' ? `the server closed the connection (${what})` : reason, code === NO_CODE ? NORMAL_CLOSURE : code);
  }

  onFault(what: string): void {
    this.#fault(what);
  }

  /** Where frames begin; -1: nowhere yet. */
  #shakeHands(bytes: Buffer, length: number): number {
    const opening = this.#opening!;
    let taken: number;
    try {
      taken = opening.handshake.take(bytes.subarray(0, length));
    } catch (error) {
      this.#opening = null;
      opening.reject(InferenceError.from(error));
      return -1;
    }
    if (taken < 0) return -1;
    this.#opening = null;
    this.#out = new SendBuffer(this.#socket!, (count) => this.#sink.sentBytes(count));
    this.#isOpen = true;
    opening.resolve();
    return taken;
  }

  #takeError(entry: number, isText: boolean, bytes: Buffer, start: number, end: number): void {
    let error: { readonly error?: unknown; readonly code?: unknown; readonly status?: unknown };
    try {
      error = JSON.parse(utf8.decode(bytes.subarray(isText ? start : start + 4, end)));
    } catch (cause) {
      this.#finish(entry, 'failed', 'malformed answer', String(cause));
      return;
    }
    const code = String(error.code);
    this.#finish(entry, outcomeOfCodeName(code), `WebSocket ${String(error.status)} ${code}`, String(error.error));
  }

  /** Of a stream, the first response is held to the plan; of the others, that they can be read: which of them is like which, the plan does not say. */
  #validate(entry: number, isText: boolean, bytes: Buffer, start: number, end: number): void {
    if (this.#wrong[entry] !== '') return;
    const message = bytes.subarray(start, end);
    let answer: ServerMessage;
    try {
      answer = isText ? decodeTextMessage(utf8.decode(message)) : decodeBinaryMessage(message);
    } catch (error) {
      this.#wrong[entry] = (error as Error).message;
      return;
    }
    const { response, error } = answer;
    if (response === null) this.#wrong[entry] = error?.message ?? 'no answer';
    else if (this.#parts[entry] === 0) this.#wrong[entry] = this.#checker.check(this.#indexes[entry]!, response.outputs);
  }

  #finish(entry: number, outcome: Outcome, status: string, message: string): void {
    const slot = this.#slots[entry]!;
    this.#release(entry);
    this.#sink.ended(slot, outcome, status, message);
  }

  #release(entry: number): void {
    this.#ids[entry] = 0;
    this.#free[this.#freeCount++] = entry;
  }

  /** Puts a short frame behind what is to be sent, and gives where its payload lies in the buffer. */
  #putFrame(opcode: number, payload: Uint8Array, start: number, end: number): number {
    const length = end - start;
    const out = this.#out!;
    const at = out.reserve(frameHeadBytes(length) + length);
    const payloadAt = writeFrameHead(out.chunk, at, opcode, length);
    out.chunk.set(payload.subarray(start, end), payloadAt);
    return payloadAt;
  }

  #fault(what: string): void {
    this.#end('WebSocket protocol', `the server sent ${what}`, PROTOCOL_ERROR);
  }

  /** Nothing comes any more, nor is it expected to. */
  #end(status: string, message: string, closeCode: number | null = null): void {
    if (!this.#isOpen) return;
    this.#closeSocket(closeCode, closeCode === PROTOCOL_ERROR ? message : '');
    for (let entry = 0; entry < CAPACITY; entry++) if (this.#ids[entry] !== 0) this.#finish(entry, 'failed', status, message);
    this.#sink.closed(this, message);
  }

  /** `closeCode`: null where the other side does not hear it. */
  #closeSocket(closeCode: number | null, reason: string): void {
    this.#isOpen = false;
    this.#reader.stop();
    if (closeCode !== null) {
      const payload = closePayload(closeCode, reason);
      this.#putFrame(CLOSE, payload, 0, payload.length);
      this.#out!.flush();
    }
    this.#socket!.close();
  }
}

/** For 'websocket-json' and 'websocket-binary'. */
export const createWebSocketLanes: CreateLaneFactory = (plan: LoadPlan): LaneFactory => {
  const isJson = plan.protocol === 'websocket-json';
  if (!isJson && plan.protocol !== 'websocket-binary') {
    throw invalidArgument(`protocol: expected websocket-json or websocket-binary, got '${plan.protocol}'`);
  }
  const messages = plan.requests.map(({ infer }, index) => {
    if (infer === null)
      throw invalidArgument(`requests[${index}]: expected tensors, got text: the WebSocket carries inference requests alone`);
    return new RequestMessage(infer, isJson, plan.sequence, plan.sendsDeadline && plan.deadlineMs > 0);
  });
  const checker = new AnswerChecker(plan);
  return {
    open: async (loop, sink) => {
      const lane = new WebSocketLane(messages, checker, sink);
      await lane.open(loop, plan);
      return lane;
    },
  };
};
