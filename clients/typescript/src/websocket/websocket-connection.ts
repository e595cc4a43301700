import { InferenceError } from '../../../../proto/inference-error.ts';
import { CallError } from '../call-error.ts';
import { encodeV2Request } from '../encode-v2-request.ts';
import type { InferParameter, InferRequest } from '../transport.ts';
import { errorFromClose, unsentAtClose } from './close-error.ts';
import { decodeBinaryMessage, decodeTextMessage, type ServerMessage } from './decode-message.ts';
import type { MessageSocket, OpenSocket, SocketEvents, SocketTarget } from './message-socket.ts';
import { type CallOwner, WebSocketCall } from './websocket-call.ts';

/**
 * Requests, and bytes of them, that are sent and not answered. Nereid by default takes so many requests of one connection; more would wait at the server, or be
 * refused by it. A request above it waits here, unless there are only streams, which may never end.
 */
export const MAX_UNANSWERED_REQUESTS = 256;
export const MAX_UNANSWERED_BYTES: number = 16 * 1024 * 1024;
/** Requests that wait to be sent. */
export const MAX_WAITING_REQUESTS = 65_536;
/** Nothing more is handed to the socket while this much waits in it, bytes. */
export const MAX_UNSENT_BYTES: number = 4 * 1024 * 1024;
/** Responses of one stream that wait for its reader; a stream that passes either is ended with RESOURCE_EXHAUSTED. One response is always kept. */
export const MAX_BUFFERED_RESPONSES = 4_096;
export const MAX_BUFFERED_BYTES: number = 64 * 1024 * 1024;
/**
 * From here on the reader of a stream is slow, until half of it is left. When all that is in flight are such streams nothing more is read, where the
 * socket can stop.
 */
export const SLOW_RESPONSES = 128;
export const SLOW_BYTES: number = 8 * 1024 * 1024;
const OPEN_TIMEOUT_MS = 30_000;
const CLOSE_TIMEOUT_MS = 1_000;

/** Of a caller's id that goes on the wire; Nereid takes 1,024 bytes. */
const MAX_OWN_ID = 256;
const JSON_LENGTH_BYTES = 4;
const NORMAL = 1000;
/** As the server's own for messages that cannot be read. */
const MALFORMED = 4400;
const utf8 = new TextDecoder();

/**
 * One WebSocket and the requests on it. Requests are sent in the order in which they came, as far as the bounds above allow; answers come in any order.
 *
 * A request that is cancelled keeps its id until the server has ended it too: an answer that crosses with the cancel must not go to another request.
 */
export class WebSocketConnection implements SocketEvents, CallOwner {
  readonly #target: SocketTarget;
  readonly #onIdle: (connection: WebSocketConnection) => void;
  readonly #opening = new AbortController();
  readonly #closed: Promise<void>;
  #resolveClosed!: () => void;
  #socket: MessageSocket | null = null;
  /** By id, in the order in which they are to be sent. */
  readonly #waiting = new Map<string, WebSocketCall>();
  /** By id: sent, and not ended by the server; some of them are over for their callers. */
  readonly #unanswered = new Map<string, WebSocketCall>();
  #unansweredBytes = 0;
  /** Of the unanswered, those that end by themselves. */
  #unaryCount = 0;
  #lastId = 0;
  #isClosed = false;
  /** Of the unanswered, streams whose readers are slow; and those whose readers were, at some time. */
  #slowCount = 0;
  #everSlowCount = 0;
  #isPaused = false;

  /** Opens at once. `onIdle`: the last request has ended, or the connection has; it may come more than once. */
  constructor(open: OpenSocket, target: SocketTarget, onIdle: (connection: WebSocketConnection) => void) {
    this.#target = target;
    this.#onIdle = onIdle;
    this.#closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    void this.#open(open);
  }

  /** Takes more requests. */
  get isUsable(): boolean {
    return !this.#isClosed && (this.#socket === null || this.#socket.isOpen);
  }

  get isIdle(): boolean {
    return this.#waiting.size === 0 && this.#unanswered.size === 0;
  }

