/** Requests as WebSocket messages: encoded once, and written over in a few places each time they are sent: id, sequence, time left. */

import { encodeV2Request } from '../../../clients/typescript/src/encode-v2-request.ts';
import type { InferRequest } from '../../../clients/typescript/src/transport.ts';
import { invalidArgument } from '../../../proto/inference-error.ts';
import type { SequenceStamp } from '../../load/lane.ts';
import type { SequencePlan } from '../../load/load-plan.ts';
import { BINARY, frameHeadBytes, TEXT, writeFrameHead } from './frames.ts';
import { WIRE_ID_BYTES, writeWireId } from './wire-id.ts';

/** Behind so many bytes of tensors it is cheaper to send them from where they lie than to copy them. */
const MAX_COPIED_BYTES = 16 * 1024;
/** Before the JSON of a binary message: its length, unsigned, little-endian. */
const JSON_LENGTH_BYTES = 4;
const SEQUENCE_ID_DIGITS = 10;
const MAX_SEQUENCE_ID = 9_999_999_999;
const TRUE = Buffer.from('true ');
const FALSE = Buffer.from('false');
const ZERO = 0x30;
const SPACE = 0x20;
const POINT = 0x2e;
/** Of `timeout_ms`, as text: nine digits, a point and three more. */
const TIMEOUT_PLACE_MS = 999_999_999.999;
const TIMEOUT_CHARACTERS = 13;
const TIMEOUT_DECIMALS = 3;
/** The longest that Nereid takes. */
const WEEK_MS = 604_800_000;

/** What is sent of a message: `head`, which is copied and written over there, and `rest`, the same bytes each time. */
export class RequestMessage {
  readonly head: Uint8Array;
  /** Empty where the message is short: then all of it is in `head`. */
  readonly rest: Uint8Array;
  readonly #idAt: number;
  /** -1: no sequence. */
  readonly #sequenceIdAt: number;
  readonly #sequenceStartAt: number;
  readonly #sequenceEndAt: number;
  /** -1: no deadline. */
  readonly #timeoutAt: number;

  /**
   * Whether tensors are JSON or binary is the protocol's to say: `isJson` replaces what the request has of it. Its id is dropped. `hasDeadline`: each message says how much time it has.
   * Throws INVALID_ARGUMENT for a request that has no JSON form, and for correlation IDs of more or fewer than ten digits.
   */
  constructor(request: InferRequest, isJson: boolean, sequence: SequencePlan | null, hasDeadline: boolean) {
    const { header, tail } = encodeV2Request(...wireForm(request, isJson, sequence, hasDeadline));
    const jsonStart = isJson ? 0 : JSON_LENGTH_BYTES;
    const payloadBytes = tail.reduce((sum, piece) => sum + piece.length, jsonStart + header.length);
    const frame = Buffer.allocUnsafeSlow(frameHeadBytes(payloadBytes) + payloadBytes);
    let at = writeFrameHead(frame, 0, isJson ? TEXT : BINARY, payloadBytes);
    if (!isJson) at = frame.writeUInt32LE(header.length, at);
    const jsonAt = at;
    for (const piece of [header, ...tail]) {
      frame.set(piece, at);
      at += piece.length;
    }
    // Everything that is written over stands before the inputs. No string of JSON can hold such a text: its quotes would be escaped.
    const inputsAt = frame.indexOf('"inputs":[', jsonAt);
    const cut = frame.length - inputsAt > MAX_COPIED_BYTES ? inputsAt : frame.length;
    this.head = frame.subarray(0, cut);
    this.rest = frame.subarray(cut);
    this.#idAt = valueAt(frame, 'id', jsonAt) + 1;
    this.#sequenceIdAt = sequence === null ? -1 : valueAt(frame, 'sequence_id', jsonAt);
    this.#sequenceStartAt = sequence === null ? -1 : valueAt(frame, 'sequence_start', jsonAt);
    this.#sequenceEndAt = sequence === null ? -1 : valueAt(frame, 'sequence_end', jsonAt);
    this.#timeoutAt = hasDeadline ? valueAt(frame, 'timeout_ms', jsonAt) : -1;
  }

  /** Copies `head` to `into[at]` and writes what is this sending's own into the copy: the original may still be on its way to the kernel. `deadlineMs`: time left; 0: no end to it. */
  put(into: Buffer, at: number, id: number, stamp: SequenceStamp | null, deadlineMs: number): void {
    into.set(this.head, at);
    writeWireId(into, at + this.#idAt, id);
    if (this.#timeoutAt >= 0) writeTimeout(into, at + this.#timeoutAt, deadlineMs > 0 ? Math.min(deadlineMs, WEEK_MS) : WEEK_MS);
    if (stamp === null || this.#sequenceIdAt < 0) return;
    let rest = stamp.id;
    for (let i = SEQUENCE_ID_DIGITS - 1; i >= 0; i--) {
      const left = Math.floor(rest / 10);
      into[at + this.#sequenceIdAt + i] = ZERO + rest - left * 10;
      rest = left;
    }
    into.set(stamp.isStart ? TRUE : FALSE, at + this.#sequenceStartAt);
    into.set(stamp.isEnd ? TRUE : FALSE, at + this.#sequenceEndAt);
  }
}

function wireForm(
  request: InferRequest,
  isJson: boolean,
  sequence: SequencePlan | null,
  hasDeadline: boolean,
): [request: InferRequest, envelope: Readonly<Record<string, string | number>>] {
  const { modelName, modelVersion } = request;
  const parameters = { ...request.parameters };
  if (sequence !== null) {
    const { firstId } = sequence;
    if (!Number.isSafeInteger(firstId) || String(firstId).length !== SEQUENCE_ID_DIGITS || firstId > MAX_SEQUENCE_ID) {
      throw invalidArgument(`sequence.firstId: expected a whole number of ${SEQUENCE_ID_DIGITS} digits, got ${firstId}`);
    }
    // Written over each time: `false` and `true ` are as long.
    Object.assign(parameters, { sequence_id: firstId, sequence_start: false, sequence_end: false });
  }
  const form: InferRequest = {
    ...request,
    id: '',
    json: isJson,
    parameters,
    outputs: request.outputs.map((output) => ({ ...output, binaryData: !isJson })),
  };
  const envelope = {
    id: '0'.repeat(WIRE_ID_BYTES),
    model_name: modelName,
    ...(modelVersion === '' ? {} : { model_version: modelVersion }),
    ...(hasDeadline ? { timeout_ms: TIMEOUT_PLACE_MS } : {}),
  };
  return [form, envelope];
}

/** Microseconds after the point, spaces before the first digit, at least 0.001: nobody has less time than that. */
function writeTimeout(into: Buffer, at: number, ms: number): void {
  let rest = Math.max(1, Math.round(ms * 1000));
  for (let i = TIMEOUT_CHARACTERS - 1; i >= 0; i--) {
    const decimals = TIMEOUT_CHARACTERS - 1 - i;
    if (decimals === TIMEOUT_DECIMALS) {
      into[at + i] = POINT;
    } else if (rest === 0 && decimals > TIMEOUT_DECIMALS + 1) {
      into[at + i] = SPACE;
    } else {
      const left = Math.floor(rest / 10);
      into[at + i] = ZERO + rest - left * 10;
      rest = left;
    }
  }
}

function valueAt(frame: Buffer, member: string, from: number): number {
  const name = `"${member}":`;
  return frame.indexOf(name, from) + name.length;
}
