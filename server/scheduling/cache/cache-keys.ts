/** @hotpath one digest per request of a model with a response cache (measured by cached-scheduler.bench.ts) */

import { createHash, hash } from 'node:crypto';
import type { InferenceRequest } from '../../inference/inference-request.ts';
import type { ModelSignature } from '../../inference/model-signature.ts';
import { isWanted } from '../batch.ts';

/** Up to this much is gathered and digested in one call, which costs a third of the calls that a digest in pieces takes. */
const GATHERED_BYTES = 32 * 1024;
const scratch = Buffer.alloc(GATHERED_BYTES);

/**
 * Keys of one model version: equal for requests that the model must answer alike, SHA-256 of
 *
 *     the load                  which file and configuration answer
 *     for each input            left out, or its shape and bytes; in the model's order
 *     the outputs it wants      whatever their order; naming all is as naming none
 *     its parameters            whatever their order
 *
 * each part with its length before it, so that no two requests write the same bytes.
 */
export class CacheKeys {
  readonly #signature: ModelSignature;
  readonly #identity: () => string;
  #lastIdentity = '';
  #prefix: Buffer = Buffer.alloc(0);

  /** `identity` names what answers at the moment; it changes when another load does. */
  constructor(signature: ModelSignature, identity: () => string) {
    this.#signature = signature;
    this.#identity = identity;
  }

  get identity(): string {
    return this.#identity();
  }

  /** The request is bound and validated. */
  keyOf(request: InferenceRequest): string {
    const prefix = this.#currentPrefix();
    const head = this.#headOf(request);
    let length = prefix.length + head.length;
    for (const tensor of request.boundInputs) length += tensor === null ? 0 : tensor.data.length;
    if (length <= GATHERED_BYTES) {
      scratch.set(prefix, 0);
      scratch.set(head, prefix.length);
      let at = prefix.length + head.length;
      for (const tensor of request.boundInputs) {
        if (tensor === null) continue;
        scratch.set(tensor.data, at);
        at += tensor.data.length;
      }
      return hash('sha256', scratch.subarray(0, at), 'base64url');
    }
    const digest = createHash('sha256').update(prefix).update(head);
    for (const tensor of request.boundInputs) if (tensor !== null) digest.update(tensor.data);
    return digest.digest('base64url');
  }

  /** As {@link keyOf}, in steps of at most `stepBytes`: each `next` is one. */
  *stepsOf(request: InferenceRequest, stepBytes: number): Generator<void, string> {
    const digest = createHash('sha256').update(this.#currentPrefix()).update(this.#headOf(request));
    for (const tensor of request.boundInputs) {
      if (tensor === null) continue;
      for (let at = 0; at < tensor.data.length; at += stepBytes) {
        digest.update(tensor.data.subarray(at, at + stepBytes));
        yield;
      }
    }
    return digest.digest('base64url');
  }

  #currentPrefix(): Buffer {
    const identity = this.#identity();
    if (identity !== this.#lastIdentity) {
      const { modelName, modelVersion, inputs, outputs } = this.#signature;
      const tensors = [...inputs, ...outputs].map(({ name, datatype, dims }) => [name, datatype, dims]);
      const named = JSON.stringify([modelName, modelVersion, identity, inputs.length, tensors]);
      this.#prefix = createHash('sha256').update(named).digest();
      this.#lastIdentity = identity;
    }
    return this.#prefix;
  }

  /** All but the inputs' bytes, whose lengths are in here. */
  #headOf(request: InferenceRequest): Buffer {
    const { boundInputs, parameters } = request;
    let numbers = 2;
    for (let i = 0; i < boundInputs.length; i++) numbers += 2 + (boundInputs[i]?.shape.length ?? 0);
    const outputCount = this.#signature.outputs.length;
    const text = textOf(parameters);
    const textLength = text === '' ? 0 : Buffer.byteLength(text);
    const head = Buffer.allocUnsafe(8 * numbers + outputCount + textLength);
    let at = head.writeDoubleLE(boundInputs.length, 0);
    for (let i = 0; i < boundInputs.length; i++) {
      const tensor = boundInputs[i];
      if (tensor === null || tensor === undefined) {
        at = head.writeDoubleLE(-1, at);
        at = head.writeDoubleLE(0, at);
        continue;
      }
      at = head.writeDoubleLE(tensor.shape.length, at);
      at = head.writeDoubleLE(tensor.data.length, at);
      for (let d = 0; d < tensor.shape.length; d++) at = head.writeDoubleLE(tensor.shape[d]!, at);
    }
    for (let i = 0; i < outputCount; i++) head[at++] = isWanted(request, this.#signature.outputs[i]!.name) ? 1 : 0;
    at = head.writeDoubleLE(textLength, at);
    if (textLength > 0) head.write(text, at);
    return head;
  }
}

/** Parameters by name, each with its type: 1, true and "1" are not the same. */
function textOf(parameters: InferenceRequest['parameters']): string {
  const names = Object.keys(parameters);
  if (names.length === 0) return '';
  const entries = names.sort().map((name) => [name, typeof parameters[name], String(parameters[name])]);
  return JSON.stringify(entries);
}
