/** The opening handshake of RFC 6455, as a client makes it. */

import { createHash, randomBytes } from 'node:crypto';
import { codeFromHttpStatus } from '../../../clients/typescript/src/http-status.ts';
import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { LoadTarget } from '../../load/load-plan.ts';

/** Source: RFC 6455, 1.3. */
const ACCEPT_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const MAX_ANSWER_BYTES = 64 * 1024;
const MAX_TEXT = 200;
/** The handshake's own, which a caller's value would break. Source: RFC 6455, 4.1; RFC 9110, 7.6.1. */
const RESERVED: ReadonlySet<string> = new Set(['connection', 'upgrade', 'content-length', 'transfer-encoding']);
const NAME = /^[!#$%&'*+.^_`|~0-9a-z-]+$/i;
/** Visible ASCII and what lies beyond it in Latin-1; a line break would be the next header. */
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

/** One handshake: what to send, and whether what comes back accepts it. */
export class Handshake {
  readonly request: Buffer;
  readonly url: string;
  readonly #accept: string;
  #answer: Buffer = Buffer.alloc(0);

  /** `path`: below the target's base path. Throws INVALID_ARGUMENT for headers that cannot be sent. */
  constructor(target: LoadTarget, path: string) {
    const host = `${target.host.includes(':') ? `[${target.host}]` : target.host}:${target.port}`;
    this.url = `${target.tls === null ? 'ws' : 'wss'}://${host}${target.basePath}${path}`;
    const key = randomBytes(16).toString('base64');
    this.#accept = createHash('sha1')
      .update(key + ACCEPT_GUID)
      .digest('base64');
    const lines = [
      `GET ${target.basePath}${path} HTTP/1.1`,
      ...('host' in target.headers ? [] : [`Host: ${host}`]),
      'Upgrade: websocket',
      'Connection: Upgrade',
      'Sec-WebSocket-Version: 13',
      `Sec-WebSocket-Key: ${key}`,
      ...Object.entries(target.headers).map(headerLine),
    ];
    this.request = Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
  }

  /**
   * Takes what came. Gives how many of the bytes belong to the handshake once it is accepted: behind them frames begin; -1: there is more of it to come. Throws an InferenceError when
   * the server does not accept.
   */
  take(bytes: Uint8Array): number {
    const had = this.#answer.length;
    this.#answer = Buffer.concat([this.#answer, bytes]);
    const end = this.#answer.indexOf('\r\n\r\n');
    if (end < 0) {
      if (this.#answer.length > MAX_ANSWER_BYTES || !startsLikeHttp(this.#answer)) throw this.#foreign(this.#answer);
      return -1;
    }
    this.#check(this.#answer.toString('latin1', 0, end), this.#answer.toString('utf8', end + 4, end + 4 + MAX_TEXT));
    return end + 4 - had;
  }

  #check(head: string, body: string): void {
    const [statusLine = '', ...lines] = head.split('\r\n');
    const status = Number(/^HTTP\/1\.1 (\d{3})(?: |$)/.exec(statusLine)?.[1]);
    if (Number.isNaN(status)) throw this.#foreign(Buffer.from(statusLine, 'latin1'));
    if (status !== 101) throw this.#refused(status, body);
    const headers = new Map(
      lines.map((line) => [line.slice(0, line.indexOf(':')).trim().toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
    );
    const has = (name: string, token: string): boolean =>
      (headers.get(name) ?? '').split(',').some((part) => part.trim().toLowerCase() === token);
    if (!has('upgrade', 'websocket') || !has('connection', 'upgrade')) {
      throw this.#broken('expected Upgrade: websocket and Connection: Upgrade in the answer', statusLine);
    }
    const accept = headers.get('sec-websocket-accept');
    if (accept !== this.#accept) throw this.#broken(`expected Sec-WebSocket-Accept: ${this.#accept}`, accept ?? 'none');
    for (const name of ['sec-websocket-extensions', 'sec-websocket-protocol']) {
      const value = headers.get(name) ?? '';
      if (value !== '') throw this.#broken(`expected no ${name}, since none was offered`, value);
    }
  }

  #refused(status: number, body: string): InferenceError {
    const said = body.trim();
    const hint =
      status === 404 || status === 426 || status === 400
        ? ': inference over WebSocket is a protocol of Nereid; other servers have HTTP and gRPC'
        : '';
    return new InferenceError(
      codeFromHttpStatus(status),
      `${this.url}: expected HTTP 101 Switching Protocols, got HTTP ${status}${said === '' ? '' : ` (${said})`}${hint}`,
    );
  }

  #broken(expected: string, got: string): InferenceError {
    return new InferenceError('INTERNAL', `${this.url}: ${expected}, got ${got.slice(0, MAX_TEXT)}`);
  }

  #foreign(bytes: Buffer): InferenceError {
    const got = JSON.stringify(bytes.toString('latin1', 0, 40));
    return new InferenceError('INTERNAL', `${this.url}: expected an HTTP/1.1 answer, got ${got}: is this the HTTP port?`);
  }
}

function headerLine([name, value]: [string, string]): string {
  if (RESERVED.has(name) || name.startsWith('sec-websocket-'))
    throw invalidArgument(`headers.${name}: the handshake sets this one itself: leave it out`);
  if (!NAME.test(name)) throw invalidArgument(`headers: expected a name of HTTP's, got ${JSON.stringify(name)}`);
  // The value may be a secret: it is not repeated.
  if (!VALUE.test(value)) throw invalidArgument(`headers.${name}: expected one line of Latin-1 text`);
  return `${name}: ${value}`;
}

function startsLikeHttp(bytes: Buffer): boolean {
  const start = 'HTTP/';
  return bytes.toString('latin1', 0, start.length) === start.slice(0, bytes.length);
}
