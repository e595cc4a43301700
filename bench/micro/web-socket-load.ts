/** Loads a WebSocket server in a process of its own, and prints what it did: for the benchmarks of the WebSockets of the two transports. */

import { fork } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import type { WebSocketRoute } from '../../server/transports/web-socket.ts';
import { ECHO_OPTIONS } from './http-engine-load.ts';

const WARM_UP_MS = 500;
const MEASURED_MS = 2000;
const PATH = '/v2/ws';
const MESSAGE_BYTES = 128;
const FRAME_HEAD_BYTES = 4;
/** connections, messages in flight on each. */
const SHAPES: readonly (readonly [number, number])[] = [
  [1, 1],
  [32, 1],
  [1, 64],
  [8, 64],
];

const ECHO_ROUTE: WebSocketRoute = {
  pattern: PATH,
  maxMessageBytes: 64 * 1024 * 1024,
  maxUnsentBytes: 64 * 1024 * 1024,
  idleTimeoutMs: 60_000,
  open: (connection) => {
    // As answers come: from a later turn of the loop, all that one turn has.
    let due: Uint8Array[] = [];
    const answer = (): void => {
      const messages = due;
      due = [];
      for (const message of messages) connection.sendBinary(message);
    };
    return {
      onText: (message) => connection.sendText(message),
      onBinary: (message) => {
        if (due.push(message) === 1) setImmediate(answer);
      },
      onDrain: () => {},
      onClose: () => {},
    };
  },
};

/** The transports' echo over HTTP, with one over WebSocket besides. */
export const WEB_SOCKET_ECHO_OPTIONS: typeof ECHO_OPTIONS = { ...ECHO_OPTIONS, webSockets: [ECHO_ROUTE] };

interface ChildReport {
  readonly port?: number;
  readonly cpuUs?: number;
}

/** Runs each server of the bench file `file` in turn, twice over so that drift shows. In its own process a server is started by its name and gives its port. */
export async function compareWebSocketServers(file: string, servers: Readonly<Record<string, () => Promise<number>>>): Promise<void> {
  const name = process.argv[2];
  if (name !== undefined) {
    process.on('message', () => {
      const { user, system } = process.cpuUsage();
      process.send!({ cpuUs: user + system } satisfies ChildReport);
    });
    process.send!({ port: await servers[name]!() } satisfies ChildReport);
    return;
  }
  const rows: Record<string, string | number>[] = [];
  for (const [connections, inFlight] of SHAPES) {
    for (const server of [...Object.keys(servers), ...Object.keys(servers)]) rows.push(await measure(file, server, connections, inFlight));
  }
  console.log(`echo of ${MESSAGE_BYTES} bytes, answered a turn later, ${MEASURED_MS / 1000} s each, Node ${process.versions.node}`);
  console.table(rows);
}

async function measure(file: string, server: string, connections: number, inFlight: number): Promise<Record<string, string | number>> {
  const child = fork(file, [server]);
  const sockets: Socket[] = [];
  const report = (): Promise<ChildReport> => new Promise((resolve) => child.once('message', (message) => resolve(message as ChildReport)));
  const cpuUs = async (): Promise<number> => {
    const answer = report();
    child.send('cpu');
    return (await answer).cpuUs!;
  };
  try {
    const port = (await report()).port!;
    let messages = 0;
    for (let n = 0; n < connections; n += 1) sockets.push(await keepBusy(port, inFlight, (count) => (messages += count)));
    await new Promise((resolve) => setTimeout(resolve, WARM_UP_MS));
    const before = await cpuUs();
    const startMs = performance.now();
    messages = 0;
    await new Promise((resolve) => setTimeout(resolve, MEASURED_MS));
    const counted = messages;
    const seconds = (performance.now() - startMs) / 1000;
    const usedUs = (await cpuUs()) - before;
    return {
      server,
      connections,
      'in flight': inFlight,
      'messages/s': Math.round(counted / seconds),
      'server CPU us/message': (usedUs / counted).toFixed(2),
    };
  } finally {
    for (const socket of sockets) socket.destroy();
    child.kill('SIGKILL');
  }
}

/** One connection that has so many messages in flight at all times. What comes back is counted by its bytes: a client that parsed would be what is measured. */
async function keepBusy(port: number, inFlight: number, onAnswers: (count: number) => void): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  socket.write(
    `GET ${PATH} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`,
  );
  const answer = await new Promise<Buffer>((resolve, reject) => {
    socket.once('data', resolve);
    socket.once('error', reject);
  });
  if (!answer.toString('latin1').startsWith('HTTP/1.1 101 ')) throw new Error(`no WebSocket: ${answer.toString('latin1')}`);
  const frame = Buffer.concat([Buffer.of(0x82, 0x80 | 126, 0, MESSAGE_BYTES, 1, 2, 3, 4), Buffer.alloc(MESSAGE_BYTES, 7)]);
  const frames = Buffer.concat(Array.from({ length: inFlight }, () => frame));
  const answerBytes = FRAME_HEAD_BYTES + MESSAGE_BYTES;
  let partBytes = 0;
  socket.on('data', (chunk: Buffer) => {
    const bytes = partBytes + chunk.byteLength;
    const count = Math.floor(bytes / answerBytes);
    partBytes = bytes - count * answerBytes;
    if (count === 0) return;
    onAnswers(count);
    socket.write(frames.subarray(0, count * frame.byteLength));
  });
  socket.write(frames);
  return socket;
}
