import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encodeOnnxModel, type OnnxValue } from '../../../bench/models/onnx-model.ts';
import { makeRepository, ServerProcess } from '../../../server/e2e/serve.ts';
import type { InferenceClient } from './client.ts';
import { connect } from './index.ts';

/** Sequences against a real server: ID is the sequence's, SUM what its requests have brought so far. */

let server: ServerProcess;
let repository: ReturnType<typeof makeRepository>;

beforeAll(async () => {
  const int64 = (name: string): OnnxValue => ({ name, elementType: 'INT64', dims: ['batch', 1] });
  const uint64 = (name: string): OnnxValue => ({ name, elementType: 'UINT64', dims: ['batch', 1] });
  const model = encodeOnnxModel({
    name: 'sequence',
    inputs: [int64('VALUE'), int64('BEFORE'), uint64('CORRID')],
    outputs: [int64('SUM'), int64('AFTER'), uint64('ID')],
    nodes: [
      { op: 'Add', inputs: ['VALUE', 'BEFORE'], outputs: ['SUM'] },
      { op: 'Identity', inputs: ['SUM'], outputs: ['AFTER'] },
      { op: 'Identity', inputs: ['CORRID'], outputs: ['ID'] },
    ],
  });
  const control = '{ name: CORRID, control: [{ kind: CONTROL_SEQUENCE_CORRID, data_type: TYPE_UINT64 }] }';
  const state = '{ input_name: BEFORE, output_name: AFTER, data_type: TYPE_INT64, dims: [1] }';
  repository = makeRepository({
    'sequence/1/model.onnx': model,
    'sequence/config.yaml': `max_batch_size: 8\nsequence_batching: { control_input: [${control}], state: [${state}] }\n`,
  });
  server = await ServerProcess.start([`--model-repository=${repository.path}`]);
});

afterAll(async () => {
  await server?.stop();
  repository.remove();
});

describe.each(['http', 'grpc', 'ws'] as const)('over %s', (scheme) => {
  let client: InferenceClient;
  beforeAll(async () => {
    client = await connect(scheme === 'grpc' ? server.grpc : server.http.replace('http', scheme), { timeoutMs: 20_000 });
  });
  afterAll(() => client?.close());

  const send = async (value: number, id: number | bigint, start: boolean, end: boolean): Promise<unknown[]> => {
    const result = await client.infer({
      model: 'sequence',
      inputs: [{ name: 'VALUE', datatype: 'INT64', shape: [1, 1], data: BigInt64Array.of(BigInt(value)) }],
      sequence: { id, start, end },
    });
    return ['SUM', 'ID'].map((name) => (result.output(name).data as BigInt64Array)[0]);
  };

  test.each([1, 2 ** 53 - 1, 2n ** 53n + 1n, 2n ** 63n, 2n ** 64n - 1n])('the id %s is the one that the model sees', async (id) => {
    expect(await send(1, id, true, false)).toEqual([1n, BigInt(id)]);
    expect(await send(2, id, false, false)).toEqual([3n, BigInt(id)]);
    expect(await send(3, id, false, true)).toEqual([6n, BigInt(id)]);
  });

  test('two sequences do not meet, and one that has not begun is refused', async () => {
    expect(await send(1, 5, true, false)).toEqual([1n, 5n]);
    expect(await send(10, 6, true, false)).toEqual([10n, 6n]);
    expect(await send(2, 5, false, true)).toEqual([3n, 5n]);
    expect(await send(20, 6, false, true)).toEqual([30n, 6n]);
    await expect(send(1, 5, false, false)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining('START') });
  });
});
