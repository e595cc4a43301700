/** What a row of the scoreboard is: who is measured, beside which controls, and what their figures are to one another. */

import type { Pace, PlannedRequest, SequencePlan, WireProtocol } from '../load/load-plan.ts';
import type { TimeShares } from './machine-watch.ts';

/** Contenders measured in one rotation, and the ratios between them. */
export interface Scenario {
  /** As it is asked for on the command line. */
  readonly name: string;
  readonly title: string;
  /** What it is, for the documentation: one or two sentences. */
  readonly about: string;
  /** one: whatever is measured is kept on one core and its generator on another. any: nobody is kept anywhere. */
  readonly cores: 'one' | 'any';
  /** Names of bench/scenarios/bench-repository.ts: what the servers serve. */
  readonly models: readonly string[];
  readonly contenders: readonly Contender[];
  readonly ratios: readonly Ratio[];
  /** Seconds that are measured in each slice, where the run does not say; 0: as in every scenario. */
  readonly seconds: number;
}

export type Contender = LoadContender | LoopContender;

/** A server under load from a process of its own. */
export interface LoadContender {
  readonly kind: 'load';
  readonly name: string;
  readonly server: ServerSpec;
  readonly protocol: WireProtocol;
  readonly requests: readonly PlannedRequest[];
  readonly connections: number;
  readonly pace: Pace;
  readonly sequence: SequencePlan | null;
}

/** A process that does nothing but the work, without a server. Its runs count as requests. */
export interface LoopContender {
  readonly kind: 'loop';
  readonly name: string;
  readonly loop: LoopSpec;
}

export type LoopSpec =
  /**
   * ONNX Runtime alone, one thread. `through`: by its C API, as the server's own backend calls it, or by onnxruntime-node's `session.run`. `batch`: rows of a run, the request's own times so many; 'best': that of
   * 1, 2, 4 .. 64 which takes least for a row, found at the start.
   */
  | {
      readonly kind: 'onnxruntime';
      readonly model: string;
      readonly through: 'c-api' | 'binding';
      readonly batch: number | 'best';
      readonly requests: readonly PlannedRequest[];
    }
  /** So many bytes to another process over TCP and so many back, by blocking calls on both sides. */
  | { readonly kind: 'echo'; readonly sentBytes: number; readonly answeredBytes: number };

export type ServerSpec =
  | { readonly kind: 'nereid'; readonly flags: readonly string[] }
  /** Answers every request with the bytes with which `like` answered the first one, and does nothing else. */
  | { readonly kind: 'empty'; readonly stack: EmptyStack; readonly like: NereidSpec };

export type NereidSpec = Extract<ServerSpec, { kind: 'nereid' }>;
/** uws and node speak HTTP, http2 and grpc-js gRPC, websocket is uWebSockets.js's. */
export type EmptyStack = 'uws' | 'node' | 'http2' | 'grpc-js' | 'websocket';

export type Figure = 'perSecond' | 'p50Us' | 'p99Us' | 'cpuUsPerRequest';

/** A contender's figure divided by that of its controls, both of the same round. */
export interface Ratio {
  readonly what: string;
  readonly figure: Figure;
  readonly of: string;
  /** The controls; several are added up. */
  readonly to: readonly string[];
  /** null: it is shown, and must reach nothing. */
  readonly goal: number | null;
  /** More is better: the goal is the least that it may be. */
  readonly isFloor: boolean;
  /** Measured by the short form too. */
  readonly inGate: boolean;
}

/** What one slice of one contender gave. NaN: it has no such figure. */
export interface Slice {
  readonly perSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly cpuUsPerRequest: number;
  /** Share of the slice that the generator had no time to spare. */
  readonly generatorBusy: number;
  /** Whose time it was beside the benchmark's. */
  readonly shares: TimeShares;
}
