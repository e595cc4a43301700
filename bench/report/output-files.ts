import { accessSync, constants, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { InferenceError } from '../../proto/inference-error.ts';
import { CommandLineError } from '../../server/commands/run-command.ts';

/** A file that a flag asks for. */
export interface OutputFile {
  /** '--json'. */
  readonly flag: string;
  readonly path: string;
}

/**
 * Whether the files can be written, as far as can be told without touching them: that is asked before the minutes that a measurement takes, not behind them. Throws CommandLineError for a
 * directory that is not there or that may not be written to, a path that is a directory, and one that two flags want.
 */
export function checkOutputFiles(files: readonly OutputFile[]): void {
  const flags = new Map<string, string>();
  for (const { flag, path } of files) {
    const absolute = resolve(path);
    const other = flags.get(absolute);
    if (other !== undefined) throw new CommandLineError(`${flag}: expected a file of its own, got '${path}', which is that of ${other}`);
    flags.set(absolute, flag);
    const known = statSync(absolute, { throwIfNoEntry: false });
    if (known?.isDirectory() === true || /[/\\]$/.test(path))
      throw new CommandLineError(`${flag}: expected a file, got the directory '${path}'`);
    const directory = dirname(absolute);
    if (statSync(directory, { throwIfNoEntry: false })?.isDirectory() !== true) {
      throw new CommandLineError(
        `${flag}: expected a path in a directory that is there, got '${path}': there is no directory '${directory}'`,
      );
    }
    const written = known === undefined ? directory : absolute;
    try {
      accessSync(written, constants.W_OK);
    } catch {
      throw new CommandLineError(`${flag}: expected a path that may be written, got '${path}': no permission for '${written}'`);
    }
  }
}

/** Writes all: one that fails does not keep the others from being written. Rejects with the first failure, under its flag and path, when all have had their turn. */
export async function writeOutputFiles(files: readonly (OutputFile & { write(path: string): Promise<void> })[]): Promise<void> {
  let failure: InferenceError | null = null;
  for (const { flag, path, write } of files) {
    try {
      await write(path);
    } catch (error) {
      failure ??= new InferenceError('UNAVAILABLE', `${flag}: '${path}' could not be written: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }
  if (failure !== null) throw failure;
}

/** Those of the flags that were given. */
export function outputFiles(paths: Readonly<Record<string, string | null>>): OutputFile[] {
  return Object.entries(paths).flatMap(([flag, path]) => (path === null ? [] : [{ flag, path }]));
}
