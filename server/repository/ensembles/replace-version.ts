import type { Model } from '../model.ts';
import type { ModelEntry } from '../model-entry.ts';
import type { ModelVersion } from '../model-lifecycle.ts';

/** A version of an ensemble goes on as another model, or as none, because its models have changed. Returns what is not needed any more: no rollback brings it back. */
export function replaceVersion(entry: ModelEntry, version: ModelVersion, model: Model | null): Model | null {
  const replaced = version.model;
  if (model !== null) {
    version.ready(model);
    model.enterService();
  }
  const { previous } = entry;
  if (replaced !== null && previous?.models.get(version.version) === replaced) {
    if (model !== null) previous.models.set(version.version, model);
    else previous.models.delete(version.version);
  }
  return replaced;
}
