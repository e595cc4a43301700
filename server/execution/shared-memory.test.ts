import { constants } from 'node:buffer';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, fstatSync, ftruncateSync, openSync, readdirSync, readFileSync, readlinkSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { DescriptorRing } from './descriptor-ring.ts';
import { futexWait, futexWake } from './futex.ts';
import { createPrivateMemory, createSharedMemory, mapSharedMemory, type SharedMemory, sharedMemorySupport } from './shared-memory.ts';

const MIB = 1024 * 1024;
const PAGE = 4096;
const fixture = (name: string) => fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url));
const children: ChildProcess[] = [];
const memories: SharedMemory[] = [];

function shared(byteLength: number): SharedMemory {
  const memory = createSharedMemory(byteLength);
  memories.push(memory);
  return memory;
}

function startPeer(memory: SharedMemory, task: string, argument: string): ChildProcess {
  const child = spawn(process.execPath, [fixture('memory-peer.mjs'), task, argument], { stdio: ['ignore', 'pipe', 'inherit', memory.fd] });
  children.push(child);
  return child;
}

/** The peer's line; null when it ended without one. */
async function reportOf(child: ChildProcess): Promise<unknown> {
  for await (const line of createInterface({ input: child.stdout! })) return JSON.parse(line);
  return null;
}

function mappingsHere(): number {
  return readFileSync('/proc/self/maps', 'utf8').split('memfd:nereid-tensors').length - 1;
}

function descriptorsHere(): number {
  let count = 0;
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      if (readlinkSync(`/proc/self/fd/${name}`).includes('nereid-tensors')) count++;
    } catch {
      // the descriptor of the listing itself
    }
  }
  return count;
}

function bytesHeld(memory: SharedMemory): number {
  return fstatSync(memory.fd).blocks * 512;
}

beforeAll(() => {
  if (!existsSync(fileURLToPath(new URL('../../dist/server/execution/shared-memory.js', import.meta.url)))) {
    throw new Error('the child processes of these tests run the built files: run `npm run build` first');
  }
});

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  for (const memory of memories.splice(0)) memory.close();
});

describe.runIf(sharedMemorySupport().available)('shared memory', () => {
  test('a child process reads what the parent wrote, and the other way round', async () => {
    const memory = shared(8 * MIB);
    const bytes = new Uint8Array(memory.buffer);
    bytes.fill(3, 0, 4096);
    expect(await reportOf(startPeer(memory, 'exchange', String(8 * MIB)))).toEqual({ sum: 3 * 4096, afterClose: 0 });
    expect(bytes[0]).toBe(9);
    expect(bytes[8 * MIB - 1]).toBe(77);
  });

  test('close leaves neither mapping nor descriptor, also when the child was killed over it', async () => {
    const memory = createSharedMemory(2 * MIB);
    const child = startPeer(memory, 'hold', String(2 * MIB));
    expect(await reportOf(child)).toBe('mapped');
    expect(mappingsHere()).toBe(1);
    child.kill('SIGKILL');
    expect(await once(child, 'exit')).toEqual([null, 'SIGKILL']);
    const bytes = new Uint8Array(memory.buffer);
    expect(bytes[0]).toBe(1);
    memory.close();
    memory.close();
    expect(memory.buffer.byteLength).toBe(0);
    expect(mappingsHere()).toBe(0);
    expect(descriptorsHere()).toBe(0);
    // A view that outlived the memory is detached or sees zeros; it never reaches other memory, and never ends the process.
    expect(bytes[0] ?? 0).toBe(0);
    bytes[0] = 5;
    memory.discard(0, 2 * MIB);
  });

  test('untouched pages cost nothing, up to the largest buffer', () => {
    const byteLength = Math.min(8 * 1024 * MIB, constants.MAX_LENGTH);
    const memory = shared(byteLength);
    expect(memory.byteLength).toBe(byteLength);
    new Uint8Array(memory.buffer, 0, 1)[0] = 1;
    const last = new Uint8Array(memory.buffer, byteLength - 1, 1);
    last[0] = 2;
    expect(last[0]).toBe(2);
    expect(bytesHeld(memory)).toBeLessThan(8 * MIB);
  });

  test('a size past what a buffer can hold is refused, not fatal', () => {
    // Later releases of Node.js have a limit far past all address space: there the system refuses.
    const tooMuch = constants.MAX_LENGTH < 2 ** 50 ? constants.MAX_LENGTH + 1 : 2 ** 50;
    expect(() => createSharedMemory(tooMuch)).toThrow(/holds at most|mapping \d+ bytes failed with ENOMEM/);
    expect(() => createPrivateMemory(tooMuch)).toThrow(/holds at most|mapping \d+ bytes failed with ENOMEM/);
    expect(() => createSharedMemory(0)).toThrow(RangeError);
    expect(() => createSharedMemory(1.5)).toThrow(RangeError);
    expect(descriptorsHere()).toBe(0);
  });

  test('discard gives whole pages back and keeps the bytes around them', () => {
    const memory = shared(4 * MIB);
    const bytes = new Uint8Array(memory.buffer).fill(6);
    const before = bytesHeld(memory);
    memory.discard(PAGE + 1, 2 * MIB);
    expect(before - bytesHeld(memory)).toBe(2 * MIB - PAGE);
    expect(bytes[2 * PAGE - 1]).toBe(6);
    expect(bytes.subarray(2 * PAGE, PAGE + 2 * MIB).every((byte) => byte === 0)).toBe(true);
    expect(bytes[PAGE + 2 * MIB]).toBe(6);
    memory.discard(1, PAGE);
    expect(bytes[PAGE - 1]).toBe(6);
    expect(() => memory.discard(0, 4 * MIB + 1)).toThrow(RangeError);
    expect(() => memory.discard(-1, 1)).toThrow(RangeError);
  });

  test('nobody can shrink it under the feet of the others', () => {
    const memory = shared(MIB);
    expect(() => ftruncateSync(memory.fd, 0)).toThrow(/EPERM/);
  });

  test('a descriptor that is too short is not mapped', () => {
    const path = join(tmpdir(), `nereid-short-${process.pid}`);
    const fd = openSync(path, 'w+');
    unlinkSync(path);
    expect(() => mapSharedMemory(fd, PAGE)).toThrow(/holds 0 bytes/);
    closeSync(fd);
  });

  test('memory that nobody closed goes with its buffer', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    for (let round = 0; round < 20; round++) new Uint8Array(createSharedMemory(MIB).buffer)[round] = 1;
    for (let turn = 0; turn < 200 && mappingsHere() + descriptorsHere() > 0; turn++) {
      collect();
      await nextTurn();
    }
    expect(mappingsHere()).toBe(0);
    expect(descriptorsHere()).toBe(0);
  });

  test('addresses are given back after close, once the buffer is garbage', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const size = () => Number(/VmSize:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]) / 1024;
    const before = size();
    for (let round = 0; round < 64; round++) createSharedMemory(1024 * MIB).close();
    for (let turn = 0; turn < 200 && size() - before > 8 * 1024; turn++) {
      collect();
      await nextTurn();
    }
    expect(size() - before).toBeLessThan(8 * 1024);
  });
});

