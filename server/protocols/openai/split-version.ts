import type { ModelRepository } from '../../repository/model-repository.ts';

/** The model that a client names: `name`, or `name@version` (a number or a label) where there is no model of the whole name. */
export function splitVersion(model: string, repository: Pick<ModelRepository, 'find' | 'isOnDisk'>): { name: string; version: string } {
  const at = model.lastIndexOf('@');
  if (at <= 0 || at === model.length - 1 || repository.find(model, '') !== null || repository.isOnDisk(model)) {
    return { name: model, version: '' };
  }
  return { name: model.slice(0, at), version: model.slice(at + 1) };
}
