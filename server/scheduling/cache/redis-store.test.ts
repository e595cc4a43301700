import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { identitySignature } from '../scheduling-fixtures.ts';
import { RedisStore } from './redis-store.ts';
import type { CachedResponse } from './response-store.ts';

const hasPackage = isInstalled('redis');
const hasServer = spawnSync('redis-server', ['--version']).status === 0;
if (!hasPackage) console.warn('tests of the Redis cache are skipped: npm install redis');
if (!hasServer) console.warn('tests of the Redis cache with a real server are skipped: apt-get install redis-server');

const signature = identitySignature(0, [[-1]]);
const response: CachedResponse = {
  outputs: [{ name: 'OUT0', datatype: 'INT32', shape: [2], data: new Uint8Array([1, 0, 0, 0, 2, 0, 0, 0]) }],
  parameters: { took: 1.5 },
};
const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

function open(port: number, more: { timeoutMs?: number; ttlSecs?: number; password?: string; maxEntryBytes?: number } = {}) {
  const states: string[] = [];
  const store = new RedisStore({
    ...{ host: '127.0.0.1', port, user: null, password: more.password ?? null, database: 0, tls: null, connectTimeoutMs: 1000 },
    ...{ timeoutMs: more.timeoutMs ?? 2000, ttlSecs: more.ttlSecs ?? 0, maxEntryBytes: more.maxEntryBytes ?? 1 << 20 },
    onState: (isReady, reason) => states.push(isReady ? 'ready' : reason),
  });
  cleanUps.push(() => store.close());
  return { store, states };
}

describe.skipIf(!hasPackage || !hasServer)('RedisStore with a Redis server', () => {
  let port = 0;
  beforeAll(async () => {
    port = await freePort();
  });
  const start = async (...args: string[]): Promise<ChildProcess> => {
    const child = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', ...args]);
    cleanUps.push(() => stop(child));
    let text = '';
    await new Promise<void>((resolve, reject) => {
      child.stdout.on('data', (data) => {
        text += String(data);
        if (text.includes('Ready to accept connections')) resolve();
      });
      child.once('exit', () => reject(new Error(`redis-server ended: ${text}`)));
    });
    return child;
  };
  const command = (...args: string[]): string =>
    spawnSync('redis-cli', ['-p', String(port), ...args])
      .stdout.toString()
      .trim();

  it('gives back what was kept, and keeps it as long as it may', async () => {
    await start();
    const { store, states } = open(port, { ttlSecs: 100 });
    await until(() => states.includes('ready'));
    expect(await store.lookup('k', signature)).toBeNull();
    store.insert('k', response);
    expect(await store.lookup('k', signature)).toEqual(response);
    expect(store.failedCount).toBe(0);
    const ttl = Number(command('ttl', 'nereid:1:k'));
    expect(ttl).toBeGreaterThan(90);
    expect(ttl).toBeLessThanOrEqual(100);
  });

  it('takes nothing that is no response of the model, and nothing too large', async () => {
    await start();
    const { store, states } = open(port, { maxEntryBytes: 1024 });
    await until(() => states.includes('ready'));
    store.insert('large', { outputs: [{ ...response.outputs[0]!, shape: [400], data: new Uint8Array(1600) }], parameters: null });
    expect(store.tooLargeCount).toBe(1);
    command('set', 'nereid:1:k', 'NRC1 is not all that it takes');
    command('set', 'nereid:1:big', 'x'.repeat(5000));
    command('lpush', 'nereid:1:list', 'x');
    for (const key of ['k', 'big', 'list']) expect(await store.lookup(key, signature)).toBeNull();
    expect(store.failedCount).toBe(3);
  });

  it('goes on without the server, and with it again when it is back', async () => {
    const child = await start();
    const { store, states } = open(port);
    await until(() => states.includes('ready'));
    store.insert('k', response);
    const asked = store.lookup('k', signature);
    await stop(child);
    // Asked before the end: answered, or a miss.
    expect([null, 1.5]).toContain((await asked)?.parameters?.['took'] ?? null);
    // A dying server may take a connection more.
    await until(() => states.at(-1) !== 'ready');
    expect(store.lookup('k', signature)).toBeNull();
    store.insert('k', response);
    expect(store.failedCount).toBeGreaterThanOrEqual(2);
    await start();
    await until(() => states.at(-1) === 'ready');
    store.insert('k', response);
    expect(await store.lookup('k', signature)).toEqual(response);
  });

  it('gives its password', async () => {
    await start('--requirepass', 'open sesame');
    const refused = open(port, { password: 'wrong' });
    await until(() => refused.states.length === 1);
    expect(refused.states[0]).toMatch(/WRONGPASS|NOAUTH/);
    expect(refused.store.lookup('k', signature)).toBeNull();
    const { states } = open(port, { password: 'open sesame' });
    await until(() => states.includes('ready'));
  });
});

describe.skipIf(!hasPackage)('RedisStore with a server that misbehaves', () => {
  /** Answers PING, SELECT and the like with OK, and lookups by `answer`. */
  const listen = async (answer: (socket: Socket) => void): Promise<{ port: number; connections: () => number }> => {
    const sockets = new Set<Socket>();
    let connections = 0;
    const server: Server = createServer((socket) => {
      connections++;
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('data', (data) => {
        if (data.includes('GETRANGE')) answer(socket);
        else socket.write('+OK\r\n');
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    cleanUps.push(() => {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(resolve));
    });
    return { port: (server.address() as AddressInfo).port, connections: () => connections };
  };

  it.each([
    ['what is no reply at all', '\0\x01garbage\r\n\r\n!!!'],
    ['a number', ':5\r\n'],
    ['an array', '*2\r\n$1\r\na\r\n$1\r\nb\r\n'],
    ['an error', '-ERR no\r\n'],
    ['a string without an end', '$99999999999999\r\nabc'],
    ['a negative length', '$-5\r\n'],
    ['depth', `${'*1\r\n'.repeat(5000)}:1\r\n`],
  ])('takes %s for a miss', async (_what, reply) => {
    const { port } = await listen((socket) => socket.write(reply));
    const { store, states } = open(port, { timeoutMs: 100 });
    await until(() => states.includes('ready'));
    expect(await store.lookup('k', signature)).toBeNull();
    expect(store.failedCount).toBe(1);
  });

  it('does not wait longer than it may, asks no more than so many, and connects anew', async () => {
    const { port, connections } = await listen(() => {});
    const { store, states } = open(port, { timeoutMs: 20 });
    await until(() => states.includes('ready'));
    const before = performance.now();
    const lookups = Array.from({ length: 600 }, (_, i) => store.lookup(String(i), signature));
    expect(lookups.filter((one) => one === null)).toHaveLength(600 - 512);
    for (const found of await Promise.all(lookups)) expect(found).toBeNull();
    expect(performance.now() - before).toBeLessThan(2000);
    await until(() => connections() === 2);
  });

  it('goes on without a server from the start', async () => {
    const { store, states } = open(await freePort());
    await until(() => states.length === 1);
    expect(states[0]).toMatch(/ECONNREFUSED/);
    expect(store.lookup('k', signature)).toBeNull();
    store.insert('k', response);
    expect(store.failedCount).toBe(2);
  });
});

function isInstalled(name: string): boolean {
  try {
    createRequire(import.meta.url).resolve(name);
    return true;
  } catch {
    return false;
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await exited;
}

async function until(isSo: () => boolean): Promise<void> {
  const endMs = performance.now() + 10_000;
  while (!isSo()) {
    if (performance.now() > endMs) throw new Error(`not so after 10 s: ${isSo}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
