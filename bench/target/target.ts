/** The server under test, beside its load: what it says of the model, and what it takes. */

import type { Datatype } from '../../proto/datatype.ts';
import type { LoadTarget } from '../load/load-plan.ts';
import type { ServerFacts } from '../report/bench-report.ts';

export interface TargetModel {
  readonly name: string;
  /** '': as the server chooses. */
  readonly version: string;
  readonly inputs: readonly TargetTensor[];
  readonly outputs: readonly TargetTensor[];
  /** 0: no batch dimension, or not known. */
  readonly maxBatchSize: number;
  readonly isDecoupled: boolean;
  readonly hasSequences: boolean;
}

export interface TargetTensor {
  readonly name: string;
  readonly datatype: Datatype;
  /** The batch dimension included, where the model has one; -1: any. */
  readonly shape: readonly number[];
  readonly isOptional: boolean;
}

/** Sums since the server's start, of one model (all versions, or the one asked for). */
export interface StatisticsSample {
  /** Requests that succeeded, and executions. */
  readonly requests: number;
  readonly executions: number;
  /** Inferences: a request of batch size n counts n times. */
  readonly inferences: number;
  readonly successNs: number;
  readonly queueNs: number;
  readonly computeInputNs: number;
  readonly computeInferNs: number;
  readonly computeOutputNs: number;
}

export interface UseSample {
  /** Processor time since the server's start, of all its processes, seconds. */
  readonly cpuSeconds: number;
  readonly memoryMiB: number;
  readonly source: 'process' | 'metrics';
}

export interface Target {
  readonly facts: ServerFacts;
  readonly load: LoadTarget;
  /** Whether it runs on this machine. */
  readonly isLocal: boolean;
  /** null: the server does not say (no statistics extension, or not this model's). */
  statistics(): Promise<StatisticsSample | null>;
  /** null: neither a process of this machine nor metrics. */
  use(): Promise<UseSample | null>;
  close(): Promise<void>;
}
