import type { ModelVersionPolicy } from '../../backends/api/model-config.ts';
import { invalidArgument } from '../../proto/inference-error.ts';

export interface VersionChoice {
  /** The versions to serve, ascending; at least one. */
  readonly versions: readonly number[];
  /** Directories that were passed over and versions that were asked for and are not there, a sentence each. */
  readonly warnings: readonly string[];
}

/** Directories that belong to a model and are no versions. */
const otherDirectories: ReadonlySet<string> = new Set(['configs', 'warmup', 'golden', 'initial_state']);

/**
 * The version numbers among the sub-directories of a model, ascending. A version is written in decimal digits without leading zeros, below 2^53.
 * (Triton reads the leading digits of `12abc` as 12; here such a directory is passed over, with a warning.) Hidden directories are skipped silently.
 */
export function listVersions(directoryNames: readonly string[]): VersionChoice {
  const versions: number[] = [];
  const warnings: string[] = [];
  for (const name of directoryNames) {
    if (name.startsWith('.') || otherDirectories.has(name)) continue;
    const version = parseVersionName(name);
    if (version !== null) versions.push(version);
    else warnings.push(`directory '${name}' is not a version (expected a number without leading zeros, such as 1) and is ignored`);
  }
  return { versions: versions.sort((a, b) => a - b), warnings };
}

/** The version that a directory of this name holds; null: none. */
export function parseVersionName(name: string): number | null {
  const version = /^(0|[1-9][0-9]*)$/.test(name) ? Number(name) : Number.NaN;
  return Number.isSafeInteger(version) ? version : null;
}

/**
 * Which versions a policy serves, out of the sub-directories of the model's directory; no policy is latest 1. Throws INVALID_ARGUMENT when none is left.
 * Source: Triton, version policy (reference 6.1 and 6.2).
 */
export function chooseVersions(policy: ModelVersionPolicy | null, directoryNames: readonly string[], modelName: string): VersionChoice {
  const present = listVersions(directoryNames);
  const warnings = [...present.warnings];
  let versions = present.versions;
  if (policy?.specific) {
    const wanted = new Set(policy.specific.versions);
    versions = present.versions.filter((version) => wanted.has(version));
    for (const version of [...wanted].sort((a, b) => a - b)) {
      if (!present.versions.includes(version)) warnings.push(`version ${version}, named by version_policy.specific, has no directory`);
    }
  } else if (!policy?.all) {
    // 0 is what an unset num_versions reads as.
    versions = present.versions.slice(-(policy?.latest?.numVersions || 1));
  }
  if (versions.length === 0) {
    const found = present.versions.length === 0 ? 'found none' : `found ${present.versions.join(', ')}`;
    throw invalidArgument(
      `at least one version must be available under the version policy of model '${modelName}': expected ${describePolicy(policy)}, ${found}`,
    );
  }
  return { versions, warnings };
}

function describePolicy(policy: ModelVersionPolicy | null): string {
  if (policy?.specific) return `a directory named ${policy.specific.versions.join(' or ') || '(no version is listed)'}`;
  return 'a directory with a number for a name, such as 1';
}
