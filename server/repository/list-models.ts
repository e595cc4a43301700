import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isTemporaryName } from './model-tree.ts';

/** The names of the directories in a repository, links to one included. Hidden and temporary names are left out, as are plain files. */
export async function listRepository(directory: string): Promise<Set<string>> {
  const names = new Set<string>();
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    if (isTemporaryName(entry.name)) continue;
    if (entry.isDirectory() || (entry.isSymbolicLink() && (await leadsToDirectory(join(directory, entry.name))))) names.add(entry.name);
  }
  return names;
}

/** The repositories that have a directory of each name, in the order of `directories`; in order of name. Rejects with the file system's error when one cannot be listed. */
export async function listModels(directories: readonly string[]): Promise<Map<string, string[]>> {
  const homes = new Map<string, string[]>();
  for (const directory of directories) {
    for (const name of await listRepository(directory)) {
      const known = homes.get(name);
      if (known === undefined) homes.set(name, [directory]);
      else known.push(directory);
    }
  }
  return new Map([...homes].sort(([a], [b]) => (a < b ? -1 : 1)));
}

async function leadsToDirectory(path: string): Promise<boolean> {
  // A link that leads nowhere is no model.
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}
