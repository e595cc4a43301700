import { describe, expect, it } from 'vitest';
import { encodeBytes } from '../../proto/bytes.ts';
import { DATATYPES, type Datatype } from '../../proto/datatype.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import type { Tensor } from '../../proto/tensor.ts';
import { InferenceRequest } from '../inference/inference-request.ts';
import type { InputSpec, ModelSignature } from '../inference/model-signature.ts';
import { validateRequest } from './validate-request.ts';

function input(name: string, datatype: Datatype, dims: number[], more: Partial<InputSpec> = {}): InputSpec {
  return { name, datatype, byteSize: DATATYPES[datatype].byteSize, dims, optional: false, reshape: null, ...more };
}

function signature(maxBatchSize: number, inputs: InputSpec[]): ModelSignature {
  const outputs = [{ name: 'OUTPUT0', datatype: 'FP32' as const, byteSize: 4, dims: [1], reshape: null, labels: null }];
  return {
    modelName: 'm',
    modelVersion: '1',
    maxBatchSize,
    inputs,
    outputs,
    inputIndex: new Map(inputs.map((spec, i) => [spec.name, i])),
    outputIndex: new Map([['OUTPUT0', 0]]),
    requiredInputs: inputs.filter((spec) => !spec.optional).length,
  };
}

function tensor(name: string, datatype: Datatype, shape: number[], bytes?: number | Uint8Array): Tensor {
  const size = shape.reduce((a, b) => a * b, DATATYPES[datatype].byteSize);
  return { name, datatype, shape, data: bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes ?? size) };
}

function request(inputs: Tensor[], outputs: string[] = []): InferenceRequest {
  return new InferenceRequest({
    modelName: 'm',
    modelVersion: '',
    id: '',
    inputs,
    outputs: outputs.map((name) => ({ name, classification: 0, binaryData: false })),
    parameters: {},
    priority: 0,
    timeoutUs: 0,
    caller: { onResponse: () => {}, onComplete: () => {}, onError: () => {} },
  });
}

const A = input('A', 'FP32', [4]);
const B = input('B', 'INT32', [-1]);
const C = input('C', 'BYTES', [2], { optional: true });
const model = signature(8, [A, B, C]);
const a = tensor('A', 'FP32', [2, 4]);
const b = tensor('B', 'INT32', [2, 3]);

