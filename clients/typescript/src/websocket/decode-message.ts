import { InferenceError, type StatusCode } from '../../../../proto/inference-error.ts';
import { STATUS_FORMS } from '../../../../proto/status-forms.ts';
import { CallError } from '../call-error.ts';
import { decodeV2Response } from '../decode-v2-response.ts';
import { codeFromHttpStatus } from '../http-status.ts';
import { malformedAnswer } from '../infer-result.ts';
import type { InferParameter, InferResponse } from '../transport.ts';

/** A message of the server: an answer, or an error, to the request that has the id. */
export interface ServerMessage {
  /** As it was on the wire. */
  readonly id: string;
  /** Null: an error. The `id` in it is '': the caller's is not known here. */
  readonly response: InferResponse | null;
  readonly error: InferenceError | null;
  /** Nothing more comes for the id. */
  readonly isFinal: boolean;
}

const FINAL = 'triton_final_response';
const LENGTH_BYTES = 4;
const NO_TAIL = new Uint8Array(0);
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A binary message: the JSON's length (u32, little-endian), the JSON, the tensors' bytes. Throws INTERNAL when it can be attributed to no request. */
export function decodeBinaryMessage(bytes: Uint8Array): ServerMessage {
  if (bytes.length < LENGTH_BYTES) throw malformedAnswer(`a binary message of ${bytes.length} bytes`);
  const length = new DataView(bytes.buffer, bytes.byteOffset, LENGTH_BYTES).getUint32(0, true);
  const end = LENGTH_BYTES + length;
  if (end > bytes.length) throw malformedAnswer(`a binary message says ${length} bytes of JSON, and ${bytes.length - LENGTH_BYTES} follow`);
  let text: string;
  try {
    text = utf8.decode(bytes.subarray(LENGTH_BYTES, end));
  } catch (error) {
    throw malformedAnswer('the JSON of a binary message is not UTF-8', error);
  }
  return decodeMessage(text, bytes.subarray(end));
}

/** A text message: JSON. Throws INTERNAL when it can be attributed to no request. */
export function decodeTextMessage(text: string): ServerMessage {
  return decodeMessage(text, NO_TAIL);
}

function decodeMessage(text: string, tail: Uint8Array): ServerMessage {
  // Only what may be an error is parsed twice.
  if (text.includes('"error"')) {
    const json = parseObject(text);
    if (typeof json['error'] === 'string')
      return { id: readId(json), response: null, error: readError(json, json['error']), isFinal: true };
  }
  let response: InferResponse;
  try {
    response = decodeV2Response(text, tail);
  } catch (error) {
    const json = parseObject(text);
    const parameters = json['parameters'] as Readonly<Record<string, unknown>> | undefined | null;
    return { id: readId(json), response: null, error: InferenceError.from(error), isFinal: parameters?.[FINAL] !== false };
  }
  const { id, modelName, modelVersion, outputs } = response;
  if (id === '') throw malformedAnswer('a message without an id');
  const parameters = response.parameters as Record<string, InferParameter>;
  const isFinal = parameters[FINAL] !== false;
  delete parameters[FINAL];
  return { id, response: { modelName, modelVersion, id: '', parameters, outputs }, error: null, isFinal };
}

function parseObject(text: string): Readonly<Record<string, unknown>> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw malformedAnswer('a message that is not JSON', error);
  }
  if (typeof json !== 'object' || json === null) throw malformedAnswer('a message that is no JSON object');
  return json as Record<string, unknown>;
}

function readId(json: Readonly<Record<string, unknown>>): string {
  const id = json['id'];
  if (typeof id !== 'string' || id === '') {
    throw malformedAnswer(typeof json['error'] === 'string' ? `an error without an id: ${json['error']}` : 'a message without an id');
  }
  return id;
}

function readError(json: Readonly<Record<string, unknown>>, message: string): CallError {
  const status = typeof json['status'] === 'number' ? json['status'] : 0;
  const said = String(json['code']);
  const code = Object.hasOwn(STATUS_FORMS, said) ? (said as StatusCode) : codeFromHttpStatus(status);
  const retryAfter = json['retry_after'];
  return new CallError(code, message, {
    phase: code === 'UNAVAILABLE' || status === 429 ? 'refused' : 'answered',
    status,
    retryAfterSeconds: typeof retryAfter === 'number' && retryAfter > 0 ? retryAfter : 0,
  });
}
