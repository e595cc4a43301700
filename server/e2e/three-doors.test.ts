/** One behaviour, three doors: a table of requests, replayed over REST, gRPC and WebSocket in every encoding, must end in the same outputs or the same error. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addSub, failAtRun, identity } from '../../bench/models/test-models.ts';
import { encodeBytes } from '../../proto/bytes.ts';
import { DATATYPES, type Datatype } from '../../proto/datatype.ts';
import type { StatusCode } from '../../proto/inference-error.ts';
import { loadUws } from '../transports/uws/uws-module.ts';
import { type DoorAnswer, type DoorName, type DoorRequest, Doors, type DoorTensor } from './doors.ts';
import { makeRepository, ServerProcess } from './serve.ts';

const allDoors: readonly DoorName[] = [
  'REST JSON',
  'REST binary',
  'gRPC typed',
  'gRPC raw',
  'gRPC stream',
  'WebSocket JSON',
  'WebSocket binary',
];
/** Where a tensor's bytes go as they are: what can be wrong with bytes can only be said here. */
const byteDoors: readonly DoorName[] = ['REST binary', 'gRPC raw', 'gRPC stream', 'WebSocket binary'];

const datatypes = Object.keys(DATATYPES) as Datatype[];
const labels = 'zero\none\ntwo\n';
const repository = makeRepository({
  ...Object.fromEntries(
    datatypes.map((datatype) => [`identity_${datatype.toLowerCase()}/1/model.onnx`, identity(datatype, ['batch', 'n'])]),
  ),
  'add_sub/1/model.onnx': addSub('INT32'),
  'add_sub/config.pbtxt':
    'max_batch_size: 4\noutput [ { name: "OUTPUT0" data_type: TYPE_INT32 dims: [ 16 ] label_filename: "labels.txt" }, { name: "OUTPUT1" data_type: TYPE_INT32 dims: [ 16 ] } ]\n',
  'add_sub/labels.txt': labels,
  'broken/1/model.onnx': Buffer.from('not a model'),
  'failing/1/model.onnx': failAtRun(),
  'streaming/config.pbtxt': [
    'backend: "repeat"',
    'model_transaction_policy { decoupled: true }',
    'input [ { name: "IN" data_type: TYPE_INT32 dims: [ -1 ] }, { name: "DELAY" data_type: TYPE_UINT32 dims: [ -1 ] }, { name: "WAIT" data_type: TYPE_UINT32 dims: [ 1 ] } ]',
    'output [ { name: "OUT" data_type: TYPE_INT32 dims: [ 1 ] }, { name: "IDX" data_type: TYPE_UINT32 dims: [ 1 ] } ]',
  ].join('\n'),
  'streaming/1/README': 'no file is needed\n',
});
afterAll(() => repository.remove());

/** Extremes, signs, zeros, what does not divide evenly; 8 elements of each datatype. */
function sampleBytes(datatype: Datatype): Uint8Array {
  switch (datatype) {
    case 'BOOL':
      return Uint8Array.of(0, 1, 1, 0, 1, 0, 0, 1);
    case 'BYTES':
      return encodeBytes(['', 'a', 'é𝄞', ' spaces ', '"quoted"\\', '\n\t', '0', 'x'.repeat(300)]);
    case 'FP32':
      return new Uint8Array(
        Float32Array.of(0, -0, 1.1, -3.402_823_4e38, 1e-45, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY).buffer,
      );
    case 'FP64':
      return new Uint8Array(Float64Array.of(0, -0, 0.1, -1.797e308, 5e-324, Number.NaN, Number.POSITIVE_INFINITY, 1 / 3).buffer);
    case 'INT64':
      return new Uint8Array(BigInt64Array.of(0n, -1n, 1n, 2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n, 7n, -9n).buffer);
    case 'UINT64':
      return new Uint8Array(BigUint64Array.of(0n, 1n, 2n ** 64n - 1n, 2n ** 63n, 2n ** 53n + 1n, 5n, 6n, 7n).buffer);
    case 'FP16':
    case 'BF16':
      return new Uint8Array(Uint16Array.of(0, 0x8000, 0x3c00, 0x7bff, 0x0001, 0x4248, 0x3f80, 0xc000).buffer);
    default: {
      const bytes = new Uint8Array(8 * DATATYPES[datatype].byteSize);
      bytes.forEach((_, i) => {
        bytes[i] = [0, 255, 128, 127, 1, 200, 64, 3][i % 8]!;
      });
      return bytes;
    }
  }
}

const int32 = (values: readonly number[]): Uint8Array => new Uint8Array(Int32Array.from(values).buffer);
const ramp = Array.from({ length: 16 }, (_, i) => i);
const row = (name: string, shape: readonly number[] = [1, 16], data = int32(ramp)): DoorTensor => ({
  name,
  datatype: 'INT32',
  shape,
  data,
});
const both = [row('INPUT0'), row('INPUT1')];
const long = (request: Partial<DoorRequest>): DoorRequest => ({ model: 'add_sub', inputs: both, ...request });

