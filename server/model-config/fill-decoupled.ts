import type { ModelConfig } from '../../backends/api/model-config.ts';
import { invalidArgument } from '../../proto/inference-error.ts';

/** Backends each of whose models answers a request with any number of responses, whatever its configuration says. */
const DECOUPLED_BACKENDS: ReadonlySet<string> = new Set(['llamacpp']);

/** Makes a model of such a backend decoupled; its backend is known. Throws INVALID_ARGUMENT where the configuration asks for what such a model cannot do. */
export function fillDecoupled(config: ModelConfig): ModelConfig {
  if (!DECOUPLED_BACKENDS.has(config.backend)) return config;
  const refuse = (field: string, message: string): never => {
    throw invalidArgument(`model '${config.name}': ${field}: ${message}`);
  };
  const { backend } = config;
  if (config.modelTransactionPolicy?.decoupled === false) {
    refuse(
      'model_transaction_policy.decoupled',
      `expected true for the backend '${backend}', whose models stream their responses, got false; remove it`,
    );
  }
  if (config.maxBatchSize > 0) {
    refuse(
      'max_batch_size',
      `expected 0 for the backend '${backend}', which joins the requests of its sequences itself, got ${config.maxBatchSize}; remove it`,
    );
  }
  if (config.sequenceBatching !== null) {
    refuse(
      'sequence_batching',
      `expected none for the backend '${backend}', whose models are decoupled; send the whole conversation each time: what was seen before is not computed again`,
    );
  }
  if (config.responseCache?.enable)
    refuse('response_cache.enable', `expected false for the backend '${backend}', whose models are decoupled`);
  if (config.batchInput.length > 0 || config.batchOutput.length > 0 || config.input.some((input) => input.allowRaggedBatch)) {
    refuse(
      config.batchOutput.length > 0 ? 'batch_output' : 'batch_input',
      `expected none, nor ragged inputs, for the backend '${backend}', whose requests are no batches`,
    );
  }
  return { ...config, modelTransactionPolicy: { decoupled: true } };
}
