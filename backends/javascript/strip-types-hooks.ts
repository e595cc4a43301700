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
  return { format: 'module', source: strip(await readFile(fileURLToPath(url), 'utf8')), shortCircuit: true };
}

/** What the transformer throws is a drawing of the place, several lines of text. */
function strip(source: string): string {
  try {
    return transformSync(source, { mode: 'strip-only' }).code;
  } catch (error) {
    if (typeof error !== 'string') throw error;
    const [, what, place] = /^\s*\S (.*)\n\s*\S+\[(\d+:\d+)\]/.exec(error) ?? [];
    throw new SyntaxError(what === undefined ? error.trim() : `${what} (${place})`);
  }
}
