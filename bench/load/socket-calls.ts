/**
 * The calls of the C library that sockets and epoll need, through koffi. Every pointer is a plain number (user space ends far below 2^53), so that a call costs neither an object nor a look into V8's heap. koffi is
 * loaded at the first use.
 */

import { createRequire } from 'node:module';
import { getSystemErrorName } from 'node:util';
import { InferenceError } from '../../proto/inference-error.ts';

/** Calls that fail return -1 and leave their reason in `errno()`. */
export interface SocketCalls {
  socket(family: number, type: number, protocol: number): number;
  connect(fd: number, address: number, length: number): number;
  setsockopt(fd: number, level: number, name: number, value: number, length: number): number;
  getsockopt(fd: number, level: number, name: number, value: number, length: number): number;
  recv(fd: number, bytes: number, length: number, flags: number): number;
  send(fd: number, bytes: number, length: number, flags: number): number;
  sendmsg(fd: number, message: number, flags: number): number;
  close(fd: number): number;
  inetPton(family: number, text: string, address: number): number;
  epollCreate(flags: number): number;
  epollCtl(epoll: number, operation: number, fd: number, event: number): number;
  epollWait(epoll: number, events: number, maxEvents: number, timeoutMs: number): number;
  /** epoll_pwait2 (Linux 5.11), by its number: not every C library has it. */
  epollWaitPrecisely(
    number: number,
    epoll: number,
    events: number,
    maxEvents: number,
    timespec: number,
    mask: number,
    maskBytes: number,
  ): number;
  prctl(option: number, argument: number, unused3: number, unused4: number, unused5: number): number;
  /** Of the last call. Read it before anything else runs. */
  errno(): number;
  /** Where bytes lie. They must lie outside V8's heap, as all of more than 64 bytes do. */
  addressOf(bytes: Uint8Array): number;
}

/** Memory at an address that stays. */
export interface FixedBytes {
  readonly bytes: Buffer;
  readonly address: number;
}

/** The same number on every architecture. */
export const EPOLL_PWAIT2_CALL = 441;
export const EAGAIN = 11;
export const EINTR = 4;
export const EINPROGRESS = 115;

let loaded: SocketCalls | null = null;

function load(): SocketCalls {
  const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
  const library = koffi.load(null);
  const bind = (name: string, ...parameters: string[]) => library.func(name, 'long', parameters);
  // koffi reads the whole register, and the upper half of one that holds an `int` is anything: each function has the type it has in C.
  const bindInt = (name: string, ...parameters: string[]) => library.func(name, 'int', parameters);
  return {
    socket: bindInt('socket', 'int', 'int', 'int'),
    connect: bindInt('connect', 'int', 'long', 'int'),
    setsockopt: bindInt('setsockopt', 'int', 'int', 'int', 'long', 'int'),
    getsockopt: bindInt('getsockopt', 'int', 'int', 'int', 'long', 'long'),
    recv: bind('recv', 'int', 'long', 'long', 'int'),
    send: bind('send', 'int', 'long', 'long', 'int'),
    sendmsg: bind('sendmsg', 'int', 'long', 'int'),
    close: bindInt('close', 'int'),
    inetPton: bindInt('inet_pton', 'int', 'str', 'long'),
    epollCreate: bindInt('epoll_create1', 'int'),
    epollCtl: bindInt('epoll_ctl', 'int', 'int', 'int', 'long'),
    epollWait: bindInt('epoll_wait', 'int', 'long', 'int', 'int'),
    // syscall(2) and prctl(2) are declared with `...`, but on x64 and arm64 integer arguments travel alike with and without it.
    epollWaitPrecisely: bind('syscall', 'long', 'long', 'long', 'long', 'long', 'long', 'long'),
    prctl: bindInt('prctl', 'int', 'long', 'long', 'long', 'long'),
    errno: () => koffi.errno(),
    addressOf: (bytes) => Number(koffi.address(bytes)),
  };
}

/** Throws UNIMPLEMENTED where there are no native sockets. */
export function socketCalls(): SocketCalls {
  if (loaded !== null) return loaded;
  if (process.platform !== 'linux' || (process.arch !== 'x64' && process.arch !== 'arm64')) {
    throw new InferenceError(
      'UNIMPLEMENTED',
      `native sockets need Linux on x64 or arm64, and this is ${process.platform} on ${process.arch}; use the sockets of Node.js (sockets: 'node')`,
    );
  }
  try {
    loaded = load();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split('\n')[0] : String(cause);
    throw new InferenceError(
      'UNIMPLEMENTED',
      `native sockets need the package koffi, which does not load here (${reason}); use the sockets of Node.js (sockets: 'node')`,
      { cause },
    );
  }
  return loaded;
}

export function fixedBytes(calls: SocketCalls, length: number): FixedBytes {
  // A Buffer over an ArrayBuffer made by itself: small ones would come from Node's pool, which others write to.
  const bytes = Buffer.from(new ArrayBuffer(Math.max(length, 128)));
  return { bytes, address: calls.addressOf(bytes) };
}

/** 'ECONNREFUSED' for 111. */
export function errnoName(errno: number): string {
  return errno > 0 ? getSystemErrorName(-errno) : `errno ${errno}`;
}
