import { isUtf8 } from 'node:buffer';
import { LENGTH_PREFIX_BYTES, skipBytesElement } from '../../../proto/bytes.ts';
import { byteSizeOf } from '../../../proto/datatype.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { RequestedOutput, RequestParameter } from '../../inference/inference-request.ts';
import { JsonWriter } from './json-writer.ts';

/** What of a request is written. */
export interface WrittenRequest {
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly RequestedOutput[];
  readonly parameters: Readonly<Record<string, RequestParameter>>;
}

/** Tensor bytes that become one piece, about: a millisecond's work. */
const PIECE_BYTES = 64 * 1024;

/**
 * The request as one line of JSON that `decodeInferRequest` reads back to the same tensors, in pieces with room for others' work between them.
 * It has neither id nor reserved parameters. Returns false, and the pieces so far are to be thrown away, when JSON cannot carry it: BYTES that
 * are no UTF-8, a parameter that is no finite number.
 *
 * Source: Open Inference Protocol, `$inference_request`.
 */
export function* encodeRequest({ inputs, outputs, parameters }: WrittenRequest): Generator<Uint8Array, boolean, undefined> {
  for (const value of Object.values(parameters)) if (typeof value === 'number' && !Number.isFinite(value)) return false;
  // Its own: between two pieces others write answers.
  const writer = new JsonWriter();
  writer.ascii('{');
  const entries = Object.entries(parameters);
  if (entries.length > 0) writer.ascii(`"parameters":${asciiJson(Object.fromEntries(entries))},`);
  writer.ascii('"inputs":[');
  for (const [index, { name, datatype, shape, data }] of inputs.entries()) {
    writer.ascii(`${index === 0 ? '' : ','}{"name":${asciiJson(name)},"datatype":"${datatype}","shape":[${shape.join(',')}],"data":[`);
    yield taken(writer, 0);
    for (let at = 0; at < data.length; ) {
      const end =
        datatype === 'BYTES' ? stringsEnd(data, at) : Math.min(data.length, at + PIECE_BYTES - (PIECE_BYTES % byteSizeOf(datatype)));
      if (end < 0) return false;
      if (at > 0) yield COMMA;
      writer.tensorData({ name, datatype, shape, data: data.subarray(at, end) });
      // Without the brackets: the piece's numbers stand among the tensor's others.
      yield taken(writer, 1);
      at = end;
    }
    writer.ascii(']}');
  }
  writer.ascii(']');
  if (outputs.length > 0) writer.ascii(`,"outputs":${asciiJson(outputs.map(({ name }) => ({ name })))}`);
  writer.ascii('}\n');
  yield taken(writer, 0);
  return true;
}

const COMMA = Uint8Array.of(0x2c);

/** What was written, without `cut` bytes at each end. */
function taken(writer: JsonWriter, cut: number): Uint8Array {
  const view = writer.view();
  const piece = view.slice(cut, view.length - cut);
  writer.reset();
  return piece;
}

/** Offset behind about a piece of BYTES elements from `at` on, or -1 when one of them is no text. */
function stringsEnd(data: Uint8Array, at: number): number {
  const start = at;
  while (at < data.length && at - start < PIECE_BYTES) {
    const end = skipBytesElement(data, at);
    if (end < 0 || !isUtf8(data.subarray(at + LENGTH_PREFIX_BYTES, end))) return -1;
    at = end;
  }
  return at;
}

/** JSON of ASCII alone. */
function asciiJson(value: unknown): string {
  return JSON.stringify(value).replaceAll(/[\u0080-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
