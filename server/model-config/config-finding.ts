import { invalidArgument } from '../../proto/inference-error.ts';

/** One thing to say about a model configuration. Checks collect all of them, so an author sees every mistake at once. */
export interface ConfigFinding {
  /** error: the model cannot be loaded like this. warning: it loads, and this part has no effect. */
  readonly severity: 'error' | 'warning';
  /** Path as the file spells it: `input[0].dims[2]`. */
  readonly field: string;
  /** What was expected, what came, what to do. */
  readonly message: string;
}

/** Throws INVALID_ARGUMENT with every error among the findings, one a line after the first; returns when there is none. */
export function throwOnConfigErrors(findings: readonly ConfigFinding[], source: string): void {
  const errors = findings.filter((finding) => finding.severity === 'error');
  if (errors.length === 0) return;
  throw invalidArgument(errors.map((finding) => `${source}: ${finding.field}: ${finding.message}`).join('\n'));
}