interface RefusedCase {
  readonly what: string;
  readonly request: DoorRequest;
  readonly code: StatusCode;
  readonly text: RegExp;
  /** Left out where the encoding cannot say it, or where the transport itself answers. */
  readonly doors?: readonly DoorName[];
  /** The decoder finds it and says it in the words of its own wire. */
  readonly isWorded?: true;
}

const decoupled = {
  model: 'streaming',
  inputs: [
    { name: 'IN', datatype: 'INT32', shape: [1], data: int32([5]) },
    { name: 'DELAY', datatype: 'UINT32', shape: [1], data: int32([0]) },
    { name: 'WAIT', datatype: 'UINT32', shape: [1], data: int32([0]) },
  ],
};

const bytesTensor = (data: Uint8Array): DoorRequest => ({
  model: 'identity_bytes',
  inputs: [{ name: 'INPUT0', datatype: 'BYTES', shape: [1, 2], data }],
});

/** The families of the error matrix that a request can run into; its numbers in front. */
const refused: readonly RefusedCase[] = [
  {
    what: '1 unknown model',
    request: long({ model: 'add_sup' }),
    code: 'NOT_FOUND',
    text: /^Request for unknown model: 'add_sup' is not found/,
  },
  { what: '2 unknown version', request: long({ version: '9' }), code: 'NOT_FOUND', text: /'add_sub' version 9 is not found/ },
  {
    what: '2 not a version',
    request: long({ version: '-1' }),
    code: 'INVALID_ARGUMENT',
    text: /-1/,
    doors: ['gRPC typed', 'gRPC raw', 'gRPC stream', 'WebSocket JSON', 'WebSocket binary'],
  },
  { what: '3 nothing READY', request: long({ model: 'broken' }), code: 'NOT_FOUND', text: /'broken' has no available versions/ },
  {
    what: '7 too few inputs',
    request: long({ inputs: [row('INPUT0')] }),
    code: 'INVALID_ARGUMENT',
    text: /^expected 2 inputs but got 1 inputs for model 'add_sub'.*\['INPUT1'\]/,
  },
  {
    what: '9 too many inputs',
    request: long({ inputs: [...both, row('INPUT2')] }),
    code: 'INVALID_ARGUMENT',
    text: /INPUT2|expected 2 inputs but got 3/,
  },
  {
    what: '10 unknown input',
    request: long({ inputs: [row('INPUT0'), row('INPUT7')] }),
    code: 'INVALID_ARGUMENT',
    text: /unexpected inference input 'INPUT7' for model 'add_sub'/,
  },
  {
    what: '11 input twice',
    request: long({ inputs: [row('INPUT0'), row('INPUT0')] }),
    code: 'INVALID_ARGUMENT',
    text: /input 'INPUT0' already exists in request/,
  },
  {
    what: '12 unknown output',
    request: long({ outputs: [{ name: 'DUMMY' }] }),
    code: 'INVALID_ARGUMENT',
    text: /unexpected inference output 'DUMMY' for model/,
  },
  {
    what: '13 output twice',
    request: long({ outputs: [{ name: 'OUTPUT0' }, { name: 'OUTPUT0' }] }),
    code: 'INVALID_ARGUMENT',
    text: /output 'OUTPUT0' already exists in request/,
  },
  {
    what: '14 wrong shape',
    request: long({ inputs: [row('INPUT0', [1, 15], int32(ramp.slice(1))), row('INPUT1')] }),
    code: 'INVALID_ARGUMENT',
    text: /unexpected shape for input 'INPUT0' for model 'add_sub'. Expected \[-1,16\], got \[1,15\]/,
  },
  {
    what: '14 wrong rank',
    request: long({ inputs: [row('INPUT0', [16]), row('INPUT1')] }),
    code: 'INVALID_ARGUMENT',
    text: /unexpected shape for input 'INPUT0'/,
  },
  {
    what: '15 a negative dimension',
    isWorded: true,
    request: long({ inputs: [row('INPUT0', [-1, 16]), row('INPUT1')] }),
    code: 'INVALID_ARGUMENT',
    text: /INPUT0/,
  },
  {
    what: '17 wrong datatype',
    request: long({ inputs: [{ ...row('INPUT0'), datatype: 'FP32' }, row('INPUT1')] }),
    code: 'INVALID_ARGUMENT',
    text: /inference input 'INPUT0' data-type is 'FP32', but model 'add_sub' expects 'INT32'/,
  },
  {
    what: '17 no datatype at all',
    request: long({ inputs: [{ ...row('INPUT0'), datatype: 'INT33' }, row('INPUT1')] }),
    code: 'INVALID_ARGUMENT',
    text: /datatype.*INT33/s,
    doors: byteDoors,
  },
  {
    what: '18 too few bytes',
    request: long({ inputs: [row('INPUT0', [1, 16], int32(ramp.slice(1))), row('INPUT1')] }),
    code: 'INVALID_ARGUMENT',
    text: /input byte size mismatch for input 'INPUT0' for model 'add_sub'. Expected 64, got 60/,
    doors: byteDoors,
  },
  {
    what: '18 too many bytes',
    request: long({ inputs: [row('INPUT0', [1, 16], int32([...ramp, 1])), row('INPUT1')] }),
    code: 'INVALID_ARGUMENT',
    text: /Expected 64, got 68/,
    doors: byteDoors,
  },
  {
    what: '18 too few elements',
    request: long({ inputs: [row('INPUT0', [1, 16], int32(ramp.slice(1))), row('INPUT1')] }),
    code: 'INVALID_ARGUMENT',
    text: /INPUT0/,
  },
  {
    what: '19 BYTES, too few elements',
    request: bytesTensor(encodeBytes(['a'])),
    code: 'INVALID_ARGUMENT',
    text: /expected 2 string elements for inference input 'INPUT0'.*got 1/,
    doors: byteDoors,
  },
  {
    what: '20 BYTES, too many elements',
    request: bytesTensor(encodeBytes(['a', 'b', 'c'])),
    code: 'INVALID_ARGUMENT',
    text: /unexpected number of string elements 3/,
    doors: byteDoors,
  },
  {
    what: '21 BYTES, cut',
    request: bytesTensor(encodeBytes(['a', 'bcd']).subarray(0, 11)),
    code: 'INVALID_ARGUMENT',
    text: /incomplete string/,
    doors: byteDoors,
  },
  {
    what: '22 batch too large',
    request: long({ inputs: [row('INPUT0', [5, 16], int32(Array(80).fill(1))), row('INPUT1', [5, 16], int32(Array(80).fill(1)))] }),
    code: 'INVALID_ARGUMENT',
    text: /inference request batch-size must be <= 4 for 'add_sub'/,
  },
  {
    what: '23 inputs disagree',
    request: long({ inputs: [row('INPUT0', [2, 16], int32([...ramp, ...ramp])), row('INPUT1')] }),
    code: 'INVALID_ARGUMENT',
    text: /batch size does not match other inputs/,
  },
  {
    what: '24 no shape',
    request: long({ inputs: [row('INPUT0', [], int32([1])), row('INPUT1')] }),
    code: 'INVALID_ARGUMENT',
    text: /has no shape but model requires batch dimension/,
  },
  {
    what: '29 overflow',
    isWorded: true,
    request: long({ inputs: [row('INPUT0', [2 ** 31, 2 ** 31]), row('INPUT1')] }),
    code: 'INVALID_ARGUMENT',
    text: /INPUT0/,
  },
  {
    what: '36 decoupled, one answer',
    request: decoupled,
    code: 'UNIMPLEMENTED',
    text: /doesn't support models with decoupled transaction policy/,
    doors: ['REST JSON', 'REST binary', 'gRPC typed', 'gRPC raw'],
  },
  {
    what: '48 shared memory',
    isWorded: true,
    request: long({
      inputs: [{ ...row('INPUT0'), parameters: { shared_memory_region: 'mine', shared_memory_byte_size: 64 } }, row('INPUT1')],
    }),
    code: 'UNIMPLEMENTED',
    text: /shared memory/,
  },
  {
    what: '2.6 a priority below 0',
    isWorded: true,
    request: long({ parameters: { priority: -1 } }),
    code: 'INVALID_ARGUMENT',
    text: /priority/,
  },
  {
    what: '2.6 a timeout that is text',
    isWorded: true,
    request: long({ parameters: { timeout: 'soon' } }),
    code: 'INVALID_ARGUMENT',
    text: /timeout/,
  },
  {
    what: '54 reserved parameter',
    request: long({ parameters: { triton_mine: 1 } }),
    code: 'INVALID_ARGUMENT',
    text: /reserved for Triton usage/,
  },
  {
    what: '56 sequence',
    request: long({ parameters: { sequence_id: 'x'.repeat(129) } }),
    code: 'INVALID_ARGUMENT',
    text: /sequence_id.*at most 128 bytes/,
  },
  {
    what: '59 classification of BYTES',
    request: { ...bytesTensor(encodeBytes(['a', 'b'])), outputs: [{ name: 'OUTPUT0', parameters: { classification: 1 } }] },
    code: 'INVALID_ARGUMENT',
    text: /BYTES/,
  },
];

