import type { ModelConfig } from '../../backends/api/model-config.ts';

/** Backends whose models are code: each instance of such a model has a process of its own, whatever `--execution-host` says. */
const CODE_BACKENDS: ReadonlySet<string> = new Set(['javascript']);

/** To be asked of a normalised configuration. */
export function runsCode(config: ModelConfig): boolean {
  return CODE_BACKENDS.has(config.backend);
}
