import { InferenceError } from '../../proto/inference-error.ts';
import type { LoadTarget } from './load-plan.ts';
import { NativeSocket } from './native-socket.ts';
import { addressText, cannotConnect, type HostAddress, NameTable } from './resolve-host.ts';
import { EINPROGRESS, EINTR, EPOLL_PWAIT2_CALL, errnoName, type FixedBytes, fixedBytes, socketCalls } from './socket-calls.ts';
import { EVENT_DATA, EVENT_WORDS, SocketIo } from './socket-io.ts';
import type { LoadSocket, Pacer, SocketHandler, SocketLoop } from './socket-loop.ts';

const AF_INET = 2;
const AF_INET6 = 10;
/** SOCK_STREAM, SOCK_NONBLOCK and SOCK_CLOEXEC. */
const STREAM_TYPE = 1 | 0o4000 | 0o2000000;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const PR_SET_TIMERSLACK = 29;
const PR_GET_TIMERSLACK = 30;

const MAX_EVENTS = 256;
/** The longest that Node's own loop (messages, timers, name lookups) waits for its turn. */
const TURN_MS = 20;
/** The same, while names are looked up. */
const LOOKUP_TURN_MS = 2;
const CONNECT_LIMIT_MS = 10_000;

/**
 * Sockets by system calls, in a loop that blocks the thread in epoll. It saves what Node's streams cost per request (some 8 us of processor time), which matters where server and generator share cores. A wait ends
 * within some 50 us of its time: the kernel waits by nanoseconds (epoll_pwait2), and the thread's timer slack is taken away while the loop lives.
 */
export class NativeLoop implements SocketLoop {
  readonly kind = 'native';
  readonly #io: SocketIo;
  readonly #eventBytes: FixedBytes;
  readonly #events: Int32Array;
  readonly #timespec: FixedBytes;
  readonly #seconds: Int32Array;
  readonly #timerSlackNs: number;
  readonly #names: NameTable = new NameTable();
  #isPrecise: boolean;
  #waitedMs = 0;
  #lastGeneration = 0;
  #lookups = 0;
  /** Promises wait for something that has happened: Node must have a turn. */
  #mustTurn = false;

