/** The result of `nereid bench`, as it is written to JSON and as every other form of output reads it. Durations are microseconds unless a name says otherwise. */

import type { WireProtocol } from '../load/load-plan.ts';
import type { ErrorCount, Outcome } from '../load/load-window.ts';

export const REPORT_FORMAT = 'nereid-bench/1';

export interface BenchReport {
  readonly format: typeof REPORT_FORMAT;
  /** ISO 8601. */
  readonly startedAt: string;
  /** The arguments of the command, without what is secret in them. */
  readonly command: readonly string[];
  readonly machine: MachineFacts;
  readonly server: ServerFacts;
  readonly model: string;
  readonly modelVersion: string;
  readonly protocol: WireProtocol;
  /** In words: 'random, 16 requests of 1x3x224x224 FP32 (602,112 bytes)'. */
  readonly input: string;
  readonly deadlineMs: number;
  readonly firstTokenMs: number;
  readonly perTokenMs: number;
  /** In the order in which they were measured. */
  readonly points: readonly BenchPoint[];
}

export interface MachineFacts {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryMiB: number;
  readonly system: string;
  readonly node: string;
  /** Whether server and generator share it. */
  readonly isShared: boolean;
}

export interface ServerFacts {
  readonly url: string;
  /** '': it does not say. */
  readonly name: string;
  readonly version: string;
}

/** A mean, with the interval that holds the true one with 95 %. */
export interface Estimate {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

export interface BenchPoint {
  /** 'concurrency 16', 'rate 500/s Poisson'. */
  readonly name: string;
  readonly load: { readonly kind: 'concurrency' | 'rate'; readonly value: number; readonly schedule: 'fixed' | 'poisson' | null };
  /** What must not be trusted: 'the generator was saturated', 'not stable after 30 s', ... Empty: nothing. */
  readonly warnings: readonly string[];
  /** The generator bounded the result: the run has failed. */
  readonly isSaturated: boolean;
  readonly warmUpMs: number;
  readonly measuredMs: number;
  /** ok answers a second; good ones a second. */
  readonly throughput: Estimate;
  readonly goodput: Estimate;
  readonly sent: number;
  readonly outcomes: Readonly<Record<Outcome, number>>;
  readonly unsent: number;
  readonly validated: number;
  readonly errors: readonly ErrorCount[];
  readonly bytesSent: number;
  readonly bytesReceived: number;
  /** Of all windows together. null: no answer. */
  readonly latency: LatencySummary | null;
  readonly refusal: LatencySummary | null;
  readonly lag: LatencySummary | null;
  readonly text: TextSummary | null;
  /** Where a request's time went, means; null: the server does not say. */
  readonly split: LatencySplit | null;
  /** null: not known (another machine, and no metrics). */
  readonly serverUse: ServerUse | null;
  readonly generator: {
    readonly busy: number;
    readonly cpu: number;
    readonly sockets: 'native' | 'node' | 'autocannon';
    readonly processes: number;
  };
  /** By window, for the time line. */
  readonly windows: readonly WindowSummary[];
}

export interface LatencySummary {
  readonly count: number;
  readonly mean: number;
  readonly min: number;
  readonly max: number;
  /** '50', '90', '95', '99', '99.9', '99.99': with an interval where windows allow one. */
  readonly quantiles: Readonly<Record<string, Estimate>>;
  /** For the percentile curve: [percentile 0..100, microseconds], ascending, at most 200 points. */
  readonly curve: readonly (readonly [percentile: number, us: number])[];
  /** HdrHistogram's compressed form, base64: other tools read it. */
  readonly hdr: string;
}

export interface TextSummary {
  /** Time to the first token, and between the tokens of an answer. */
  readonly firstToken: LatencySummary | null;
  readonly betweenTokens: LatencySummary | null;
  readonly tokensPerSecond: Estimate;
  readonly tokens: number;
}

/** Means of a request. `network` is what is left of the client's mean: sockets, parsing, the generator's own share. */
export interface LatencySplit {
  readonly queue: number;
  readonly computeInput: number;
  readonly computeInfer: number;
  readonly computeOutput: number;
  /** In the server and in none of these. */
  readonly overhead: number;
  readonly network: number;
  /** Requests in one execution, mean. */
  readonly batchSize: number;
}

export interface ServerUse {
  /** Processor time over wall time, of all its processes; 1: a whole core. */
  readonly cpu: number;
  readonly cpuUsPerRequest: number;
  /** At the end. */
  readonly memoryMiB: number;
  readonly source: 'process' | 'metrics';
}

export interface WindowSummary {
  readonly fromMs: number;
  readonly toMs: number;
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
  readonly errors: number;
  readonly serverCpu: number | null;
  readonly serverMemoryMiB: number | null;
}
