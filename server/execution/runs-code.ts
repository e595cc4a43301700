import type { ModelConfig } from '../../backends/api/model-config.ts';

/** Backends whose models are code, which runs with the rights of the server. */
const CODE_BACKENDS: ReadonlySet<string> = new Set(['javascript']);

/** Backends whose native code ends its process where a model is bad enough, or whose models take it whole. */
const LONE_BACKENDS: ReadonlySet<string> = new Set(['llamacpp']);

/** To be asked of a normalised configuration. */
export function runsCode(config: ModelConfig): boolean {
  return CODE_BACKENDS.has(config.backend);
}

/** Each instance of such a model has a process of its own, whatever `--execution-host` says, and is given requests one by one. */
export function hasOwnProcess(config: ModelConfig): boolean {
  return CODE_BACKENDS.has(config.backend) || LONE_BACKENDS.has(config.backend);
}
