import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/**
 * The file that a new execution host runs: `host-process.js` beside this module when the server runs from dist/; when it runs from its sources (tests do), the
 * twin under dist/, since a child process needs JavaScript.
 */
export function hostEntry(): string {
  const isBuilt = import.meta.url.endsWith('.js');
  const path = fileURLToPath(new URL(isBuilt ? './host-process.js' : '../../dist/server/execution/host-process.js', import.meta.url));
  if (!existsSync(path)) throw new Error(`${path} is missing; run 'npm run build' first`);
  return path;
}
