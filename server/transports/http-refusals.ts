/** The texts of refusals that happen before a route is reached, one place for both engines. The protocol puts them into its error body. */

/** A refusal's path is quoted at most this far. */
const MAX_QUOTED_CHARS = 200;

export const AMBIGUOUS_LENGTH =
  'the length of the request body is ambiguous: send one Content-Length of digits, or Transfer-Encoding: chunked, never both';
export const UNSUPPORTED_TRANSFER_CODING = "Transfer-Encoding must be 'chunked'; no other transfer coding is supported";
export const DUPLICATE_HOST = 'Host was sent more than once';
export const INVALID_PATH = 'the path is not valid: it must start with a slash and be percent-encoded UTF-8';
export const PATH_TOO_LONG = 'the path is too long';
export const HEADERS_TOO_LARGE = 'the request headers are over the limit; send fewer or shorter ones';
export const TOO_MANY_CHUNKS = 'the request body came in too many chunks; send larger chunks or a Content-Length';
export const EMPTY_COMPRESSED_BODY = 'Content-Encoding was given but the body is empty';
export const CORRUPT_COMPRESSED_BODY = 'the body is not a complete stream of the Content-Encoding it was sent with';
export const REQUEST_TIMEOUT = 'the request did not arrive completely within the time limit';
export const BODIES_BUSY = 'the server holds as many request body bytes as it may; try again later';
export const TOO_MANY_REQUESTS_OPEN = 'the server has as many requests open as it may; try again later';
export const DRAINING = 'the server is shutting down and takes no new requests';
export const MALFORMED_REQUEST = 'the request is not valid HTTP/1.1';
export const UPGRADE_REQUIRED =
  "this path speaks WebSocket: open it with a WebSocket client (GET with 'Upgrade: websocket' and 'Connection: Upgrade')";
export const WEB_SOCKET_KEY = 'Sec-WebSocket-Key must be there once, with 16 bytes in base64';
export const HANDSHAKE_NOT_PLAIN =
  'a WebSocket handshake is a GET of HTTP/1.1 without a body, sent when every earlier request of the connection has been answered';
export const INTERNAL_FAULT = 'internal error; the server log has the details';

/** `nearest`: undefined where no path is near. */
export function pathNotFound(path: string, nearest: string | undefined): string {
  const quoted = path.length > MAX_QUOTED_CHARS ? `${path.slice(0, MAX_QUOTED_CHARS)}...` : path;
  return `nothing is served at ${quoted}${nearest === undefined ? '' : `; did you mean ${nearest}?`}`;
}

export function methodNotAllowed(method: string, allow: string): string {
  return `${method.slice(0, 20)} is not served at this path; it takes ${allow}`;
}

export function expectationFailed(expectation: string): string {
  return `the expectation '${expectation.slice(0, 100)}' is not supported; only 100-continue is`;
}

export function webSocketVersion(version: string): string {
  return version === ''
    ? 'Sec-WebSocket-Version is missing; it must be 13'
    : `Sec-WebSocket-Version must be 13, got '${version.slice(0, 20)}'`;
}

export function originNotAllowed(origin: string): string {
  return `pages of the origin '${origin.slice(0, MAX_QUOTED_CHARS)}' may not open WebSockets here; --http-allow-origin allows it`;
}

export function unsupportedContentCoding(coding: string): string {
  return `the content coding '${coding.slice(0, 100)}' is not supported here; send gzip, deflate or identity`;
}

export function contentCodingNotAllowed(coding: string): string {
  return `this path takes no compressed body, but Content-Encoding was '${coding.slice(0, 100)}'; send it as it is`;
}

/** `gotBytes` is -1 when the body was cut off while it came in. */
export function bodyTooLarge(gotBytes: number, limitBytes: number): string {
  return gotBytes < 0
    ? `the request body is over the limit of ${limitBytes} bytes`
    : `the request body of ${gotBytes} bytes is over the limit of ${limitBytes} bytes`;
}
