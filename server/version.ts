import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The package's version, from the nearest package.json above this file: the sources and dist/ lie at different depths. */
export function readVersion(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    const path = join(folder, 'package.json');
    if (existsSync(path)) {
      const described: unknown = JSON.parse(readFileSync(path, 'utf8'));
      const version: unknown = typeof described === 'object' && described !== null ? Reflect.get(described, 'version') : undefined;
      if (typeof version === 'string') return version;
    }
    if (folder === dirname(folder)) return 'unknown';
  }
}
