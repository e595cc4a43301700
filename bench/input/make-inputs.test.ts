import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { countBytesElements, decodeBytes, encodeBytes } from '../../proto/bytes.ts';
import { byteSizeOf, DATATYPES, type Datatype, elementCount } from '../../proto/datatype.ts';
import type { PlannedRequest } from '../load/load-plan.ts';
import type { TargetModel, TargetTensor } from '../target/target.ts';
import { makeRequests, type RequestOptions } from './make-inputs.ts';

const folder = mkdtempSync(join(tmpdir(), 'nereid-inputs-'));
afterAll(() => rmSync(folder, { recursive: true }));

function write(name: string, content: unknown): string {
  const path = join(folder, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, typeof content === 'string' || content instanceof Uint8Array ? content : JSON.stringify(content));
  return path;
}

function tensor(name: string, datatype: Datatype, shape: readonly number[], isOptional = false): TargetTensor {
  return { name, datatype, shape, isOptional };
}

const simple: TargetModel = {
  name: 'simple',
  version: '',
  inputs: [tensor('INPUT0', 'INT32', [-1, 4]), tensor('INPUT1', 'INT32', [-1, 4])],
  outputs: [tensor('OUTPUT0', 'INT32', [-1, 4]), tensor('OUTPUT1', 'FP32', [-1, 4])],
  maxBatchSize: 8,
  isDecoupled: false,
  hasSequences: false,
};
const image: TargetModel = { ...simple, name: 'image', inputs: [tensor('IMAGE', 'FP32', [-1, 3, -1, -1])], outputs: [], maxBatchSize: 4 };
const text: TargetModel = { ...simple, name: 'text', inputs: [tensor('TEXT', 'BYTES', [1])], outputs: [], maxBatchSize: 0 };
const longs: TargetModel = { ...simple, name: 'longs', inputs: [tensor('IDS', 'INT64', [-1, -1])], outputs: [], maxBatchSize: 2 };
const unknown: TargetModel = { ...simple, name: 'unknown', inputs: [], outputs: [], maxBatchSize: 0 };

function optionsOf(model: TargetModel, what: string, more: Partial<RequestOptions> = {}): RequestOptions {
  const rest = { batchSize: 1, shapes: new Map(), distinct: 16, stringLength: 16, parameters: {}, outputs: [], seed: 1 };
  return { model, protocol: 'http-binary', what, ...rest, ...more };
}

const bytesOf = (request: PlannedRequest, name: string): Uint8Array =>
  request.infer!.inputs.find((input) => input.name === name)!.data as Uint8Array;
const intsOf = (request: PlannedRequest, name: string): number[] => [...new Int32Array(bytesOf(request, name).slice().buffer)];

