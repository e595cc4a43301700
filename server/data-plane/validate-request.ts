/** @hotpath checks every request against the model's signature */

import { countBytesElements, skipBytesElements } from '../../proto/bytes.ts';
import { elementCount, MAX_TENSOR_BYTES } from '../../proto/datatype.ts';
import { type InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import { didYouMean } from '../../proto/nearest-name.ts';
import type { Tensor } from '../../proto/tensor.ts';
import type { InferenceRequest } from '../inference/inference-request.ts';
import { type InputSpec, type ModelSignature, servedShape } from '../inference/model-signature.ts';

/**
 * Holds a request to the signature of the version that will run it, and binds its inputs to the model's order. Sets `boundInputs`, `batchSize` and
 * `inputBytes`; throws INVALID_ARGUMENT naming the field, what was expected and what came.
 *
 * The order of the checks is Triton's (reference section 11): outputs, number of inputs, batch dimensions, then each input's datatype, shape and size.
 */
export function validateRequest(request: InferenceRequest, signature: ModelSignature): void {
  checkOutputs(request, signature);
  const bound = bindInputs(request, signature);
  let batchSize = 1;
  let inputBytes = 0;
  let batchOf: Tensor | null = null;
  for (let i = 0; i < bound.length; i++) {
    const tensor = bound[i]!;
    if (tensor === null) continue;
    const spec = signature.inputs[i]!;
    if (tensor.datatype !== spec.datatype) {
      throw invalidArgument(
        `inference input '${spec.name}' data-type is '${tensor.datatype}', but model '${signature.modelName}' expects '${spec.datatype}'`,
      );
    }
    checkShape(tensor, spec, signature);
    if (signature.maxBatchSize > 0) {
      const rows = tensor.shape[0]!;
      if (batchOf === null) {
        batchOf = tensor;
        batchSize = rows;
      } else if (rows !== batchSize) {
        throw invalidArgument(
          `batch size does not match other inputs: input '${spec.name}' for model '${signature.modelName}' has ${rows} rows (shape ${show(tensor.shape)}), input '${batchOf.name}' has ${batchSize}`,
        );
      }
    }
    checkSize(tensor, spec, signature);
    inputBytes += tensor.data.length;
  }
  if (signature.maxBatchSize > 0 && batchSize > signature.maxBatchSize) {
    throw invalidArgument(
      `inference request batch-size must be <= ${signature.maxBatchSize} for '${signature.modelName}', got ${batchSize}: send the rows in several requests, they are batched again here`,
    );
  }
  request.boundInputs = bound;
  request.batchSize = batchSize;
  request.inputBytes = inputBytes;
}

function checkOutputs(request: InferenceRequest, signature: ModelSignature): void {
  const { outputs } = request;
  for (let i = 0; i < outputs.length; i++) {
    const { name } = outputs[i]!;
    if (!signature.outputIndex.has(name)) {
      throw invalidArgument(
        `unexpected inference output '${name}' for model '${signature.modelName}'${didYouMean(name, signature.outputIndex.keys()) || '.'} Its outputs are: ${names(signature.outputs)}`,
      );
    }
    for (let j = 0; j < i; j++) {
      if (outputs[j]!.name === name) throw invalidArgument(`output '${name}' already exists in request: name each output once`);
    }
  }
}

function bindInputs(request: InferenceRequest, signature: ModelSignature): readonly (Tensor | null)[] {
  const { inputs } = request;
  const specs = signature.inputs;
  if (inputs.length === specs.length) {
    // The usual case, all inputs in the model's order, binds without another array.
    let inOrder = true;
    for (let i = 0; i < specs.length; i++) {
      if (inputs[i]!.name !== specs[i]!.name) {
        inOrder = false;
        break;
      }
    }
    if (inOrder) return inputs;
  }
  if (inputs.length < signature.requiredInputs || inputs.length > specs.length) throw wrongInputCount(request, signature);

  const bound: (Tensor | null)[] = specs.map(() => null);
  for (const tensor of inputs) {
    const index = signature.inputIndex.get(tensor.name);
    if (index === undefined) {
      throw invalidArgument(
        `unexpected inference input '${tensor.name}' for model '${signature.modelName}'${didYouMean(tensor.name, signature.inputIndex.keys()) || '.'} Its inputs are: ${names(specs)}`,
      );
    }
    if (bound[index] !== null) throw invalidArgument(`input '${tensor.name}' already exists in request: send each input once`);
    bound[index] = tensor;
  }
  for (let i = 0; i < specs.length; i++) {
    if (bound[i] === null && !specs[i]!.optional) throw wrongInputCount(request, signature);
  }
  return bound;
}

function wrongInputCount(request: InferenceRequest, signature: ModelSignature): InferenceError {
  const got = request.inputs.map((tensor) => tensor.name);
  const missing = signature.inputs.filter((spec) => !spec.optional && !got.includes(spec.name));
  const total = signature.inputs.length;
  const expected =
    signature.requiredInputs === total
      ? `expected ${total} inputs but got ${got.length} inputs`
      : `expected number of inputs between ${signature.requiredInputs} and ${total} but got ${got.length} inputs`;
  const lacking = missing.length === 0 ? '' : `, but missing required input(s) [${names(missing)}]`;
  return invalidArgument(
    `${expected} for model '${signature.modelName}'. Got input(s) [${got.map((name) => `'${name}'`).join(',')}]${lacking}. Please provide all required input(s): ${names(signature.inputs.filter((spec) => !spec.optional))}`,
  );
}

function checkShape(tensor: Tensor, spec: InputSpec, signature: ModelSignature): void {
  const { shape } = tensor;
  const skip = signature.maxBatchSize > 0 ? 1 : 0;
  if (skip === 1 && shape.length === 0) {
    throw invalidArgument(
      `input '${spec.name}' has no shape but model requires batch dimension for '${signature.modelName}': expected ${show(servedShape(signature, spec.dims))}`,
    );
  }
  let fits = shape.length === spec.dims.length + skip;
  // A scalar model input is configured as one element; the scalar's own shape, [], means the same.
  if (!fits && skip === 0 && shape.length === 0 && spec.reshape !== null && spec.reshape.length === 0) fits = true;
  else if (fits) {
    for (let d = 0; d < spec.dims.length; d++) {
      const dim = spec.dims[d]!;
      if (dim >= 0 && shape[d + skip] !== dim) {
        fits = false;
        break;
      }
    }
  }
  if (!fits) {
    const note =
      skip === 1
        ? `. NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be prepended to each input shape.`
        : '';
    throw invalidArgument(
      `unexpected shape for input '${spec.name}' for model '${signature.modelName}'. Expected ${show(servedShape(signature, spec.dims))}, got ${show(shape)}${note}`,
    );
  }
}

function checkSize(tensor: Tensor, spec: InputSpec, signature: ModelSignature): void {
  const count = elementCount(tensor.shape);
  if (count < 0 || count * Math.max(1, spec.byteSize) > MAX_TENSOR_BYTES) {
    throw invalidArgument(
      `byte size overflow for input '${spec.name}' for model '${signature.modelName}': shape ${show(tensor.shape)} is more than a tensor may hold, or has a negative dimension`,
    );
  }
  if (spec.byteSize > 0) {
    const expected = count * spec.byteSize;
    if (tensor.data.length !== expected) {
      throw invalidArgument(
        `input byte size mismatch for input '${spec.name}' for model '${signature.modelName}'. Expected ${expected}, got ${tensor.data.length}`,
      );
    }
    if (spec.datatype === 'BOOL') checkBooleans(tensor, spec, signature);
    return;
  }
  const end = skipBytesElements(tensor.data, 0, count);
  if (end === tensor.data.length) return;
  const got = countBytesElements(tensor.data, `inference input '${spec.name}' for model '${signature.modelName}'`);
  throw invalidArgument(
    got < count
      ? `expected ${count} string elements for inference input '${spec.name}' for model '${signature.modelName}', got ${got}`
      : `unexpected number of string elements ${got} for inference input '${spec.name}' for model '${signature.modelName}', expecting ${count}`,
  );
}

/** Native code may take any other byte of a BOOL for whatever it likes. */
function checkBooleans({ data }: Tensor, spec: InputSpec, signature: ModelSignature): void {
  for (let i = 0; i < data.length; i++) {
    if (data[i]! > 1) {
      throw invalidArgument(
        `input '${spec.name}' for model '${signature.modelName}': element ${i} is the byte ${data[i]!}, but BOOL has 0 (false) and 1 (true) only`,
      );
    }
  }
}

function show(shape: readonly number[]): string {
  return `[${shape.join(',')}]`;
}

function names(of: readonly { readonly name: string }[]): string {
  return of.map((one) => `'${one.name}'`).join(',');
}
