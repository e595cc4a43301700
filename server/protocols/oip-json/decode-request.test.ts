import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeBytes, encodeBytes } from '../../../proto/bytes.ts';
import { InferenceError, type StatusCode } from '../../../proto/inference-error.ts';
import { STATUS_FORMS } from '../../../proto/status-forms.ts';
import type { InferenceCaller, InferenceRequest } from '../../inference/inference-request.ts';
import { decodeInferRequest, type InferTarget } from './decode-request.ts';

const caller: InferenceCaller = {
  onResponse: () => undefined,
  onComplete: () => undefined,
  onError: () => undefined,
};

const target: InferTarget = {
  modelName: 'm',
  modelVersion: '2',
  maxBatchSize: 0,
  inputs: [
    { name: 'A', datatype: 'INT32', dims: [-1] },
    { name: 'B', datatype: 'FP32', dims: [-1] },
  ],
  outputs: [{ name: 'Y' }, { name: 'Z' }],
};

function decode(body: unknown, header = '', to: InferTarget = target): InferenceRequest {
  const bytes = body instanceof Uint8Array ? body : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
  return decodeInferRequest(bytes, header, to, caller);
}

function refusal(body: unknown, header = '', to: InferTarget = target, code: StatusCode = 'INVALID_ARGUMENT'): string {
  try {
    decode(body, header, to);
  } catch (error) {
    expect(error).toBeInstanceOf(InferenceError);
    expect((error as InferenceError).code).toBe(code);
    if (code === 'INVALID_ARGUMENT') expect(STATUS_FORMS[code].http).toBe(400);
    return (error as InferenceError).message;
  }
  throw new Error('not refused');
}

/** JSON followed by bytes, and the header that divides them. */
function withTail(json: unknown, ...tail: Uint8Array[]): [Buffer, string] {
  const text = Buffer.from(typeof json === 'string' ? json : JSON.stringify(json));
  return [Buffer.concat([text, ...tail]), String(text.length)];
}

const input = { name: 'A', datatype: 'INT32', shape: [2], data: [1, 2] };
const ints = (data: Uint8Array): number[] => [...new Int32Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.length))];

