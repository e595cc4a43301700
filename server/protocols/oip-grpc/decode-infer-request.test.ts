import fc from 'fast-check';
import protobuf from 'protobufjs/light.js';
import { describe, expect, it } from 'vitest';
import { byteSizeOf, DATATYPES, type Datatype } from '../../../proto/datatype.ts';
import { descriptor } from '../../../proto/gen/descriptor.ts';
import { InferenceError } from '../../../proto/inference-error.ts';
import type { InferenceRequest } from '../../inference/inference-request.ts';
import type { InferTarget } from '../oip-json/decode-request.ts';
import { InferRequestMessage } from './decode-infer-request.ts';

const requestType = protobuf.Root.fromJSON(descriptor).resolveAll().lookupType('inference.ModelInferRequest');
const caller = { onResponse: () => undefined, onComplete: () => undefined, onError: () => undefined };
const target: InferTarget = {
  modelName: 'm',
  modelVersion: '3',
  maxBatchSize: 0,
  inputs: [
    { name: 'INPUT0', datatype: 'INT32', dims: [-1] },
    { name: 'INPUT1', datatype: 'FP32', dims: [-1] },
  ],
  outputs: [{ name: 'OUTPUT0' }],
};

/** The message as protobufjs makes it of plain objects (64-bit numbers as decimal text). */
function encode(request: object): Buffer {
  return Buffer.from(requestType.encode(requestType.fromObject(request)).finish());
}

function open(bytes: Uint8Array): InferRequestMessage {
  const message = new InferRequestMessage(bytes);
  message.open();
  return message;
}

function decode(request: object): InferenceRequest {
  return open(encode(request)).decode(target, caller);
}

function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof InferenceError) return `${error.code}: ${error.message}`;
    throw error;
  }
  throw new Error('was not refused');
}

describe('raw_input_contents', () => {
  it('are views of the message, in the order of the inputs', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ datatype: fc.constantFrom(...(Object.keys(DATATYPES) as Datatype[])), count: fc.nat(30) }), { maxLength: 6 }),
        fc.string({ maxLength: 20 }),
        (tensors, id) => {
          const raw = tensors.map(({ datatype, count }, i) => new Uint8Array(count * Math.max(1, byteSizeOf(datatype))).fill(i + 1));
          const request = decode({
            modelName: 'm',
            id,
            inputs: tensors.map(({ datatype, count }, i) => ({ name: `X${i}`, datatype, shape: [1, count] })),
            rawInputContents: raw,
          });
          expect(request.id).toBe(id);
          expect(request.inputs.map((tensor) => ({ ...tensor, data: [...tensor.data] }))).toEqual(
            tensors.map(({ datatype, count }, i) => ({ name: `X${i}`, datatype, shape: [1, count], data: [...raw[i]!] })),
          );
          expect(request.modelVersion).toBe('3');
        },
      ),
    );
  });

  const A = { name: 'INPUT0', datatype: 'INT32', shape: [1] };
  const four = new Uint8Array(4);
  it.each<[string, object, RegExp]>([
    [
      'contents beside them',
      { inputs: [{ ...A, contents: { intContents: [1] } }], rawInputContents: [four] },
      /contents field must not be specified when using raw_input_contents/,
    ],
    [
      'even empty contents beside them',
      { inputs: [A, { ...A, contents: {} }], rawInputContents: [four, four] },
      /inputs\[1\] \(INPUT0\) for model 'm' has contents/,
    ],
    [
      'one too few',
      { inputs: [A, A], rawInputContents: [four] },
      /unable to find data for input tensor 'INPUT0' .* has 1 entries, one too few/,
    ],
    ['none', { inputs: [A] }, /unable to find data for input tensor 'INPUT0' .* raw_input_contents is empty/],
    [
      'one too many',
      { inputs: [A], rawInputContents: [four, four] },
      /unexpected additional input data .* has 2 entries, the inputs take 1/,
    ],
  ])('refuses %s', (_what, request, text) => {
    expect(refusal(() => decode(request))).toMatch(text);
  });
});