describe('made requests', () => {
  it('are as many as asked for, different, and the same each time', async () => {
    const { requests, words } = await makeRequests(optionsOf(simple, 'random', { batchSize: 2 }));
    expect(words).toBe('random, 16 requests of INPUT0 2x4 INT32, INPUT1 2x4 INT32 (64 bytes)');
    expect(requests).toHaveLength(16);
    expect(requests[0]!.infer).toMatchObject({ modelName: 'simple', modelVersion: '', id: '', parameters: {}, outputs: [], json: false });
    expect(requests[0]!.infer!.inputs[0]).toMatchObject({ name: 'INPUT0', datatype: 'INT32', shape: [2, 4] });
    expect(new Set(requests.map((request) => String(bytesOf(request, 'INPUT0')))).size).toBe(16);
    expect((await makeRequests(optionsOf(simple, 'random', { batchSize: 2 }))).requests).toEqual(requests);
    expect((await makeRequests(optionsOf(simple, 'random', { batchSize: 2, seed: 2 }))).requests).not.toEqual(requests);
  });

  it('have exactly the bytes of their shapes, whatever the model', async () => {
    const tensors = fc.uniqueArray(
      fc.tuple(
        fc.string({ minLength: 1, maxLength: 3 }),
        fc.constantFrom(...(Object.keys(DATATYPES) as Datatype[])),
        fc.array(fc.integer({ min: -1, max: 5 }), { maxLength: 3 }),
      ),
      { selector: ([name]) => name, minLength: 1, maxLength: 3 },
    );
    await fc.assert(
      fc.asyncProperty(tensors, fc.nat(3), fc.nat(4), fc.constantFrom('random', 'zero'), async (made, maxBatchSize, size, what) => {
        const inputs = made.map(([name, datatype, dims]) => tensor(name, datatype, maxBatchSize > 0 ? [-1, ...dims] : dims));
        const shapes = new Map(
          made.filter(([, , dims]) => dims.includes(-1)).map(([name, , dims]) => [name, dims.map((dim) => (dim < 0 ? size : dim))]),
        );
        const batchSize = Math.max(1, maxBatchSize);
        const { requests } = await makeRequests(optionsOf({ ...simple, inputs, maxBatchSize }, what, { shapes, batchSize, distinct: 2 }));
        for (const request of requests) {
          for (const { datatype, shape, data } of request.infer!.inputs) {
            const bytes = data as Uint8Array;
            expect(datatype === 'BYTES' ? countBytesElements(bytes, '') : bytes.length / byteSizeOf(datatype)).toBe(elementCount(shape));
            if (maxBatchSize > 0) expect(shape[0]).toBe(batchSize);
          }
        }
      }),
      { numRuns: 50 },
    );
  });

  it('are one of zeros', async () => {
    const { requests, words } = await makeRequests(
      optionsOf(image, 'zero', { shapes: new Map([['IMAGE', [3, 2, 2]]]), protocol: 'http-json', outputs: ['any'] }),
    );
    expect(words).toBe('zero, 1 request of 1x3x2x2 FP32 (48 bytes)');
    expect(bytesOf(requests[0]!, 'IMAGE')).toEqual(new Uint8Array(48));
    expect(requests[0]!.infer).toMatchObject({
      json: true,
      outputs: [{ name: 'any', binaryData: false, classification: 0, sharedMemory: null }],
    });
  });

  it('stay within 64 MiB', async () => {
    const { requests } = await makeRequests(optionsOf(image, 'random', { shapes: new Map([['IMAGE', [3, 1000, 1000]]]), batchSize: 2 }));
    expect(requests).toHaveLength(2);
  }, 60_000);

  it('leave optional inputs out, but for those whose shape is given', async () => {
    const model = { ...simple, inputs: [simple.inputs[0]!, tensor('MORE', 'BYTES', [-1, 1], true)] };
    const without = await makeRequests(optionsOf(model, 'random'));
    expect(without.requests[0]!.infer!.inputs.map(({ name }) => name)).toEqual(['INPUT0']);
    const withIt = await makeRequests(optionsOf(model, 'random', { shapes: new Map([['MORE', [1]]]) }));
    expect(withIt.requests[0]!.infer!.inputs.map(({ name }) => name)).toEqual(['INPUT0', 'MORE']);
  });

  it.each([
    ['a batch too large', simple, { batchSize: 9 }, "model 'simple' takes 1 to 8 (its max_batch_size), got 9"],
    ['a batch of a model without', text, { batchSize: 2 }, '--shape TEXT:1'],
    [
      'variable dimensions',
      image,
      {},
      'inputs.IMAGE: its dimensions [3, -1, -1] are variable (-1): say which, for instance --shape IMAGE:3,8,8',
    ],
    ['a shape of no input', simple, { shapes: new Map([['INPUTO', [4]]]) }, "got 'INPUTO'; did you mean 'INPUT0'?"],
    [
      'a shape that does not fit',
      image,
      { shapes: new Map([['IMAGE', [4, 2, 2]]]) },
      'IMAGE has dimensions [3, -1, -1], without the batch (-1: any), got [4, 2, 2]',
    ],
    ['an output that is not there', simple, { outputs: ['OUTPUT2'] }, "got 'OUTPUT2'; did you mean 'OUTPUT0'?"],
    ['a parameter of the generator', simple, { parameters: { sequence_id: 3 } }, 'parameters.sequence_id: is set by --sequence-length'],
    ['a request too large', image, { shapes: new Map([['IMAGE', [3, 20_000, 20_000]]]) }, 'at most 536870912 bytes'],
    ['a model of which nothing is known', unknown, {}, '--input requests.jsonl'],
    ['optional inputs alone', { ...text, inputs: [tensor('TEXT', 'BYTES', [1], true)] }, {}, 'are optional (TEXT)'],
  ] as const)('refuse %s', async (_, model, more, message) => {
    await expect(makeRequests(optionsOf(model, 'random', more as Partial<RequestOptions>))).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining(message),
    });
  });
});

