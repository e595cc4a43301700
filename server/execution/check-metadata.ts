/**
 * Metadata that a host sent, held against what metadata can be. It steers how every later answer is read, so nothing of it is taken on trust.
 */

import type { ModelMetadata, TensorMetadata } from '../../backends/api/backend.ts';
import { findDatatype, MAX_TENSOR_BYTES } from '../../proto/datatype.ts';
import { HostFault } from './check-response.ts';

const MAX_TENSORS = 4096;
const MAX_RANK = 64;

/** Throws HostFault. */
export function checkMetadata(value: unknown): ModelMetadata {
  const { inputs, outputs, maxBatchSize } = record(value, 'metadata');
  const metadata = { inputs: tensors(inputs, 'inputs'), outputs: tensors(outputs, 'outputs') };
  if (maxBatchSize === undefined) return metadata;
  if (!isDimension(maxBatchSize) || maxBatchSize < 0) throw new HostFault('sent metadata with an impossible batch size');
  return { ...metadata, maxBatchSize };
}

function tensors(value: unknown, what: string): TensorMetadata[] {
  if (!Array.isArray(value) || value.length > MAX_TENSORS)
    throw new HostFault(`sent metadata whose ${what} are not a list of at most ${MAX_TENSORS}`);
  const names = new Set<string>();
  return value.map((entry: unknown) => {
    const { name, datatype, shape, optional } = record(entry, what);
    if (typeof name !== 'string' || names.has(name)) throw new HostFault(`sent metadata whose ${what} have a missing or doubled name`);
    names.add(name);
    const info = typeof datatype === 'string' ? findDatatype(datatype) : undefined;
    if (info === undefined) throw new HostFault(`sent metadata with an unknown datatype for '${name}'`);
    if (!Array.isArray(shape) || shape.length > MAX_RANK || !shape.every(isDimension)) {
      throw new HostFault(`sent metadata with an impossible shape for '${name}'`);
    }
    return { name, datatype: info.name, shape, optional: optional === true };
  });
}

function isDimension(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= -1 && (value as number) <= MAX_TENSOR_BYTES;
}

function record(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null) throw new HostFault(`sent ${what} that are not an object`);
  return value as Record<string, unknown>;
}