describe('the request', () => {
  const A = { name: 'INPUT0', datatype: 'INT32', shape: [1] };
  const four = new Uint8Array(4);
  const whole = { modelName: 'm', modelVersion: '3', inputs: [A], rawInputContents: [four] };

  it('is known by its model before it is decoded', () => {
    const message = open(encode({ ...whole, id: 'x1' }));
    expect([message.modelName, message.modelVersion, message.id]).toEqual(['m', '3', 'x1']);
  });

  it('takes the last of what comes twice', () => {
    const twice = Buffer.concat([encode({ ...whole, id: 'first', modelName: 'other' }), encode({ id: 'second', modelName: 'm' })]);
    const message = open(twice);
    expect([message.modelName, message.id]).toEqual(['m', 'second']);
    expect(message.decode(target, caller).inputs).toHaveLength(1);
  });

  it('has outputs, which may be classified', () => {
    const { outputs } = decode({
      ...whole,
      outputs: [{ name: 'OUTPUT0', parameters: { classification: { int64Param: '3' }, other: { stringParam: 'x' } } }, { name: 'Y' }],
    });
    expect(outputs).toEqual([
      { name: 'OUTPUT0', classification: 3, binaryData: true },
      { name: 'Y', classification: 0, binaryData: true },
    ]);
  });

  it('has parameters: reserved words by themselves, all others for the model', () => {
    const message = open(
      encode({
        ...whole,
        parameters: {
          priority: { uint64Param: '2' },
          timeout: { int64Param: '1000' },
          sequence_id: { stringParam: '' },
          sequence_start: { boolParam: false },
          triton_enable_empty_final_response: { boolParam: true },
          binary_data_output: { boolParam: true },
          text: { stringParam: 'é' },
          count: { int64Param: '-5' },
          share: { doubleParam: 0.5 },
          __proto__x: { boolParam: false },
        },
      }),
    );
    expect(message.parameters.wantsEmptyFinalResponse).toBe(true);
    const request = message.decode(target, caller);
    expect([request.priority, request.timeoutUs]).toEqual([2, 1000]);
    expect({ ...request.parameters }).toEqual({ binary_data_output: true, text: 'é', count: -5, share: 0.5, __proto__x: false });
  });

  it.each<[string, object, bigint | string | null]>([
    ['a number', { int64Param: '7' }, 7n],
    ['a number past 2^53', { int64Param: '9007199254740993' }, 9007199254740993n],
    ['the largest number', { uint64Param: '18446744073709551615' }, 2n ** 64n - 1n],
    ['the bits of the largest number', { int64Param: '-1' }, 2n ** 64n - 1n],
    ['a text', { stringParam: 'é'.repeat(64) }, 'é'.repeat(64)],
    ['the text of a number', { stringParam: '7' }, '7'],
    ['0', { int64Param: '0' }, null],
    ['no text', { stringParam: '' }, null],
  ])('is of the sequence by %s', (_what, value, id) => {
    const flags = { sequence_start: { boolParam: true }, sequence_end: { boolParam: false } };
    expect(decode({ ...whole, parameters: { sequence_id: value, ...flags } }).sequence).toEqual(
      id === null ? null : { id, isStart: true, isEnd: false },
    );
    expect(decode({ ...whole, parameters: { ...flags } }).sequence).toBeNull();
  });

  const parameters = (value: object): object => ({ ...whole, parameters: value });
  const inInput = (value: object): object => ({ ...whole, inputs: [{ ...A, parameters: value }] });
  const inOutput = (value: object): object => ({ ...whole, outputs: [{ name: 'OUTPUT0', parameters: value }] });
  it.each<[string, object, RegExp]>([
    [
      'a sequence id that is no id',
      parameters({ sequence_id: { doubleParam: 7 } }),
      /^INVALID_ARGUMENT: .*parameters.sequence_id: expected an int64_param or a uint64_param from 0 to 2\^64 - 1, or a string_param of at most 128 bytes, got the double_param 7/,
    ],
    [
      'a sequence id that is too long',
      parameters({ sequence_id: { stringParam: 'é'.repeat(65) } }),
      /^INVALID_ARGUMENT: .*parameters.sequence_id: expected at most 128 bytes, got 130/,
    ],
    [
      'a sequence end of another type',
      parameters({ sequence_end: { int64Param: '1' } }),
      /^INVALID_ARGUMENT: .*sequence_end: expected a bool_param, got the int64_param 1/,
    ],
    ['a priority below 0', parameters({ priority: { int64Param: '-1' } }), /priority: expected an int64_param or a uint64_param from 0/],
    ['a timeout as text', parameters({ timeout: { stringParam: '5' } }), /timeout: expected .* got the string_param "5"/],
    ['a timeout past 2^53', parameters({ timeout: { int64Param: '9007199254740993' } }), /timeout: expected .* beyond 2\^53/],
    ['a reserved name', parameters({ triton_x: { boolParam: true } }), /reserved for Triton usage: parameters.triton_x/],
    [
      'the empty final response as a number',
      parameters({ triton_enable_empty_final_response: { int64Param: '1' } }),
      /expected a bool_param/,
    ],
    [
      'a uint64 for the model',
      parameters({ mine: { uint64Param: '1' } }),
      /parameters.mine: expected a bool_param, an int64_param, a string_param or a double_param, got the uint64_param 1/,
    ],
    ['an int64 past 2^53 for the model', parameters({ mine: { int64Param: '-9007199254740993' } }), /within 2\^53/],
    ['a double that is no number', parameters({ mine: { doubleParam: Number.NaN } }), /double_param that is a number/],
    ['a parameter without a value', parameters({ mine: {} }), /got no value/],
    [
      'a shared memory input',
      inInput({ shared_memory_region: { stringParam: 'r' } }),
      /^UNIMPLEMENTED: inputs\[0\] \(INPUT0\).parameters.shared_memory_region: this server takes no shared memory/,
    ],
    ['a shared memory output', inOutput({ shared_memory_byte_size: { int64Param: '4' } }), /^UNIMPLEMENTED: outputs\[0\] \(OUTPUT0\)/],
    ['no class', inOutput({ classification: { int64Param: '0' } }), /classification: expected a number of classes above 0/],
    ['less than no class', inOutput({ classification: { int64Param: '-1' } }), /classification: expected/],
    ['an unnamed input', { ...whole, inputs: [{ ...A, name: '' }] }, /inputs\[0\].name: expected a name, got none/],
    ['an unnamed output', { ...whole, outputs: [{}] }, /outputs\[0\].name: expected a name/],
    ['no datatype', { ...whole, inputs: [{ name: 'INPUT0', shape: [1] }] }, /has no 'datatype'/],
    [
      'an unknown datatype',
      { ...whole, inputs: [{ ...A, datatype: 'FP23' }] },
      /datatype: expected one of BOOL, .* got "FP23"; did you mean 'FP32'\?/,
    ],
    [
      'a negative dimension',
      { ...whole, inputs: [{ ...A, shape: ['-1'] }] },
      /shape\[0\]: expected an integer from 0 to 2\^53 - 1, got -1. All input dimensions should be specified for input 'INPUT0'/,
    ],
    ['a dimension past 2^53', { ...whole, inputs: [{ ...A, shape: [1, '9007199254740993'] }] }, /shape\[1\]: .* got 9007199254740993/],
    ['a rank of 65', { ...whole, inputs: [{ ...A, shape: new Array(65).fill(1) }] }, /at most 64 dimensions/],
    ['4,097 inputs', { inputs: new Array(4097).fill(A) }, /inputs: expected at most 4096 tensors/],
    [
      '1,025 parameters',
      parameters(Object.fromEntries(Array.from({ length: 1025 }, (_, i) => [`p${i}`, { boolParam: true }]))),
      /at most 1024 entries/,
    ],
    ['a name of 1,025 bytes', { modelName: 'x'.repeat(1025) }, /ModelInferRequest.model_name: expected at most 1024 bytes, got 1025/],
  ])('refuses %s', (_what, request, text) => {
    expect(refusal(() => decode(request))).toMatch(text);
  });

  it('names the field that is of another wire type, cut or no text', () => {
    const bytes =
      (...values: number[]): (() => unknown) =>
      () =>
        open(Uint8Array.from(values)).decode(target, caller);
    expect(refusal(bytes(0x08, 1))).toMatch(/ModelInferRequest.model_name: expected wire type length-delimited, got varint/);
    expect(refusal(bytes(0x3a, 9))).toMatch(/ModelInferRequest.raw_input_contents: a length of 9 bytes, of which the message has 0/);
    expect(refusal(bytes(0x1a, 1, 0xff))).toMatch(/ModelInferRequest.id: invalid UTF-8/);
    expect(refusal(bytes(0x2a, 2, 0x18, 0x80))).toMatch(/ModelInferRequest.inputs.shape: a varint that the end/);
    expect(refusal(bytes(0x2a, 5, 0x2d, 1, 2, 3, 4))).toMatch(
      /ModelInferRequest.inputs.contents: expected wire type length-delimited, got 32-bit/,
    );
    expect(refusal(bytes(0x22, 5, 0x12, 3, 0x0a, 1, 1))).toMatch(/InferParameter.bool_param: expected wire type varint/);
    expect(refusal(bytes(0x0b))).toMatch(/start of a group/);
  });
});