  /** A stream on it has, or had, a slow reader; it can be held back if nothing else joins it. */
  get isHeldBack(): boolean {
    return this.#everSlowCount > 0 && this.#socket!.canPause;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** `timeoutMs`: for the server to know; 0: none. Throws INVALID_ARGUMENT for what cannot be encoded, RESOURCE_EXHAUSTED when too many wait. */
  start(request: InferRequest, signal: AbortSignal | null, timeoutMs: number, isStream: boolean): WebSocketCall {
    if (this.#waiting.size >= MAX_WAITING_REQUESTS) {
      throw new CallError('RESOURCE_EXHAUSTED', `${MAX_WAITING_REQUESTS} requests wait for this connection: wait for answers`, {
        phase: 'refused',
      });
    }
    const wire = this.#freeId(request.id);
    const envelope: Record<string, InferParameter> = { model_name: request.modelName };
    if (request.modelVersion !== '') envelope['model_version'] = request.modelVersion;
    if (timeoutMs > 0) envelope['timeout_ms'] = timeoutMs;
    const { header, tail } = encodeV2Request({ ...request, id: wire }, envelope);
    const bytes = tail.reduce((sum, piece) => sum + piece.length, header.length + JSON_LENGTH_BYTES);
    const message = request.json ? () => utf8.decode(header) : () => binaryMessage(header, tail, bytes);
    const call = new WebSocketCall(this, { wire, caller: request.id }, message, bytes, isStream, signal);
    this.#waiting.set(wire, call);
    this.#readOrNot();
    this.#send();
    return call;
  }

  abandon(call: WebSocketCall, error: InferenceError | null): void {
    if (call.isOver) return;
    call.end(error);
    this.#clearSlow(call);
    this.#readOrNot();
    const { wireId } = call;
    if (this.#waiting.delete(wireId)) this.#checkIdle();
    else if (this.#socket?.isOpen) this.#socket.sendText(JSON.stringify({ type: 'cancel', id: wireId }));
  }

  onTaken(call: WebSocketCall): void {
    if (!call.isSlow || call.bufferedCount > SLOW_RESPONSES / 2 || call.bufferedBytes > SLOW_BYTES / 2) return;
    this.#clearSlow(call);
    this.#readOrNot();
  }

  /** Ends all calls with the error, and the connection in order. */
  async close(error: InferenceError): Promise<void> {
    const socket = this.#socket;
    this.#endAll(error, error);
    this.#opening.abort(error);
    if (socket === null) return;
    socket.resume();
    socket.close(NORMAL, '');
    const timer = setTimeout(() => {
      socket.terminate();
      this.#resolveClosed();
    }, CLOSE_TIMEOUT_MS);
    await this.#closed;
    clearTimeout(timer);
  }

  onText(text: string): void {
    this.#receive(() => decodeTextMessage(text), text.length);
  }

  onBinary(bytes: Uint8Array): void {
    this.#receive(() => decodeBinaryMessage(bytes), bytes.length);
  }

  onSent(): void {
    this.#send();
  }

  onClose(code: number, reason: string): void {
    this.#resolveClosed();
    if (this.#isClosed) return;
    const { url } = this.#target;
    this.#isClosed = true;
    for (const call of this.#unanswered.values()) {
      call.end(errorFromClose(code, reason, url, call.responseCount > 0 ? 'answered' : 'sent', call.bytes));
    }
    this.#endAll(unsentAtClose(code, reason, url), null);
  }

  async #open(open: OpenSocket): Promise<void> {
    const { url } = this.#target;
    const timer = setTimeout(() => {
      const text = `${url}: no connection within ${OPEN_TIMEOUT_MS / 1_000} s`;
      this.#opening.abort(new CallError('UNAVAILABLE', text, { phase: 'refused' }));
    }, OPEN_TIMEOUT_MS);
    try {
      this.#socket = await open(this.#target, this, this.#opening.signal);
      if (this.#isClosed) this.#socket.terminate();
      else this.#send();
    } catch (error) {
      this.#resolveClosed();
      const failure = InferenceError.from(error);
      this.#endAll(failure, failure);
    } finally {
      clearTimeout(timer);
    }
  }

  /** The caller's own, for the server's logs, where no other request has it. */
  #freeId(wanted: string): string {
    let id = wanted;
    while (id === '' || id.length > MAX_OWN_ID || this.#waiting.has(id) || this.#unanswered.has(id)) id = `nereid-${++this.#lastId}`;
    return id;
  }

  #send(): void {
    const socket = this.#socket;
    if (socket === null || this.#waiting.size === 0) return;
    for (const [id, call] of this.#waiting) {
      if (this.#isFull || !socket.isOpen) return;
      if (socket.unsentBytes >= MAX_UNSENT_BYTES) {
        socket.watchDrain(MAX_UNSENT_BYTES);
        return;
      }
      this.#waiting.delete(id);
      this.#unanswered.set(id, call);
      this.#unansweredBytes += call.bytes;
      if (!call.isStream) this.#unaryCount++;
      const message = call.takeMessage();
      if (typeof message === 'string') socket.sendText(message);
      else socket.sendBinary(message);
    }
  }

  get #isFull(): boolean {
    if (this.#unaryCount === 0) return false;
    return this.#unanswered.size >= MAX_UNANSWERED_REQUESTS || this.#unansweredBytes >= MAX_UNANSWERED_BYTES;
  }

  #receive(decode: () => ServerMessage, bytes: number): void {
    if (this.#isClosed) return;
    let message: ServerMessage;
    try {
      message = decode();
    } catch (error) {
      // Whose answer it is cannot be told, so no answer can be relied on.
      const failure = InferenceError.from(error);
      const socket = this.#socket;
      this.#endAll(failure, failure);
      socket?.close(MALFORMED, 'a message that cannot be read');
      return;
    }
    const call = this.#unanswered.get(message.id);
    if (call === undefined) return;
    const { response, error, isFinal } = message;
    if (response !== null) this.#deliver(call, message, bytes);
    if (!isFinal) {
      if (error !== null) this.abandon(call, error);
      return;
    }
    call.end(error === null ? null : behindResponses(error, call));
    this.#unanswered.delete(message.id);
    this.#unansweredBytes -= call.bytes;
    if (!call.isStream) this.#unaryCount--;
    this.#clearSlow(call);
    if (call.wasSlow) this.#everSlowCount--;
    this.#readOrNot();
    this.#send();
    this.#checkIdle();
  }

  #deliver(call: WebSocketCall, { response, isFinal }: ServerMessage, bytes: number): void {
    // Without outputs it only says that the request has ended.
    if (call.isOver || (isFinal && response!.outputs.length === 0)) return;
    call.responseCount++;
    const isFull = call.bufferedCount >= MAX_BUFFERED_RESPONSES || call.bufferedBytes + bytes > MAX_BUFFERED_BYTES;
    if (isFull && call.bufferedCount > 0) {
      this.abandon(call, tooSlow(call, this.#socket!.canPause));
      return;
    }
    call.deliver(response!, bytes);
    if (call.isSlow || (call.bufferedCount < SLOW_RESPONSES && call.bufferedBytes < SLOW_BYTES)) return;
    call.isSlow = true;
    this.#slowCount++;
    if (!call.wasSlow) {
      call.wasSlow = true;
      this.#everSlowCount++;
    }
    this.#readOrNot();
  }

  #clearSlow(call: WebSocketCall): void {
    if (!call.isSlow) return;
    call.isSlow = false;
    this.#slowCount--;
  }

  #readOrNot(): void {
    const socket = this.#socket;
    if (socket === null || !socket.canPause) return;
    const isPaused = this.#slowCount > 0 && this.#slowCount === this.#unanswered.size && this.#waiting.size === 0;
    if (isPaused === this.#isPaused) return;
    this.#isPaused = isPaused;
    if (isPaused) socket.pause();
    else socket.resume();
  }

  #checkIdle(): void {
    if (this.isIdle) this.#onIdle(this);
  }

  /** `unanswered` is null where those have been ended. */
  #endAll(waiting: InferenceError, unanswered: InferenceError | null): void {
    this.#isClosed = true;
    for (const call of this.#waiting.values()) call.end(waiting);
    if (unanswered !== null) for (const call of this.#unanswered.values()) call.end(unanswered);
    this.#waiting.clear();
    this.#unanswered.clear();
    this.#onIdle(this);
  }
}

/** `u32 little-endian length of the JSON | JSON | tensors`, in one piece: the socket takes no more. */
function binaryMessage(header: Uint8Array, tail: readonly Uint8Array[], bytes: number): Uint8Array {
  const message = new Uint8Array(bytes);
  new DataView(message.buffer).setUint32(0, header.length, true);
  message.set(header, JSON_LENGTH_BYTES);
  let at = JSON_LENGTH_BYTES + header.length;
  for (const piece of tail) {
    message.set(piece, at);
    at += piece.length;
  }
  return message;
}

/** A request with responses was not refused, whatever the code. */
function behindResponses(error: InferenceError, call: WebSocketCall): InferenceError {
  if (!(error instanceof CallError) || error.phase !== 'refused' || call.responseCount === 0) return error;
  const { code, message, status, retryAfterSeconds } = error;
  return new CallError(code, message, { phase: 'answered', status, retryAfterSeconds });
}

function tooSlow(call: WebSocketCall, canPause: boolean): CallError {
  const why = canPause ? 'while other requests share its connection' : "since this runtime's own WebSocket cannot stop reading";
  return new CallError(
    'RESOURCE_EXHAUSTED',
    `the stream was ended: ${call.bufferedCount} responses of ${call.bufferedBytes} bytes wait for its reader, which may be ${MAX_BUFFERED_RESPONSES}, or ${MAX_BUFFERED_BYTES} bytes, ${why}: read faster, or connect over grpc://, where every stream holds the server back alone`,
    { phase: 'answered' },
  );
}
