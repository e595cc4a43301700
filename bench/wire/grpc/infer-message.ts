import { encodeInferRequest } from '../../../clients/typescript/src/grpc/encode-infer-request.ts';
import type { InferParameter, InferRequest } from '../../../clients/typescript/src/transport.ts';
import { type MessageFields, ProtobufReader } from '../../../proto/protobuf-reader.ts';
import { frameMessage, PREFIX_BYTES } from './message-prefix.ts';

const REQUEST: MessageFields = { name: 'ModelInferRequest', fields: ['', 'model_name', 'model_version', 'id', 'parameters'] };
const ENTRY: MessageFields = { name: 'parameters', fields: ['', 'key', 'value'] };

/** Of an id that the lane makes. */
export const ID_DIGITS = 10;
/** Of a correlation ID of ten digits, as a varint; a smaller one is filled up to it. */
const SEQUENCE_ID_BYTES = 5;
/** A number of ten digits. */
const ANY_SEQUENCE_ID = 9_999_999_999;
const NOWHERE = -1;

export interface InferMessageOptions {
  /** The lane puts its own id into each request. */
  readonly hasOwnId: boolean;
  readonly hasSequence: boolean;
}

/** What differs between two sendings of a message. */
export interface MessageMarks {
  /** Up to ten digits. */
  readonly number: number;
  readonly sequenceId: number;
  readonly isSequenceStart: boolean;
  readonly isSequenceEnd: boolean;
}

/** A `ModelInferRequest` as it goes into DATA frames, encoded once and shared by all that send it: id and place in a sequence are put in while it is copied. */
export class InferMessage {
  readonly request: InferRequest;
  /** With gRPC's five bytes in front. */
  readonly length: number;
  readonly #framed: Buffer;
  /** Where the values lie that differ; -1: nowhere. */
  readonly #idAt: number;
  readonly #sequenceIdAt: number;
  readonly #startAt: number;
  readonly #endAt: number;

  /** Throws INVALID_ARGUMENT for what gRPC cannot carry. */
  constructor(request: InferRequest, { hasOwnId, hasSequence }: InferMessageOptions) {
    this.request = request;
    const parameters: Record<string, InferParameter> = { ...request.parameters };
    if (hasSequence) Object.assign(parameters, { sequence_id: ANY_SEQUENCE_ID, sequence_start: true, sequence_end: true });
    const message = encodeInferRequest({ ...request, parameters, id: hasOwnId ? '0'.repeat(ID_DIGITS) : request.id }, false);
    this.#framed = frameMessage(message);
    this.length = this.#framed.length;
    const places = hasOwnId || hasSequence ? findPlaces(message) : new Map<string, number>();
    const placeOf = (name: string, isWanted: boolean): number => (isWanted ? PREFIX_BYTES + places.get(name)! : NOWHERE);
    this.#idAt = placeOf('id', hasOwnId);
    this.#sequenceIdAt = placeOf('parameters.sequence_id', hasSequence);
    this.#startAt = placeOf('parameters.sequence_start', hasSequence);
    this.#endAt = placeOf('parameters.sequence_end', hasSequence);
  }

  /** Copies `[from, to)` of it to `into[at]`. */
  copyTo(into: Buffer, at: number, from: number, to: number, marks: MessageMarks): void {
    const shift = at - from;
    this.#framed.copy(into, at, from, to);
    if (this.#idAt >= 0) this.#putNumber(into, shift, from, to, marks.number);
    if (this.#sequenceIdAt >= 0) {
      this.#putSequenceId(into, shift, from, to, marks.sequenceId);
      if (this.#startAt >= from && this.#startAt < to) into[this.#startAt + shift] = marks.isSequenceStart ? 1 : 0;
      if (this.#endAt >= from && this.#endAt < to) into[this.#endAt + shift] = marks.isSequenceEnd ? 1 : 0;
    }
  }

  /** The cut may go through the digits. */
  #putNumber(into: Buffer, shift: number, from: number, to: number, number: number): void {
    for (let i = this.#idAt + ID_DIGITS - 1; i >= this.#idAt; i--) {
      const rest = Math.floor(number / 10);
      if (i >= from && i < to) into[i + shift] = 0x30 + number - rest * 10;
      number = rest;
    }
  }

  #putSequenceId(into: Buffer, shift: number, from: number, to: number, id: number): void {
    for (let i = 0; i < SEQUENCE_ID_BYTES; i++) {
      const place = this.#sequenceIdAt + i;
      const isLast = i === SEQUENCE_ID_BYTES - 1;
      if (place >= from && place < to) into[place + shift] = isLast ? id : (id % 0x80) | 0x80;
      id = Math.floor(id / 0x80);
    }
  }
}

/** Where the first byte lies of the id, and of the value of each parameter that is a bool or a number. */
function findPlaces(message: Buffer): ReadonlyMap<string, number> {
  const places = new Map<string, number>();
  const reader = new ProtobufReader(message, REQUEST);
  while (reader.next()) {
    reader.uncounted();
    if (reader.field === 3) {
      reader.takeRange();
      places.set('id', reader.start);
    } else if (reader.field === 4) {
      const outerEnd = reader.enter(ENTRY);
      readEntry(reader, places);
      reader.leave(outerEnd, REQUEST);
    } else {
      reader.skip();
    }
  }
  return places;
}

/** The key stands first, as the encoder writes it. */
function readEntry(reader: ProtobufReader, places: Map<string, number>): void {
  let key = '';
  while (reader.next()) {
    reader.uncounted();
    reader.takeRange();
    if (reader.field === 1) key = reader.rangeText(reader.end);
    // Behind the tag of the one field of an InferParameter.
    else places.set(`parameters.${key}`, reader.start + 1);
  }
}
