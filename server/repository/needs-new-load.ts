import { isDeepStrictEqual } from 'node:util';
import type { ModelConfig } from '../../backends/api/model-config.ts';
import type { LoadedState } from './model-entry.ts';

/**
 * Whether a version that serves has to be loaded anew to be what `after` describes. It has not while its own files, the labels and warm-up files, and everything in the
 * configuration that concerns one version are the same; instances are added or removed in place (reference section 6.7).
 */
export function needsNewLoad(before: LoadedState, after: LoadedState, version: number): boolean {
  return (
    before.description.source.path !== after.description.source.path ||
    before.tree.versions.get(version) !== after.tree.versions.get(version) ||
    before.tree.common !== after.tree.common ||
    !isDeepStrictEqual(ofOneVersion(before.description.config), ofOneVersion(after.description.config))
  );
}

/** Not only as many: which of them are passive, and what each claims, as well. */
export function hasSameInstances(before: ModelConfig, after: ModelConfig): boolean {
  return isDeepStrictEqual(before.instanceGroup, after.instanceGroup);
}

function ofOneVersion(config: ModelConfig): ModelConfig {
  return { ...config, instanceGroup: [], versionPolicy: null, versionLabels: {} };
}
