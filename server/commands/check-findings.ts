import { InferenceError } from '../../proto/inference-error.ts';
import { isSystemError } from './run-command.ts';

/** error: the model does not load like this, or answers wrongly. warning: it serves, and something is probably not what its author meant. */
export type CheckSeverity = 'error' | 'warning';

export interface CheckFinding {
  readonly severity: CheckSeverity;
  /** Below the repository; the model's directory when it is about no file. */
  readonly file: string;
  /** Of the configuration, as it spells it; '' when it is about none. */
  readonly field: string;
  /** From 1; null where none can be told. */
  readonly line: number | null;
  /** What is wrong, and what to do. */
  readonly message: string;
}

/** What is found in one model, each thing once. */
export class CheckFindings {
  readonly all: CheckFinding[] = [];

  add(severity: CheckSeverity, file: string, message: string, field = '', line: number | null = null): void {
    // A mistake has consequences; the first to be found is nearest to it.
    if (field === '' || !this.hasErrorAt(field)) this.addAnyway(severity, file, message, field, line);
  }

  /** Also where there is an error already: another version may have another. */
  addAnyway(severity: CheckSeverity, file: string, message: string, field: string, line: number | null): void {
    this.all.push({ severity, file, field, line, message });
  }

  /** Takes an error that a check threw; a fault in this program is thrown on. */
  addThrown(error: unknown, file: string, field = '', line: number | null = null): void {
    if (!(error instanceof InferenceError) && !isSystemError(error)) throw error;
    for (const message of error.message.split('\n')) this.add('error', file, message, field, line);
  }

  hasErrorAt(field: string): boolean {
    return this.all.some((finding) => finding.severity === 'error' && finding.field === field);
  }

  /** At the field, or at one inside it. */
  hasErrorBelow(field: string): boolean {
    return this.all.some(
      ({ severity, field: one }) => severity === 'error' && one.startsWith(field) && '.['.includes(one.charAt(field.length)),
    );
  }

  count(severity: CheckSeverity): number {
    return this.all.filter((finding) => finding.severity === severity).length;
  }
}
