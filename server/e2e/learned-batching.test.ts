import { Client, credentials, Metadata, status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { deep } from '../../bench/models/test-models.ts';
import { inferMessage } from '../../bench/scenarios/open-loop-sender.ts';
import { makeRepository, ServerProcess } from './serve.ts';

/** What the server learns of a model's speed, and what it refuses by it. */

const body = { inputs: [{ name: 'INPUT0', datatype: 'FP32', shape: [1, 256], data: new Array(256).fill(0) }] };
const AT_ONCE = 100;

describe('learned batching', () => {
  let server: ServerProcess;
  let repository: ReturnType<typeof makeRepository>;

  beforeAll(async () => {
    const files: Record<string, string | Uint8Array> = {};
    // Some 20 ms a run, on a machine with nothing else to do.
    for (const model of ['patient', 'hasty', 'artless']) files[`${model}/1/model.onnx`] = deep(4000);
    files['patient/config.pbtxt'] = 'max_batch_size: 2 dynamic_batching {}';
    files['hasty/config.pbtxt'] = 'max_batch_size: 1 learned_batching { max_queue_time_microseconds: 50000 }';
    files['artless/config.pbtxt'] = 'max_batch_size: 1 learned_batching { disable: true max_queue_time_microseconds: 50000 }';
    repository = makeRepository(files);
    server = await ServerProcess.start([`--model-repository=${repository.path}`]);
    for (const model of ['patient', 'hasty', 'artless']) {
      for (let i = 0; i < 10; i++) expect((await server.post(`/v2/models/${model}/infer`, body)).status).toBe(200);
    }
  });
  afterAll(async () => {
    expect((await server.stop()).code).toBe(0);
    repository.remove();
  });

  const burst = (model: string) => Promise.all(Array.from({ length: AT_ONCE }, () => server.post(`/v2/models/${model}/infer`, body)));
  const refusedBy = (model: string, reason: string) =>
    server.metric(`nereid_admission_refused_total{model="${model}",version="1",reason="${reason}"}`);

  it('what would wait for longer than it may is answered 503 with Retry-After, and the rest is served', async () => {
    const answers = await burst('hasty');
    const refused = answers.filter((answer) => answer.status === 503);
    expect(answers.filter((answer) => answer.status === 200).length + refused.length).toBe(AT_ONCE);
    expect(refused.length).toBeGreaterThan(AT_ONCE / 2);
    expect(refused.length).toBeLessThan(AT_ONCE);
    for (const { json, headers } of refused) {
      expect(json.error).toMatch(
        /^a request for model 'hasty' would wait for about [\d.]+ ms, behind \d+ rows, longer than the 50\.0 ms that it may \(--max-queue-time-ms, learned_batching\.max_queue_time_microseconds\); retry later$/,
      );
      expect(Number(headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    }
    expect(await refusedBy('hasty', 'queue_time')).toBe(refused.length);
    expect(await server.metric('nv_inference_request_failure{model="hasty",version="1",reason="REJECTED"}')).toBe(refused.length);
  });

  it('the default bound refuses nothing of the kind, and a model may do without', async () => {
    for (const model of ['patient', 'artless']) {
      expect((await burst(model)).filter((answer) => answer.status !== 200)).toEqual([]);
      expect(await refusedBy(model, 'queue_time')).toBe(0);
    }
    expect(await server.metric('nereid_learned_batch_fixed_us{model="patient",version="1"}')).toBeGreaterThan(0);
    expect(await server.metric('nereid_learned_batch_fixed_us{model="artless",version="1"}')).toBe(0);
  });

  it('a deadline that cannot be met is UNAVAILABLE at once, and says what was expected', async () => {
    const client = new Client(server.grpc.replace('grpc://', ''), credentials.createInsecure());
    await new Promise<void>((resolve, reject) => {
      client.waitForReady(Date.now() + 20_000, (error) => (error ? reject(error) : resolve()));
    });
    const message = Buffer.from(inferMessage({ model: 'patient', rowLength: 256, priority: 0 }));
    const same = (bytes: Buffer): Buffer => bytes;
    const deadline = Date.now() + 300;
    const call = (): Promise<{ code: status; details: string; retryAfter: string }> =>
      new Promise((resolve) => {
        client.makeUnaryRequest(
          '/inference.GRPCInferenceService/ModelInfer',
          same,
          same,
          message,
          new Metadata(),
          { deadline },
          (error) => {
            const retryAfter = String(error?.metadata.get('retry-after')[0] ?? '');
            resolve({ code: error?.code ?? status.OK, details: error?.details ?? '', retryAfter });
          },
        );
      });
    const answers = await Promise.all(Array.from({ length: AT_ONCE }, call));
    client.close();
    const refused = answers.filter(({ code }) => code === status.UNAVAILABLE);
    expect(answers.filter(({ code }) => ![status.OK, status.UNAVAILABLE, status.DEADLINE_EXCEEDED].includes(code))).toEqual([]);
    // Fifty executions of 20 ms, in 300.
    expect(refused.length).toBeGreaterThan(AT_ONCE / 4);
    for (const { details, retryAfter } of refused) {
      expect(details).toMatch(
        /^model 'patient' would answer in about [\d.]+ ms(, behind \d+ rows?)?, and the request's deadline is in [\d.]+ ms; retry later, or give it more time$/,
      );
      expect(Number(retryAfter)).toBeGreaterThanOrEqual(1);
    }
    expect(await refusedBy('patient', 'deadline')).toBe(refused.length);
  });

  it('--learned-batching=false switches it off for all', async () => {
    const plain = await ServerProcess.start([`--model-repository=${repository.path}`, '--learned-batching=false', '--max-queue-time-ms=1']);
    try {
      const answers = await Promise.all(
        Array.from({ length: 30 }, () => plain.post('/v2/models/hasty/infer', body).then((answer) => answer.status)),
      );
      expect(answers).toEqual(new Array(30).fill(200));
    } finally {
      expect((await plain.stop()).code).toBe(0);
    }
  });
});
