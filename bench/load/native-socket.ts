import { EAGAIN, EINTR, errnoName, fixedBytes } from './socket-calls.ts';
import { COPIED_BYTES, EPOLLIN, EPOLLOUT, GATHERED_BYTES, type SocketIo } from './socket-io.ts';
import type { LoadSocket, SocketHandler } from './socket-loop.ts';

const SOL_SOCKET = 1;
const SO_ERROR = 4;
/** Reads of one socket in a row before others have their turn. */
const READS_IN_A_ROW = 8;
/** While so many of its first inputs come, a socket is shaking hands, and promises wait for what they say. */
const HANDSHAKE_READS = 8;

type ConnectEnd = (errno: number) => void;

/** A non-blocking TCP socket. Made while it connects; `onConnected` hears how that went. */
export class NativeSocket implements LoadSocket {
  readonly fd: number;
  /** Tells this socket from an earlier one with the same file descriptor. */
  readonly generation: number;
  readonly #io: SocketIo;
  readonly #handler: SocketHandler;
  #onConnected: ConnectEnd | null;
  #queue: Uint8Array[] = [];
  /** Bytes of the first piece in the queue that are out. */
  #offset = 0;
  #queuedBytes = 0;
  #isOpen = true;
  #failure = '';
  #youngReads = HANDSHAKE_READS;

