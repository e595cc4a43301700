import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { failAtRun, heavy, identity } from '../../bench/models/test-models.ts';
import { type Answer, makeRepository, ServerProcess } from './serve.ts';

/** Statistics and metrics after a known sequence of requests: exact numbers, each model with one kind of end. */

interface Counts {
  readonly inferences: number;
  readonly executions: number;
  readonly success: number;
  readonly fail: number;
  readonly queue: number;
  readonly infer: number;
  /** `size x executions`. */
  readonly batches: string;
}

describe('statistics', () => {
  let server: ServerProcess;
  let repository: ReturnType<typeof makeRepository>;
  beforeAll(async () => {
    // A delay that no test waits out: a batch is full, or what it waits for is sent.
    const batching = 'dynamic_batching: { preferred_batch_size: [4], max_queue_delay_microseconds: 10000000 }';
    repository = makeRepository({
      'batched/1/model.onnx': identity('FP32', ['batch', 2]),
      'batched/config.yaml': `max_batch_size: 8\n${batching}`,
      'single/1/model.onnx': identity('FP32', ['batch', 2]),
      'single/config.yaml': 'max_batch_size: 8',
      'fails/1/model.onnx': failAtRun(),
      'fails/config.pbtxt': `max_batch_size: 4
        dynamic_batching { preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 10000000 }
        metric_tags { key: "team" value: "a\\"b\\\\c" }`,
      'full/1/model.onnx': heavy(400),
      'full/config.yaml': 'max_batch_size: 1\ndynamic_batching: { default_queue_policy: { max_queue_size: 2 } }',
    });
    server = await ServerProcess.start([`--model-repository=${repository.path}`]);
  });
  afterAll(async () => {
    expect((await server.stop()).code).toBe(0);
    repository.remove();
  });

  const send = (model: string, rows: number, columns = 2): Promise<Answer> =>
    server.post(`/v2/models/${model}/infer`, {
      inputs: [{ name: 'INPUT0', datatype: 'FP32', shape: [rows, columns], data: Array(rows * columns).fill(1) }],
    });
  const index = (value: number): Promise<Answer> =>
    server.post('/v2/models/fails/infer', { inputs: [{ name: 'INPUT0', datatype: 'INT64', shape: [1, 1], data: [value] }] });

  async function counts(model: string): Promise<Counts> {
    const stats = (await server.get(`/v2/models/${model}/stats`)).json.model_stats[0];
    const { success, fail, queue, compute_infer: infer } = stats.inference_stats;
    return {
      inferences: stats.inference_count,
      executions: stats.execution_count,
      success: success.count,
      fail: fail.count,
      queue: queue.count,
      infer: infer.count,
      batches: stats.batch_stats
        .map((one: { batch_size: number; compute_infer: { count: number } }) => `${one.batch_size}x${one.compute_infer.count}`)
        .join(' '),
    };
  }

  it('counts requests, rows and executions', async () => {
    await send('single', 1);
    await send('single', 3);
    await send('single', 3);
    // Refused before it is queued: no model ran and none failed.
    expect((await send('single', 9)).status).toBe(400);
    expect(await counts('single')).toEqual({ inferences: 7, executions: 3, success: 3, fail: 0, queue: 3, infer: 3, batches: '1x1 3x2' });

    await Promise.all([send('batched', 1), send('batched', 3)]);
    await Promise.all([send('batched', 2), send('batched', 1), send('batched', 1)]);
    expect(await counts('batched')).toEqual({ inferences: 8, executions: 2, success: 5, fail: 0, queue: 5, infer: 5, batches: '4x2' });
    expect(await server.metric('nv_inference_exec_count{model="batched",version="1"}')).toBe(2);
    expect(await server.metric('nv_inference_count{model="batched",version="1"}')).toBe(8);
  });

  it('of a batch that one request spoils, counts that one as failed and answers the others', async () => {
    const answers = await Promise.all([1, 2, 50, 3].map(index));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 500, 200]);
    expect(answers.map(({ json }) => json.outputs?.[0].data[0])).toEqual([1.5, 2.5, undefined, 3.5]);
    expect(await counts('fails')).toEqual({ inferences: 3, executions: 2, success: 3, fail: 1, queue: 3, infer: 3, batches: '1x1 2x1' });
    const series = (reason: string): string =>
      `nv_inference_request_failure{model="fails",version="1",_team="a\\"b\\\\c",reason="${reason}"}`;
    expect(await server.metric(series('BACKEND'))).toBe(1);
    for (const reason of ['REJECTED', 'CANCELED', 'OTHER']) expect([reason, await server.metric(series(reason))]).toEqual([reason, 0]);
    // However many fail, a caller does not fill the log.
    await Promise.all([60, 61, 62, 63].map(index));
    expect(server.stderr.match(/a model failed a request/g)!.length).toBeLessThanOrEqual(3);
    expect(server.stderr).not.toContain('a fault in the server');
  });

  it('counts what a full queue refuses as rejected', async () => {
    const answers = await Promise.all(Array.from({ length: 10 }, () => send('full', 1, 16)));
    const refused = answers.filter(({ status }) => status === 503);
    expect(refused.length).toBeGreaterThan(0);
    for (const { json, headers } of refused) {
      expect([json.error, headers.get('retry-after')]).toEqual([expect.stringContaining('Exceeds maximum queue size: 2'), '1']);
    }
    const served = answers.length - refused.length;
    expect(await counts('full')).toEqual({
      inferences: served,
      executions: served,
      success: served,
      fail: refused.length,
      queue: served,
      infer: served,
      batches: `1x${served}`,
    });
    expect(await server.metric('nv_inference_request_failure{model="full",version="1",reason="REJECTED"}')).toBe(refused.length);
    expect(await server.metric('nv_inference_pending_request_count{model="full",version="1"}')).toBe(0);
  });
});
