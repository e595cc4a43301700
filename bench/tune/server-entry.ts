import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { InferenceError } from '../../proto/inference-error.ts';

/** The program that serves, as it is built: from the sources too, which this version of Node cannot run. Throws InferenceError when there is none. */
export function serverEntry(): string {
  const isBuilt = import.meta.url.endsWith('.js');
  const path = fileURLToPath(new URL(isBuilt ? '../../server/main.js' : '../../dist/server/main.js', import.meta.url));
  if (!existsSync(path)) throw new InferenceError('NOT_FOUND', `${path} is missing: npm run build makes it`);
  return path;
}
