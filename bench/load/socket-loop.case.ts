import { createServer } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runUntil } from './create-loop.ts';
import { targetAt } from './line-lane.case.ts';
import { LineServer, type LineServerOptions } from './line-server.case.ts';
import type { LoadSocket, SocketHandler, SocketLoop } from './socket-loop.ts';

/** Keeps what comes. */
class Recorder implements SocketHandler {
  readonly chunks: Buffer[] = [];
  length = 0;
  closed: string[] = [];

  onBytes(bytes: Buffer, length: number): void {
    this.chunks.push(Buffer.from(bytes.subarray(0, length)));
    this.length += length;
  }

  onClose(reason: string): void {
    this.closed.push(reason);
  }

  get bytes(): Buffer {
    return Buffer.concat(this.chunks);
  }
}

/** Runs the loop until it is so. */
async function runTill(loop: SocketLoop, isDone: () => boolean, limitMs = 10_000): Promise<void> {
  const endMs = loop.now() + limitMs;
  await loop.run({ nextDueMs: () => endMs, due: () => {} }, () => isDone() || loop.now() >= endMs);
  expect(isDone()).toBe(true);
}

/** Bytes that show where each came from. */
function pattern(length: number): Buffer {
  const bytes = Buffer.from(new ArrayBuffer(length));
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + (i >>> 8) * 7) & 0xff;
  return bytes;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** What every SocketLoop does. */
