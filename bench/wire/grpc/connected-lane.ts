import { InferenceError } from '../../../proto/inference-error.ts';
import type { Lane, LaneSink, SequenceStamp } from '../../load/lane.ts';
import type { LoadTarget } from '../../load/load-plan.ts';
import type { SocketLoop } from '../../load/socket-loop.ts';
import { type ConnectionListener, Http2Connection } from './http2-connection.ts';
import type { RequestHeaders } from './request-headers.ts';
import { authorityOf } from './request-metadata.ts';

/** What the lanes of both kinds are to their connection: its opening, and its end. */
export abstract class ConnectedLane implements Lane, ConnectionListener {
  readonly connection: Http2Connection;
  protected readonly sink: LaneSink;
  #opening: { resolve(): void; reject(reason: string): void } | null = null;
  /** Why no more requests are taken; '': they are. */
  #reason = '';
  #isOver = false;

  constructor(headers: RequestHeaders, sink: LaneSink, firstStreamId?: number) {
    this.sink = sink;
    this.connection = new Http2Connection(headers, sink, this, firstStreamId);
  }

  abstract get capacity(): number;
  abstract send(slot: number, index: number, stamp: SequenceStamp | null, validate: boolean, deadlineMs: number): void;
  abstract abandon(slot: number): void;
  /** Requests that somebody waits for. */
  protected abstract get inFlight(): number;
  /** Reports all requests in flight as lost. */
  protected abstract endAll(reason: string): void;

  /** Connects and waits for the server's SETTINGS. Rejects with UNAVAILABLE, INTERNAL for what does not speak HTTP/2, DEADLINE_EXCEEDED after `timeoutMs`. */
  async open(loop: SocketLoop, target: LoadTarget, timeoutMs: number): Promise<void> {
    const where = `the gRPC server at ${authorityOf(target)}`;
    const socket = await loop.connect(target, this.connection);
    let timer: NodeJS.Timeout | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#opening = { resolve, reject: (reason) => reject(new InferenceError('UNAVAILABLE', `${where}: ${reason}`)) };
        const late = `${where} took the connection and said nothing of HTTP/2 within ${timeoutMs} ms: is this its gRPC port?`;
        timer = setTimeout(() => reject(new InferenceError('DEADLINE_EXCEEDED', late)), timeoutMs);
        this.connection.start(socket);
      });
    } catch (error) {
      this.close();
      throw error;
    } finally {
      clearTimeout(timer);
      this.#opening = null;
    }
  }

  get isOpen(): boolean {
    return this.#reason === '' && this.connection.isOpen;
  }

  close(): void {
    this.#isOver = true;
    this.#reason = 'closed by us';
    this.connection.close();
  }

  onReady(): void {
    this.#opening?.resolve();
  }

  onGoAway(reason: string): void {
    this.retire(reason);
  }

  onClosed(reason: string): void {
    this.fail(reason);
  }

  /** No more requests: those in flight go on to their end. */
  protected retire(reason: string): void {
    if (this.#reason === '') this.#reason = reason;
    this.#opening?.reject(reason);
    this.closeIfDone();
  }

  /** The connection is of no more use: all requests end now. */
  protected fail(reason: string): void {
    if (this.#isOver) return;
    this.close();
    this.#opening?.reject(reason);
    this.endAll(reason);
    this.sink.closed(this, reason);
  }

  /** To be called when a request has ended. */
  protected closeIfDone(): void {
    if (this.#isOver || this.isOpen || this.inFlight > 0 || this.#opening !== null) return;
    const reason = this.#reason === '' ? 'the numbers of its streams are used up' : this.#reason;
    this.close();
    this.sink.closed(this, reason);
  }
}