describe("perf_analyzer's files", () => {
  const entry = (n: number) => ({ INPUT0: [n, 1, 2, 3], INPUT1: [0, 0, 0, n] });

  it('give rows of values, of base64, and of either with a shape', async () => {
    const b64 = Buffer.from(Int32Array.of(5, 6, 7, 8).buffer).toString('base64');
    const data = [
      entry(1),
      { INPUT0: { b64 }, INPUT1: { content: { b64 }, shape: [4] } },
      { INPUT0: { content: [9, 9, 9, 9] }, INPUT1: [[1, 1, 1, 1]] },
    ];
    const path = write('data.json', { data });
    const { requests, words } = await makeRequests(optionsOf(simple, path));
    expect(words).toBe(`${path}, 3 requests of INPUT0 1x4 INT32, INPUT1 1x4 INT32 (32 bytes)`);
    expect(requests.map((request) => [intsOf(request, 'INPUT0'), intsOf(request, 'INPUT1')])).toEqual([
      [
        [1, 1, 2, 3],
        [0, 0, 0, 1],
      ],
      [
        [5, 6, 7, 8],
        [5, 6, 7, 8],
      ],
      [
        [9, 9, 9, 9],
        [1, 1, 1, 1],
      ],
    ]);
    expect(requests.every(({ expected }) => expected === null)).toBe(true);
  });

  it('make batches of the next rows, with the answers to them', async () => {
    const validation = [1, 2, 3].map((n) => ({ OUTPUT0: [n, n, n, n], OUTPUT1: { content: [n, 0, 0, 0.5] } }));
    const path = write('batch.json', { data: [1, 2, 3].map(entry), validation_data: validation });
    const { requests, words } = await makeRequests(optionsOf(simple, path, { batchSize: 2 }));
    expect(words).toContain('3 requests of INPUT0 2x4 INT32, INPUT1 2x4 INT32 (64 bytes), answers compared');
    expect(requests.map((request) => intsOf(request, 'INPUT0').filter((_, i) => i % 4 === 0))).toEqual([
      [1, 2],
      [3, 1],
      [2, 3],
    ]);
    const [first, second] = requests[1]!.expected!;
    expect(first).toMatchObject({ name: 'OUTPUT0', tolerance: 0 });
    expect([...new Int32Array(first!.data.slice().buffer)]).toEqual([3, 3, 3, 3, 1, 1, 1, 1]);
    expect(second).toMatchObject({ name: 'OUTPUT1', tolerance: 1e-5 });
    expect([...new Float32Array(second!.data.slice().buffer)]).toEqual([3, 0, 0, 0.5, 1, 0, 0, 0.5]);
  });

  it('give shapes of their own, and streams one behind the other', async () => {
    const pixels = (height: number) => ({ IMAGE: { content: Array.from({ length: 6 * height }, () => 0.5), shape: [3, height, 2] } });
    const { requests, words } = await makeRequests(
      optionsOf(image, write('streams.json', { data: [[pixels(1), pixels(2)], [pixels(1)]] })),
    );
    expect(requests.map((request) => request.infer!.inputs[0]!.shape)).toEqual([
      [1, 3, 1, 2],
      [1, 3, 2, 2],
      [1, 3, 1, 2],
    ]);
    expect(words).toContain('3 requests of 1x3x1x2 FP32 and 1 other shape (24 to 48 bytes)');
  });

  it('keep 64-bit integers, and deduce one variable dimension', async () => {
    const path = join(folder, 'longs.json');
    writeFileSync(path, '{"data":[{"IDS":[9223372036854775807,-9007199254740993,3]}]}');
    const { requests } = await makeRequests(optionsOf(longs, path));
    expect(requests[0]!.infer!.inputs[0]!.shape).toEqual([1, 3]);
    expect([...new BigInt64Array(bytesOf(requests[0]!, 'IDS').slice().buffer)]).toEqual([9223372036854775807n, -9007199254740993n, 3n]);
  });

  it('are cut where there is too much of them', async () => {
    const many = Array.from({ length: 10_050 }, (_, n) => ({ TEXT: [`${n}`] }));
    const { requests, words } = await makeRequests(optionsOf(text, write('many.json', { data: many })));
    expect(requests).toHaveLength(10_000);
    expect(words).toContain('10,000 requests (the first of 10,050) of 1 BYTES (5 to 8 bytes)');
  });

  it.each([
    ['no JSON', '{"data":', {}, 'expected JSON'],
    ['no data', {}, {}, 'expected {"data": [...]}'],
    ['no entries', { data: [] }, {}, 'data: expected a list of entries, got an empty array'],
    ['nothing', ' ', {}, 'expected JSON, got nothing but white space'],
    ['an entry that is none', { data: [3] }, {}, 'data[0]: expected an object of tensors by name'],
    [
      'an input that is not there',
      { data: [{ ...entry(1), INPUT2: [] }] },
      {},
      "data[0]: expected one of INPUT0, INPUT1, got 'INPUT2'; did you mean 'INPUT0'?",
    ],
    ['an input left out', { data: [entry(1), { INPUT0: [1, 2, 3, 4] }] }, {}, 'data[1].INPUT1: expected this input'],
    ['a value that does not fit', { data: [{ ...entry(1), INPUT0: [1, 2.5, 3, 4] }] }, {}, 'data[0].INPUT0[1]: expected an integer'],
    ['too few values', { data: [{ ...entry(1), INPUT0: [1] }] }, {}, 'data[0].INPUT0: expected 4 elements for [4], got 1'],
    ['no values', { data: [{ ...entry(1), INPUT0: 1 }] }, {}, 'data[0].INPUT0: expected a list of values'],
    ['no base64', { data: [{ ...entry(1), INPUT0: { b64: '!' } }] }, {}, 'data[0].INPUT0.b64: expected base64'],
    ['bytes that end in an element', { data: [{ ...entry(1), INPUT0: { b64: 'AAAAAAA=' } }] }, {}, 'expected a multiple of 4 bytes'],
    [
      'a shape that does not fit',
      { data: [{ ...entry(1), INPUT0: { content: [1, 2, 3, 4], shape: [1, 4] } }] },
      {},
      'without the batch), got [1, 4]',
    ],
    [
      'a shape that is none',
      { data: [{ ...entry(1), INPUT0: { content: [1], shape: [-1] } }] },
      {},
      'INPUT0.shape: expected a list of whole numbers',
    ],
    ['answers to other entries', { data: [entry(1)], validation_data: [{}, {}] }, {}, 'expected as many entries as data has, 1, got 2'],
    [
      'an answer that is not there',
      { data: [entry(1)], validation_data: [{ OUTPUT9: [] }] },
      {},
      "validation_data[0]: expected one of OUTPUT0, OUTPUT1, got 'OUTPUT9'",
    ],
    [
      'an answer that is not asked for',
      { data: [entry(1)], validation_data: [{ OUTPUT0: [1, 2, 3, 4] }] },
      { outputs: ['OUTPUT1'] },
      "expected 'OUTPUT0' among them",
    ],
  ] as const)('are refused with %s', async (name, content, more, message) => {
    const path = write(`bad/${name}.json`, content);
    const said = await makeRequests(optionsOf(simple, path, more as Partial<RequestOptions>)).catch((error: unknown) => error);
    expect(said).toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(message) });
    if (!message.startsWith("expected 'OUTPUT0'")) expect((said as Error).message).toContain(path);
  });

  it('are refused with rows that do not make a batch, and shapes that do not follow', async () => {
    const pixels = (height: number) => ({ IMAGE: { content: Array.from({ length: 6 * height }, () => 0), shape: [3, height, 2] } });
    const rows = write('rows.json', { data: [pixels(1), pixels(2)] });
    await expect(makeRequests(optionsOf(image, rows, { batchSize: 2 }))).rejects.toThrow('--batch-size 1');
    const open = write('open.json', { data: [{ IMAGE: [1, 2, 3] }] });
    await expect(makeRequests(optionsOf(image, open))).rejects.toThrow('2 of its dimensions [3, -1, -1] are variable');
    expect(
      (await makeRequests(optionsOf(image, open, { shapes: new Map([['IMAGE', [3, 1, 1]]]) }))).requests[0]!.infer!.inputs[0]!.shape,
    ).toEqual([1, 3, 1, 1]);
    await expect(makeRequests(optionsOf(unknown, open))).rejects.toThrow('whole V2 inference requests');
  });
});