export function itIsASocketLoop(name: string, create: () => SocketLoop): void {
  describe(name, () => {
    let loop: SocketLoop;
    const servers: LineServer[] = [];

    beforeEach(() => {
      loop = create();
    });
    afterEach(async () => {
      loop.close();
      for (const server of servers.splice(0)) await server.stop();
    });

    async function serve(options: LineServerOptions): Promise<LineServer> {
      const server = await LineServer.start(options);
      servers.push(server);
      return server;
    }

    /** A line to the server and back, after which it knows the connection. */
    async function exchange(socket: LoadSocket, recorder: Recorder): Promise<void> {
      socket.write(Buffer.from('1 x\n'));
      await runTill(loop, () => recorder.length >= '1 ok\n'.length);
    }

    function connect(port: number, handler: SocketHandler, host?: string): Promise<LoadSocket> {
      return runUntil(loop, loop.connect(targetAt(port, host), handler));
    }

    it('sends 10 MB that the kernel does not take at once, in order, and says how much waits', async () => {
      const server = await serve({ kind: 'echo' });
      const recorder = new Recorder();
      const socket = await connect(server.port, recorder);
      const bytes = pattern(10_000_000);
      socket.write(bytes);
      socket.write(bytes.subarray(0, 100));
      socket.writeTwo(bytes.subarray(5, 90), bytes.subarray(0, 100_000));
      expect(socket.queuedBytes).toBeGreaterThan(1_000_000);
      await runTill(loop, () => recorder.length >= bytes.length + 100 + 85 + 100_000);
      const expected = Buffer.concat([bytes, bytes.subarray(0, 100), bytes.subarray(5, 90), bytes.subarray(0, 100_000)]);
      expect(recorder.bytes.equals(expected)).toBe(true);
      expect(socket.queuedBytes).toBe(0);
    });

    it('keeps the order of short and long pieces that are written while input is handled', async () => {
      const server = await serve({ kind: 'echo' });
      const recorder = new Recorder();
      const other = new Recorder();
      const pieces = [10, 3000, 5000, 1, 4096, 4097, 16_000, 20, 700_000, 4, 4000, 4000, 4000, 4000, 4000].map(pattern);
      const aside = await connect(server.port, other);
      const socket: LoadSocket = await connect(server.port, {
        onBytes: (bytes, length) => {
          if (recorder.length === 0) {
            for (const piece of pieces) {
              socket.write(piece);
              // What goes to another socket in between must not disturb it.
              aside.write(Buffer.from('aside'));
            }
            socket.writeTwo(pattern(10), pattern(20));
            socket.writeTwo(pattern(10), pattern(9000));
          }
          recorder.onBytes(bytes, length);
        },
        onClose: () => {},
      });
      socket.write(Buffer.from('go'));
      const expected = Buffer.concat([Buffer.from('go'), ...pieces, pattern(10), pattern(20), pattern(10), pattern(9000)]);
      await runTill(loop, () => recorder.length >= expected.length && other.length >= pieces.length * 5);
      expect(recorder.bytes.equals(expected)).toBe(true);
      expect(other.bytes.toString()).toBe('aside'.repeat(pieces.length));
    });

    it('says once that the server closed the connection, or reset it', async () => {
      const server = await serve({ closeAfter: 1 });
      const ended = new Recorder();
      const socket = await connect(server.port, ended);
      socket.write(Buffer.from('1 x\n'));
      await runTill(loop, () => ended.closed.length > 0);
      expect(ended.bytes.toString()).toBe('1 ok\n');
      expect(ended.closed).toEqual(['the server closed the connection']);

      const reset = new Recorder();
      const resetting = await serve({});
      const second = await connect(resetting.port, reset);
      await exchange(second, reset);
      await resetting.tell({ drop: true });
      await runTill(loop, () => reset.closed.length > 0);
      expect(reset.closed[0]).toMatch(/ECONNRESET/);
      second.write(Buffer.from('nobody reads this'));
      second.close();
      await runTill(loop, () => true);
      expect(reset.closed).toHaveLength(1);
    });

    it('tells of a connection that breaks under a write, and never from inside it', async () => {
      const server = await serve({});
      let isWriting = false;
      const closed: boolean[] = [];
      const recorder = new Recorder();
      recorder.onClose = () => closed.push(isWriting);
      const socket = await connect(server.port, recorder);
      await exchange(socket, recorder);
      await server.tell({ drop: true });
      await new Promise((resolve) => setTimeout(resolve, 20));
      isWriting = true;
      for (let i = 0; i < 5; i++) socket.write(pattern(100_000));
      isWriting = false;
      await runTill(loop, () => closed.length > 0);
      expect(closed).toEqual([false]);
    });

    it('says nothing more of a socket that it closed itself', async () => {
      const server = await serve({});
      const recorder = new Recorder();
      const socket = await connect(server.port, recorder);
      await exchange(socket, recorder);
      socket.write(Buffer.from('2 x\n'));
      socket.close();
      const startMs = loop.now();
      await runTill(loop, () => loop.now() > startMs + 60);
      expect(recorder.closed).toEqual([]);
      await server.closed();
    });

    it('explains why nobody answers', async () => {
      const port = await freePort();
      await expect(connect(port, new Recorder())).rejects.toThrow(
        `cannot connect to 127.0.0.1:${port}: ECONNREFUSED; no server listens there: is it started, and is this its port?`,
      );
      await expect(connect(port, new Recorder(), 'no-such-host.invalid')).rejects.toThrow(/no-such-host\.invalid/);
    });

    it('connects over IPv6, and to a name of which only the second address answers', async () => {
      const six = await serve({ kind: 'echo', host: '::1' });
      const four = await serve({ kind: 'echo', host: '127.0.0.1' });
      for (const [port, host] of [
        [six.port, '::1'],
        [six.port, '[::1]'],
        [six.port, 'localhost'],
        [four.port, 'localhost'],
      ] as const) {
        const recorder = new Recorder();
        const socket = await connect(port, recorder, host);
        socket.write(Buffer.from(host));
        await runTill(loop, () => recorder.length >= host.length);
        expect(recorder.bytes.toString()).toBe(host);
        socket.close();
      }
    });

    it('serves many sockets at once', async () => {
      const server = await serve({ kind: 'echo' });
      const recorders = Array.from({ length: 300 }, () => new Recorder());
      const sockets = await runUntil(loop, Promise.all(recorders.map((recorder) => loop.connect(targetAt(server.port), recorder))));
      for (const [i, socket] of sockets.entries()) socket.write(Buffer.from(`socket ${i}`));
      await runTill(loop, () => recorders.every((recorder, i) => recorder.length === `socket ${i}`.length));
      expect(recorders.map((recorder) => recorder.bytes.toString())).toEqual(recorders.map((_, i) => `socket ${i}`));
    });

    it('calls at the times that were asked for, never before, and waits in between', async () => {
      const startMs = loop.now();
      const waitedMs = loop.waitedMs();
      const times = [5, 5.3, 17, 40, 90].map((ms) => startMs + ms);
      const called: number[] = [];
      await loop.run(
        {
          nextDueMs: () => times[called.length] ?? Number.POSITIVE_INFINITY,
          due: (nowMs) => {
            while (times[called.length]! <= nowMs) called.push(nowMs);
          },
        },
        () => called.length === times.length,
      );
      for (const [i, ms] of called.entries()) expect(ms).toBeGreaterThanOrEqual(times[i]!);
      expect(loop.waitedMs() - waitedMs).toBeGreaterThan(45);
      expect(loop.waitedMs() - waitedMs).toBeLessThanOrEqual(loop.now() - startMs);
    });

    it("gives Node's own loop a turn while it waits", async () => {
      let turns = 0;
      const timer = setInterval(() => turns++, 1);
      const endMs = loop.now() + 250;
      await loop.run({ nextDueMs: () => endMs, due: () => {} }, () => loop.now() >= endMs);
      clearInterval(timer);
      expect(turns).toBeGreaterThanOrEqual(4);
    });
  });
}
