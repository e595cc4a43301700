/** @hotpath the parameters of a ModelInferRequest, where it has any (measured by decode-infer-request.bench.ts) */

import { type InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { MessageFields, ProtobufReader } from '../../../proto/protobuf-reader.ts';
import type { RequestParameter, RequestSequence } from '../../inference/inference-request.ts';
import { MAX_NAME_BYTES } from '../oip-json/field-reader.ts';
import { MAX_SEQUENCE_ID_BYTES, sequenceIdTooLong } from '../oip-json/request-parameters.ts';

const ENTRY: MessageFields = { name: 'ModelInferRequest.parameters', fields: ['', 'key', 'value'] };
/** `InferParameter.parameter_choice`, by field number. */
const CHOICES = ['no value', 'bool_param', 'int64_param', 'string_param', 'double_param', 'uint64_param'] as const;
const PARAMETER: MessageFields = { name: 'InferParameter', fields: CHOICES };
const BOOL = 1;
const INT64 = 2;
const STRING = 3;
const DOUBLE = 4;
const UINT64 = 5;

const NO_OTHERS: Readonly<Record<string, RequestParameter>> = Object.freeze(Object.create(null) as Record<string, RequestParameter>);

/** One entry of a `map<string, InferParameter>`, read anew for each: its key, which member of the oneof it sets, and that member's value. */
export class ParameterEntry {
  key = '';
  choice = 0;
  /** NaN: an integer beyond 2^53. */
  value: RequestParameter = false;
  /** Of an integer, its 64 bits in halves. */
  private low = 0;
  private high = 0;

  /** Reads the entry that is the field at hand. */
  read(reader: ProtobufReader): void {
    this.key = '';
    this.choice = 0;
    const outer = reader.message;
    const outerEnd = reader.enter(ENTRY);
    while (reader.next()) {
      if (reader.field === 1) this.key = reader.takeText(MAX_NAME_BYTES);
      else if (reader.field === 2) this.readValue(reader);
      else reader.skip();
    }
    reader.leave(outerEnd, outer);
  }

  private readValue(reader: ProtobufReader): void {
    const outerEnd = reader.enter(PARAMETER);
    while (reader.next()) {
      const { field } = reader;
      if (field === BOOL) this.value = reader.takeBool();
      else if (field === INT64) {
        this.value = reader.takeInt64();
        this.low = reader.low;
        this.high = reader.high;
      } else if (field === STRING) this.value = reader.takeText(reader.end);
      else if (field === DOUBLE) this.value = reader.takeDouble();
      else if (field === UINT64) {
        reader.takeVarint();
        this.value = reader.uint64();
        this.low = reader.low;
        this.high = reader.high;
      } else {
        reader.skip();
        continue;
      }
      this.choice = field;
    }
    reader.leave(outerEnd, ENTRY);
  }

  /** `expected` in words, for the reserved word at the path `where`. */
  wrong(where: string, expected: string): InferenceError {
    const { choice, value } = this;
    const shown = typeof value === 'string' ? JSON.stringify(value.slice(0, 40)) : Number.isNaN(value) ? 'beyond 2^53' : String(value);
    const got = choice === 0 ? CHOICES[0] : `the ${CHOICES[choice]} ${shown}`;
    return invalidArgument(`Unable to parse '${this.key}': ${where}: expected ${expected}, got ${got}`);
  }

  requireFlag(where: string): boolean {
    if (this.choice !== BOOL) throw this.wrong(where, 'a bool_param');
    return this.value as boolean;
  }

  requireUnsigned(where: string): number {
    if ((this.choice === INT64 || this.choice === UINT64) && (this.value as number) >= 0) return this.value as number;
    throw this.wrong(where, 'an int64_param or a uint64_param from 0 to 2^53 - 1');
  }

  /** An int64_param counts by its bits, as ids of 2^63 and more come from clients that know no uint64_param. */
  requireSequenceId(where: string): bigint | string {
    const { choice, value } = this;
    if (choice === STRING) {
      const bytes = Buffer.byteLength(value as string);
      if (bytes > MAX_SEQUENCE_ID_BYTES) throw sequenceIdTooLong(bytes);
      return value as string;
    }
    if (choice === INT64 || choice === UINT64) return (BigInt(this.high >>> 0) << 32n) | BigInt(this.low >>> 0);
    throw this.wrong(
      where,
      `an int64_param or a uint64_param from 0 to 2^64 - 1, or a string_param of at most ${MAX_SEQUENCE_ID_BYTES} bytes`,
    );
  }

  /** What the model gets. */
  requireCustom(where: string): RequestParameter {
    const { choice, value } = this;
    // A uint64 would reach the model as another type than the one sent.
    if (choice === 0 || choice === UINT64) throw this.wrong(where, 'a bool_param, an int64_param, a string_param or a double_param');
    if (typeof value === 'number' && !Number.isFinite(value)) {
      throw invalidArgument(
        `Unable to parse '${this.key}': ${where}: expected ${choice === INT64 ? 'an int64_param within 2^53, which a double holds exactly' : 'a double_param that is a number'}`,
      );
    }
    return value;
  }
}

/**
 * The `parameters` of an infer request: the protocol's reserved words by themselves, all others as they are, for the model; other `triton_*` than
 * `triton_enable_empty_final_response` are INVALID_ARGUMENT. Source: parameters extension; Triton's sequence and schedule policy extensions.
 */
export class GrpcRequestParameters {
  priority = 0;
  timeoutUs = 0;
  wantsEmptyFinalResponse = false;
  private sequenceId: bigint | string = '';
  private isSequenceStart = false;
  private isSequenceEnd = false;
  /** Without a prototype: a key is the caller's word. */
  others: Readonly<Record<string, RequestParameter>> = NO_OTHERS;

  add(entry: ParameterEntry): void {
    const { key } = entry;
    const where = `parameters.${key}`;
    switch (key) {
      case 'priority':
        this.priority = entry.requireUnsigned(where);
        return;
      case 'timeout':
        this.timeoutUs = entry.requireUnsigned(where);
        return;
      case 'sequence_id':
        this.sequenceId = entry.requireSequenceId(where);
        return;
      case 'sequence_start':
        this.isSequenceStart = entry.requireFlag(where);
        return;
      case 'sequence_end':
        this.isSequenceEnd = entry.requireFlag(where);
        return;
      case 'triton_enable_empty_final_response':
        this.wantsEmptyFinalResponse = entry.requireFlag(where);
        return;
    }
    if (key.startsWith('triton_')) {
      throw invalidArgument(`parameter keys starting with 'triton_' are reserved for Triton usage: ${where}: use another name`);
    }
    if (this.others === NO_OTHERS) this.others = Object.create(null) as Record<string, RequestParameter>;
    (this.others as Record<string, RequestParameter>)[key] = entry.requireCustom(where);
  }

  /** Null: the request stands alone; 0 and '' are no id, and the flags say nothing without one. */
  sequence(): RequestSequence | null {
    const { sequenceId: id } = this;
    return id === '' || id === 0n ? null : { id, isStart: this.isSequenceStart, isEnd: this.isSequenceEnd };
  }
}

/** What a request without parameters has. */
export const NO_GRPC_PARAMETERS: Readonly<GrpcRequestParameters> = Object.freeze(new GrpcRequestParameters());
