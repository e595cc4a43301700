import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeOnnxModel, type OnnxElementType } from '../../bench/models/onnx-model.ts';
import { addSub } from '../../bench/models/test-models.ts';
import { encodeBytes } from '../../proto/bytes.ts';
import { CancellableCalls } from './cancellable-calls.ts';
import { type DoorAnswer, type DoorName, type DoorRequest, Doors } from './doors.ts';
import { makeRepository, ServerProcess } from './serve.ts';

/** The reserved parameters of inference requests, by every door: what they may be, what they do, and that they are the same everywhere. */

const doorNames: readonly DoorName[] = [
  'REST JSON',
  'REST binary',
  'gRPC typed',
  'gRPC raw',
  'gRPC stream',
  'WebSocket JSON',
  'WebSocket binary',
];

/** OUTPUT0 is INPUT0, ID is the sequence's. */
function tellsId(elementType: OnnxElementType): Uint8Array {
  return encodeOnnxModel({
    name: 'tells_id',
    inputs: [
      { name: 'INPUT0', elementType: 'INT32', dims: ['batch', 1] },
      { name: 'CORRID', elementType, dims: ['batch', 1] },
    ],
    outputs: [
      { name: 'OUTPUT0', elementType: 'INT32', dims: ['batch', 1] },
      { name: 'ID', elementType, dims: ['batch', 1] },
    ],
    nodes: [
      { op: 'Identity', inputs: ['INPUT0'], outputs: ['OUTPUT0'] },
      { op: 'Identity', inputs: ['CORRID'], outputs: ['ID'] },
    ],
  });
}

/** OUTPUT0 is INPUT0 and half of what it was for the request before of the sequence: no two orders give the same. */
function tellsOrder(): Uint8Array {
  const value = (name: string): { name: string; elementType: OnnxElementType; dims: string[] | (string | number)[] } => ({
    name,
    elementType: 'FLOAT',
    dims: ['batch', 1],
  });
  return encodeOnnxModel({
    name: 'tells_order',
    inputs: [value('INPUT0'), value('BEFORE')],
    outputs: [value('OUTPUT0'), value('AFTER')],
    initializers: [{ name: 'half', elementType: 'FLOAT', dims: [], data: Float32Array.of(0.5) }],
    nodes: [
      { op: 'Mul', inputs: ['BEFORE', 'half'], outputs: ['halved'] },
      { op: 'Add', inputs: ['halved', 'INPUT0'], outputs: ['OUTPUT0'] },
      { op: 'Identity', inputs: ['OUTPUT0'], outputs: ['AFTER'] },
    ],
  });
}

const corrid = (type: string): string =>
  `max_batch_size: 4\nsequence_batching: { control_input: [{ name: CORRID, control: [{ kind: CONTROL_SEQUENCE_CORRID, data_type: ${type} }] }] }\n`;

