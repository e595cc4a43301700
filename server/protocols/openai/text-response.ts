/** @hotpath finds the tensors of one response of a text model (measured by encode-chunk.bench.ts) */

import { LENGTH_PREFIX_BYTES, skipBytesElement } from '../../../proto/bytes.ts';
import { InferenceError } from '../../../proto/inference-error.ts';
import type { Tensor } from '../../../proto/tensor.ts';
import type { InferenceResponse } from '../../inference/inference-response.ts';

const NOTHING = new Uint8Array(0);

/** Token counts of one answer, so far; -1: the model does not tell. */
export interface TokenCounts {
  inputTokens: number;
  outputTokens: number;
  cachedTokens: number;
}

/** One response, opened: its views are borrowed as the response is. One object serves a thread. */
export class TextResponse {
  /** UTF-8, as far as the model keeps its word. */
  text: Uint8Array = NOTHING;
  /** '' until the last response. */
  finishReason = '';
  /** JSON arrays; empty: none. */
  logprobs: Uint8Array = NOTHING;
  toolCalls: Uint8Array = NOTHING;

  /** What it shows is given back: a view keeps all of its memory alive. */
  close(): void {
    this.text = NOTHING;
    this.logprobs = NOTHING;
    this.toolCalls = NOTHING;
  }

  /** Throws INTERNAL where a tensor is not as text models have them. */
  open(response: InferenceResponse, counts: TokenCounts): void {
    this.close();
    this.finishReason = '';
    const { outputs } = response;
    for (let i = 0; i < outputs.length; i++) {
      const tensor = outputs[i]!;
      switch (tensor.name) {
        case 'text_output':
          this.text = firstElement(tensor);
          break;
        case 'finish_reason':
          if (tensor.data.length > LENGTH_PREFIX_BYTES) this.finishReason = asText(firstElement(tensor));
          break;
        case 'logprobs':
          this.logprobs = firstElement(tensor);
          break;
        case 'tool_calls':
          this.toolCalls = firstElement(tensor);
          break;
        case 'num_input_tokens':
          counts.inputTokens = firstCount(tensor);
          break;
        case 'num_output_tokens':
          counts.outputTokens = firstCount(tensor);
          break;
        case 'num_cached_tokens':
          counts.cachedTokens = firstCount(tensor);
          break;
      }
    }
  }
}

export function asText(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
}

function firstElement(tensor: Tensor): Uint8Array {
  const { data, datatype } = tensor;
  if (datatype !== 'BYTES') throw wrongTensor(tensor, 'BYTES');
  if (data.length === 0) return NOTHING;
  const end = skipBytesElement(data, 0);
  if (end < 0) throw wrongTensor(tensor, 'BYTES');
  return data.subarray(LENGTH_PREFIX_BYTES, end);
}

/** Of 32 bits; models of other origin may count in 64. */
function firstCount(tensor: Tensor): number {
  const { data } = tensor;
  if (data.length < 4) throw wrongTensor(tensor, 'UINT32');
  return (data[0]! | (data[1]! << 8) | (data[2]! << 16) | (data[3]! << 24)) >>> 0;
}

function wrongTensor({ name, datatype }: Tensor, expected: string): InferenceError {
  return new InferenceError('INTERNAL', `the model's output '${name}' is ${datatype}; a text model has one element of ${expected} there`, {
    failureReason: 'BACKEND',
  });
}
