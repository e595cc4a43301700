import { constants } from 'node:fs';
import { type FileHandle, open, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { invalidArgument } from '../../../proto/inference-error.ts';
import { describeEntry } from '../files/describe-entry.ts';
import { isInside } from '../files/resolve-links.ts';
import { readFailure } from '../model-directory.ts';
import type { ModelSource } from '../model-source.ts';

/** Reads the files that a configuration names below the model's directory. */
export class ModelFileReader {
  readonly #source: ModelSource;
  readonly #allowOutsideLinks: boolean;

  /** `allowOutsideLinks`: links may lead out of the repository. */
  constructor(source: ModelSource, allowOutsideLinks: boolean) {
    this.#source = source;
    this.#allowOutsideLinks = allowOutsideLinks;
  }

  /**
   * The whole of `<model>/<folder>/<file>`. Throws INVALID_ARGUMENT: not there, not a file, outside, or more than `maxBytes`. What the load has
   * checked of the file before may not be so any more, so it is looked at again.
   */
  async read(folder: 'warmup' | 'golden' | 'initial_state', file: string, maxBytes: number): Promise<Buffer> {
    const shown = `${folder}/${file}`;
    if (this.#source.kind === 'file') {
      throw invalidArgument(`'${shown}': a model that is a single file has no directory for it; put the model into a repository`);
    }
    let handle: FileHandle;
    try {
      const real = await realpath(join(this.#source.path, folder, file));
      if (!this.#allowOutsideLinks && !isInside(real, await realpath(this.#source.root))) {
        throw invalidArgument(`'${shown}' is a link that leads out of the repository; put a copy of the file there`);
      }
      // A pipe would keep whoever opens it waiting. Windows has neither flag.
      handle = await open(real, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOFOLLOW ?? 0));
    } catch (error) {
      throw readFailure(error, this.#source.path);
    }
    try {
      const found = await handle.stat();
      if (!found.isFile()) throw invalidArgument(`'${shown}': expected a file, found ${describeEntry(found)}`);
      if (found.size > maxBytes) throw invalidArgument(`'${shown}' has ${found.size} bytes, expected at most ${maxBytes}`);
      const bytes = Buffer.allocUnsafeSlow(found.size);
      for (let at = 0; at < bytes.length; ) {
        const { bytesRead } = await handle.read(bytes, at, bytes.length - at, at);
        if (bytesRead === 0) throw invalidArgument(`'${shown}' became shorter while it was read; load the model again`);
        at += bytesRead;
      }
      return bytes;
    } finally {
      await handle.close();
    }
  }
}
