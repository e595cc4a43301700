import type { FileHandle } from 'node:fs/promises';
import { InferenceError } from '../../proto/inference-error.ts';
import type { ModelFileInspection, NamedFile } from '../api/inspect.ts';
import type { ModelConfig } from '../api/model-config.ts';
import { TruncatedGguf } from './gguf/gguf-cursor.ts';
import { readGguf } from './gguf/read-gguf.ts';
import { readLlamaOptions } from './options/llama-options.ts';

/** Reads the header of a GGUF file; a tensor's values can be anything. Weights lie in no other files. */
export async function inspectModelFile(file: FileHandle, byteLength: number): Promise<ModelFileInspection> {
  const found = { isTruncated: null, externalFiles: [], notSeen: null };
  try {
    const { kind } = await readGguf(file, byteLength);
    if (kind === 'model') return found;
    const advice = kind === 'adapter' ? ": give the model that it adapts, and this file in parameters['lora']" : '';
    return { ...found, fault: `is a GGUF file with general.type '${kind.slice(0, 32)}', expected a model${advice}` };
  } catch (error) {
    if (!(error instanceof InferenceError)) throw error;
    if (error instanceof TruncatedGguf) return { ...found, isTruncated: error.message, fault: error.message };
    return { ...found, fault: `is no GGUF file that can be served: ${error.message}` };
  }
}

/** LoRA adapters, and a chat template of its own. */
export function namedFiles(config: ModelConfig): readonly NamedFile[] {
  const { loras, chatTemplateFile } = readLlamaOptions(config);
  const found = loras.map(({ file }) => ({ field: "parameters['lora']", location: file }));
  if (chatTemplateFile !== null) found.push({ field: "parameters['chat_template']", location: chatTemplateFile });
  return found;
}