describe.runIf(sharedMemorySupport().available)('futex', () => {
  test('a wake reaches a sleeping child', async () => {
    const memory = shared(PAGE);
    const child = startPeer(memory, 'sleep', String(PAGE));
    const words = new Int32Array(memory.buffer, 0, 16);
    let ended = false;
    child.once('exit', () => {
      ended = true;
    });
    const report = reportOf(child);
    // The word stays as it is, so only a wake can end the wait; and nothing tells when it has begun.
    while (!ended) {
      futexWake(words, 1);
      await nextTurn();
    }
    expect(await report).toBe('woken');
  });

  test('tells a changed word and a timeout apart', () => {
    const words = new Int32Array(shared(PAGE).buffer);
    expect(futexWait(words, 3, 1, 10_000)).toBe('changed');
    const started = performance.now();
    expect(futexWait(words, 3, 0, 30)).toBe('timeout');
    expect(performance.now() - started).toBeGreaterThanOrEqual(29);
    expect(futexWait(words, 3, 0, 0)).toBe('timeout');
    expect(futexWait(words, 3, 1, Number.POSITIVE_INFINITY)).toBe('changed');
    expect(() => futexWait(words, words.length, 0, 0)).toThrow(RangeError);
  });

  test('a host ends with its parent', async () => {
    const maker = spawn(process.execPath, [fixture('orphan-maker.mjs')], { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(maker);
    maker.stdout.setEncoding('utf8');
    expect(await once(maker.stdout, 'data')).toEqual(['"bound"\n']);
    maker.kill('SIGKILL');
    // Both processes hold this pipe: it closes only when the grandchild is gone too.
    await once(maker.stdout, 'close');
    expect(maker.signalCode ?? (await once(maker, 'exit'))[1]).toBe('SIGKILL');
  });

  test('a host whose parent is gone already ends at once', async () => {
    const memory = shared(PAGE);
    const child = startPeer(memory, 'orphan', '1');
    expect((await once(child, 'exit'))[1]).toBe('SIGKILL');
  });
});

describe.runIf(sharedMemorySupport().available)('descriptor ring between processes', () => {
  test('100,000 entries go out and come back in order', async () => {
    const [capacity, wordsPerEntry, total] = [64, 8, 100_000];
    const ringBytes = DescriptorRing.byteLength(capacity, wordsPerEntry);
    const memory = shared(2 * ringBytes);
    const requests = new DescriptorRing(memory.buffer, 0, capacity, wordsPerEntry);
    const answers = new DescriptorRing(memory.buffer, ringBytes, capacity, wordsPerEntry);
    const child = startPeer(memory, 'echo', JSON.stringify({ capacity, wordsPerEntry, byteLength: 2 * ringBytes }));
    const done = reportOf(child);
    const sent = new Int32Array(wordsPerEntry);
    const got = new Int32Array(wordsPerEntry);
    let pushed = 0;
    let popped = 0;
    let wrong = 0;
    while (popped < total && child.exitCode === null) {
      for (let step = 0; step < 1000 && popped < total; step++) {
        if (pushed < total) {
          sent.fill(pushed);
          if (requests.push(sent)) pushed++;
        }
        if (answers.pop(got)) {
          if (!got.every((word) => word === popped)) wrong++;
          popped++;
        }
      }
      await nextTurn();
    }
    expect(popped).toBe(total);
    expect(wrong).toBe(0);
    expect(requests.isEmpty && answers.isEmpty).toBe(true);
    requests.push(sent.fill(-1));
    expect(await done).toBe('done');
  });
});

describe('private memory', () => {
  test('has the same interface and no descriptor', () => {
    const memory = createPrivateMemory(4 * MIB);
    const bytes = new Uint8Array(memory.buffer);
    expect(memory.fd).toBe(-1);
    expect(bytes.length).toBe(4 * MIB);
    bytes.fill(6);
    memory.discard(1, 3 * PAGE);
    expect([bytes[0], bytes[PAGE - 1], bytes[PAGE], bytes[3 * PAGE - 1], bytes[3 * PAGE]]).toEqual([6, 6, 0, 0, 6]);
    memory.close();
    memory.close();
    expect(memory.buffer.byteLength).toBe(0);
  });
});
