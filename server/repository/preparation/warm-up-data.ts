import type { ModelWarmupInput } from '../../../backends/api/model-config.ts';
import { countBytesElements, LENGTH_PREFIX_BYTES } from '../../../proto/bytes.ts';
import { byteSizeOf, type Datatype, datatypeFromConfig, elementCount } from '../../../proto/datatype.ts';
import { toBf16, toFp16 } from '../../../proto/float16.ts';
import { type InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { ModelFileReader } from './model-file-reader.ts';

/** Of one sample's input, its batch included. */
export const MAX_SAMPLE_BYTES: number = 256 * 1024 * 1024;
/** Random elements that are made; a larger input repeats them. */
const RANDOM_ELEMENTS = 65_536;
const MAX_RANDOM_INTEGER = 10;

/**
 * The input `name` of a warm-up sample. `rows`: how often its data is repeated, as the first dimension of the shape; 0: no batch dimension,
 * once. Throws INVALID_ARGUMENT; whether it fits the model is not looked at. Source: ModelWarmup.Input of Triton's model_config.proto.
 */
export async function sampleTensor(name: string, input: ModelWarmupInput, rows: number, files: ModelFileReader): Promise<Tensor> {
  const datatype = datatypeFromConfig(input.dataType);
  if (datatype === undefined) throw invalidArgument(`input '${name}': expected a data_type such as TYPE_FP32, got ${input.dataType}`);
  const count = elementCount(input.dims);
  const repeats = Math.max(1, rows);
  // Elements of BYTES have their length at least.
  const bytes = count * (byteSizeOf(datatype) || LENGTH_PREFIX_BYTES);
  if (count < 0 || bytes * repeats > MAX_SAMPLE_BYTES) throw tooLarge(name, input, repeats);
  let data: Buffer;
  if (input.inputDataFile !== null) {
    data = await files.read('warmup', input.inputDataFile, MAX_SAMPLE_BYTES);
    checkFile(data, name, input.inputDataFile, datatype, input.dims, count);
  } else {
    // Zeros are empty strings too.
    data = Buffer.alloc(bytes);
    if (input.randomData !== null && datatype !== 'BYTES') fillRandom(data, datatype, name);
  }
  if (data.length * repeats > MAX_SAMPLE_BYTES) throw tooLarge(name, input, repeats);
  return {
    name,
    datatype,
    shape: rows === 0 ? input.dims : [rows, ...input.dims],
    data: repeats === 1 ? data : Buffer.concat(new Array<Uint8Array>(repeats).fill(data)),
  };
}

function checkFile(data: Uint8Array, name: string, file: string, datatype: Datatype, dims: readonly number[], count: number): void {
  const shown = `input '${name}' of shape [${dims.join(',')}], ${datatype}`;
  if (datatype === 'BYTES') {
    const found = countBytesElements(data, `'warmup/${file}'`);
    if (found !== count) throw invalidArgument(`'warmup/${file}' has ${found} string elements, expected ${count} for ${shown}`);
  } else if (data.length !== count * byteSizeOf(datatype)) {
    throw invalidArgument(`'warmup/${file}' has ${data.length} bytes, expected ${count * byteSizeOf(datatype)} for ${shown}`);
  }
}

/** Floats in [0, 1), integers below 10 that every index of a table is likely to be, BOOL either; the same ones each time. */
function fillRandom(data: Buffer, datatype: Datatype, name: string): void {
  const size = byteSizeOf(datatype);
  const count = Math.min(data.length / size, RANDOM_ELEMENTS);
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  let seed = 0x9e3779b9 ^ name.length;
  for (let i = 0; i < count; i++) {
    seed ^= seed << 13;
    seed ^= seed >>> 17;
    seed ^= seed << 5;
    writeRandom(view, i * size, datatype, (seed >>> 0) / 2 ** 32);
  }
  for (let filled = count * size; filled < data.length; filled *= 2) data.copyWithin(filled, 0, Math.min(filled, data.length - filled));
}

function writeRandom(view: DataView, at: number, datatype: Datatype, value: number): void {
  if (datatype === 'FP32') {
    // Rounded to 24 bits it could be 1.
    view.setFloat32(at, Math.floor(value * 2 ** 24) / 2 ** 24, true);
  } else if (datatype === 'FP64') {
    view.setFloat64(at, value, true);
  } else if (datatype === 'FP16') {
    view.setUint16(at, toFp16(Math.floor(value * 1024) / 1024), true);
  } else if (datatype === 'BF16') {
    view.setUint16(at, toBf16(Math.floor(value * 256) / 256), true);
  } else {
    // Little-endian: the lowest byte is the number, the others stay 0.
    view.setUint8(at, Math.floor(value * (datatype === 'BOOL' ? 2 : MAX_RANDOM_INTEGER)));
  }
}

function tooLarge(name: string, input: ModelWarmupInput, repeats: number): InferenceError {
  return invalidArgument(
    `input '${name}': dims [${input.dims.join(',')}] of ${input.dataType}${repeats > 1 ? ` in a batch of ${repeats}` : ''} pass the ${MAX_SAMPLE_BYTES} bytes that an input of a sample may have`,
  );
}
