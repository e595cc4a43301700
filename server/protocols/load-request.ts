import { InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import { MAX_CONFIG_BYTES } from '../model-config/parse-model-config.ts';
import type { LoadParameters, OverrideFile } from '../repository/load-parameters.ts';
import { MAX_OVERRIDE_FILES, parameterName } from '../repository/override/override-path.ts';

export const CONFIG = 'config';
export const FILE_PREFIX = 'file:';

/** Gathers the parameters of one load request, whichever protocol brings them (reference section 6.6). All refusals are INVALID_ARGUMENT and name the parameter. */
export class LoadRequest {
  #config: string | null = null;
  readonly #files = new Map<string, OverrideFile>();

  setConfig(config: string): void {
    if (this.#config !== null) throw repeated(CONFIG);
    this.#config = config;
  }

  addFile(path: string, file: OverrideFile): void {
    if (this.#files.has(path)) throw repeated(`${FILE_PREFIX}${path}`);
    if (this.#files.size === MAX_OVERRIDE_FILES) throw invalidArgument(`parameters: expected at most ${MAX_OVERRIDE_FILES} files`);
    this.#files.set(path, file);
  }

  /** null: what is on disk is to be loaded. */
  finish(): LoadParameters | null {
    if (this.#files.size > 0 && this.#config === null) {
      const [path] = this.#files.keys();
      throw invalidArgument(
        `${parameterName(path!)}: files take the place of the model's directory, configuration included: send the configuration in parameters.config as well`,
      );
    }
    return this.#config === null ? null : { config: this.#config, files: this.#files };
  }
}

export function unknownLoadParameter(key: string): InferenceError {
  const hint = /^file[^:]/i.test(key) ? `; did you mean '${FILE_PREFIX}<path>'?` : didYouMean(key, [CONFIG]);
  return invalidArgument(
    `unrecognized load parameter ${shown(key)}: expected '${CONFIG}', or '${FILE_PREFIX}' and a path below the model's directory${hint}`,
  );
}

export function unknownUnloadParameter(key: string): InferenceError {
  return invalidArgument(
    `unrecognized unload parameter ${shown(key)}: expected '${UNLOAD_DEPENDENTS}'${didYouMean(key, [UNLOAD_DEPENDENTS])}`,
  );
}

/** As in Triton, where it is for namespaces; passing over it could load another model than was meant. */
export function noRepositoryName(name: string): InferenceError {
  return new InferenceError(
    'UNIMPLEMENTED',
    `repository_name ${shown(name)} is not supported: no two repositories serve a model of the same name, so the model's name says which is meant; leave it out`,
  );
}

export const UNLOAD_DEPENDENTS = 'unload_dependents';

export function configTooLarge(bytes: number): InferenceError {
  return invalidArgument(`parameters.${CONFIG}: expected at most ${MAX_CONFIG_BYTES} bytes, got ${bytes}`);
}

function repeated(key: string): InferenceError {
  return invalidArgument(`parameters: expected each parameter once, got ${shown(key)} twice`);
}

function shown(key: string): string {
  return JSON.stringify(key.length > 80 ? `${key.slice(0, 80)}...` : key);
}