describe('validateRequest', () => {
  it('binds inputs to the model order and leaves out what is optional', () => {
    const ok = request([b, a], ['OUTPUT0']);
    validateRequest(ok, model);
    expect(ok.boundInputs).toEqual([a, b, null]);
    expect([ok.batchSize, ok.inputBytes]).toEqual([2, 32 + 24]);
  });

  it('binds inputs that come in order without another array', () => {
    const two = signature(8, [A, B]);
    const ok = request([a, b]);
    validateRequest(ok, two);
    expect(ok.boundInputs).toBe(ok.inputs);
  });

  it('takes a batch of no rows and tensors of no elements', () => {
    const ok = request([tensor('A', 'FP32', [0, 4]), tensor('B', 'INT32', [0, 0])]);
    validateRequest(ok, model);
    expect([ok.batchSize, ok.inputBytes]).toEqual([0, 0]);
  });

  it('takes a scalar by its own shape and by the one element it is configured as', () => {
    const scalar = signature(0, [input('A', 'FP32', [1], { reshape: [] })]);
    for (const shape of [[], [1]]) expect(() => validateRequest(request([tensor('A', 'FP32', shape)]), scalar)).not.toThrow();
    expect(() => validateRequest(request([tensor('A', 'FP32', [1, 1])]), scalar)).toThrow(/Expected \[1\], got \[1,1\]/);
  });

  // The texts are those that Triton's tests match on (reference section 11), with what to do added.
  const words = encodeBytes(['x', 'yy', 'z', 'w']);
  const bad: [string, InferenceRequest, RegExp][] = [
    [
      'too few inputs',
      request([a]),
      /expected number of inputs between 2 and 3 but got 1 inputs for model 'm'\. Got input\(s\) \['A'\], but missing required input\(s\) \['B'\]/,
    ],
    ['no inputs', request([]), /missing required input\(s\) \['A','B'\]/],
    ['too many inputs', request([a, b, a, b]), /between 2 and 3 but got 4/],
    [
      'unknown input',
      request([a, tensor('Bb', 'INT32', [2, 3])]),
      /unexpected inference input 'Bb' for model 'm'; did you mean 'B'\?.*'A','B','C'/,
    ],
    ['duplicate input', request([a, b, a]), /input 'A' already exists in request/],
    [
      'a required one missing though the count fits',
      request([a, tensor('C', 'BYTES', [2, 2], words)]),
      /missing required input\(s\) \['B'\]/,
    ],
    ['unknown output', request([a, b], ['OUTPUT']), /unexpected inference output 'OUTPUT' for model 'm'; did you mean 'OUTPUT0'\?/],
    ['duplicate output', request([a, b], ['OUTPUT0', 'OUTPUT0']), /output 'OUTPUT0' already exists in request/],
    [
      'wrong datatype',
      request([tensor('A', 'INT32', [2, 4]), b]),
      /inference input 'A' data-type is 'INT32', but model 'm' expects 'FP32'/,
    ],
    [
      'wrong dimension',
      request([tensor('A', 'FP32', [2, 5]), b]),
      /unexpected shape for input 'A' for model 'm'\. Expected \[-1,4\], got \[2,5\]/,
    ],
    ['batch dimension missing', request([tensor('A', 'FP32', [4]), b]), /Expected \[-1,4\], got \[4\].*max_batch_size/],
    ['no shape at all', request([tensor('A', 'FP32', []), b]), /has no shape but model requires batch dimension/],
    [
      'inputs that disagree on the batch',
      request([a, tensor('B', 'INT32', [3, 3])]),
      /batch size does not match other inputs.*3 rows.*'A' has 2/,
    ],
    ['a batch too large', request([tensor('A', 'FP32', [9, 4]), tensor('B', 'INT32', [9, 3])]), /batch-size must be <= 8 for 'm', got 9/],
    [
      'bytes that are not the shape',
      request([tensor('A', 'FP32', [2, 4], 31), b]),
      /input byte size mismatch for input 'A' for model 'm'\. Expected 32, got 31/,
    ],
    [
      'too few strings',
      request([a, b, tensor('C', 'BYTES', [2, 2], encodeBytes(['x']))]),
      /expected 4 string elements for inference input 'C' for model 'm', got 1/,
    ],
    [
      'too many strings',
      request([a, b, tensor('C', 'BYTES', [2, 2], encodeBytes([...'abcde']))]),
      /unexpected number of string elements 5 .* expecting 4/,
    ],
    [
      'a cut length',
      request([a, b, tensor('C', 'BYTES', [2, 2], words.subarray(0, words.length - 3))]),
      /incomplete string length indicator.*element 3/,
    ],
    [
      'a length past the end',
      request([a, b, tensor('C', 'BYTES', [2, 2], new Uint8Array([255, 255, 255, 255]))]),
      /4294967295 bytes, 0 are left/,
    ],
    ['a product past 2^64', request([a, tensor('B', 'INT32', [2, 2 ** 53], 4)]), /byte size overflow for input 'B'/],
    ['a product that wraps to nothing', request([a, { ...b, shape: [2, 2 ** 40 + 2] }]), /byte size overflow/],
    ['a negative dimension', request([a, { ...b, shape: [2, -3] }]), /negative dimension/],
  ];
  it.each(bad)('refuses %s', (_what, wrong, message) => {
    let thrown: unknown;
    try {
      validateRequest(wrong, model);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(InferenceError);
    expect((thrown as InferenceError).code).toBe('INVALID_ARGUMENT');
    expect((thrown as InferenceError).message).toMatch(message);
  });
});