const uws = await loadUws();
const engines = 'module' in uws ? (['uws', 'node'] as const) : (['node'] as const);

describe.each(engines)('three doors, HTTP engine %s', (engine) => {
  let server: ServerProcess;
  let doors: Doors;
  beforeAll(async () => {
    server = await ServerProcess.start([`--model-repository=${repository.path}`, `--http-engine=${engine}`]);
    doors = new Doors(server.http, new URL(server.grpc).host);
  });
  afterAll(async () => {
    doors?.close();
    await server?.stop();
  });

  const through = async (request: DoorRequest, names: readonly DoorName[]): Promise<[DoorName, DoorAnswer][]> => {
    const answers: [DoorName, DoorAnswer][] = [];
    for (const name of names) answers.push([name, await doors.send(name, request)]);
    return answers;
  };

  describe('the same outputs', () => {
    test.each(datatypes)('%s, bit for bit', async (datatype) => {
      const data = sampleBytes(datatype);
      const request = {
        model: `identity_${datatype.toLowerCase()}`,
        id: `of ${datatype}`,
        inputs: [{ name: 'INPUT0', datatype, shape: [2, 4], data }],
      };
      // Half floats have no typed field, and this test no JSON form for them.
      const names = datatype === 'FP16' || datatype === 'BF16' ? byteDoors : allDoors;
      for (const [name, answer] of await through(request, names)) {
        expect([name, answer]).toEqual([
          name,
          {
            code: 'OK',
            message: '',
            model: request.model,
            version: '1',
            id: request.id,
            outputs: [{ name: 'OUTPUT0', datatype, shape: [2, 4], data }],
          },
        ]);
      }
    });

    test.each(['FP16', 'BF16'])('%s has no typed field in gRPC', async (datatype) => {
      const data = sampleBytes(datatype as Datatype);
      const inputs = [{ name: 'INPUT0', datatype, shape: [2, 4], data }];
      const answer = await doors.send('gRPC typed', { model: `identity_${datatype.toLowerCase()}`, inputs });
      expect(answer).toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(datatype) });
    });

    test('no elements at all', async () => {
      const request = { model: 'identity_fp32', inputs: [{ name: 'INPUT0', datatype: 'FP32', shape: [2, 0], data: new Uint8Array() }] };
      const [first, ...others] = await through(request, allDoors);
      expect(first![1].outputs).toEqual([{ name: 'OUTPUT0', datatype: 'FP32', shape: [2, 0], data: new Uint8Array() }]);
      for (const [name, answer] of others) expect([name, answer]).toEqual([name, first![1]]);
    });

    test('only the outputs that were asked for, and classes with their labels', async () => {
      const request = long({ outputs: [{ name: 'OUTPUT0', parameters: { classification: 2 } }] });
      const [first, ...others] = await through(request, allDoors);
      expect(first![1].outputs).toEqual([{ name: 'OUTPUT0', datatype: 'BYTES', shape: [1, 2], data: encodeBytes(['30:15', '28:14']) }]);
      for (const [name, answer] of others) expect([name, answer]).toEqual([name, first![1]]);
    });

    test('a batch of several rows', async () => {
      const rows = row('INPUT0', [3, 16], int32(Array.from({ length: 48 }, (_, i) => i * 7)));
      const [first, ...others] = await through(long({ inputs: [rows, { ...rows, name: 'INPUT1' }] }), allDoors);
      expect(first![1].outputs.map(({ shape }) => shape)).toEqual([
        [3, 16],
        [3, 16],
      ]);
      for (const [name, answer] of others) expect([name, answer]).toEqual([name, first![1]]);
    });
  });

  describe('the same errors', () => {
    test.each(refused)('$what', async ({ request, code, text, doors: names = allDoors, isWorded = false }) => {
      const answers = await through(request, names);
      for (const [name, answer] of answers) {
        expect([name, answer.message]).toEqual([name, expect.stringMatching(text)]);
        expect([name, answer.code]).toEqual([name, code]);
      }
      // Where the bytes go as they are, the text is the same to the letter.
      const texts = answers.filter(([name]) => byteDoors.includes(name)).map(([, answer]) => answer.message);
      if (!isWorded) expect(new Set(texts).size).toBeLessThanOrEqual(1);
    });

    test('a model that fails while it runs', async () => {
      const index = new Uint8Array(BigInt64Array.of(99n).buffer);
      const request = { model: 'failing', inputs: [{ name: 'INPUT0', datatype: 'INT64', shape: [1, 1], data: index }] };
      const [first, ...others] = await through(request, allDoors);
      expect(first![1].code).not.toBe('OK');
      for (const [name, answer] of others) {
        expect([name, answer.message]).toEqual([name, first![1].message]);
        expect([name, answer.code]).toEqual([name, first![1].code]);
      }
    });
  });
});
