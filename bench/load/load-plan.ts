/** What a load process is told. Everything here crosses a process boundary by structured clone. */

import type { InferRequest } from '../../clients/typescript/src/transport.ts';

/** How requests go over the wire. The last three carry text. */
export const WIRE_PROTOCOLS = [
  'http-json',
  'http-binary',
  'grpc',
  'grpc-stream',
  'websocket-json',
  'websocket-binary',
  'generate',
  'generate-stream',
  'openai',
] as const;
export type WireProtocol = (typeof WIRE_PROTOCOLS)[number];

export interface LoadTarget {
  /** A name or an address. */
  readonly host: string;
  readonly port: number;
  /** Before the protocol's own paths: '' or '/gateway'. */
  readonly basePath: string;
  readonly tls: LoadTls | null;
  /** Sent with every request (metadata, for gRPC; with the handshake, for WebSocket). Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
}

export interface LoadTls {
  /** PEM; '': the system's. */
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  /** False: any certificate will do. */
  readonly verify: boolean;
}

/** An output as it must be answered, in the binary tensor extension's layout. */
export interface ExpectedOutput {
  readonly name: string;
  readonly data: Uint8Array;
  /** For floating-point outputs, absolute and relative; 0: bit for bit. */
  readonly tolerance: number;
}

/** A prompt, for the protocols that carry text. */
export interface TextRequest {
  /** '/v1/chat/completions', '/v2/models/tiny_llm/generate_stream', ... */
  readonly path: string;
  /** The body, an object of JSON. */
  readonly body: Readonly<Record<string, unknown>>;
  /** Whether the answer comes in parts. */
  readonly stream: boolean;
}

export interface PlannedRequest {
  /** null: `text` is it. */
  readonly infer: InferRequest | null;
  readonly text: TextRequest | null;
  /** null: nobody said what the answer must be. */
  readonly expected: readonly ExpectedOutput[] | null;
}

export interface SequencePlan {
  /** Requests of a sequence, at the least and at the most; evenly spread between. */
  readonly minLength: number;
  readonly maxLength: number;
  /** Correlation IDs count up from here; ten digits, so that an ID has the same width on every wire. */
  readonly firstId: number;
}

/** What every answer, or one in so many, is held to. */
export interface ValidationPlan {
  /** Every nth answer is decoded and looked at as a whole; 0: none. The status of every answer is looked at. */
  readonly every: number;
  /** Names and datatypes of outputs that an answer must have; from the model's metadata. Empty: not known. */
  readonly outputs: readonly { readonly name: string; readonly datatype: string }[];
  /** The same request must have the same answer each time. */
  readonly isDeterministic: boolean;
}

export interface LoadPlan {
  readonly protocol: WireProtocol;
  readonly target: LoadTarget;
  /** Taken in turn. At least one. */
  readonly requests: readonly PlannedRequest[];
  /** The most sockets at once. HTTP/1.1 has one request on each; the others share theirs. */
  readonly connections: number;
  /** A request without an answer for as long has failed. */
  readonly timeoutMs: number;
  /** Goodput counts answers within this of the intended start; 0: none. */
  readonly deadlineMs: number;
  /** Whether the server is told the deadline (gRPC: grpc-timeout; else: the V2 parameter `timeout`, microseconds, which is in the requests already). */
  readonly sendsDeadline: boolean;
  readonly sequence: SequencePlan | null;
  readonly validation: ValidationPlan;
  /** Goodput of text: limits of an answer's first token and of the mean between its others, ms; 0: none. */
  readonly firstTokenMs: number;
  readonly perTokenMs: number;
  readonly seed: number;
  /** 'auto': native sockets where there are any (Linux, without TLS), else Node's. */
  readonly sockets: 'auto' | 'native' | 'node';
}

/** How the requests of one point of a run are spaced. */
export type Pace = ClosedPace | OpenPace;

/** As many requests in flight, each answer followed by the next request. */
export interface ClosedPace {
  readonly kind: 'closed';
  readonly concurrency: number;
}

/** Sent when their time has come, whatever became of those before. */
export interface OpenPace {
  readonly kind: 'open';
  readonly perSecond: number;
  readonly schedule: 'fixed' | 'poisson';
  /** Requests in flight and due, at the most; those due beyond it are counted as unsent. */
  readonly maxInFlight: number;
}
