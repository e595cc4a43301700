import { existsSync } from 'node:fs';

/** Where this folder's sources and data lie. The compiled copies of its files, in `dist/bench/models`, have no data beside them. */
export const modelsFolder: URL = existsSync(new URL('./onnx.proto', import.meta.url))
  ? new URL('./', import.meta.url)
  : new URL('../../../bench/models/', import.meta.url);
