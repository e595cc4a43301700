/**
 * The control of what the machine takes to bring bytes to another process and back: TCP over loopback, blocking calls on both sides, no event loop, no protocol. As `blocking-echo.js serve TAKEN GIVEN` it
 * is the other process: it prints its port, reads so many bytes at a time and answers with so many. Without arguments it is the loop process (loop-task.ts) that asks. Linux.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import koffi from 'koffi';
import { serveLoop } from './loop-task.ts';
import { nodeOnCore, SERVER_CORE } from './pinning.ts';

export interface EchoOptions {
  readonly sentBytes: number;
  readonly answeredBytes: number;
  /** Whether the other process is kept on the core of those that are measured. */
  readonly isPinned: boolean;
}

const libc = koffi.load('libc.so.6');
const socket = libc.func('int socket(int domain, int type, int protocol)') as (domain: number, type: number, protocol: number) => number;
const bind = libc.func('int bind(int fd, const void *address, uint32_t length)') as (fd: number, address: Buffer, length: number) => number;
const listen = libc.func('int listen(int fd, int backlog)') as (fd: number, backlog: number) => number;
const accept = libc.func('int accept(int fd, void *address, void *length)') as (fd: number, address: null, length: null) => number;
const connect = libc.func('int connect(int fd, const void *address, uint32_t length)') as typeof bind;
const getsockname = libc.func('int getsockname(int fd, void *address, void *length)') as (
  fd: number,
  address: Buffer,
  length: Uint32Array,
) => number;
const setsockopt = libc.func('int setsockopt(int fd, int level, int option, const void *value, uint32_t length)') as (
  fd: number,
  level: number,
  option: number,
  value: Int32Array,
  length: number,
) => number;
const send = libc.func('int64 send(int fd, const void *bytes, size_t length, int flags)') as (
  fd: number,
  bytes: Buffer,
  length: number,
  flags: number,
) => number;
const recv = libc.func('int64 recv(int fd, void *bytes, size_t length, int flags)') as typeof send;

const AF_INET = 2;
const SOCK_STREAM = 1;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
/** Returns when all of it is there. */
const MSG_WAITALL = 0x100;
const MSG_NOSIGNAL = 0x4000;
/** sockaddr_in. */
const ADDRESS_BYTES = 16;

/** 127.0.0.1 and `port`. */
function loopback(port: number): Buffer {
  const address = Buffer.alloc(ADDRESS_BYTES);
  address.writeUInt16LE(AF_INET, 0);
  address.writeUInt16BE(port, 2);
  address.writeUInt32BE(0x7f000001, 4);
  return address;
}

function tcpSocket(): number {
  const fd = must(socket(AF_INET, SOCK_STREAM, 0), 'socket');
  must(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, Int32Array.of(1), 4), 'setsockopt');
  return fd;
}

function must(result: number, call: string): number {
  if (result < 0) throw new Error(`${call} failed with error ${koffi.errno()}`);
  return result;
}

function sendAll(fd: number, bytes: Buffer): void {
  const sent = must(send(fd, bytes, bytes.length, MSG_NOSIGNAL), 'send');
  if (sent !== bytes.length) throw new Error(`send took ${sent} bytes of ${bytes.length}`);
}

function serve(takenBytes: number, givenBytes: number): void {
  const listener = tcpSocket();
  const address = loopback(0);
  must(bind(listener, address, ADDRESS_BYTES), 'bind');
  must(listen(listener, 1), 'listen');
  must(getsockname(listener, address, Uint32Array.of(ADDRESS_BYTES)), 'getsockname');
  process.stdout.write(`${address.readUInt16BE(2)}\n`);
  // The line is out before the first blocking call: a pipe is written to synchronously.
  const fd = must(accept(listener, null, null), 'accept');
  must(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, Int32Array.of(1), 4), 'setsockopt');
  const taken = Buffer.allocUnsafeSlow(takenBytes);
  const given = Buffer.allocUnsafeSlow(givenBytes);
  while (must(recv(fd, taken, takenBytes, MSG_WAITALL), 'recv') === takenBytes) sendAll(fd, given);
}

async function portOf(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the echo ended with ${code} before it listened`)));
    child.stdout!.once('data', (line: Buffer) => resolve(Number(line.toString())));
  });
}

if (process.argv[2] === 'serve') serve(Number(process.argv[3]), Number(process.argv[4]));
else {
  serveLoop(async ({ sentBytes, answeredBytes, isPinned }: EchoOptions) => {
    const serving = [fileURLToPath(import.meta.url), 'serve', String(sentBytes), String(answeredBytes)];
    const [command, ...args] = nodeOnCore(isPinned ? SERVER_CORE : null, serving);
    // It ends with the connection, however this process ends.
    const port = await portOf(spawn(command!, args, { stdio: ['ignore', 'pipe', 'inherit'] }));
    const fd = tcpSocket();
    must(connect(fd, loopback(port), ADDRESS_BYTES), 'connect');
    const sent = Buffer.allocUnsafeSlow(sentBytes);
    const received = Buffer.allocUnsafeSlow(answeredBytes);
    const run = (): void => {
      sendAll(fd, sent);
      if (must(recv(fd, received, answeredBytes, MSG_WAITALL), 'recv') !== answeredBytes) throw new Error('the echo closed the connection');
    };
    return [{ run, itemsPerRun: 1 }, ''];
  });
}
