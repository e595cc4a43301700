import type { Datatype } from '../../../proto/datatype.ts';
import type { ModelMetadata, TensorMetadata } from '../../api/backend.ts';

/** Inputs and outputs of a model that generates text. The names are those of Triton's vLLM backend, where it has them. */
export const textMetadata: ModelMetadata = {
  inputs: [
    optional('text_input', 'BYTES'),
    optional('input_ids', 'INT32', -1),
    optional('messages', 'BYTES'),
    optional('tools', 'BYTES'),
    optional('tool_choice', 'BYTES'),
    optional('stream', 'BOOL'),
    optional('sampling_parameters', 'BYTES'),
    optional('exclude_input_in_output', 'BOOL'),
    optional('return_finish_reason', 'BOOL'),
    optional('return_cumulative_logprob', 'BOOL'),
    optional('return_logprobs', 'BOOL'),
    optional('return_num_input_tokens', 'BOOL'),
    optional('return_num_output_tokens', 'BOOL'),
    optional('return_num_cached_tokens', 'BOOL'),
  ],
  outputs: [
    { name: 'text_output', datatype: 'BYTES', shape: [1], optional: false },
    optional('finish_reason', 'BYTES'),
    optional('cumulative_logprob', 'FP32'),
    optional('logprobs', 'BYTES'),
    optional('num_input_tokens', 'UINT32'),
    optional('num_output_tokens', 'UINT32'),
    optional('num_cached_tokens', 'UINT32'),
    optional('tool_calls', 'BYTES'),
  ],
  maxBatchSize: 0,
};

function optional(name: string, datatype: Datatype, elements = 1): TensorMetadata {
  return { name, datatype, shape: [elements], optional: true };
}
