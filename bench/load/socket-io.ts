import type { NativeSocket } from './native-socket.ts';
import { type FixedBytes, fixedBytes, type SocketCalls } from './socket-calls.ts';

/** No SIGPIPE, and never wait. */
const SEND_FLAGS = 0x4000 | 0x40;
const DONT_WAIT = 0x40;
const RECEIVE_BYTES = 256 * 1024;
/** Up to here bytes are copied to memory at a known address: that costs less than asking where they lie, and the caller has them back at once. */
export const COPIED_BYTES = 4096;
/** What is gathered while one piece of input is handled, at the most. */
export const GATHERED_BYTES = 16 * 1024;

const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_MOD = 3;
export const EPOLLIN = 1;
export const EPOLLOUT = 4;

/** `struct epoll_event` in 32-bit words: packed on x64 alone. */
export const EVENT_WORDS: number = process.arch === 'x64' ? 3 : 4;
/** Where its `data` begins, in words. */
export const EVENT_DATA: number = process.arch === 'x64' ? 1 : 2;

/** What the sockets of a loop share: memory at fixed addresses, the epoll instance, and who failed. */
export class SocketIo {
  readonly calls: SocketCalls;
  readonly epoll: number;
  /** Of what is open, or being opened, by file descriptor. */
  readonly sockets: (NativeSocket | undefined)[] = [];
  readonly input: FixedBytes;
  /** What is written to `current` while its input is handled, to go out in one call. */
  readonly output: FixedBytes;
  /** Bytes in `output` that wait for the end of the input that `current` reads. */
  gathered = 0;
  /** The socket whose input is being handled. */
  current: NativeSocket | null = null;
  /** Sockets that failed while they were written to. Their handlers hear of it from the loop, never from inside a write. */
  readonly failed: NativeSocket[] = [];
  /** Copies of short pieces that are sent at once. */
  readonly #copies: FixedBytes;
  readonly #event: FixedBytes;
  readonly #message: FixedBytes;
  readonly #vectors: FixedBytes;

  constructor(calls: SocketCalls) {
    this.calls = calls;
    this.epoll = calls.epollCreate(EPOLL_CLOEXEC);
    this.input = fixedBytes(calls, RECEIVE_BYTES);
    this.output = fixedBytes(calls, GATHERED_BYTES);
    this.#copies = fixedBytes(calls, 2 * COPIED_BYTES);
    this.#event = fixedBytes(calls, 16);
    this.#vectors = fixedBytes(calls, 32);
    // struct msghdr: name, its length, the vectors' address and count, control data and its length, flags.
    this.#message = fixedBytes(calls, 56);
    this.#message.bytes.writeBigUInt64LE(BigInt(this.#vectors.address), 16);
    this.#message.bytes.writeBigUInt64LE(2n, 24);
  }

  /** The bytes read into `input`, 0 at the end of the stream, or -1. */
  receive(fd: number): number {
    return this.calls.recv(fd, this.input.address, RECEIVE_BYTES, DONT_WAIT);
  }

  /** Sends `bytes` from `offset` on. The bytes taken, or -1. */
  send(fd: number, bytes: Uint8Array, offset: number): number {
    const length = bytes.length - offset;
    if (length > COPIED_BYTES) return this.calls.send(fd, this.calls.addressOf(bytes) + offset, length, SEND_FLAGS);
    this.#copies.bytes.set(offset === 0 ? bytes : bytes.subarray(offset), 0);
    return this.calls.send(fd, this.#copies.address, length, SEND_FLAGS);
  }

  sendGathered(fd: number): number {
    return this.calls.send(fd, this.output.address, this.gathered, SEND_FLAGS);
  }

  sendTwo(fd: number, first: Uint8Array, second: Uint8Array): number {
    const vectors = this.#vectors.bytes;
    this.#point(vectors, 0, first, 0);
    this.#point(vectors, 16, second, COPIED_BYTES);
    return this.calls.sendmsg(fd, this.#message.address, SEND_FLAGS);
  }

  /** Puts a piece into a vector; a short one is copied first. */
  #point(vectors: Buffer, at: number, bytes: Uint8Array, copyAt: number): void {
    let address: number;
    if (bytes.length > COPIED_BYTES) address = this.calls.addressOf(bytes);
    else {
      this.#copies.bytes.set(bytes, copyAt);
      address = this.#copies.address + copyAt;
    }
    vectors.writeBigUInt64LE(BigInt(address), at);
    vectors.writeUInt32LE(bytes.length, at + 8);
  }

  watch(fd: number, generation: number, events: number, isNew: boolean): void {
    const event = this.#event.bytes;
    event.writeUInt32LE(events, 0);
    event.writeInt32LE(fd, EVENT_DATA * 4);
    event.writeInt32LE(generation, EVENT_DATA * 4 + 4);
    this.calls.epollCtl(this.epoll, isNew ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, this.#event.address);
  }
}
