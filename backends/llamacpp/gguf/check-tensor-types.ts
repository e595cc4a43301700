import { invalidArgument } from '../../../proto/inference-error.ts';
import { ATTENTION_ARCHITECTURES } from './attention-architectures.ts';
import { shownKey } from './gguf-metadata.ts';
import type { GgufTensorEntry } from './gguf-tensors.ts';

const NOT_MULTIPLIED: ReadonlySet<string> = new Set(['I8', 'I16', 'I32', 'I64', 'F64', 'Q8_1', 'Q8_K']);

/** Types that llama.cpp loads, and ends the process over when it first computes. Throws INVALID_ARGUMENT. */
export function checkTensorTypes(tensors: ReadonlyMap<string, GgufTensorEntry>, architecture: string): void {
  if (!ATTENTION_ARCHITECTURES.has(architecture)) return;
  for (const [name, { dimensions, type }] of tensors) {
    if (!name.endsWith('.weight')) continue;
    const field = `tensor '${shownKey(name)}'`;
    if (NOT_MULTIPLIED.has(type)) throw invalidArgument(`${field}: expected a type of weights, such as F16 or Q8_0, got ${type}`);
    if (dimensions === 1 && name.endsWith('_norm.weight') && type !== 'F32')
      throw invalidArgument(`${field}: expected F32, as every norm has, got ${type}`);
  }
}
