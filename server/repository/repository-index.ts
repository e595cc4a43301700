import type { ModelEntry } from './model-entry.ts';
import type { ModelState } from './model-lifecycle.ts';

/** One line of the repository index (reference section 1.7). */
export interface ModelIndexEntry {
  readonly name: string;
  readonly version?: string;
  readonly state?: ModelState;
  readonly reason?: string;
}

/** A model's lines: its versions; those that are still being written; or, without any, why. A version that serves has a reason where an update of it was refused. */
export function indexLines(entry: ModelEntry, readyOnly: boolean): ModelIndexEntry[] {
  const lines: ModelIndexEntry[] = [];
  for (const version of entry.versions.values()) {
    if (readyOnly && version.state !== 'READY') continue;
    const line = { name: entry.name, version: String(version.version), state: version.state };
    const reason = version.state === 'READY' ? entry.refusal : version.reason;
    lines.push(reason === '' ? line : { ...line, reason });
  }
  if (readyOnly) return lines;
  for (const [version, reason] of entry.loaded?.description.notWhole ?? []) {
    if (entry.versions.has(String(version))) continue;
    lines.push({ name: entry.name, version: String(version), state: 'UNAVAILABLE', reason: `waiting: ${reason}` });
  }
  if (entry.versions.size > 0) return lines;
  return [entry.reason === '' ? { name: entry.name } : { name: entry.name, state: 'UNAVAILABLE', reason: entry.reason }, ...lines];
}
