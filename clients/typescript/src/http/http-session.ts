import { InferenceError } from '../../../../proto/inference-error.ts';
import { CallError, type CallPhase } from '../call-error.ts';
import type { CallContext } from '../transport.ts';
import { RequestGate } from './request-gate.ts';

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Uint8Array;
  /** The body as text, whatever its bytes: for error messages and small JSON. */
  text(): string;
}

/** An answer whose body is not read yet. */
export interface OpenAnswer {
  readonly response: Response;
  /** What a failed read of the body is told as. */
  explain(error: unknown): unknown;
  /** The answer is not wanted any more. */
  abort(): void;
  close(): void;
}

/** Requests with a body that are under way at a time: fetch in Node opens a connection for each, until the process or the server has no more. */
export const MAX_POSTS_UNDER_WAY = 256;

const lenientUtf8 = new TextDecoder();

/** Requests to one server, over fetch. What fetch does wrong becomes a CallError that says how far the request came. */
export class HttpSession {
  readonly #base: string;
  readonly #fetch: typeof globalThis.fetch;
  readonly #inFlight = new Set<AbortController>();
  readonly #gate = new RequestGate(MAX_POSTS_UNDER_WAY);
  #isClosed = false;

  /** A path of the URL is kept, for servers behind a gateway. */
  constructor(url: URL, fetch: typeof globalThis.fetch) {
    this.#base = url.origin + url.pathname.replace(/\/+$/, '');
    this.#fetch = fetch;
  }

  async request(
    method: 'GET' | 'POST',
    path: string,
    call: CallContext,
    headers: Readonly<Record<string, string>> = {},
    body: Uint8Array | string | null = null,
  ): Promise<HttpAnswer> {
    const open = await this.open(method, path, call, headers, body);
    try {
      const bytes = new Uint8Array(await open.response.arrayBuffer());
      return { status: open.response.status, headers: open.response.headers, body: bytes, text: () => lenientUtf8.decode(bytes) };
    } catch (error) {
      throw open.explain(error);
    } finally {
      open.close();
    }
  }

  /** The answer's head is there, its body is the caller's to read: `close` afterwards, in every case, which also ends what is not read. */
  async open(
    method: 'GET' | 'POST',
    path: string,
    call: CallContext,
    headers: Readonly<Record<string, string>>,
    body: Uint8Array | string | null,
  ): Promise<OpenAnswer> {
    const aborting = new AbortController();
    const onAbort = (): void => aborting.abort();
    this.#inFlight.add(aborting);
    call.signal?.addEventListener('abort', onAbort);
    let isAnswered = false;
    let isInside = false;
    const explain = (error: unknown): unknown => {
      if (call.signal?.aborted) return InferenceError.from(call.signal.reason);
      if (this.#isClosed) return new InferenceError('CANCELLED', 'the client is closed');
      if (error instanceof InferenceError) return error;
      return networkError(error, isAnswered, `${method} ${this.#base}${path}`);
    };
    const close = (): void => {
      if (isInside) this.#gate.leave();
      isInside = false;
      this.#inFlight.delete(aborting);
      call.signal?.removeEventListener('abort', onAbort);
    };
    try {
      this.#throwIfOver(call);
      if (method === 'POST') {
        const turn = this.#gate.enter(aborting.signal);
        if (turn !== null) await turn;
        isInside = true;
      }
      const response = await this.#fetch.call(globalThis, this.#base + path, {
        method,
        headers: { ...headers, ...call.headers },
        body: body as Uint8Array<ArrayBuffer> | string | null,
        signal: aborting.signal,
        redirect: 'manual',
      });
      isAnswered = true;
      if (response.type === 'opaqueredirect' || (response.status >= 300 && response.status < 400)) throw this.#redirected(response);
      return { response, explain, close, abort: onAbort };
    } catch (error) {
      close();
      throw explain(error);
    }
  }

  close(): Promise<void> {
    this.#isClosed = true;
    for (const aborting of this.#inFlight) aborting.abort();
    return Promise.resolve();
  }

  #throwIfOver(call: CallContext): void {
    if (call.signal?.aborted) throw InferenceError.from(call.signal.reason);
    if (this.#isClosed) throw new InferenceError('CANCELLED', 'the client is closed');
  }

  #redirected(response: Response): CallError {
    const to = response.headers.get('location') ?? 'another address';
    return new CallError('UNKNOWN', `${this.#base} sends its callers on to ${to}: connect there`, {
      phase: 'answered',
      status: response.status,
    });
  }
}

/** No connection, so nothing was sent. */
const NOT_CONNECTED = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EADDRNOTAVAIL',
  'UND_ERR_CONNECT_TIMEOUT',
]);

function networkError(error: unknown, isAnswered: boolean, what: string): CallError {
  // Node says why in the cause, of which there may be one for each address of a name; browsers do not say.
  const codes = causesOf(error)
    .map((cause) => (cause as { code?: unknown }).code)
    .filter((code) => typeof code === 'string');
  const phase: CallPhase = isAnswered ? 'answered' : codes.some((code) => NOT_CONNECTED.has(code)) ? 'refused' : 'sent';
  const texts = causesOf(error)
    .map((cause) => (cause as { message?: unknown }).message)
    .filter((text) => typeof text === 'string' && text !== '');
  const detail = texts.at(-1) ?? String(error);
  const problem = phase === 'refused' ? 'no connection' : isAnswered ? 'the answer broke off' : 'the request failed before an answer came';
  return new CallError('UNAVAILABLE', `${what}: ${problem}: ${String(detail)}`, { phase, cause: error });
}

/** The error, its causes, and the parts of those that hold several; bounded. */
function causesOf(error: unknown): object[] {
  const causes: object[] = [];
  const open: unknown[] = [error];
  while (open.length > 0 && causes.length < 16) {
    const next = open.shift();
    if (typeof next !== 'object' || next === null) continue;
    causes.push(next);
    const { cause, errors } = next as { cause?: unknown; errors?: unknown };
    open.push(cause, ...(Array.isArray(errors) ? (errors as unknown[]) : []));
  }
  return causes;
}
