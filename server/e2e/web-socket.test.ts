import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { loadUws } from '../transports/uws/uws-module.ts';
import { exampleRepository, isAlive, ServerProcess, until } from './serve.ts';

const uws = await loadUws();
const engines = 'module' in uws ? (['uws', 'node'] as const) : (['node'] as const);
if (!('module' in uws)) console.warn(`the uws engine is not tested here: ${uws.reason}`);

const MIB = 1024 * 1024;

interface Answer {
  readonly isBinary: boolean;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape.
  readonly json: any;
  readonly tail: Buffer;
}

/** A client that keeps what comes by id. */
class Peer {
  readonly socket: WebSocket;
  readonly #answers: Map<string, Answer[]> = new Map();
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>;
  #wake: (() => void)[] = [];

  private constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on('message', (data: Buffer, isBinary: boolean) => {
      const start = isBinary ? 4 : 0;
      const jsonBytes = isBinary ? data.readUInt32LE(0) : data.length;
      const json = JSON.parse(data.toString('utf8', start, start + jsonBytes));
      const answer = { isBinary, json, tail: data.subarray(start + jsonBytes) };
      if (this.#answers.has(json.id)) this.#answers.get(json.id)!.push(answer);
      else this.#answers.set(json.id, [answer]);
      for (const wake of this.#wake.splice(0)) wake();
    });
    this.closed = new Promise((resolve) => socket.once('close', (code, reason) => resolve({ code, reason: reason.toString() })));
  }

  static async open(server: ServerProcess): Promise<Peer> {
    const socket = new WebSocket(`${server.http.replace('http', 'ws')}/v2/ws`);
    const peer = new Peer(socket);
    await new Promise((resolve, reject) => {
      socket.once('open', resolve);
      socket.once('error', reject);
    });
    return peer;
  }

  send(message: object): void {
    this.socket.send(JSON.stringify(message));
  }

  sendBinary(header: object, tail: Uint8Array): void {
    const json = Buffer.from(JSON.stringify(header));
    const length = Buffer.alloc(4);
    length.writeUInt32LE(json.length);
    this.socket.send(Buffer.concat([length, json, tail]));
  }

  of(id: string): Answer[] {
    return this.#answers.get(id) ?? [];
  }

  /** The answers to a request, once there are `count`, or all of them. */
  async answersTo(id: string, count = Number.POSITIVE_INFINITY): Promise<Answer[]> {
    const gone = this.closed.then(({ code, reason }) => {
      throw new Error(`closed with ${code} ${reason} while '${id}' had ${this.of(id).length} answers`);
    });
    gone.catch(() => {});
    for (;;) {
      const all = this.of(id);
      const last = all.at(-1)?.json;
      if (all.length >= count || last?.error !== undefined || last?.parameters.triton_final_response === true) return all;
      await Promise.race([new Promise<void>((resolve) => this.#wake.push(resolve)), gone]);
    }
  }
}

const ramp = Array.from({ length: 16 }, (_, i) => i);
const int32 = (values: readonly number[]): Uint8Array => new Uint8Array(Int32Array.from(values).buffer);

/** Adds `value` to 0...15. */
function simple(id: string, value: number): Record<string, unknown> {
  const input = (name: string, data: number[]): object => ({ name, datatype: 'INT32', shape: [1, 16], data });
  return {
    id,
    model_name: 'simple',
    inputs: [
      input('INPUT0', ramp),
      input(
        'INPUT1',
        ramp.map(() => value),
      ),
    ],
  };
}

function repeat(id: string, values: readonly number[], delayMs: number): Record<string, unknown> {
  return {
    id,
    model_name: 'repeat_int32',
    inputs: [
      { name: 'IN', datatype: 'INT32', shape: [values.length], data: values },
      { name: 'DELAY', datatype: 'UINT32', shape: [values.length], data: values.map(() => delayMs) },
      { name: 'WAIT', datatype: 'UINT32', shape: [1], data: [0] },
    ],
  };
}

const outOf = ({ json }: Answer): number => json.outputs[0].data[0];
const peakKib = (pid: number): number => Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]);

describe.each(engines)('WebSocket over %s', (engine) => {
  let server: ServerProcess;
  const peers: Peer[] = [];
  const args = [`--model-repository=${exampleRepository}`, `--http-engine=${engine}`, `--http-max-input-size=${4 * MIB}`];
  const open = async (of = server): Promise<Peer> => {
    const peer = await Peer.open(of);
    peers.push(peer);
    return peer;
  };

  beforeAll(async () => {
    server = await ServerProcess.start(args);
  });
  afterEach(() => {
    for (const { socket } of peers.splice(0)) socket.terminate();
  });
  afterAll(async () => {
    expect((await server.stop()).code).toBe(0);
  });

  it('answers the examples of docs/websocket.md as they say', async () => {
    const page = readFileSync(join(import.meta.dirname, '../../docs/websocket.md'), 'utf8');
    const blocks = [...page.matchAll(/```json (client|server)\n([\s\S]+?)```/g)].map(
      ([, who, text]) => [who, text!.trim().split('\n')] as const,
    );
    const peer = await open();
    let played = 0;
    for (const [i, [who, lines]] of blocks.entries()) {
      // A cancel is answered while its request is in flight; the test below has that.
      if (who === 'server' || lines[0]!.includes('"cancel"')) continue;
      const request = JSON.parse(lines[0]!);
      peer.send(request);
      const answers = await peer.answersTo(request.id);
      expect(answers.map(({ json }) => json)).toEqual(blocks[i + 1]![1].map((line) => JSON.parse(line)));
      played++;
    }
    expect(played).toBe(3);
  });

  it('has many requests in flight, text and binary, and answers each to its id, the quick ones first', async () => {
    const peer = await open();
    peer.send(repeat('slow', [1, 2], 300));
    for (let i = 0; i < 240; i++) {
      if (i % 2 === 0) {
        peer.send(simple(`r${i}`, i));
        continue;
      }
      const inputs = ['INPUT0', 'INPUT1'].map((name) => ({
        name,
        datatype: 'INT32',
        shape: [1, 16],
        parameters: { binary_data_size: 64 },
      }));
      const header = { id: `r${i}`, model_name: 'simple', inputs, parameters: { binary_data_output: true } };
      peer.sendBinary(header, Buffer.concat([int32(ramp), int32(ramp.map(() => i))]));
    }
    for (let i = 0; i < 240; i++) {
      const [answer, ...more] = await peer.answersTo(`r${i}`);
      expect(more).toEqual([]);
      expect(answer!.isBinary).toBe(i % 2 === 1);
      const sums = i % 2 === 0 ? answer!.json.outputs[0].data : [...new Int32Array(new Uint8Array(answer!.tail.subarray(0, 64)).buffer)];
      expect(sums).toEqual(ramp.map((x) => x + i));
    }
    expect(peer.of('slow').length).toBeLessThan(3);
    expect((await peer.answersTo('slow')).length).toBe(3);
  });

  it('takes more requests at once than may be in flight: none is lost, and none refused', async () => {
    const peer = await open();
    for (let i = 0; i < 2000; i++) peer.send(simple(`r${i}`, i));
    for (let i = 0; i < 2000; i++) expect((await peer.answersTo(`r${i}`)).map(({ json }) => json.outputs?.[0].data[0])).toEqual([i]);
  });

  it('streams what a decoupled model gives, several at once, each in its order', async () => {
    const peer = await open();
    const values = Array.from({ length: 50 }, (_, i) => i * 3);
    for (const id of ['a', 'b', 'c']) peer.send(repeat(id, values, 1));
    peer.send(repeat('none', [], 0));
    for (const id of ['a', 'b', 'c']) {
      const answers = await peer.answersTo(id);
      expect(answers.slice(0, -1).map(outOf)).toEqual(values);
      expect(answers.at(-1)!.json.outputs).toEqual([]);
    }
    expect((await peer.answersTo('none')).map(({ json }) => json.outputs)).toEqual([[]]);
  });

  it('cancels a stream, whose id is free again', async () => {
    const peer = await open();
    peer.send(repeat('s', Array(10_000).fill(7), 5));
    await peer.answersTo('s', 1);
    peer.send({ type: 'cancel', id: 's' });
    peer.send(simple('s', 1));
    await until(() => peer.of('s').at(-1)!.json.model_name === 'simple');
    const kinds = peer.of('s').map(({ json }) => json.code ?? json.model_name);
    expect(kinds.slice(kinds.indexOf('CANCELLED'))).toEqual(['CANCELLED', 'simple']);
    expect(kinds.length).toBeLessThan(1000);
  });

  it('a peer that leaves cancels what it had in flight', async () => {
    const series = 'nv_inference_request_failure{model="repeat_int32",version="1",reason="CANCELED"}';
    const before = (await server.metric(series))!;
    const peer = await open();
    for (const id of ['a', 'b']) peer.send(repeat(id, Array(10_000).fill(7), 5));
    await Promise.all(['a', 'b'].map((id) => peer.answersTo(id, 1)));
    peer.socket.terminate();
    await until(async () => (await server.metric(series)) === before + 2);
  });

  it('a peer that does not read costs bounded memory, others are served meanwhile, and it gets all when it reads', async () => {
    const peer = await open();
    const other = await open();
    const values = Array.from({ length: 200_000 }, (_, i) => i);
    // What the request itself takes is not in question.
    peer.send(repeat('warm-up', values, 0));
    await peer.answersTo('warm-up', 1000);
    peer.send({ type: 'cancel', id: 'warm-up' });
    await peer.answersTo('warm-up');
    const before = peakKib(server.pid);
    peer.send(repeat('s', values, 0));
    await peer.answersTo('s', 1);
    peer.socket.pause();
    for (let i = 0; i < 3000; i++) {
      other.send(simple(`r${i}`, i));
      await other.answersTo(`r${i}`);
    }
    // All of it would be 48 MiB.
    expect((peakKib(server.pid) - before) / 1024).toBeLessThan(28);
    peer.socket.resume();
    const answers = await peer.answersTo('s');
    expect(answers).toHaveLength(values.length + 1);
    expect(answers.slice(0, -1).every((answer, i) => outOf(answer) === i)).toBe(true);
  }, 60_000);

  const broken: [string, (peer: Peer) => void, number | readonly number[]][] = [
    ['no JSON', (peer) => peer.socket.send('hello'), 4400],
    ['no id', (peer) => peer.send({ model_name: 'simple', inputs: [] }), 4400],
    ['an unknown type', (peer) => peer.send({ type: 'abort', id: 'x' }), 4400],
    ['a short binary message', (peer) => peer.socket.send(Buffer.from([1, 0])), 4400],
    ['a header length past the end', (peer) => peer.socket.send(Buffer.from([255, 255, 255, 255, 123, 125])), 4400],
    [
      'shared memory without an id',
      (peer) => peer.send({ inputs: [{ name: 'IN', datatype: 'FP32', shape: [1], parameters: { shared_memory_region: 'r' } }] }),
      4501,
    ],
    ['text that is not UTF-8', (peer) => peer.socket.send(Buffer.from([0xff, 0xfe]), { binary: false }), [1007, 1006]],
    ['a message that is too large', (peer) => peer.socket.send(Buffer.alloc(4 * MIB + 1)), 1009],
  ];
  it.each(broken)('%s closes its connection, and no other', async (_what, send, expected) => {
    const bystander = await open();
    bystander.send(repeat('s', [1, 2, 3], 20));
    const peer = await open();
    peer.send(repeat('mine', Array(1000).fill(1), 10));
    await peer.answersTo('mine', 1);
    send(peer);
    const { code, reason } = await peer.closed;
    // An engine that cuts the connection instead says nothing.
    expect([expected].flat()).toContain(code);
    if (code >= 4000) expect(reason).not.toBe('');
    expect((await bystander.answersTo('s')).map(({ json }) => json.outputs.length)).toEqual([2, 2, 2, 0]);
    expect(isAlive(server.pid)).toBe(true);
  });

  it('shuts down with its last answer: what is in flight ends, what is new is refused, and it closes with 1001', async () => {
    const leaving = await ServerProcess.start(args);
    const peer = await open(leaving);
    const idle = await open(leaving);
    peer.send(
      repeat(
        's',
        Array.from({ length: 30 }, (_, i) => i),
        20,
      ),
    );
    await peer.answersTo('s', 1);
    leaving.signal('SIGTERM');
    expect((await idle.closed).code).toBe(1001);
    peer.send(simple('late', 1));
    expect((await peer.answersTo('late'))[0]!.json).toMatchObject({ code: 'UNAVAILABLE', status: 503 });
    expect(await peer.answersTo('s')).toHaveLength(31);
    expect(await peer.closed).toEqual({ code: 1001, reason: 'the server is shutting down' });
    expect((await leaving.exited).code).toBe(0);
  });
});
