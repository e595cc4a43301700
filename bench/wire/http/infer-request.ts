import { encodeV2Request } from '../../../clients/typescript/src/encode-v2-request.ts';
import type { InferRequest } from '../../../clients/typescript/src/transport.ts';
import { BINARY_CONTENT_TYPE, CONTENT_TYPE, INFERENCE_HEADER_CONTENT_LENGTH, JSON_CONTENT_TYPE } from '../../../proto/headers.ts';
import type { SequenceStamp } from '../../load/lane.ts';
import type { LoadTarget } from '../../load/load-plan.ts';
import { postRequest } from './post-request.ts';

/** Room for any safe integer. What an ID leaves of it is spaces in front, which JSON allows there. */
const ID_WIDTH = 16;
const ID_PLACE = 10n ** BigInt(ID_WIDTH - 1);
/** `false`, or `true` and a space. */
const FLAG_WIDTH = 5;
/** Up to here a request is copied as a whole to be stamped; of a larger one only its beginning, and the rest is sent from where it lies. */
const MAX_COPIED_BYTES = 16 * 1024;

const SPACE = 32;
const ZERO = 48;
const TRUE = Buffer.from('true ');
const FALSE = Buffer.from('false');

/** A V2 inference request over HTTP, encoded once and sent many times. */
export interface EncodedInfer {
  /** Head and body. */
  readonly bytes: Buffer;
  /** null: the request stands in no sequence. */
  readonly places: StampPlaces | null;
}

/** Where in the bytes the request says its sequence. */
export interface StampPlaces {
  readonly id: number;
  readonly start: number;
  readonly end: number;
  /** All three lie in front of it: `beginning` is what a lane copies, and `rest`, perhaps empty, what all lanes send from where it lies. */
  readonly cut: number;
  readonly beginning: Buffer;
  readonly rest: Buffer;
}

/** Encodes `POST [base path]/v2/models/NAME[/versions/V]/infer`, with tensors as JSON or in the binary tensor extension both ways. Throws INVALID_ARGUMENT for what cannot be sent. */
export function encodeInfer(target: LoadTarget, request: InferRequest, form: 'json' | 'binary', hasSequence: boolean): EncodedInfer {
  const isJson = form === 'json';
  const stamps = { sequence_id: ID_PLACE, sequence_start: false, sequence_end: false };
  // Stamps come first, so that nothing in front of them can look like one.
  const parameters = hasSequence ? { ...stamps, ...request.parameters, ...stamps } : request.parameters;
  const outputs = request.outputs.map((output) => ({ ...output, binaryData: !isJson }));
  const { header, tail } = encodeV2Request({ ...request, parameters, outputs, json: isJson });
  const headers: Record<string, string> = { [CONTENT_TYPE]: tail.length > 0 ? BINARY_CONTENT_TYPE : JSON_CONTENT_TYPE };
  if (tail.length > 0) headers[INFERENCE_HEADER_CONTENT_LENGTH] = String(header.length);
  const version = request.modelVersion === '' ? '' : `/versions/${encodeURIComponent(request.modelVersion)}`;
  const path = `/v2/models/${encodeURIComponent(request.modelName)}${version}/infer`;
  const bytes = postRequest(target, path, headers, [header, ...tail]);
  return { bytes, places: hasSequence ? findPlaces(bytes) : null };
}

function findPlaces(bytes: Buffer): StampPlaces {
  const body = bytes.indexOf('\r\n\r\n') + 4;
  const behind = (key: string): number => bytes.indexOf(`"${key}":`, body) + key.length + 3;
  const end = behind('sequence_end');
  const cut = bytes.length <= MAX_COPIED_BYTES ? bytes.length : end + FLAG_WIDTH;
  return {
    id: behind('sequence_id'),
    start: behind('sequence_start'),
    end,
    cut,
    beginning: bytes.subarray(0, cut),
    rest: bytes.subarray(cut),
  };
}

/** Writes a stamp into a copy of the request's beginning. */
export function putStamp(copy: Buffer, places: StampPlaces, stamp: SequenceStamp): void {
  let { id } = stamp;
  let at = places.id + ID_WIDTH;
  do {
    const left = Math.floor(id / 10);
    // In this order: the largest IDs have no room for 48 more.
    copy[--at] = id - left * 10 + ZERO;
    id = left;
  } while (id > 0 && at > places.id);
  while (at > places.id) copy[--at] = SPACE;
  putFlag(copy, places.start, stamp.isStart);
  putFlag(copy, places.end, stamp.isEnd);
}

function putFlag(copy: Buffer, at: number, isSo: boolean): void {
  const word = isSo ? TRUE : FALSE;
  for (let i = 0; i < FLAG_WIDTH; i++) copy[at + i] = word[i]!;
}
