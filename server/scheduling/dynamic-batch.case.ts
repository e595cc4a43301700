/** What the tests of queue policies share: a scheduler on a clock turned by hand, with instances that come and go. */

import type { InferenceError } from '../../proto/inference-error.ts';
import type { ExecutionBatch, InstanceChannel } from '../execution/execution-host.ts';
import { type InferenceCaller, InferenceRequest } from '../inference/inference-request.ts';
import { ModelReporter } from '../metrics/model-reporter.ts';
import type { Batch } from './batch.ts';
import { DynamicBatchScheduler, type DynamicBatchSchedulerOptions, type InstanceSource } from './dynamic-batch-scheduler.ts';
import type { BatchPolicy } from './form-batch.ts';
import type { BatchAdvisor } from './learned/batch-advisor.ts';
import { ManualClock } from './manual-clock.ts';
import type { QueuePolicies, QueuePolicy } from './queue-policy.ts';
import { identitySignature, int32Request, Ledger, ManualInstance } from './scheduling-fixtures.ts';

export interface Asked {
  readonly rows?: number;
  /** The value of all its rows; left out: its id. */
  readonly value?: number;
  readonly columns?: number;
  /** Inputs of these rows. */
  readonly inputs?: number;
  readonly priority?: number;
  readonly timeoutNs?: number;
  /** Names; left out: all. */
  readonly outputs?: readonly string[];
  /** From now on. */
  readonly deadlineNs?: number;
}

/** An instance that says what it was given. */
export class WatchedInstance extends ManualInstance {
  onStarted: ((batch: Batch) => void) | null = null;

  override execute(batch: ExecutionBatch): boolean {
    const isStarted = super.execute(batch);
    if (isStarted) this.onStarted?.(batch as Batch);
    return isStarted;
  }
}

/** Instances as an instance group gives them: one batch runs, and another may wait that cannot grow. */
export class ManualInstances implements InstanceSource {
  readonly alive: WatchedInstance[] = [];

  take(isComplete: boolean): InstanceChannel | null {
    return this.alive.find((one) => one.inflightCount === 0) ?? (isComplete ? (this.alive.find((one) => one.hasCapacity) ?? null) : null);
  }

  expect(): void {}
}

export class Rig {
  readonly clock: ManualClock = new ManualClock();
  readonly instances: ManualInstances = new ManualInstances();
  readonly reporter: ModelReporter = new ModelReporter('identity', '1', {});
  readonly ledger: Ledger = new Ledger();
  readonly scheduler: DynamicBatchScheduler;
  /** Ids by batch, in the order in which batches were begun. */
  readonly batches: string[][] = [];
  onStarted: (batch: Batch) => void = () => {};
  #count = 0;

  constructor(options: Partial<DynamicBatchSchedulerOptions> = {}, policy: Partial<BatchPolicy> = {}, instanceCount = 1) {
    this.scheduler = new DynamicBatchScheduler({
      signature: identitySignature(8, [[-1]]),
      policy: { maxBatchSize: 8, preferredBatchSizes: [8], maxQueueDelayNs: 0, variableInputs: [0], hasOptionalInputs: false, ...policy },
      maxQueueSize: 100,
      instances: this.instances,
      reporter: this.reporter,
      clock: this.clock,
      onFault: (error) => {
        throw error;
      },
      ...options,
    });
    for (let i = 0; i < instanceCount; i++) this.add();
  }

  add(capacity = 2): WatchedInstance {
    const instance = new WatchedInstance(capacity);
    instance.onStarted = (batch) => {
      this.batches.push(batch.requests.map(({ id }) => id));
      this.onStarted(batch);
    };
    this.instances.alive.push(instance);
    this.scheduler.poke();
    return instance;
  }

  request(asked: Asked = {}, caller: InferenceCaller = this.ledger): InferenceRequest {
    const id = String(this.#count++);
    const { rows = 1, columns = 1, value = Number(id) } = asked;
    const bound = int32Request(
      id,
      caller,
      Array(asked.inputs ?? 1).fill({ shape: [rows, columns], values: Array(rows * columns).fill(value) }),
    );
    const request = new InferenceRequest({
      ...bound,
      priority: asked.priority ?? 0,
      timeoutUs: (asked.timeoutNs ?? 0) / 1000,
      outputs: (asked.outputs ?? []).map((name) => ({ name, classification: 0, binaryData: false })),
    });
    request.boundInputs = bound.boundInputs;
    request.batchSize = rows;
    if (asked.deadlineNs !== undefined) request.deadlineNs = this.clock.nowNs() + asked.deadlineNs;
    return request;
  }

  send(asked: Asked = {}): InferenceRequest {
    const request = this.request(asked);
    this.scheduler.enqueue(request);
    return request;
  }

  /** Sends, and ends the tick. */
  sendNow(...all: readonly Asked[]): InferenceRequest[] {
    const requests = all.map((asked) => this.send(asked));
    this.clock.tick();
    return requests;
  }

  /** Answers the oldest batch of an instance, and ends the tick. */
  answer(instance = 0): void {
    this.instances.alive[instance]!.answer();
    this.clock.tick();
  }

  fail(error: InferenceError, mayDivide = false, instance = 0): void {
    this.instances.alive[instance]!.fail(error, mayDivide);
    this.clock.tick();
  }

  /** `id`, or `id:CODE` of a failure, in the order of the endings. */
  get endings(): string[] {
    return this.ledger.endings.map(({ id, error }) => (error === null ? id : `${id}:${error.code}`));
  }
}

export function queuePolicy(changes: Partial<QueuePolicy> = {}): QueuePolicy {
  return { maxSize: 100, timeoutNs: 0, allowsOverride: false, isDelayed: false, ...changes };
}

export function priorities(
  levels: number,
  defaultPolicy: Partial<QueuePolicy> = {},
  byLevel: readonly [number, QueuePolicy][] = [],
): QueuePolicies {
  return {
    levels,
    defaultLevel: levels === 0 ? 0 : Math.ceil(levels / 2),
    defaultPolicy: queuePolicy(defaultPolicy),
    byLevel: new Map(byLevel),
  };
}

/** Batches take `fixedNs` and `rowNs` for each row. */
export function knownSpeed(
  fixedNs: number,
  rowNs: number,
): BatchAdvisor & { readonly executions: number[][]; readonly arrivals: number[][]; holdForNs: number } {
  const executions: number[][] = [];
  const arrivals: number[][] = [];
  return {
    executions,
    arrivals,
    holdForNs: Number.POSITIVE_INFINITY,
    arrive(_request, requestsWaiting, rowsWaiting, rowsExecuting) {
      arrivals.push([requestsWaiting, rowsWaiting, rowsExecuting]);
      return null;
    },
    maxRows: (_first, earliestDeadlineNs, nowNs) => Math.max(0, Math.floor((earliestDeadlineNs - nowNs - fixedNs) / rowNs)),
    holdNs(_first, _requests, _rows, _waitedNs, maxWaitNs) {
      return Math.min(this.holdForNs, maxWaitNs);
    },
    executed(_first, rows, requests, durationNs) {
      executions.push([rows, requests, durationNs]);
    },
  };
}
