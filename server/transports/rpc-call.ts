/**
 * What a gRPC transport offers to a protocol. Messages are bytes: a transport knows frames, limits and status codes, and no protobuf; a protocol knows messages,
 * and no socket.
 */

import type { InferenceError } from '../../proto/inference-error.ts';

/** One call, whatever its kind. */
export interface RpcCall {
  /** Value of a metadata key (lower case); '' when it was not sent. A key sent twice is the values joined by ', '. */
  metadata(key: string): string;
  /** When the caller's patience ends, on the scale of `performance.now()`, ms; Infinity: it set no `grpc-timeout`. The transport itself answers DEADLINE_EXCEEDED then. */
  readonly deadlineMs: number;
  /** The caller is gone, its deadline has passed, or the transport has ended the call: answering does nothing. */
  readonly isCancelled: boolean;
  /**
   * Hears, once, of that while the call is open, and of any other end that the transport decides (a broken message, an answer that is too large, a client that stalls). An
   * object rather than a function, so that a call needs no closure.
   */
  cancelListener: RpcCancelListener | null;
  /** Ends the call with the error's gRPC status and message. A second end is dropped. */
  fail(error: InferenceError): void;
}

export interface RpcCancelListener {
  onRpcCancelled(): void;
}

export interface UnaryCall extends RpcCall {
  /** The request message. Stays as it is until the call has ended in order, and for as long as it is referenced where the call was cut short. */
  readonly message: Uint8Array;
  /**
   * Memory for a message to `respond` with: at least `bytes` long, and only for that. The transport may have used it before and will use it again, so it must be overwritten as
   * far as the message goes, and not be looked at after.
   */
  allocate(bytes: number): Buffer;
  /**
   * Answers with one message and status OK. The bytes are the transport's from here on. `compress`: where the caller accepts it and the server is set to.
   */
  respond(message: Uint8Array, compress?: boolean): void;
}

/** A call whose two directions are independent. */
export interface StreamCall extends RpcCall {
  /** Set inside `open`: hears of what the caller sends. */
  listener: StreamListener | null;
  /**
   * Sends a message; the bytes are the transport's from here on. False: more is on its way than the connection takes at the moment; hold back until `onDrain`.
   */
  send(message: Uint8Array, compress?: boolean): boolean;
  /** No message is delivered from here on (but for those in the tick that is under way) until `resume`: the caller runs into flow control. */
  pause(): void;
  resume(): void;
  /**
   * Counts bytes of answers that the protocol keeps because they can't be sent yet; negative: they are gone. When all calls hold too many, connections whose clients take
   * nothing end. The end of the call lets all of its bytes go.
   */
  holdAnswer(bytes: number): void;
  /** Status OK, when all that was sent is out. */
  end(): void;
}

export interface StreamListener {
  /** The bytes stay as they are for as long as they are referenced. */
  onMessage(message: Uint8Array): void;
  /** The caller has sent its last message. */
  onHalfClose(): void;
  /** The connection takes messages again. */
  onDrain(): void;
  /** The transport drains: take no new work, and end the call when the last answer is out. A call whose listener has no such method is waited for. */
  onDrainRequested?(): void;
}

interface RpcMethodBase {
  /** `/package.Service/Method`. */
  readonly path: string;
}

/** What `handle` and `open` throw becomes INTERNAL without detail, and a log line. */
export interface UnaryMethod extends RpcMethodBase {
  readonly kind: 'unary';
  handle(call: UnaryCall): void;
}

export interface StreamMethod extends RpcMethodBase {
  readonly kind: 'stream';
  open(call: StreamCall): void;
}

export type RpcMethod = UnaryMethod | StreamMethod;

export interface RpcTransportOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly methods: readonly RpcMethod[];
  /** Largest request message, and what a compressed one may grow to, bytes. */
  readonly maxReceiveBytes: number;
  /** Largest response message, bytes. */
  readonly maxSendBytes: number;
  readonly maxMetadataBytes: number;
  readonly maxConnections: number;
  /** Calls open at one time on one connection. */
  readonly maxConcurrentCalls: number;
  /** Responses sent with `compress` go out so. */
  readonly compression: 'none' | 'deflate' | 'gzip';
  /** Silence after which the server pings, ms; Infinity: never. */
  readonly keepaliveTimeMs: number;
  /** A ping unanswered for this long ends the connection, ms. */
  readonly keepaliveTimeoutMs: number;
  /** After this a connection is asked to end (GOAWAY), ms; Infinity: never. */
  readonly maxConnectionAgeMs: number;
  /** What its calls get then before they are cut off, ms. */
  readonly maxConnectionAgeGraceMs: number;
  /** PEM files; null: plain text. With `caFile`, and `requireClientCertificate`, a client must show a certificate that the authorities signed. */
  readonly tls: {
    readonly certFile: string;
    readonly keyFile: string;
    readonly caFile: string | null;
    readonly requireClientCertificate: boolean;
  } | null;
  /** Hears of what a handler threw and of other faults that are the server's. */
  onError(error: unknown): void;
}

export interface RpcTransport {
  /** The port it listens on. */
  readonly port: number;
  /** Takes no new calls, tells clients of open connections to go elsewhere, resolves when the last call has ended. */
  drain(): Promise<void>;
  /** Closes everything now. */
  close(): Promise<void>;
}

/** Resolves when listening; rejects with a plain message when the port is taken or a certificate cannot be read. */
export type StartRpcTransport = (options: RpcTransportOptions) => Promise<RpcTransport>;
