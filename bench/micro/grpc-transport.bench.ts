/**
 * The transport against a grpc-js server, as it is and with its HTTP/2 windows widened through a private field: `node dist/bench/micro/grpc-transport.bench.js`.
 * The client is raw HTTP/2 in this process, a server runs in its own.
 */

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { type ClientHttp2Session, connect, type Http2Server, type ServerHttp2Session } from 'node:http2';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { startGrpcTransport } from '../../server/transports/grpc/grpc-transport.ts';
import { LOCAL_OPTIONS } from '../../server/transports/grpc/local-options.case.ts';

const PATH = '/bench.Echo/Echo';
const WINDOW_BYTES = 8 * 1024 * 1024;
const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;
const SECONDS = 2;

function grpcJs(): Server {
  const same = (bytes: Buffer): Buffer => bytes;
  const server = new Server({ 'grpc.max_receive_message_length': MAX_MESSAGE_BYTES, 'grpc.enable_channelz': 0 });
  server.register<Buffer, Buffer>(
    PATH,
    (call: { request: Buffer }, done: (error: null, answer: Buffer) => void) => done(null, call.request),
    same,
    same,
    'unary',
  );
  return server;
}

const servers: Readonly<Record<string, () => Promise<number>>> = {
  'grpc-js': () =>
    new Promise((resolve, reject) => {
      grpcJs().bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
        error === null ? resolve(port) : reject(error),
      );
    }),
  'grpc-js, wide': () =>
    new Promise((resolve) => {
      const server = grpcJs();
      const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
      const [http2] = (Reflect.get(server, 'http2Servers') as Map<Http2Server, unknown>).keys();
      http2!.updateSettings({ initialWindowSize: WINDOW_BYTES });
      http2!.on('session', (session: ServerHttp2Session) => session.setLocalWindowSize(WINDOW_BYTES));
      const listener = createServer((socket: Socket) => injector.injectConnection(socket.setNoDelay()));
      listener.listen(0, '127.0.0.1', () => resolve((listener.address() as AddressInfo).port));
    }),
  transport: async () =>
    (
      await startGrpcTransport({
        ...LOCAL_OPTIONS,
        methods: [{ kind: 'unary', path: PATH, handle: (call) => call.respond(call.message) }],
        maxReceiveBytes: MAX_MESSAGE_BYTES,
        maxSendBytes: MAX_MESSAGE_BYTES,
        onError: (error) => console.error(error),
      })
    ).port,
};

function call(session: ClientHttp2Session, body: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ':method': 'POST', ':path': PATH, 'content-type': 'application/grpc', te: 'trailers' });
    let bytes = 0;
    stream.on('data', (piece: Buffer) => {
      bytes += piece.length;
    });
    stream.on('error', reject);
    stream.on('end', () => (bytes === body.length ? resolve() : reject(new Error(`${bytes} bytes came back of ${body.length}`))));
    stream.end(body);
  });
}

async function measure(server: string, size: number, concurrency: number): Promise<Record<string, string | number>> {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), server], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    const port = await new Promise<number>((resolve, reject) => {
      child.once('exit', () => reject(new Error(`the server ${server} ended before it listened`)));
      child.stdout.once('data', (line: Buffer) => resolve(Number(line.toString())));
    });
    const session = connect(`http://127.0.0.1:${port}`, { settings: { initialWindowSize: WINDOW_BYTES } });
    session.on('connect', () => session.setLocalWindowSize(WINDOW_BYTES));
    const body = Buffer.alloc(size + 5, 1);
    body[0] = 0;
    body.writeUInt32BE(size, 1);
    const run = async (seconds: number): Promise<number[]> => {
      const times: number[] = [];
      const end = performance.now() + seconds * 1000;
      const loop = async (): Promise<void> => {
        while (performance.now() < end) {
          const start = performance.now();
          await call(session, body);
          times.push(performance.now() - start);
        }
      };
      await Promise.all(Array.from({ length: concurrency }, loop));
      return times.sort((a, b) => a - b);
    };
    await run(0.5);
    const before = cpuUs(child.pid!);
    const times = await run(SECONDS);
    const cpu = (cpuUs(child.pid!) - before) / times.length;
    session.destroy();
    return {
      server,
      bytes: size,
      'in flight': concurrency,
      'calls/s': Math.round(times.length / SECONDS),
      'p50 ms': times[times.length >> 1]!.toFixed(3),
      'p99 ms': times[Math.floor(times.length * 0.99)]!.toFixed(2),
      'server CPU us/call': cpu.toFixed(1),
    };
  } finally {
    child.kill('SIGKILL');
  }
}

/** User and system time of a process, microseconds; 0 where there is no /proc. */
function cpuUs(pid: number): number {
  if (process.platform !== 'linux') return 0;
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

const name = process.argv[2];
if (name === undefined) {
  const rows: Record<string, string | number>[] = [];
  for (const [size, concurrency] of [
    [64, 32],
    [600_000, 1],
    [600_000, 8],
  ] as const) {
    for (const server of [...Object.keys(servers), ...Object.keys(servers)]) rows.push(await measure(server, size, concurrency));
  }
  console.log(`unary echo over one connection, ${SECONDS} s each, Node ${process.versions.node}`);
  console.table(rows);
} else console.log(await servers[name]!());