describe('files of requests', () => {
  const line = (n: number) => ({
    id: 'x',
    parameters: { priority: 2, tag: 'a' },
    inputs: ['INPUT0', 'INPUT1'].map((name) => ({ name, datatype: 'INT32', shape: [2, 4], data: [n, 2, 3, 4, 5, 6, 7, 8] })),
    outputs: [{ name: 'OUTPUT1' }],
  });
  const lines = (...all: unknown[]) => all.map((one) => (typeof one === 'string' ? one : JSON.stringify(one))).join('\n');

  it('are taken as they are', async () => {
    const path = write('requests.jsonl', `${lines(line(1), line(2))}\n`);
    const { requests, words } = await makeRequests(optionsOf(simple, path, { parameters: { tag: 'b' } }));
    expect(words).toContain('2 requests of INPUT0 2x4 INT32');
    expect(requests[1]!.infer).toMatchObject({
      id: '',
      parameters: { priority: 2, tag: 'b' },
      outputs: [{ name: 'OUTPUT1', binaryData: true }],
    });
    expect(intsOf(requests[1]!, 'INPUT1')).toEqual([2, 2, 3, 4, 5, 6, 7, 8]);
    const other = await makeRequests(optionsOf(simple, path, { outputs: ['OUTPUT0'] }));
    expect(other.requests[0]!.infer!.outputs.map(({ name }) => name)).toEqual(['OUTPUT0']);
  });

  it('may be one request over many lines, for a model of which nothing is known', async () => {
    const path = write('one.json', JSON.stringify({ inputs: [{ name: 'a', datatype: 'FP32', shape: [1, 2], data: [[0.5, 1]] }] }, null, 2));
    const { requests } = await makeRequests(optionsOf(unknown, path));
    expect(requests).toHaveLength(1);
    expect([...new Float32Array(bytesOf(requests[0]!, 'a').slice().buffer)]).toEqual([0.5, 1]);
  });

  const changed = (change: object) => ({ ...line(1), inputs: [{ ...line(1).inputs[0], ...change }, line(1).inputs[1]] });
  it.each([
    ['a line that is no JSON', lines(line(1), '{'), ':2: expected JSON'],
    ['a line that is no request', lines(line(1), '[]'), ':2: expected a V2 inference request'],
    ['no inputs', lines(line(1), { inputs: [] }), ':2.inputs: expected a list of inputs'],
    ['an input that is none', lines(line(1), { inputs: [1] }), ':2.inputs[0]: expected an object'],
    ['an input without a name', lines(line(1), changed({ name: 1 })), ':2.inputs[0].name: expected a string'],
    ['an input that is not there', lines(line(1), changed({ name: 'INPUT' })), "got 'INPUT'; did you mean 'INPUT0'?"],
    ['an unknown datatype', lines(line(1), changed({ datatype: 'INT23' })), "; did you mean 'INT32'?"],
    ['another datatype', lines(line(1), changed({ datatype: 'INT64' })), "expected INT32 for input 'INPUT0', got INT64"],
    ['no shape', lines(line(1), changed({ shape: [-1, 4] })), ':2.inputs[0].shape: expected a list of whole numbers'],
    ['another shape', lines(line(1), changed({ shape: [2, 5] })), "expected [-1, 4] (-1: any) for input 'INPUT0', got [2, 5]"],
    [
      'no data',
      lines(line(1), changed({ data: undefined, parameters: { binary_data_size: 32 } })),
      ':2.inputs[0].data: expected a list of values, got nothing',
    ],
    ['too few data', lines(line(1), changed({ data: [1, 2] })), 'expected 8 elements for shape [2, 4], got 2'],
    ['an input left out', lines(line(1), { inputs: [line(1).inputs[0]] }), "expected 'INPUT1', which is not optional"],
    ['outputs that are none', lines(line(1), { ...line(1), outputs: ['OUTPUT0'] }), ':2.outputs: expected a list of objects with a name'],
    ['parameters that are none', lines(line(1), { ...line(1), parameters: [] }), ':2.parameters: expected an object'],
    [
      'a parameter that is none',
      lines(line(1), { ...line(1), parameters: { a: [] } }),
      ':2.parameters.a: expected a string, a number or a boolean',
    ],
    ['a sequence', lines(line(1), { ...line(1), parameters: { sequence_id: 1 } }), 'is set by --sequence-length'],
  ])('are refused with %s', async (name, content, message) => {
    const said = makeRequests(optionsOf(simple, write(`bad/${name}.jsonl`, content)));
    await expect(said).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(message) });
  });

  it('have their batch in them', async () => {
    const path = write('whole.jsonl', lines(line(1), line(2)));
    await expect(makeRequests(optionsOf(simple, path, { batchSize: 2 }))).rejects.toThrow('expected 1 with whole requests');
  });
});