  constructor(io: SocketIo, fd: number, generation: number, handler: SocketHandler, onConnected: ConnectEnd) {
    this.#io = io;
    this.fd = fd;
    this.generation = generation;
    this.#handler = handler;
    this.#onConnected = onConnected;
    io.sockets[fd] = this;
    io.watch(fd, generation, EPOLLOUT, true);
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  get isShakingHands(): boolean {
    return this.#youngReads > 0;
  }

  write(bytes: Uint8Array): void {
    const { length } = bytes;
    if (!this.#isWritable || length === 0) return;
    const io = this.#io;
    if (io.current === this) {
      if (this.#queuedBytes === 0 && length <= COPIED_BYTES && io.gathered + length <= GATHERED_BYTES) {
        io.output.bytes.set(bytes, io.gathered);
        io.gathered += length;
        return;
      }
      // What was gathered lies before these bytes in the stream.
      if (io.gathered > 0) this.#flushGathered();
    }
    if (this.#queuedBytes > 0) {
      this.#enqueue(bytes);
      return;
    }
    const sent = this.#taken(io.send(this.fd, bytes, 0));
    if (sent < length) this.#enqueueRest(bytes, sent);
  }

  writeTwo(first: Uint8Array, second: Uint8Array): void {
    if (first.length + second.length <= COPIED_BYTES * 2 && this.#io.current === this) {
      this.write(first);
      this.write(second);
      return;
    }
    if (!this.#isWritable) return;
    if (this.#io.current === this && this.#io.gathered > 0) this.#flushGathered();
    if (this.#queuedBytes > 0) {
      this.#enqueue(first);
      this.#enqueue(second);
      return;
    }
    const sent = this.#taken(this.#io.sendTwo(this.fd, first, second));
    if (sent < first.length) {
      this.#enqueueRest(first, sent);
      this.#enqueue(second);
    } else if (sent < first.length + second.length) this.#enqueueRest(second, sent - first.length);
  }

  close(): void {
    if (!this.#isOpen) return;
    if (this.#io.current === this && this.#io.gathered > 0) this.#flushGathered();
    this.#isOpen = false;
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#io.sockets[this.fd] = undefined;
    this.#io.calls.close(this.fd);
  }

  /** What the loop calls when the kernel has something to say of this socket. True: a promise may wait for what was done. */
  onEvent(events: number): boolean {
    if (this.#onConnected !== null) {
      this.#finishConnect(this.#onConnected);
      return true;
    }
    const wasShakingHands = this.isShakingHands;
    // Anything but room to write (input, the end, an error) shows when it is read.
    if ((events & ~EPOLLOUT) !== 0) this.#read();
    if ((events & EPOLLOUT) !== 0 && this.#isWritable) this.#flushQueue();
    return wasShakingHands;
  }

  /** Called by the loop, outside of writes: tells the handler of a failure. */
  reportFailure(): void {
    if (this.#isOpen) this.#end(this.#failure);
  }

  get #isWritable(): boolean {
    return this.#isOpen && this.#failure === '';
  }

  #finishConnect(onConnected: ConnectEnd): void {
    this.#onConnected = null;
    const errno = this.#connectError();
    if (errno === 0) this.#io.watch(this.fd, this.generation, EPOLLIN, false);
    else this.close();
    onConnected(errno);
  }

  #connectError(): number {
    const { calls } = this.#io;
    const value = fixedBytes(calls, 8);
    value.bytes.writeInt32LE(4, 4);
    if (calls.getsockopt(this.fd, SOL_SOCKET, SO_ERROR, value.address, value.address + 4) !== 0) return calls.errno();
    return value.bytes.readInt32LE(0);
  }

  #read(): void {
    const io = this.#io;
    const capacity = io.input.bytes.length;
    for (let i = 0; i < READS_IN_A_ROW && this.#isWritable; i++) {
      const got = io.receive(this.fd);
      if (got <= 0) {
        if (got === 0) this.#end('the server closed the connection');
        else {
          const errno = io.calls.errno();
          if (errno !== EAGAIN && errno !== EINTR) this.#end(`the connection failed: ${errnoName(errno)}`);
        }
        return;
      }
      if (this.#youngReads > 0) this.#youngReads--;
      io.current = this;
      try {
        this.#handler.onBytes(io.input.bytes, got);
        if (io.gathered > 0) this.#flushGathered();
      } finally {
        io.current = null;
        io.gathered = 0;
      }
      if (got < capacity) return;
    }
  }

  /** Sends what was written while input was handled; what the kernel leaves is copied, since that memory is every socket's. */
  #flushGathered(): void {
    const io = this.#io;
    const length = io.gathered;
    const sent = this.#taken(io.sendGathered(this.fd));
    io.gathered = 0;
    if (sent < length) this.#enqueueRest(new Uint8Array(io.output.bytes.subarray(sent, length)), 0);
  }

  #flushQueue(): void {
    while (this.#queue.length > 0) {
      const bytes = this.#queue[0]!;
      const sent = this.#taken(this.#io.send(this.fd, bytes, this.#offset));
      this.#queuedBytes -= sent;
      this.#offset += sent;
      if (this.#offset < bytes.length) return;
      this.#queue.shift();
      this.#offset = 0;
    }
    this.#io.watch(this.fd, this.generation, EPOLLIN, false);
  }

  /** How many bytes a send took: none when the kernel's buffer is full, or when the socket is broken, which the handler hears of later. */
  #taken(sent: number): number {
    if (sent >= 0) return sent;
    const errno = this.#io.calls.errno();
    if (errno !== EAGAIN && errno !== EINTR && this.#failure === '') {
      this.#failure = `the connection failed: ${errnoName(errno)}`;
      this.#io.failed.push(this);
    }
    return 0;
  }

  /** The first piece that has to wait. */
  #enqueueRest(bytes: Uint8Array, sent: number): void {
    if (this.#failure !== '') return;
    this.#queue.push(bytes);
    this.#offset = sent;
    this.#queuedBytes += bytes.length - sent;
    this.#io.watch(this.fd, this.generation, EPOLLIN | EPOLLOUT, false);
  }

  #enqueue(bytes: Uint8Array): void {
    if (bytes.length === 0 || this.#failure !== '') return;
    this.#queue.push(bytes);
    this.#queuedBytes += bytes.length;
  }

  #end(reason: string): void {
    this.close();
    this.#handler.onClose(reason);
  }
}
