import { randomUUID } from 'node:crypto';
import type { ModelSignature } from '../../inference/model-signature.ts';

/** By signature, of which each load makes its own. */
const identities: WeakMap<ModelSignature, () => string> = new WeakMap();

/**
 * What a model version's responses depend on beside the request: which load of it answers. Two loads of a version have two identities, unless whoever loaded them knows that they are the same
 * and said so by {@link setLoadIdentity}.
 */
export function loadIdentity(signature: ModelSignature): string {
  let identity = identities.get(signature);
  if (identity === undefined) {
    const own: string = randomUUID();
    identity = () => own;
    identities.set(signature, identity);
  }
  return identity();
}

/** `identity` is called for each request: an ensemble's changes with the models that it calls. */
export function setLoadIdentity(signature: ModelSignature, identity: () => string): void {
  identities.set(signature, identity);
}
