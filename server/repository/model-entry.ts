import { InferenceError } from '../../proto/inference-error.ts';
import type { Model } from './model.ts';
import { ModelVersion } from './model-lifecycle.ts';

/** A model of the repository, and what became of its versions. */
export class ModelEntry {
  readonly name: string;
  /** By version number, ascending. */
  readonly versions: Map<string, ModelVersion> = new Map();
  /** Why there is no version at all, when the configuration could not be used; '' otherwise. */
  reason = '';
  /** What a request without a version gets: the highest that is READY. Derived, kept because every request asks. */
  current: Model | null = null;
  /** Newest change among its files when it was loaded last, ms since 1970. */
  loadedChangeMs = Number.NEGATIVE_INFINITY;

  constructor(name: string) {
    this.name = name;
  }

  /** The version of that number, made where there is none, in its place among the others. */
  version(number: number): ModelVersion {
    const known = this.versions.get(String(number));
    if (known !== undefined) return known;
    const added = new ModelVersion(this.name, number);
    const all = [...this.versions.values(), added].sort((a, b) => a.version - b.version);
    this.versions.clear();
    for (const version of all) this.versions.set(String(version.version), version);
    return added;
  }

  settle(): void {
    this.current = null;
    for (const version of this.versions.values()) if (version.model !== null) this.current = version.model;
  }
}

/** Why a request without a version finds none. */
export function noneReady(entry: ModelEntry): InferenceError {
  const versions = [...entry.versions.values()];
  if (versions.some((version) => version.state === 'LOADING')) {
    return new InferenceError(
      'UNAVAILABLE',
      `Request for unknown model: '${entry.name}' is not at ready state: it is being loaded; retry shortly`,
      {
        retryAfterSeconds: 1,
      },
    );
  }
  const states = versions.map(
    (version) => `version ${version.version} is ${version.state}${version.reason === '' ? '' : ` (${version.reason})`}`,
  );
  const why = entry.reason === '' ? states.join('; ') : entry.reason;
  return new InferenceError(
    'NOT_FOUND',
    `Request for unknown model: '${entry.name}' has no available versions${why === '' ? '' : `: ${why}`}`,
  );
}
