import { elementCount } from '../../proto/datatype.ts';
import { invalidArgument } from '../../proto/inference-error.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import type { TargetModel, TargetTensor } from '../target/target.ts';

export type ShapeOverrides = ReadonlyMap<string, readonly number[]>;

export function hasBatchDimension(model: TargetModel): boolean {
  return model.maxBatchSize > 0;
}

/** Dimensions of one row: without the batch, where the model has one; -1: any. */
export function rowDims(model: TargetModel, tensor: TargetTensor): readonly number[] {
  return hasBatchDimension(model) ? tensor.shape.slice(1) : tensor.shape;
}

/** Throws INVALID_ARGUMENT for a batch that the model does not take. */
export function checkBatchSize(model: TargetModel, batchSize: number): void {
  if (hasBatchDimension(model)) {
    if (batchSize > model.maxBatchSize) {
      throw invalidArgument(`batch-size: model '${model.name}' takes 1 to ${model.maxBatchSize} (its max_batch_size), got ${batchSize}`);
    }
    return;
  }
  if (batchSize === 1) return;
  const example = model.inputs[0];
  const how =
    example === undefined ? '' : `: give whole shapes instead, as --shape ${example.name}:${exampleDims(example.shape, batchSize)}`;
  throw invalidArgument(
    `batch-size: expected 1, got ${batchSize}: model '${model.name}' has no batch dimension, or its server has no model configuration to tell it${how}`,
  );
}

/** Throws INVALID_ARGUMENT for shapes of inputs that are not there, and for those that the model does not take. */
export function checkShapes(model: TargetModel, shapes: ShapeOverrides): void {
  for (const [name, shape] of shapes) {
    const input = model.inputs.find((one) => one.name === name);
    if (input === undefined) throw unknownTensor('shape', name, model.inputs);
    const dims = rowDims(model, input);
    if (!fits(dims, shape)) {
      const without = hasBatchDimension(model) ? ', without the batch' : '';
      throw invalidArgument(`shape: ${name} has dimensions ${dimsText(dims)}${without} (-1: any), got ${dimsText(shape)}`);
    }
  }
}

/** The dimensions of a made row. Throws INVALID_ARGUMENT that shows the flag where they are variable. */
export function madeDims(model: TargetModel, input: TargetTensor, shapes: ShapeOverrides): readonly number[] {
  const dims = shapes.get(input.name) ?? rowDims(model, input);
  if (dims.every((dim) => dim >= 0)) return dims;
  throw invalidArgument(
    `inputs.${input.name}: its dimensions ${dimsText(dims)} are variable (-1): say which, for instance --shape ${input.name}:${exampleDims(dims, 8)}`,
  );
}

/**
 * The dimensions of a row that was read. `given`: its own; null: it says none, and one variable dimension follows from the number of elements. `what` names it in errors, which are
 * INVALID_ARGUMENT.
 */
export function readDims(dims: readonly number[], given: readonly number[] | null, count: number, what: string): readonly number[] {
  if (given !== null) {
    if (!fits(dims, given))
      throw invalidArgument(`${what}.shape: expected ${dimsText(dims)} (-1: any; without the batch), got ${dimsText(given)}`);
    checkCount(given, count, what);
    return given;
  }
  const free = dims.filter((dim) => dim < 0).length;
  if (free > 1) {
    throw invalidArgument(
      `${what}: ${free} of its dimensions ${dimsText(dims)} are variable: give it as {"content": ..., "shape": [...]}, or --shape`,
    );
  }
  const fixed = dims.reduce((product, dim) => (dim < 0 ? product : product * dim), 1);
  const open = fixed === 0 ? 0 : count / fixed;
  const whole = free === 0 ? dims : dims.map((dim) => (dim < 0 ? Math.floor(open) : dim));
  checkCount(whole, count, what);
  return whole;
}

/** `1x3x224x224`; a scalar has no dimensions. */
export function shapeText(shape: readonly number[]): string {
  return shape.length === 0 ? 'scalar' : shape.join('x');
}

export function unknownTensor(flag: string, name: string, tensors: readonly { readonly name: string }[]): Error {
  const names = tensors.map((tensor) => tensor.name);
  return invalidArgument(`${flag}: expected one of ${names.join(', ') || 'none'}, got '${name}'${didYouMean(name, names)}`);
}

export function fits(dims: readonly number[], shape: readonly number[]): boolean {
  return dims.length === shape.length && dims.every((dim, axis) => dim < 0 || dim === shape[axis]);
}

function checkCount(shape: readonly number[], count: number, what: string): void {
  const expected = elementCount(shape);
  if (expected < 0) throw invalidArgument(`${what}.shape: expected whole numbers from 0 on, got ${dimsText(shape)}`);
  if (count !== expected) throw invalidArgument(`${what}: expected ${expected} elements for ${dimsText(shape)}, got ${count}`);
}

function dimsText(dims: readonly number[]): string {
  return `[${dims.join(', ')}]`;
}

function exampleDims(dims: readonly number[], size: number): string {
  return dims.map((dim) => (dim < 0 ? size : dim)).join(',');
}
