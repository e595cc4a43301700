import { connect as connectTcp, type Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import type { InferenceError } from '../../proto/inference-error.ts';
import type { LoadTarget } from './load-plan.ts';
import { addressText, cannotConnect, literalAddress, NameTable } from './resolve-host.ts';
import type { LoadSocket, Pacer, SocketHandler, SocketLoop } from './socket-loop.ts';

const CONNECT_LIMIT_MS = 10_000;
/** How long `isDone` may go unasked. */
const LONGEST_WAIT_MS = 50;

/** Node's own sockets: for TLS, and for systems without epoll. Times are kept to a millisecond or two, as Node's timers are. */
export class NodeLoop implements SocketLoop {
  readonly kind = 'node';
  readonly #alpn: string;
  readonly #idleAtStartMs: number = performance.eventLoopUtilization().idle;
  readonly #sockets: Set<NodeSocket> = new Set();
  readonly #names: NameTable = new NameTable();
  #running: NodeRun | null = null;

  /** `alpn`: what TLS connections must agree on: 'h2' for gRPC, else 'http/1.1'. */
  constructor(alpn: 'h2' | 'http/1.1') {
    this.#alpn = alpn;
  }

  now(): number {
    return performance.now();
  }

  waitedMs(): number {
    return performance.eventLoopUtilization().idle - this.#idleAtStartMs;
  }

  async connect(target: LoadTarget, handler: SocketHandler): Promise<LoadSocket> {
    const addresses = this.#names.known(target.host) ?? (await this.#names.lookUp(target.host));
    return this.#names.connect(target.host, addresses, ({ address }) => this.#connectTo(address, target, handler));
  }

  run(pacer: Pacer, isDone: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const running = new NodeRun(pacer, isDone, (error) => {
        this.#running = null;
        if (error === null) resolve();
        else reject(error);
      });
      this.#running = running;
      running.tick();
    });
  }

  close(): void {
    for (const socket of this.#sockets) socket.close();
  }

  #connectTo(address: string, target: LoadTarget, handler: SocketHandler): Promise<LoadSocket> {
    const where = addressText(address, target.port);
    return new Promise((resolve, reject) => {
      const socket = this.#open(address, target);
      const giveUp = (error: InferenceError): void => {
        clearTimeout(limit);
        socket.destroy();
        reject(error);
      };
      const limit = setTimeout(() => giveUp(cannotConnect(where, `no answer within ${CONNECT_LIMIT_MS / 1000} s`)), CONNECT_LIMIT_MS);
      const onError = (error: Error): void => giveUp(cannotConnect(where, reasonOf(error), error));
      socket.once('error', onError);
      socket.once(target.tls === null ? 'connect' : 'secureConnect', () => {
        const agreed = target.tls === null ? this.#alpn : (socket as TLSSocket).alpnProtocol;
        // A server without ALPN says nothing, and speaks HTTP/1.1.
        if (agreed !== this.#alpn && (this.#alpn === 'h2' || agreed !== false)) {
          giveUp(cannotConnect(where, `the TLS server does not offer ${this.#alpn} (it says ${agreed || 'nothing'})`));
          return;
        }
        clearTimeout(limit);
        socket.off('error', onError);
        resolve(new NodeSocket(socket, handler, this.#sockets, () => this.#running?.check()));
      });
    });
  }

  #open(address: string, { host, port, tls }: LoadTarget): Socket {
    if (tls === null) return connectTcp({ host: address, port, noDelay: true });
    const socket = connectTls({
      host: address,
      port,
      ALPNProtocols: [this.#alpn],
      rejectUnauthorized: tls.verify,
      // A name is told to the server, and looked for in its certificate; an address is only the latter.
      ...(literalAddress(host) === null ? { servername: host } : {}),
      ...(tls.ca === '' ? {} : { ca: tls.ca }),
      ...(tls.cert === '' ? {} : { cert: tls.cert, key: tls.key }),
    });
    socket.setNoDelay(true);
    return socket;
  }
}

/** One call of `run`. */
class NodeRun {
  readonly #pacer: Pacer;
  readonly #isDone: () => boolean;
  readonly #end: (error: Error | null) => void;
  #timer: NodeJS.Timeout | null = null;
  #timerAtMs = 0;
  #hasEnded = false;

  constructor(pacer: Pacer, isDone: () => boolean, end: (error: Error | null) => void) {
    this.#pacer = pacer;
    this.#isDone = isDone;
    this.#end = end;
  }

  readonly tick = (): void => {
    this.#timer = null;
    try {
      const nowMs = performance.now();
      if (this.#pacer.nextDueMs() <= nowMs) this.#pacer.due(nowMs);
    } catch (error) {
      this.#finish(error as Error);
      return;
    }
    this.check();
  };

  /** After everything that may have ended the run, or moved its next time forward. */
  check(): void {
    if (this.#hasEnded) return;
    if (this.#isDone()) {
      this.#finish(null);
      return;
    }
    const nowMs = performance.now();
    const atMs = Math.min(this.#pacer.nextDueMs(), nowMs + LONGEST_WAIT_MS);
    if (this.#timer !== null) {
      if (this.#timerAtMs <= atMs) return;
      clearTimeout(this.#timer);
    }
    this.#timerAtMs = atMs;
    this.#timer = setTimeout(this.tick, Math.max(0, atMs - nowMs));
  }

  #finish(error: Error | null): void {
    this.#hasEnded = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#end(error);
  }
}

class NodeSocket implements LoadSocket {
  readonly #socket: Socket;
  readonly #all: Set<NodeSocket>;

  constructor(socket: Socket, handler: SocketHandler, all: Set<NodeSocket>, afterEvent: () => void) {
    this.#socket = socket;
    this.#all = all;
    all.add(this);
    let reason = 'the server closed the connection';
    socket.on('data', (chunk: Buffer) => {
      handler.onBytes(chunk, chunk.length);
      afterEvent();
    });
    // Half-open connections are of no use to a lane.
    socket.on('end', () => socket.destroy());
    socket.on('error', (error) => {
      reason = `the connection failed: ${reasonOf(error)}`;
    });
    socket.on('close', () => {
      // Closed by us: nobody wants to hear of it.
      if (!all.delete(this)) return;
      handler.onClose(reason);
      afterEvent();
    });
  }

  get queuedBytes(): number {
    return this.#socket.writableLength;
  }

  write(bytes: Uint8Array): void {
    if (bytes.length > 0 && this.#socket.writable) this.#socket.write(bytes);
  }

  writeTwo(first: Uint8Array, second: Uint8Array): void {
    this.#socket.cork();
    this.write(first);
    this.write(second);
    this.#socket.uncork();
  }

  close(): void {
    if (!this.#all.delete(this)) return;
    this.#socket.removeAllListeners('data');
    this.#socket.destroy();
  }
}

/** 'ECONNREFUSED', or the message where there is no code. */
function reasonOf(error: Error): string {
  const { code } = error as NodeJS.ErrnoException;
  return code ?? error.message;
}