describe('JSON requests', () => {
  test('everything that a request may say', () => {
    const request = decode({
      id: 'r\u00e9q-1',
      parameters: {
        priority: 2,
        timeout: 5000,
        temperature: 0.5,
        n: -3,
        s: 'x',
        t: true,
        sequence_id: 0,
        sequence_start: false,
        __proto__x: 1,
      },
      inputs: [
        { name: 'A', shape: [2], datatype: 'INT32', data: [1, -2], parameters: { unknown: [1, { a: 2 }] } },
        { data: [['p', 'q']], datatype: 'BYTES', name: 'C\u00e9', shape: [1, 2] },
      ],
      outputs: [{ name: 'Y' }, { name: 'Z', parameters: { binary_data: true, classification: 3 } }],
      'not known': { a: [1, 2, { b: null }] },
    });
    expect(request.id).toBe('r\u00e9q-1');
    expect(request.modelName).toBe('m');
    expect(request.modelVersion).toBe('2');
    expect(request.priority).toBe(2);
    expect(request.timeoutUs).toBe(5000);
    expect({ ...request.parameters }).toEqual({ temperature: 0.5, n: -3, s: 'x', t: true, __proto__x: 1 });
    expect(request.inputs.map(({ name, datatype, shape }) => [name, datatype, shape])).toEqual([
      ['A', 'INT32', [2]],
      ['C\u00e9', 'BYTES', [1, 2]],
    ]);
    expect(ints(request.inputs[0]!.data)).toEqual([1, -2]);
    expect(decodeBytes(request.inputs[1]!.data, 'C').map((element) => Buffer.from(element).toString())).toEqual(['p', 'q']);
    expect(request.outputs).toEqual([
      { name: 'Y', classification: 0, binaryData: false },
      { name: 'Z', classification: 3, binaryData: true },
    ]);
    expect(request.caller).toBe(caller);
  });

  test('the keys may come in any order, with any spacing', () => {
    const keys = Object.entries(input);
    fc.assert(
      fc.property(fc.shuffledSubarray(keys, { minLength: 4 }), fc.constantFrom(0, 1, 2, '\t'), (shuffled, indent) => {
        const request = decode(JSON.stringify({ inputs: [Object.fromEntries(shuffled)] }, null, indent));
        expect(request.inputs[0]).toMatchObject({ name: 'A', datatype: 'INT32', shape: [2] });
        expect(ints(request.inputs[0]!.data)).toEqual([1, 2]);
      }),
      { numRuns: 300 },
    );
  });

  test('keys and names may be written with escapes', () => {
    const request = decode('{"\\u0069nputs":[{"n\\u0061me":"\\u0041","datatype":"INT32","shape":[1],"d\\u0061ta":[7]}]}');
    expect(request.inputs[0]!.name).toBe('A');
  });

  test('a parameter named __proto__ is only a name', () => {
    const request = decode('{"inputs":[],"parameters":{"__proto__":"x","constructor":1}}');
    expect(Object.entries(request.parameters)).toEqual([
      ['__proto__', 'x'],
      ['constructor', 1],
    ]);
    expect(({} as Record<string, unknown>)['x']).toBeUndefined();
  });

  test('a scalar has the shape [] and one element; a zero dimension has none', () => {
    expect(ints(decode({ inputs: [{ ...input, shape: [], data: [5] }] }).inputs[0]!.data)).toEqual([5]);
    const empty = decode({ inputs: [{ ...input, shape: [3, 0], data: [] }] }).inputs[0]!;
    expect(empty.shape).toEqual([3, 0]);
    expect(empty.data).toHaveLength(0);
    expect(refusal({ inputs: [{ ...input, shape: [0] }] })).toContain('expected 0 elements for shape [0], got 2');
  });

  test('binary_data_output is about outputs that are not listed', () => {
    const all = decode({ inputs: [input], parameters: { binary_data_output: true } });
    expect(all.outputs).toEqual([
      { name: 'Y', classification: 0, binaryData: true },
      { name: 'Z', classification: 0, binaryData: true },
    ]);
    expect(decode({ inputs: [input], parameters: { binary_data_output: true }, outputs: [{ name: 'Z' }] }).outputs).toEqual([
      { name: 'Z', classification: 0, binaryData: false },
    ]);
    expect(decode({ inputs: [input], parameters: { binary_data_output: false } }).outputs).toEqual([]);
  });

  test('no byte string makes anything but a request or an INVALID_ARGUMENT', () => {
    const whole = Buffer.from(
      '{"id":"\\u00e9","inputs":[{"name":"A","shape":[2],"datatype":"INT32","data":[1,-2]},{"data":[[1.5e3,NaN]],"name":"B","shape":[1,2],"datatype":"FP32"}],"outputs":[{"name":"Y","parameters":{"binary_data":true}}],"parameters":{"priority":1,"x":"y"},"more":[{"a":null}]}',
    );
    const attempt = (bytes: Uint8Array): void => {
      try {
        decode(bytes);
      } catch (error) {
        if (!(error instanceof InferenceError) || (error.code !== 'INVALID_ARGUMENT' && error.code !== 'UNIMPLEMENTED')) throw error;
      }
    };
    for (let cut = 1; cut < whole.length; cut++) expect(() => decode(whole.subarray(0, cut)), `cut at ${cut}`).toThrow(InferenceError);
    fc.assert(
      fc.property(
        fc.nat(whole.length - 1),
        fc.nat(255),
        fc.nat(whole.length - 1),
        fc.constantFrom(...'{}[],:"\\0-.eNtu \n'),
        (at, byte, second, c) => {
          const bytes = Buffer.from(whole);
          bytes[at] = byte;
          attempt(bytes);
          bytes[second] = c.charCodeAt(0);
          attempt(bytes);
        },
      ),
      { numRuns: 5_000 },
    );
  });

  test('a request that JSON.parse takes, and that repeats no key, is read the same', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), fc.string({ unit: 'binary' }), (value, key) => {
        fc.pre(!['inputs', 'outputs', 'id', 'parameters'].includes(key));
        expect(decode(JSON.stringify({ [key]: value, inputs: [input] })).inputs).toHaveLength(1);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('refused JSON', () => {
  test('a body of bytes, sent without the header that says so', () => {
    const png = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13]);
    expect(() => decode(png)).toThrow(/bytes that are no text: send Inference-Header-Content-Length/);
    expect(() => decode(Buffer.concat([Buffer.from('{"inputs":[]}'), Buffer.from([0, 0, 128, 63])]))).toThrow(
      /behind the JSON document.*bytes that are no text/,
    );
    expect(() => decode('{"inputs":[],}')).not.toThrow(/no text/);
  });

  test.each([
    ['nothing but a space', ' ', 'failed to parse the request JSON buffer: expected an object, got the end of the JSON at 1'],
    ['an array', '[]', 'expected an object, got an array'],
    ['a byte order mark', '\ufeff{"inputs":[]}', 'byte order mark'],
    ['a second document', '{"inputs":[]}{}', 'behind the JSON document'],
    ['trailing bytes', '{"inputs":[]} x', 'unexpected x behind the JSON document'],
    ['a trailing comma', '{"inputs":[],}', 'expected a key in double quotes'],
    ['a comment', '{"inputs":[]/**/}', "expected ',' or '}'"],
    ['a bare key', '{inputs:[]}', 'expected a key in double quotes'],
    ['single quotes', "{'inputs':[]}", 'expected a key in double quotes'],
    ['a repeated key', '{"inputs":[],"inputs":[]}', 'the key "inputs" is repeated'],
    ['a repeated unknown key', '{"inputs":[],"x":1,"\\u0078":2}', 'is repeated'],
    ['a repeated key deep down', '{"inputs":[],"x":[{"a":1,"a":2}]}', 'the key "a" is repeated'],
    ['a repeated parameter', '{"inputs":[],"parameters":{"a":1,"a":2}}', 'the key "a" is repeated'],
    ['a repeated input key', '{"inputs":[{"name":"A","name":"A"}]}', 'the key "name" is repeated'],
    ['NaN outside of data', '{"inputs":[],"x":NaN}', 'expected a JSON value, got NaN'],
    ['Infinity as a parameter', '{"inputs":[],"parameters":{"x":Infinity}}', 'parameters.x: expected a string, a boolean, or a number'],
    ['a lone surrogate in the id', '{"inputs":[],"id":"\\ud800"}', 'lone surrogate'],
    ['a lone surrogate in what is ignored', '{"inputs":[],"x":"a\\ud83d\\u0041"}', 'lone surrogate in a string at 19'],
    ['half a pair in what is ignored', '{"inputs":[],"x":["\\ude00"]}', 'lone surrogate in a string at 19'],
    ['an unknown escape in what is ignored', '{"inputs":[],"x":"\\n\\x41"}', 'invalid escape in a string at 20'],
    ['a cut escape in what is ignored', '{"inputs":[],"x":"\\u12"}', 'invalid escape in a string at 18'],
    ['a string that ends in an escape', '{"inputs":[],"x":"a\\', 'unterminated string'],
    ['a raw line feed in the id', '{"inputs":[],"id":"\n"}', 'raw control character'],
    ['a number as id', '{"inputs":[],"id":7}', "Unable to parse 'id': id: expected a string, got 7"],
    ['an endless id', `{"inputs":[],"id":"${'x'.repeat(5000)}"}`, 'expected at most 1024 bytes, got 5000'],
    ['no inputs', '{}', "Unable to parse 'inputs'"],
    ['inputs that are no array', '{"inputs":{}}', "Unable to parse 'inputs': inputs: expected an array, got an object"],
    ['an input that is no object', '{"inputs":[7]}', 'inputs[0]: expected an object, got 7'],
    ['an output that is no object', '{"inputs":[],"outputs":["Y"]}', 'outputs[0]: expected an object, got "Y"'],
    ['an output without a name', '{"inputs":[],"outputs":[{}]}', 'outputs[0].name: expected a name'],
    [
      'a number as binary_data',
      '{"inputs":[],"outputs":[{"name":"Y","parameters":{"binary_data":1}}]}',
      'outputs[0] (Y).parameters.binary_data: expected true or false, got 1',
    ],
    [
      'a negative classification',
      '{"inputs":[],"outputs":[{"name":"Y","parameters":{"classification":-1}}]}',
      'classification: expected an integer >= 0, got -1',
    ],
    ['a negative priority', '{"inputs":[],"parameters":{"priority":-1}}', 'parameters.priority: expected an integer >= 0, got -1'],
    ['a fraction as timeout', '{"inputs":[],"parameters":{"timeout":1.5}}', 'parameters.timeout: expected an integer >= 0, got 1.5'],
    ['a parameter that no double holds', '{"inputs":[],"parameters":{"x":9007199254740993}}', 'parameters.x: expected'],
    [
      'a list as a parameter',
      '{"inputs":[],"parameters":{"x":[1]}}',
      'parameters.x: expected a string, a boolean, or a number that a double holds exactly, got an array',
    ],
    ['a reserved parameter', '{"inputs":[],"parameters":{"triton_x":1}}', 'reserved for Triton usage'],
    [
      'a word as binary_data_output',
      '{"inputs":[],"parameters":{"binary_data_output":"yes"}}',
      'binary_data_output: expected true or false, got "yes"',
    ],
  ])('%s', (_what, text, message) => {
    expect(refusal(text)).toContain(message);
  });

  test('invalid UTF-8, wherever a string is read or skipped', () => {
    for (const place of ['{"inputs":[],"id":"#"}', '{"inputs":[],"#":1}', '{"inputs":[],"x":"#"}', '{"inputs":[{"name":"#"}]}']) {
      for (const bytes of [[0xff], [0xc0, 0xaf], [0xed, 0xb0, 0x80], [0xe2, 0x82]]) {
        const [before, behind] = place.split('#');
        const body = Buffer.concat([Buffer.from(before!), Buffer.from(bytes), Buffer.from(behind!)]);
        expect(refusal(body)).toContain('invalid UTF-8');
      }
    }
  });

  test('depth', () => {
    const nested = (depth: number): string => `${'['.repeat(depth)}${']'.repeat(depth)}`;
    expect(decode(`{"inputs":[],"x":${nested(50)}}`).inputs).toEqual([]);
    for (const depth of [101, 250_000]) {
      const begin = performance.now();
      expect(refusal(`{"inputs":[],"x":${nested(depth)}}`)).toContain('JSON nesting depth exceeds maximum allowed limit (100)');
      expect(refusal(`{"inputs":[],"x":${'{"a":'.repeat(depth)}`)).toContain('JSON nesting depth exceeds');
      expect(refusal(`{"inputs":[{"name":"A","datatype":"INT32","shape":[1],"data":${nested(depth)}}]}`)).toContain(
        'JSON nesting depth exceeds',
      );
      expect(refusal(`{"inputs":[{"data":${nested(depth)},"name":"A","datatype":"INT32","shape":[1]}]}`)).toContain(
        'JSON nesting depth exceeds',
      );
      expect(performance.now() - begin).toBeLessThan(1_000);
    }
  });

  test.each<[string, object, string]>([
    ['no name', { name: undefined }, "Unable to parse 'name': inputs[0].name: expected a name, got none"],
    ['no shape', { shape: undefined }, "inputs[0] (A) has no 'shape'"],
    ['no datatype', { datatype: undefined }, "inputs[0] (A) has no 'datatype'"],
    ['no data', { data: undefined }, "inputs[0] (A) must have either 'data' or parameters.binary_data_size, got neither"],
    ['data as a number', { data: 1 }, "Unable to parse 'data': inputs[0] (A).data: expected an array, got 1"],
    ['data as null', { data: null }, 'inputs[0] (A).data: expected an array, got null'],
    ['an unknown datatype', { datatype: 'FLOAT' }, 'invalid datatype for input: inputs[0] (A).datatype: expected one of BOOL'],
    ['a datatype in the wrong case', { datatype: 'int32' }, 'got "int32"; did you mean \'INT32\'?'],
    ['a datatype as a number', { datatype: 7 }, 'inputs[0] (A).datatype: expected a string, got 7'],
    ['a negative dimension', { shape: [2, -1] }, "Unable to parse 'shape': inputs[0] (A).shape[1]: expected an integer >= 0, got -1"],
    ['a negative dimension, as Triton says it', { shape: [-1] }, "All input dimensions should be specified for input 'A'"],
    ['a fraction', { shape: [1.5] }, 'inputs[0] (A).shape[0]: expected an integer >= 0, got 1.5'],
    ['a string dimension', { shape: ['2'] }, 'inputs[0] (A).shape[0]: expected an integer >= 0, got "2"'],
    ['a null dimension', { shape: [null] }, 'inputs[0] (A).shape[0]: expected an integer >= 0, got null'],
    ['a boolean dimension', { shape: [true] }, 'inputs[0] (A).shape[0]: expected an integer >= 0, got true'],
    ['a dimension of 1e308', { shape: [1e308] }, 'inputs[0] (A).shape[0]: expected an integer >= 0, got 1e+308'],
    ['a dimension past 2^53', { shape: [2 ** 54] }, 'inputs[0] (A).shape[0]: expected an integer >= 0'],
    ['10,000 dimensions', { shape: Array(10_000).fill(1) }, 'expected at most 64 dimensions, got more'],
    ['a shape as a number', { shape: 2 }, 'inputs[0] (A).shape: expected an array, got 2'],
    ['a nested shape', { shape: [[2]] }, 'inputs[0] (A).shape[0]: expected an integer >= 0, got an array'],
    ['too few elements', { shape: [3] }, 'expected 3 elements for shape [3], got 2'],
    ['too many elements', { shape: [1] }, 'expected 1 elements for shape [1], got 2'],
    [
      'a leaf of the wrong type',
      { data: [1, 'x'] },
      'inputs[0] (A).data[1]: expected an integer from -2147483648 to 2147483647 (no fraction, no exponent) for INT32, got "x"',
    ],
    ['both data and binary_data_size', { parameters: { binary_data_size: 0 } }, 'got both'],
    [
      'a negative binary_data_size',
      { data: undefined, parameters: { binary_data_size: -8 } },
      'binary_data_size: expected an integer >= 0, got -8',
    ],
    [
      'binary_data_size as a string',
      { data: undefined, parameters: { binary_data_size: '8' } },
      'binary_data_size: expected an integer >= 0, got "8"',
    ],
    [
      'a binary input without its bytes',
      { data: undefined, parameters: { binary_data_size: 8 } },
      "unexpected size for input 'A', expecting 8 additional bytes",
    ],
  ])('an input with %s', (_what, change, message) => {
    expect(refusal({ inputs: [{ ...input, ...change }] })).toContain(message);
  });

  test('shapes whose product, or size in bytes, is past all bounds are refused before anything is allocated', () => {
    const powers = [31, 40, 41, 52, 53, 63, 64, 80];
    const rss = process.memoryUsage().rss;
    for (const power of powers) {
      for (let split = 1; split < power; split += 3) {
        const shape = [2 ** Math.min(split, 52), 2 ** Math.min(power - split, 52)];
        for (const datatype of ['UINT8', 'INT32', 'FP64', 'BYTES', 'INT64']) {
          expect(refusal({ inputs: [{ name: 'A', datatype, shape, data: [] }] })).toMatch(
            /causes total element count to exceed maximum size of|byte size overflow for input 'A'|expected \d+ elements for shape \[\d+,\d+\], got 0/,
          );
        }
      }
    }
    expect(process.memoryUsage().rss - rss).toBeLessThan(100 * 1024 * 1024);
    expect(refusal({ inputs: [{ ...input, shape: [2 ** 30, 2 ** 30] }] })).toContain(
      'causes total element count to exceed maximum size of',
    );
    expect(refusal({ inputs: [{ ...input, shape: [2 ** 39] }] })).toContain("byte size overflow for input 'A'");
  });

  test.each([
    { inputs: [{ ...input, parameters: { shared_memory_region: 'r', shared_memory_byte_size: 8 } }] },
    { inputs: [input], outputs: [{ name: 'Y', parameters: { shared_memory_region: 'r' } }] },
  ])('shared memory is not implemented: %j', (body) => {
    expect(refusal(body, '', target, 'UNIMPLEMENTED')).toContain('shared memory');
  });

  const inSequence = (id: string, flags = ''): Uint8Array =>
    Buffer.from(`{"parameters":{"sequence_id":${id}${flags}},"inputs":[${JSON.stringify(input)}]}`);

  test.each([
    ['7', 7n],
    ['9007199254740993', 9007199254740993n],
    ['18446744073709551615', 2n ** 64n - 1n],
    ['"7"', '7'],
    [JSON.stringify('é'.repeat(64)), 'é'.repeat(64)],
    [`"${'\\u0061'.repeat(128)}"`, 'a'.repeat(128)],
  ])('is of the sequence %s', (id, expected) => {
    const decodeBytes = (flags: string) => decodeInferRequest(inSequence(id, flags), '', target, caller).sequence;
    expect(decodeBytes('')).toEqual({ id: expected, isStart: false, isEnd: false });
    expect(decodeBytes(',"sequence_start":true')).toEqual({ id: expected, isStart: true, isEnd: false });
    expect(decodeBytes(',"sequence_end":true')).toEqual({ id: expected, isStart: false, isEnd: true });
  });

  test.each(['0', '""'])('is of no sequence by the id %s', (id) => {
    expect(decodeInferRequest(inSequence(id, ',"sequence_start":true'), '', target, caller).sequence).toBeNull();
  });

  test.each(['-1', '1.5', '1e3', '18446744073709551616', '99999999999999999999999', 'true', 'null', '[1]', '01', `"${'é'.repeat(65)}"`])(
    'a sequence cannot be called %s',
    (id) => {
      expect(() => decodeInferRequest(inSequence(id), '', target, caller)).toThrow(/sequence_id|JSON/);
    },
  );

  test.each([{ sequence_start: 1 }, { sequence_end: 'true' }])('flags are true or false: %j', (parameters) => {
    expect(refusal({ inputs: [input], parameters })).toContain('expected true or false');
  });
});

describe('binary requests', () => {
  const binary = (name: string, size: number): object => ({
    name,
    datatype: 'UINT8',
    shape: [size],
    parameters: { binary_data_size: size },
  });

  test('inputs are views of the body, in their order, mixed with JSON ones', () => {
    const [body, header] = withTail(
      { inputs: [binary('B', 3), { ...input }, binary('C', 0), binary('D', 2)] },
      Uint8Array.of(1, 2, 3, 4, 5),
    );
    const request = decode(body, header);
    expect(request.inputs.map(({ data }) => [...data])).toEqual([[1, 2, 3], [1, 0, 0, 0, 2, 0, 0, 0], [], [4, 5]]);
    expect(request.inputs[0]!.data.buffer).toBe(body.buffer);
    body[body.length - 1] = 99;
    expect([...request.inputs[3]!.data]).toEqual([4, 99]);
  });

  test('bytes too few, too many', () => {
    const json = { inputs: [binary('B', 3), binary('D', 2)] };
    expect(refusal(...withTail(json, Uint8Array.of(1, 2, 3, 4)))).toContain(
      "unexpected size for input 'D', expecting 1 additional bytes for model: inputs[1] (D).parameters.binary_data_size is 2, 1 bytes are left",
    );
    expect(refusal(...withTail(json, Uint8Array.of(1, 2, 3, 4, 5, 6)))).toContain(
      'unexpected additional input data for model: 1 bytes are left',
    );
    expect(refusal(...withTail({ inputs: [input] }, Uint8Array.of(1)))).toContain('unexpected additional input data');
    expect(refusal(...withTail({ inputs: [binary('B', 2 ** 39)] }, Uint8Array.of(1)))).toContain("unexpected size for input 'B'");
  });

  test('JSON never reads on into the bytes behind it', () => {
    for (const [json, tail] of [
      ['{"inputs":[{"name":"A","datatype":"INT32","shape":[2],"data":[1,2', '3]}]}'],
      ['{"inputs":[{"name":"A","datatype":"FP32","shape":[1],"data":[1', '.5]}]}'],
      ['{"inputs":[],"id":"a', 'b"}'],
      ['{"inputs":[]', '}'],
    ] as const) {
      expect(refusal(...withTail(json, Buffer.from(tail)))).toMatch(/the end of the JSON|unterminated/);
    }
  });

  test.each([
    ['-1', 'out of range'],
    ['999', 'inference header size should be in range'],
    ['4294967296', 'value is out of range'],
    ['99999999999999999999999', 'value is out of range'],
    ['1e3', "digits only, got '1e3'"],
    ['0x10', "got '0x10'"],
    ['12abc', "got '12abc'"],
    ['12, 12', "got '12, 12'"],
    ['+12', "got '+12'"],
    ['1.0', "got '1.0'"],
    [' ', "got ' '"],
    ['\u0661', 'digits only'],
  ])('Inference-Header-Content-Length: %s', (header, message) => {
    const said = refusal({ inputs: [input] }, header);
    expect(said).toContain('Inference-Header-Content-Length');
    expect(said).toContain(message);
  });

  test('a length that splits the JSON, or a character', () => {
    const body = Buffer.from('{"inputs":[],"id":"\u00e9"}');
    for (let length = 1; length < body.length; length++)
      expect(refusal(body, String(length))).toContain(
        `the first ${length} of the body's 23 bytes: Inference-Header-Content-Length says so`,
      );
    expect(decode(body, String(body.length)).id).toBe('\u00e9');
  });
});

describe('raw requests', () => {
  const raw = (datatype: 'FP32' | 'BYTES' | 'UINT8', dims: number[], maxBatchSize = 0): InferTarget => ({
    ...target,
    maxBatchSize,
    inputs: [{ name: 'A', datatype, dims }],
  });

  test('the body is the input, its open dimension deduced, and all outputs come back binary', () => {
    const body = new Uint8Array(24);
    const request = decode(body, '0', raw('FP32', [-1, 2], 8));
    expect(request.inputs[0]).toMatchObject({ name: 'A', datatype: 'FP32', shape: [1, 3, 2] });
    expect(request.inputs[0]!.data).toBe(body);
    expect(request.outputs.map((output) => output.binaryData)).toEqual([true, true]);
    expect(decode(body, '0', raw('UINT8', [4, 6])).inputs[0]!.shape).toEqual([4, 6]);
  });

  test('an empty body without the header is raw too', () => {
    expect(decode(new Uint8Array(), '', raw('UINT8', [-1])).inputs[0]).toMatchObject({ shape: [0] });
  });

  test('BYTES get their length put before them', () => {
    const request = decode(Buffer.from('hello'), '0', raw('BYTES', [1], 4));
    expect(request.inputs[0]!.shape).toEqual([1, 1]);
    expect(Buffer.from(request.inputs[0]!.data).equals(Buffer.from(encodeBytes(['hello'])))).toBe(true);
  });

  test.each<[string, InferTarget, string]>([
    ['two inputs', target, 'Raw request must only have 1 input (found 1) to be deduced but got 2 inputs'],
    ['two open dimensions', raw('FP32', [-1, -1]), 'more than one variable-sized dimension'],
    ['a size that no shape has', raw('FP32', [-1, 4]), 'expected a body of a multiple of 16 bytes for [-1,4], got 24'],
    ['several BYTES', raw('BYTES', [2]), 'For BYTE datatype raw input'],
    ['an open number of BYTES', raw('BYTES', [-1]), 'For BYTE datatype raw input'],
  ])('%s', (_what, to, message) => {
    expect(refusal(new Uint8Array(24), '0', to)).toContain(message);
  });
});