describe('damaged messages', () => {
  const good = encode({
    modelName: 'm',
    id: 'é1',
    parameters: { a: { stringParam: 'x' }, priority: { int64Param: '1' } },
    inputs: [
      { name: 'INPUT0', datatype: 'INT16', shape: [2], contents: { intContents: [-1, 2] } },
      { name: 'INPUT1', datatype: 'BYTES', shape: [2], contents: { bytesContents: [[1, 2], []] } },
    ],
    outputs: [{ name: 'OUTPUT0', parameters: { classification: { int64Param: '1' } } }],
  });

  function decodeOrRefuse(bytes: Uint8Array): void {
    try {
      open(bytes).decode(target, caller);
    } catch (error) {
      expect(error).toBeInstanceOf(InferenceError);
      expect(['INVALID_ARGUMENT', 'UNIMPLEMENTED']).toContain((error as InferenceError).code);
    }
  }

  it('cut anywhere, are decoded or refused', () => {
    for (let length = 0; length < good.length; length++) decodeOrRefuse(good.subarray(0, length));
  });

  it('with bytes changed, put in or taken out, are decoded or refused', () => {
    const edit = fc.record({ at: fc.nat(good.length - 1), take: fc.nat(3), put: fc.uint8Array({ maxLength: 3 }) });
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
        let bytes: Buffer = good;
        for (const { at, take, put } of edits) bytes = Buffer.concat([bytes.subarray(0, at), put, bytes.subarray(at + take)]);
        decodeOrRefuse(bytes);
      }),
      { numRuns: 5000 },
    );
  });

  it('of any bytes, are decoded or refused', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), decodeOrRefuse), { numRuns: 2000 });
  });
});
