/** A client that speaks HTTP/1.1 on the gRPC port. */

import type { Socket } from 'node:net';

/** A method and what it is for: a path, `*`, or a URL. TLS, and anything else, begin otherwise. */
const REQUEST = /^[A-Z]{3,16} [/*h]/;
const LONGEST_START = 18;

export function looksLikeHttp1(bytes: Buffer): boolean {
  return REQUEST.test(bytes.toString('latin1', 0, LONGEST_START));
}

/** In JSON, which is where a client of the V2 protocol looks for the reason. */
const BODY: string = JSON.stringify({
  error: 'this is the gRPC port, which speaks HTTP/2; the request came in HTTP/1.1: send it to the HTTP port, or use a gRPC client',
});

export function answerHttp1(socket: Socket): void {
  socket.end(
    `HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: ${Buffer.byteLength(BODY)}\r\n\r\n${BODY}`,
  );
}
