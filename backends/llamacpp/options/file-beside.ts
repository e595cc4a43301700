import { realpath, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join, sep } from 'node:path';
import { invalidArgument } from '../../../proto/inference-error.ts';

/** The path of a file that a configuration names: in the directory of the model's file or below it, links followed. Throws INVALID_ARGUMENT. `parameter` names it in errors. */
export async function fileBeside(modelPath: string, file: string, parameter: string): Promise<string> {
  const wrong = (what: string) => invalidArgument(`parameters['${parameter}']: ${what}, got '${file.slice(0, 200)}'`);
  if (file === '' || file.includes('\0') || isAbsolute(file) || file.split(/[\\/]/).includes('..')) {
    throw wrong("expected the name of a file beside the model's, or below that directory");
  }
  const directory = dirname(modelPath);
  const path = join(directory, file);
  let found: string;
  let root: string;
  let isFile: boolean;
  try {
    [found, root] = await Promise.all([realpath(path), realpath(directory)]);
    isFile = (await stat(found)).isFile();
  } catch (error) {
    throw wrong(`expected a file that can be read (${(error as NodeJS.ErrnoException).code})`);
  }
  if (!isFile) throw wrong('expected a file');
  if (!found.startsWith(root.endsWith(sep) ? root : root + sep))
    throw wrong("expected a file that lies below the model's directory, links followed");
  return found;
}
