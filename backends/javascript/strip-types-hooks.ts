/** Module hooks for Node.js before 22.13: types of TypeScript files become spaces, so that lines and columns stay. Runs in the thread of hooks. */

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

interface Transformer {
  transformSync(source: string, options: { readonly mode: 'strip-only' }): { readonly code: string };
}

interface LoadResult {
  readonly format: string;
  readonly source: string;
  readonly shortCircuit: true;
}

const { transformSync } = createRequire(import.meta.url)('amaro') as Transformer;

export async function load<Result>(
  url: string,
  context: object,
  nextLoad: (url: string, context: object) => Promise<Result>,
): Promise<Result | LoadResult> {
  if (!url.startsWith('file:') || !/\.m?ts$/.test(url)) return nextLoad(url, context);
  const { code } = transformSync(await readFile(fileURLToPath(url), 'utf8'), { mode: 'strip-only' });
  return { format: 'module', source: code, shortCircuit: true };
}
