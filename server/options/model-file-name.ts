import { basename, extname } from 'node:path';

/** What `nereid serve FILE` and `nereid check FILE` take. */
export const MODEL_FILE_ENDINGS: readonly string[] = ['.onnx', '.gguf'];

export function isModelFileName(file: string): boolean {
  return MODEL_FILE_ENDINGS.includes(extname(file).toLowerCase());
}

/** Of the model that a file is by itself. */
export function modelNameOf(file: string): string {
  return basename(file, extname(file));
}
