import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { endlessLoop, heavyOnRequest } from '../../bench/models/test-models.ts';
import { type Answer, makeRepository, ServerProcess, until } from './serve.ts';

/** Queue policies of dynamic_batching through a real server. One WebSocket keeps the order of what is sent; the order of its answers is that in which they left. */

interface Sent {
  readonly id: string;
  readonly work?: number;
  readonly parameters?: Readonly<Record<string, number>>;
}

describe('queue policies', () => {
  let server: ServerProcess;
  let repository: ReturnType<typeof makeRepository>;
  /** Multiplications that take about 10 ms on this machine. */
  let tenMs: number;

  beforeAll(async () => {
    const alone = 'max_batch_size: 1\n';
    repository = makeRepository({
      'levels/1/model.onnx': heavyOnRequest(),
      'levels/config.yaml': `${alone}dynamic_batching:
  priority_levels: 3
  default_priority_level: 2
  priority_queue_policy: { 3: { max_queue_size: 2 } }`,
      'delayed/1/model.onnx': heavyOnRequest(),
      'delayed/config.yaml': `${alone}dynamic_batching:
  default_queue_policy: { timeout_action: DELAY, default_timeout_microseconds: 60000000, allow_timeout_override: true }`,
      'ordered/1/model.onnx': heavyOnRequest(),
      'ordered/config.yaml': `${alone}instance_group: [{ count: 2 }]\ndynamic_batching: { preserve_ordering: true }`,
      'hangs/1/model.onnx': endlessLoop('positive'),
      'hangs/config.yaml': `${alone}dynamic_batching:
  default_queue_policy: { default_timeout_microseconds: 400000, allow_timeout_override: true }`,
    });
    server = await ServerProcess.start([`--model-repository=${repository.path}`, '--execution-timeout-ms=2000']);
    // The first run of a session is slower.
    await server.post('/v2/models/levels/infer', body({ id: '', work: 50 }));
    const began = performance.now();
    for (let i = 0; i < 3; i++) expect((await server.post('/v2/models/levels/infer', body({ id: '', work: 50 }))).status).toBe(200);
    tenMs = Math.max(5, Math.round((3 * 50 * 10) / (performance.now() - began)));
  });
  afterAll(async () => {
    expect((await server.stop()).code).toBe(0);
    repository.remove();
  });

  const body = ({ id, work = tenMs, parameters = {} }: Sent): object => ({
    id,
    parameters,
    inputs: [
      { name: 'INPUT0', datatype: 'FP32', shape: [1, 16], data: Array(16).fill(1) },
      { name: 'INPUT1', datatype: 'INT64', shape: [1, 1], data: [work] },
    ],
  });
  const rejected = (model: string): Promise<number | undefined> =>
    server.metric(`nv_inference_request_failure{model="${model}",version="1",reason="REJECTED"}`);

  class Line {
    readonly answers: { readonly id: string; readonly error?: string }[] = [];
    readonly #socket: WebSocket;
    readonly #model: string;

    private constructor(socket: WebSocket, model: string) {
      this.#socket = socket;
      this.#model = model;
      socket.on('message', (data: Buffer) => this.answers.push(JSON.parse(data.toString())));
    }

    static async open(model: string): Promise<Line> {
      const socket = new WebSocket(`${server.http.replace('http', 'ws')}/v2/ws`);
      await new Promise((resolve, reject) => {
        socket.once('open', resolve);
        socket.once('error', reject);
      });
      return new Line(socket, model);
    }

    send(...all: readonly Sent[]): void {
      for (const one of all) this.#socket.send(JSON.stringify({ model_name: this.#model, ...body(one) }));
    }

    /** Ids in the order in which they were answered. */
    async order(count: number): Promise<string[]> {
      await until(() => this.answers.length >= count);
      this.#socket.close();
      return this.answers.map(({ id }) => id);
    }
  }

  it('answers by priority, then by arrival, and bounds each level', async () => {
    const line = await Line.open('levels');
    line.send({ id: 'first', parameters: { priority: 1 }, work: 10 * tenMs });
    const levels = [3, 0, 1, 2, 3, 1, 3, 99];
    line.send(...levels.map((priority, i) => ({ id: `${i}:${priority}`, parameters: { priority } })));
    // The third of level 3 finds no place.
    expect(await line.order(9)).toEqual(['6:3', 'first', '2:1', '5:1', '1:0', '3:2', '7:99', '0:3', '4:3']);
    expect(line.answers[0]!.error).toContain('Exceeds maximum queue size: 2');
    expect(await rejected('levels')).toBe(1);
    expect(await server.metric('nv_inference_pending_request_count{model="levels",version="1"}')).toBe(0);
  });

  it('refuses what waited too long while the only instance hangs', async () => {
    const send = async (value: number, timeoutUs?: number): Promise<Answer & { readonly ms: number }> => {
      const began = performance.now();
      const answer = await server.post('/v2/models/hangs/infer', {
        ...(timeoutUs === undefined ? {} : { parameters: { timeout: timeoutUs } }),
        inputs: [{ name: 'INPUT0', datatype: 'FP32', shape: [1, 1], data: [value] }],
      });
      return { ...answer, ms: performance.now() - began };
    };
    const pending = (): Promise<number | undefined> => server.metric('nv_inference_pending_request_count{model="hangs",version="1"}');
    const ends: string[] = [];
    const note = async (name: string, answer: ReturnType<typeof send>): Promise<void> => {
      const { status, json, headers, ms } = await answer;
      ends.push(name);
      if (name === 'hanging') return;
      expect([status, json.error, headers.get('retry-after')]).toEqual([503, expect.stringContaining('Request timeout expired'), '1']);
      expect(ms).toBeGreaterThan(name === 'own' ? 99 : 399);
    };
    const hanging = note('hanging', send(1));
    const waiting = note('default', send(0));
    await until(async () => (await pending()) === 1);
    await Promise.all([hanging, waiting, note('own', send(0, 100_000)), note('longer', send(0, 10_000_000))]);
    expect(ends).toHaveLength(4);
    expect(ends.at(-1)).toBe('hanging');
    expect(ends.indexOf('own')).toBeLessThan(ends.indexOf('longer'));
    expect(await rejected('hangs')).toBe(3);
    // The host that replaces the hanging one serves.
    await until(async () => (await send(-1)).status === 200);
  });

  it('delays what waited too long behind what is in time', async () => {
    const line = await Line.open('delayed');
    line.send({ id: 'first', work: 40 * tenMs }, { id: 'late', parameters: { timeout: 20_000 } });
    const sentMs = performance.now();
    await until(() => performance.now() > sentMs + 50);
    line.send({ id: 'in time' });
    expect(await line.order(3)).toEqual(['first', 'in time', 'late']);
    expect(await rejected('delayed')).toBe(0);
  });

  it('keeps the order of responses with two instances', async () => {
    const line = await Line.open('ordered');
    const ids = Array.from({ length: 12 }, (_, i) => String(i));
    line.send(...ids.map((id, i) => ({ id, work: i % 3 === 0 ? 8 * tenMs : 1 })));
    expect(await line.order(12)).toEqual(ids);
  });
});
