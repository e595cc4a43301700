import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { heavy } from '../../bench/models/test-models.ts';
import { RawHttpConnection } from '../transports/raw-http-connection.ts';
import { TEST_TLS } from '../transports/transport-fixture.ts';
import { loadUws } from '../transports/uws/uws-module.ts';
import { exampleRepository, makeRepository, ServerProcess, until } from './serve.ts';

const uws = await loadUws();
const engines = 'module' in uws ? (['uws', 'node'] as const) : (['node'] as const);
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(args: string[]): Promise<ServerProcess> {
  const server = await ServerProcess.start(args);
  cleanups.push(() => server.kill());
  return server;
}

const post = (path: string, body: string): string =>
  `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
const simple = JSON.stringify({
  inputs: ['INPUT0', 'INPUT1'].map((name) => ({ name, datatype: 'INT32', shape: [1, 16], data: Array(16).fill(2) })),
});

describe.each(engines)('over %s', (engine) => {
  it('serves TLS, and goes on when someone speaks plain HTTP to it', async () => {
    const tls = [`--http-tls-cert=${TEST_TLS.certFile}`, `--http-tls-key=${TEST_TLS.keyFile}`];
    const server = await start([`--model-repository=${exampleRepository}`, `--http-engine=${engine}`, ...tls]);
    expect(server.http).toMatch(/^https:/);
    const port = Number(new URL(server.http).port);
    const plain = await RawHttpConnection.open(port);
    plain.write('GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n');
    await plain.closed();
    const connection = await RawHttpConnection.open(port, { ca: readFileSync(TEST_TLS.certFile) });
    connection.write(post('/v2/models/simple/infer', simple));
    const answer = await connection.next();
    expect([answer?.status, JSON.parse(answer!.body.toString()).outputs[0].data]).toEqual([200, Array(16).fill(4)]);
    connection.destroy();
    expect((await server.stop()).code).toBe(0);
  });

  it('SIGTERM under load costs no request that was sent its answer', async () => {
    const repository = makeRepository({
      'busy/1/model.onnx': heavy(20),
      'busy/config.yaml': 'max_batch_size: 8\ndynamic_batching: {}',
    });
    cleanups.push(repository.remove);
    const server = await start([`--model-repository=${repository.path}`, `--http-engine=${engine}`]);
    const port = Number(new URL(server.http).port);
    const request = post(
      '/v2/models/busy/infer',
      JSON.stringify({ inputs: [{ name: 'INPUT0', datatype: 'FP32', shape: [1, 16], data: Array(16).fill(1) }] }),
    );
    const seen = new Map<string, number>();
    let answers = 0;
    let isDraining = false;
    const client = async (): Promise<void> => {
      for (;;) {
        const connection = await RawHttpConnection.open(port).catch(() => null);
        if (connection === null) {
          expect(isDraining).toBe(true);
          return;
        }
        for (;;) {
          connection.write(request);
          const wasDraining = isDraining;
          const answer = await connection.next();
          // A request that crosses the close of its idle connection was never accepted; any other has its answer.
          const kind = answer === null ? (wasDraining ? 'crossed' : 'lost') : String(answer.status);
          seen.set(kind, (seen.get(kind) ?? 0) + 1);
          if (++answers === 200) {
            isDraining = true;
            server.signal('SIGTERM');
          }
          if (answer === null || answer.headers.get('connection') === 'close') break;
        }
        connection.destroy();
      }
    };
    await Promise.all(Array.from({ length: 16 }, client));
    expect((await server.exited).code).toBe(0);
    expect(seen.get('lost')).toBeUndefined();
    expect(seen.get('200')).toBeGreaterThanOrEqual(200);
    for (const kind of seen.keys()) expect(['200', '503', 'crossed']).toContain(kind);
  });
});

it('logs each request as one line at debug, whatever its id', async () => {
  const server = await start([`--model-repository=${exampleRepository}`, '--log-level=debug']);
  const ids = ['a\nb', '{"level":"fatal"}', '\u001b[31mred', '\u2028'];
  for (const id of ids) expect((await server.post('/v2/models/simple/infer', { id, ...JSON.parse(simple) })).status).toBe(200);
  for (const body of ['{', { id: 'x'.repeat(100_000) }, { id: 'few', inputs: [] }]) {
    expect((await server.post('/v2/models/simple/infer', body)).status).toBe(400);
  }
  await until(() => (server.stderr.match(/"msg":"inference/g) ?? []).length === 7);
  const lines = server.stderr
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { msg: string; id?: string });
  expect(lines.filter(({ msg }) => msg === 'inference').map(({ id }) => id)).toEqual(ids);
  expect(lines.filter(({ msg }) => msg === 'inference refused')).toHaveLength(3);
  expect(server.stderr.length).toBeLessThan(40_000);
});

it('a directory for a command is told how it is served', async () => {
  const exit = await ServerProcess.run([exampleRepository]).exited;
  expect([exit.code, exit.stderr]).toEqual([1, expect.stringContaining(`nereid serve --model-repository ${exampleRepository}`)]);
});

it('leaves nothing in the temporary directory and in the home of its user', async () => {
  const folders = makeRepository({ 'home/.keep': '', 'tmp/.keep': '' });
  const env = { TMPDIR: join(folders.path, 'tmp'), HOME: join(folders.path, 'home') };
  const server = await ServerProcess.start([`--model-repository=${exampleRepository}`], env);
  const body = readFileSync(new URL('../../bench/models/requests/simple.json', import.meta.url));
  expect((await server.post('/v2/models/simple/infer', body)).status).toBe(200);
  expect((await server.stop()).code).toBe(0);
  expect(['home', 'tmp'].flatMap((name) => readdirSync(join(folders.path, name)))).toEqual(['.keep', '.keep']);
  folders.remove();
});