  /** Throws UNIMPLEMENTED where there are no native sockets. `isPrecise` false: as on kernels before 5.11, whose waits are whole milliseconds. */
  constructor(isPrecise = true) {
    const calls = socketCalls();
    this.#io = new SocketIo(calls);
    if (this.#io.epoll < 0) throw new InferenceError('UNAVAILABLE', `epoll_create1 failed: ${errnoName(calls.errno())}`);
    this.#eventBytes = fixedBytes(calls, MAX_EVENTS * EVENT_WORDS * 4);
    this.#events = new Int32Array(this.#eventBytes.bytes.buffer);
    this.#timespec = fixedBytes(calls, 16);
    this.#seconds = new Int32Array(this.#timespec.bytes.buffer);
    this.#isPrecise = isPrecise;
    this.#timerSlackNs = calls.prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
    calls.prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
  }

  now(): number {
    return performance.now();
  }

  waitedMs(): number {
    return this.#waitedMs;
  }

  async connect(target: LoadTarget, handler: SocketHandler): Promise<LoadSocket> {
    if (target.tls !== null)
      throw new InferenceError('INVALID_ARGUMENT', "native sockets have no TLS; use the sockets of Node.js (sockets: 'auto' or 'node')");
    const addresses = this.#names.known(target.host) ?? (await this.#lookUp(target.host));
    return this.#names.connect(target.host, addresses, (address) => this.#connectTo(address, target.port, handler));
  }

  async run(pacer: Pacer, isDone: () => boolean): Promise<void> {
    let turnMs = performance.now() + TURN_MS;
    while (!isDone()) {
      this.#reportFailures();
      let nowMs = performance.now();
      const dueMs = pacer.nextDueMs();
      if (dueMs <= nowMs) {
        pacer.due(nowMs);
        nowMs = performance.now();
      }
      if (this.#mustTurn || nowMs >= turnMs) {
        this.#mustTurn = false;
        await new Promise((resolve) => setImmediate(resolve));
        turnMs = performance.now() + (this.#lookups > 0 ? LOOKUP_TURN_MS : TURN_MS);
        continue;
      }
      if (this.#io.failed.length === 0) this.#poll(nowMs, Math.min(pacer.nextDueMs(), turnMs));
    }
  }

  close(): void {
    for (const socket of this.#io.sockets) socket?.close();
    this.#io.calls.close(this.#io.epoll);
    if (this.#timerSlackNs > 0) this.#io.calls.prctl(PR_SET_TIMERSLACK, this.#timerSlackNs, 0, 0, 0);
  }

  async #lookUp(host: string): Promise<readonly HostAddress[]> {
    this.#lookups++;
    this.#mustTurn = true;
    try {
      return await this.#names.lookUp(host);
    } finally {
      this.#lookups--;
    }
  }

  #connectTo({ address, family }: HostAddress, port: number, handler: SocketHandler): Promise<LoadSocket> {
    const { calls } = this.#io;
    const where = addressText(address, port);
    return new Promise((resolve, reject) => {
      const name = socketAddress(address, family, port, this.#io);
      const fd = name === null ? -1 : calls.socket(family === 4 ? AF_INET : AF_INET6, STREAM_TYPE, 0);
      if (name === null) {
        reject(cannotConnect(where, 'native sockets take no address with a zone'));
        return;
      }
      if (fd < 0) {
        reject(cannotConnect(where, errnoName(calls.errno())));
        return;
      }
      this.#noDelay(fd);
      if (calls.connect(fd, name.address, family === 4 ? 16 : 28) !== 0) {
        const errno = calls.errno();
        if (errno !== EINPROGRESS) {
          calls.close(fd);
          reject(cannotConnect(where, errnoName(errno)));
          return;
        }
      }
      const limit = setTimeout(() => {
        socket.close();
        reject(cannotConnect(where, `no answer within ${CONNECT_LIMIT_MS / 1000} s`));
      }, CONNECT_LIMIT_MS);
      this.#lastGeneration = (this.#lastGeneration + 1) | 0;
      const socket = new NativeSocket(this.#io, fd, this.#lastGeneration, handler, (errno) => {
        clearTimeout(limit);
        if (errno === 0) resolve(socket);
        else reject(cannotConnect(where, errnoName(errno)));
      });
    });
  }

  #noDelay(fd: number): void {
    const one = fixedBytes(this.#io.calls, 4);
    one.bytes.writeInt32LE(1, 0);
    this.#io.calls.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, one.address, 4);
  }

  /** Waits until `untilMs` at the longest and hands out what came. */
  #poll(nowMs: number, untilMs: number): void {
    const count = this.#wait(untilMs - nowMs);
    this.#waitedMs += performance.now() - nowMs;
    const events = this.#events;
    const { sockets } = this.#io;
    for (let i = 0; i < count; i++) {
      const at = i * EVENT_WORDS;
      const socket = sockets[events[at + EVENT_DATA]!];
      // Closed while the events before this one were handled, and its number given to another, perhaps.
      if (socket === undefined || socket.generation !== events[at + EVENT_DATA + 1]) continue;
      if (socket.onEvent(events[at]!)) this.#mustTurn = true;
    }
  }

  #wait(forMs: number): number {
    const { calls, epoll } = this.#io;
    if (this.#isPrecise) {
      // Two 64-bit numbers, of which TURN_MS leaves the low half of the second alone: nanoseconds.
      this.#seconds[2] = forMs > 0 ? forMs * 1e6 : 0;
      const count = calls.epollWaitPrecisely(EPOLL_PWAIT2_CALL, epoll, this.#eventBytes.address, MAX_EVENTS, this.#timespec.address, 0, 0);
      if (count >= 0) return count;
      if (calls.errno() === EINTR) return 0;
      // An older kernel, or a sandbox that does not know the call.
      this.#isPrecise = false;
    }
    return Math.max(0, calls.epollWait(epoll, this.#eventBytes.address, MAX_EVENTS, forMs > 0 ? Math.ceil(forMs) : 0));
  }

  #reportFailures(): void {
    const { failed } = this.#io;
    while (failed.length > 0) failed.pop()!.reportFailure();
  }
}

/** A sockaddr_in or sockaddr_in6; null when the C library does not read the address. */
function socketAddress(address: string, family: 4 | 6, port: number, io: SocketIo): FixedBytes | null {
  const name = fixedBytes(io.calls, 28);
  name.bytes.writeUInt16LE(family === 4 ? AF_INET : AF_INET6, 0);
  name.bytes.writeUInt16BE(port, 2);
  const isRead = io.calls.inetPton(family === 4 ? AF_INET : AF_INET6, address, name.address + (family === 4 ? 4 : 8)) === 1;
  return isRead ? name : null;
}
