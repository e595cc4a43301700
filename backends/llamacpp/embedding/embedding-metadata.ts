import type { ModelMetadata } from '../../api/backend.ts';

/** What a model that embeds takes and gives: texts, or the tokens of one; a row for each, of length 1 (L2). */
export const embeddingMetadata: ModelMetadata = {
  maxBatchSize: 0,
  inputs: [
    { name: 'text_input', datatype: 'BYTES', shape: [-1], optional: true },
    { name: 'input_ids', datatype: 'INT32', shape: [-1], optional: true },
  ],
  outputs: [
    { name: 'embedding', datatype: 'FP32', shape: [-1, -1], optional: false },
    { name: 'num_input_tokens', datatype: 'UINT32', shape: [-1], optional: false },
  ],
};

/** What a model that ranks takes and gives: a score for each document, in the order they came in. */
export const rerankMetadata: ModelMetadata = {
  maxBatchSize: 0,
  inputs: [
    { name: 'query', datatype: 'BYTES', shape: [1], optional: false },
    { name: 'documents', datatype: 'BYTES', shape: [-1], optional: false },
  ],
  outputs: [
    { name: 'relevance_score', datatype: 'FP32', shape: [-1], optional: false },
    { name: 'num_input_tokens', datatype: 'UINT32', shape: [-1], optional: false },
  ],
};
