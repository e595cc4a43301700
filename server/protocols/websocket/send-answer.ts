/** @hotpath an InferenceResponse as one WebSocket message; tensors go out as the views they are (measured by web-socket-session.bench.ts) */

import { InferenceError } from '../../../proto/inference-error.ts';
import { STATUS_FORMS } from '../../../proto/status-forms.ts';
import type { InferenceRequest, RequestParameter } from '../../inference/inference-request.ts';
import type { InferenceResponse } from '../../inference/inference-response.ts';
import type { WebSocketConnection } from '../../transports/web-socket.ts';
import { type AnswerSource, encodeInference, releaseEncoder } from '../oip-json/encode-response.ts';

/** Bytes before the JSON of a binary message: its length, unsigned, little-endian. */
export const JSON_LENGTH_BYTES = 4;

type Parameters = Readonly<Record<string, RequestParameter>>;
const FINAL: Parameters = Object.freeze({ triton_final_response: true });
const NOT_FINAL: Parameters = Object.freeze({ triton_final_response: false });

/** Of the message being sent; it is handed over within one call. */
const jsonLength = Buffer.allocUnsafeSlow(JSON_LENGTH_BYTES);
const message: Uint8Array[] = [jsonLength];

/**
 * Sends a response: as text, or, where it has bytes of binary outputs, as a binary message of the JSON's length, the JSON, and the bytes. Sends nothing and throws when more
 * than `maxBytes` would wait to be sent: RESOURCE_EXHAUSTED for what is too much by itself, UNAVAILABLE for what the peer has left no room for. And what
 * {@link encodeInference} throws.
 */
export function sendResponse(
  connection: WebSocketConnection,
  request: InferenceRequest,
  response: InferenceResponse,
  isFinal: boolean,
  source: AnswerSource,
  maxBytes: number,
): void {
  const last = isFinal ? FINAL : NOT_FINAL;
  const parameters = response.parameters === null ? last : { ...response.parameters, ...last };
  try {
    const pieces = encodeInference(request, response, source, parameters);
    const json = pieces[0]!;
    let bytes = JSON_LENGTH_BYTES;
    for (let i = 0; i < pieces.length; i++) bytes += pieces[i]!.length;
    if (bytes + connection.unsentBytes > maxBytes) throw noRoom(bytes, maxBytes);
    if (pieces.length === 1) {
      connection.sendText(json);
      return;
    }
    jsonLength.writeUInt32LE(json.length, 0);
    for (let i = 0; i < pieces.length; i++) message.push(pieces[i]!);
    connection.sendBinary(message);
  } finally {
    message.length = 1;
    releaseEncoder();
  }
}

/** Answers a request, by its id, with an error. */
export function sendError(connection: WebSocketConnection, id: string, error: InferenceError): void {
  const { code, message: text, retryAfterSeconds } = error;
  const status = STATUS_FORMS[code].http;
  connection.sendText(
    JSON.stringify(
      retryAfterSeconds > 0
        ? { id, error: text, code, status, retry_after: Math.ceil(retryAfterSeconds) }
        : { id, error: text, code, status },
    ),
  );
}

function noRoom(bytes: number, maxBytes: number): InferenceError {
  if (bytes > maxBytes) {
    return new InferenceError(
      'RESOURCE_EXHAUSTED',
      `the response is ${bytes} bytes, more than the ${maxBytes} that may wait for a WebSocket client: ask for fewer outputs or rows, for binary data instead of JSON, or use HTTP`,
    );
  }
  return new InferenceError(
    'UNAVAILABLE',
    `the response of ${bytes} bytes was dropped: with what this client has not read yet it is more than the ${maxBytes} that may wait: have fewer requests in flight, or read sooner`,
    { retryAfterSeconds: 1 },
  );
}
