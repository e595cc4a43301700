import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addSub, identity } from '../../bench/models/test-models.ts';
import { SeededRandom } from '../../bench/statistics/seeded-random.ts';
import { RawHttpConnection, type RawHttpResponse } from '../transports/raw-http-connection.ts';
import { loadUws } from '../transports/uws/uws-module.ts';
import { makeRepository, ServerProcess, until } from './serve.ts';

/**
 * Every request carries a value that no other has, so that a lost, doubled or swapped answer is seen. Each gets exactly one answer, its own; what a killed
 * host held gets 503 and a reason; and afterwards the server is as it was.
 */

const uws = await loadUws();
const engines = 'module' in uws ? (['uws', 'node'] as const) : (['node'] as const);
const connections = 24;
const requestsEach = 150;
const kills = 3;

interface Entry {
  readonly request: Buffer;
  readonly isValid: boolean;
  /** Whether the answer is the one to this request; false for another's. */
  isOwn(answer: RawHttpResponse): boolean;
}

function post(model: string, headers: string, body: Uint8Array): Buffer {
  const head = `POST /v2/models/${model}/infer HTTP/1.1\r\nHost: x\r\n${headers}Content-Length: ${body.length}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), body]);
}

/** OUTPUT0 is the sum, OUTPUT1 the difference of two batches whose every row is different. */
function sumEntry(serial: number, random: SeededRandom): Entry {
  const rows = 1 + random.below(4);
  const first = Int32Array.from({ length: rows * 4 }, (_, i) => serial * 100 + i);
  const second = Int32Array.from({ length: rows * 4 }, (_, i) => i);
  const sum = first.map((value, i) => value + second[i]!);
  const shape = [rows, 4];
  const id = `r${serial}`;
  const isValid = random.next() > 0.1;
  if (random.next() < 0.5) {
    const inputs = [first, second].map((data, i) => ({ name: `INPUT${i}`, datatype: 'INT32', shape, data: [...data] }));
    if (!isValid) inputs[0]!.data.pop();
    return {
      isValid,
      request: post('sum', '', Buffer.from(JSON.stringify({ id, inputs }))),
      isOwn: ({ body }) => {
        const json = JSON.parse(body.toString()) as { id: string; outputs: { data: number[] }[] };
        return json.id === id && String(json.outputs[0]!.data) === String(sum);
      },
    };
  }
  const inputs = [0, 1].map((i) => ({ name: `INPUT${i}`, datatype: 'INT32', shape, parameters: { binary_data_size: rows * 16 } }));
  const json = Buffer.from(JSON.stringify({ id, inputs, outputs: [{ name: 'OUTPUT0', parameters: { binary_data: true } }] }));
  const body = Buffer.concat([json, Buffer.from(first.buffer), Buffer.from(second.buffer)]);
  return {
    isValid,
    request: post('sum', `Inference-Header-Content-Length: ${json.length}\r\n`, isValid ? body : body.subarray(0, -3)),
    isOwn: ({ body: answer, headers }) => {
      const headerLength = Number(headers.get('inference-header-content-length'));
      const head = JSON.parse(answer.toString('utf8', 0, headerLength)) as { id: string };
      return head.id === id && answer.subarray(headerLength).equals(Buffer.from(sum.buffer));
    },
  };
}

function textEntry(serial: number): Entry {
  const text = `text ${serial} ${'x'.repeat(serial % 50)}`;
  const inputs = [{ name: 'INPUT0', datatype: 'BYTES', shape: [1, 1], data: [text] }];
  return {
    isValid: true,
    request: post('text', '', Buffer.from(JSON.stringify({ inputs }))),
    isOwn: ({ body }) => (JSON.parse(body.toString()) as { outputs: { data: string[] }[] }).outputs[0]!.data[0] === text,
  };
}

const entriesOf = (pid: number, kind: 'fd' | 'task'): number => readdirSync(`/proc/${pid}/${kind}`).length;
const residentMiB = (pid: number): number => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;

describe.each(engines)('over %s', (engine) => {
  let server: ServerProcess;
  let repository: ReturnType<typeof makeRepository>;
  beforeAll(async () => {
    repository = makeRepository({
      'sum/1/model.onnx': addSub('INT32', ['batch', 4]),
      'sum/config.yaml': 'max_batch_size: 8\ndynamic_batching: {}\ninstance_group: [{ count: 2 }]\n',
      'text/1/model.onnx': identity('BYTES', ['batch', 'any']),
    });
    server = await ServerProcess.start([`--model-repository=${repository.path}`, `--http-engine=${engine}`]);
  });
  afterAll(async () => {
    expect((await server.stop()).code).toBe(0);
    repository.remove();
  });

  /** Sends everything, `onAnswered` hears of each answer; returns how many of each kind there were. */
  async function load(seed: number, onAnswered: (count: number) => void): Promise<Record<string, number>> {
    const port = Number(new URL(server.http).port);
    const counts: Record<string, number> = { own: 0, refused: 0, unavailable: 0, left: 0 };
    const wrong: string[] = [];
    let answered = 0;
    const client = async (which: number): Promise<void> => {
      const random = new SeededRandom(seed * 1000 + which);
      let connection = await RawHttpConnection.open(port);
      for (let i = 0; i < requestsEach; i++) {
        const serial = (which * requestsEach + i) * 10 + (seed % 10);
        const entry = random.next() < 0.8 ? sumEntry(serial, random) : textEntry(serial);
        if (random.next() < 0.08) {
          // Leaves: with half a request sent, or a whole one and no patience.
          const isHalf = random.next() < 0.5;
          connection.write(isHalf ? entry.request.subarray(0, entry.request.length >> 1) : entry.request);
          connection.socket.end();
          connection.destroy();
          counts['left']!++;
          connection = await RawHttpConnection.open(port);
          continue;
        }
        connection.write(entry.request);
        const answer = await connection.next();
        onAnswered(++answered);
        const text = answer?.body.toString() ?? 'no answer';
        if (answer === null) wrong.push(`${serial}: no answer`);
        else if (answer.status === 200 && entry.isValid && entry.isOwn(answer)) counts['own']!++;
        else if (answer.status === 400 && !entry.isValid && text.includes('"error":')) counts['refused']!++;
        else if ((answer.status === 503 || answer.status === 504) && /"error":".{10}/.test(text)) counts['unavailable']!++;
        else wrong.push(`${serial}: ${answer.status} ${text.slice(0, 300)}`);
        // Nothing was asked that would be answered by more than that.
        if (connection.isClosed) connection = await RawHttpConnection.open(port);
      }
      connection.destroy();
    };
    await Promise.all(Array.from({ length: connections }, (_, which) => client(which)));
    expect(wrong.slice(0, 10)).toEqual([]);
    expect(Object.values(counts).reduce((a, b) => a + b)).toBe(connections * requestsEach);
    return counts;
  }

  async function isQuiet(): Promise<boolean> {
    const values = await Promise.all(
      ['sum', 'text'].map((model) => server.metric(`nv_inference_pending_request_count{model="${model}",version="1"}`)),
    );
    return values.every((value) => value === 0);
  }

  const isAnswering = async (): Promise<boolean> => {
    const inputs = [3, 4].map((value, i) => ({ name: `INPUT${i}`, datatype: 'INT32', shape: [1, 4], data: Array(4).fill(value) }));
    const sum = await server.post('/v2/models/sum/infer', { inputs });
    const text = await server.post('/v2/models/text/infer', {
      inputs: [{ name: 'INPUT0', datatype: 'BYTES', shape: [1, 1], data: ['ü'] }],
    });
    return String(sum.json.outputs?.[0].data) === '7,7,7,7' && text.json.outputs?.[0].data[0] === 'ü';
  };

  it('gives each request its own answer, once, while hosts are killed', { timeout: 60_000 }, async () => {
    // A first round, so that what grows to its working size once has grown.
    const calm = await load(1, () => {});
    expect(calm['unavailable']).toBe(0);
    await until(isQuiet);
    const before = {
      fds: entriesOf(server.pid, 'fd'),
      threads: entriesOf(server.pid, 'task'),
      hosts: server.hosts().length,
      mib: residentMiB(server.pid),
    };

    const total = connections * requestsEach;
    const killAt = Array.from({ length: kills }, (_, i) => Math.floor((total * (i + 1)) / (kills + 2)));
    let killed = 0;
    const stormy = await load(2, (count) => {
      const [host] = server.hosts();
      if (!killAt.includes(count) || host === undefined) return;
      process.kill(host, 'SIGKILL');
      killed++;
    });
    expect(killed).toBeGreaterThan(0);
    expect(stormy['own']).toBeGreaterThan(total / 4);
    await until(async () => (await isQuiet()) && (await isAnswering()), 15_000);
    await until(() => server.hosts().length === before.hosts);
    // Connections that the clients closed take a moment to be noticed.
    await until(() => Math.abs(entriesOf(server.pid, 'fd') - before.fds) <= 4);
    expect(entriesOf(server.pid, 'task')).toBeLessThanOrEqual(before.threads + 1);
    expect(residentMiB(server.pid)).toBeLessThan(before.mib + 96);
    expect((await server.get('/v2/health/ready')).status).toBe(200);
  });
});
