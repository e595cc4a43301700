import { InferenceError } from '../../../proto/inference-error.ts';
import type { ModelConfig } from '../../api/model-config.ts';
import { readLlamaOptions } from './llama-options.ts';

type Parameters = ModelConfig['parameters'];

/** `--backend-config llamacpp,NAME=VALUE`, each a parameter of every model whose configuration does not have it. */
export class BackendDefaults {
  readonly #parameters: Parameters;

  constructor(settings: Readonly<Record<string, string>>) {
    this.#parameters = Object.fromEntries(Object.entries(settings).map(([name, stringValue]) => [name, { stringValue }]));
  }

  /** The model's configuration with what it leaves out. Throws INVALID_ARGUMENT where the settings cannot be, whatever the model says. */
  complete(config: ModelConfig): ModelConfig {
    try {
      readLlamaOptions({ ...config, parameters: this.#parameters });
    } catch (error) {
      if (!(error instanceof InferenceError)) throw error;
      throw new InferenceError(error.code, `--backend-config llamacpp: ${error.message}`, { cause: error });
    }
    return { ...config, parameters: { ...this.#parameters, ...config.parameters } };
  }
}