describe('request parameters', () => {
  let server: ServerProcess;
  let repository: ReturnType<typeof makeRepository>;
  let doors: Doors;
  beforeAll(async () => {
    repository = makeRepository({
      'sum/1/model.onnx': addSub('INT32', ['batch', 4]),
      'sum/config.yaml': 'max_batch_size: 8\n',
      'numbers/1/model.onnx': tellsId('UINT64'),
      'numbers/config.yaml': corrid('TYPE_UINT64'),
      'texts/1/model.onnx': tellsId('STRING'),
      'texts/config.yaml': corrid('TYPE_STRING'),
      'order/1/model.onnx': tellsOrder(),
      'order/config.yaml':
        'max_batch_size: 4\nsequence_batching: { state: [{ input_name: BEFORE, output_name: AFTER, data_type: TYPE_FP32, dims: [1] }] }\n',
    });
    server = await ServerProcess.start([`--model-repository=${repository.path}`, '--exit-on-error=true']);
    doors = new Doors(server.http, `localhost:${new URL(server.grpc).port}`);
  });
  afterAll(async () => {
    doors?.close();
    expect((await server?.stop())?.code).toBe(0);
    repository.remove();
  });

  const int32 = (name: string, values: readonly number[]): DoorRequest['inputs'][number] => ({
    name,
    datatype: 'INT32',
    shape: [1, values.length],
    data: new Uint8Array(Int32Array.from(values).buffer),
  });
  const sum = (parameters: DoorRequest['parameters']): DoorRequest => ({
    model: 'sum',
    inputs: [int32('INPUT0', [1, 2, 3, 4]), int32('INPUT1', [1, 1, 1, 1])],
    ...(parameters === undefined ? {} : { parameters }),
  });
  const inSequence = (model: string, id: number | string, flags: object): DoorRequest => ({
    model,
    inputs: [int32('INPUT0', [7])],
    parameters: { sequence_id: id, ...flags },
  });
  const whole = { sequence_start: true, sequence_end: true };
  const output = (answer: DoorAnswer, name: string): Buffer => {
    expect([answer.code, answer.message]).toEqual(['OK', '']);
    return Buffer.from(answer.outputs.find((one) => one.name === name)!.data);
  };

  describe.each(doorNames)('by %s', (door) => {
    it('mean nothing to a model without sequences, priorities and queue policies', async () => {
      for (const parameters of [
        { sequence_id: 7, sequence_start: true },
        { sequence_id: 'x'.repeat(128), sequence_end: true },
        { sequence_id: 0, sequence_start: false, sequence_end: false },
        { sequence_id: '', sequence_start: true },
        { priority: 3, timeout: 1 },
        { priority: 0, timeout: 0 },
        { priority: Number.MAX_SAFE_INTEGER, timeout: Number.MAX_SAFE_INTEGER },
      ]) {
        expect(output(await doors.send(door, sum(parameters)), 'OUTPUT0')).toEqual(Buffer.from(Int32Array.of(2, 3, 4, 5).buffer));
      }
    });

    it.each<[string, DoorRequest['parameters'], RegExp]>([
      [
        'an id that is too long',
        { sequence_id: 'é'.repeat(65) },
        /'sequence_id': parameters.sequence_id: expected at most 128 bytes, got 130/,
      ],
      [
        'an id that is a flag',
        { sequence_id: true },
        /'sequence_id': parameters.sequence_id: expected an int.*from 0 to 2\^64 - 1, or a string.* of at most 128 bytes, got /,
      ],
      ['a start that is a number', { sequence_start: 1 }, /'sequence_start': parameters.sequence_start: expected /],
      ['an end that is a text', { sequence_end: 'true' }, /'sequence_end': parameters.sequence_end: expected /],
      ['a priority below 0', { priority: -1 }, /'priority': parameters.priority: expected /],
      ['a timeout that is a text', { timeout: '5' }, /'timeout': parameters.timeout: expected /],
    ])('are refused: %s', async (_what, parameters, says) => {
      const answer = await doors.send(door, sum(parameters));
      expect([answer.code, answer.message]).toEqual(['INVALID_ARGUMENT', expect.stringMatching(says)]);
    });

    it('carry a sequence id to its model as it was sent', async () => {
      for (const id of [1, 7, Number.MAX_SAFE_INTEGER]) {
        const answer = await doors.send(door, inSequence('numbers', id, whole));
        expect(output(answer, 'ID').readBigUInt64LE(0)).toBe(BigInt(id));
      }
      for (const id of ['7', 'é'.repeat(64), 'a "quoted" one\n']) {
        const answer = await doors.send(door, inSequence('texts', id, whole));
        expect(output(answer, 'ID')).toEqual(Buffer.from(encodeBytes([id])));
      }
    });

    it('say what a sequence lacks', async () => {
      for (const [parameters, says] of [
        [{ sequence_start: true }, /non-zero or non-empty correlation ID/],
        [{ sequence_id: 0, sequence_start: true }, /non-zero or non-empty correlation ID/],
        [{ sequence_id: 99 }, /START flag/],
        [{ sequence_id: 'text', sequence_start: true }, /CORRID/],
      ] as const) {
        const answer = await doors.send(door, { model: 'numbers', inputs: [int32('INPUT0', [7])], parameters });
        expect([answer.code, answer.message]).toEqual(['INVALID_ARGUMENT', expect.stringMatching(says)]);
      }
    });
  });

  it.each(['gRPC stream', 'WebSocket'] as const)(
    'requests of a sequence that are sent over one %s without waiting keep their order',
    async (kind) => {
      const count = 60;
      const calls = new CancellableCalls(server);
      try {
        const values = Array.from({ length: count }, (_, i) => (i * 7) % 5);
        const steps = values.map((value) => ({
          name: 'INPUT0',
          datatype: 'FP32',
          shape: [1, 1],
          data: new Uint8Array(Float32Array.of(value).buffer),
        }));
        const answers = await calls.sequence(kind, 'order', steps);
        let expected = 0;
        const all = values.map((value) => {
          expected = Math.fround(Math.fround(expected * 0.5) + value);
          return expected;
        });
        expect(answers.map((data) => Buffer.from(data).readFloatLE(0))).toEqual(all);
      } finally {
        calls.close();
      }
    },
  );
});