describe('directories', () => {
  it('have a file of bytes for each input, and for answers', async () => {
    const ints = (...values: number[]) => new Uint8Array(Int32Array.from(values).buffer);
    const path = dirname(write('raw/INPUT0', ints(1, 2, 3, 4)));
    write('raw/INPUT1', ints(5, 6, 7, 8));
    write('raw/OUTPUT0', ints(6, 8, 10, 12));
    const { requests } = await makeRequests(optionsOf(simple, path, { batchSize: 2 }));
    expect(requests).toHaveLength(1);
    expect(intsOf(requests[0]!, 'INPUT1')).toEqual([5, 6, 7, 8, 5, 6, 7, 8]);
    expect(requests[0]!.expected).toMatchObject([
      { name: 'OUTPUT0', data: new Uint8Array([...ints(6, 8, 10, 12), ...ints(6, 8, 10, 12)]) },
    ]);
  });

  it('take a file as the one element, or as the bytes of the tensor', async () => {
    const png = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 1, 2, 3);
    const alone = dirname(write('png/TEXT', png));
    const framed = dirname(write('framed/TEXT', encodeBytes([png])));
    for (const path of [alone, framed]) {
      const { requests } = await makeRequests(optionsOf(text, path));
      expect(decodeBytes(bytesOf(requests[0]!, 'TEXT'), '').map((one) => [...one])).toEqual([[...png]]);
    }
  });

  it('lead nowhere else, and say what is missing', async () => {
    write('outside', 'secret');
    const path = dirname(write('inside/INPUT_0', 'x'));
    const model = { ...text, inputs: [tensor('../outside', 'BYTES', [1])] };
    await expect(makeRequests(optionsOf(model, path))).rejects.toThrow("expected a file '..%2Foutside'");
    await expect(makeRequests(optionsOf(simple, path))).rejects.toThrow(
      "expected a file 'INPUT0' for this input, got none; did you mean 'INPUT_0'?",
    );
    await expect(makeRequests(optionsOf(unknown, path))).rejects.toThrow('expected a file for each input');
    await expect(makeRequests(optionsOf(simple, join(folder, 'nowhere')))).rejects.toThrow(
      'expected random, zero, or a file or directory that is there',
    );
  });
});
