import type { ModelConfig, ModelSequenceBatchingState } from '../../../backends/api/model-config.ts';
import { countBytesElements } from '../../../proto/bytes.ts';
import { byteSizeOf, datatypeFromConfig, elementCount } from '../../../proto/datatype.ts';
import { invalidArgument } from '../../../proto/inference-error.ts';
import type { ModelFileReader } from './model-file-reader.ts';

/** Of one state. */
const MAX_STATE_FILE_BYTES = 256 * 1024 * 1024;

/**
 * What `<model>/initial_state/` has for the states whose sequences begin with a file, by the state's input: raw, row-major, one request's, BYTES with their lengths. Throws INVALID_ARGUMENT when a file
 * cannot be read or has not the state's size. Source: ModelSequenceBatching.InitialState of Triton's model_config.proto (reference 5.7).
 */
export async function readInitialStates(config: ModelConfig, files: ModelFileReader): Promise<ReadonlyMap<string, Uint8Array>> {
  const contents = new Map<string, Uint8Array>();
  for (const [index, state] of (config.sequenceBatching?.state ?? []).entries()) {
    const file = state.initialState[0]?.dataFile ?? null;
    if (file === null) continue;
    const bytes = await files.read('initial_state', file, MAX_STATE_FILE_BYTES);
    checkSize(bytes, file, state, `sequence_batching.state[${index}]`);
    contents.set(state.inputName, bytes);
  }
  return contents;
}

function checkSize(bytes: Uint8Array, file: string, state: ModelSequenceBatchingState, field: string): void {
  const { dims } = state.initialState[0]!;
  const datatype = datatypeFromConfig(state.dataType);
  if (datatype === undefined) throw invalidArgument(`${field}.data_type: expected a data type such as TYPE_FP32, got ${state.dataType}`);
  const count = elementCount(dims);
  const shown = `'initial_state/${file}'`;
  const isText = datatype === 'BYTES';
  const found = isText ? countBytesElements(bytes, shown) : bytes.length;
  const expected = isText ? count : count * byteSizeOf(datatype);
  if (found === expected) return;
  const unit = isText ? 'string elements' : 'bytes';
  throw invalidArgument(
    `${field}.initial_state[0].data_file: ${shown} has ${found} ${unit}, expected ${expected} for shape [${dims.join(',')}], ${datatype}`,
  );
}
