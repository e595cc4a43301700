import type { ModelConfig } from '../../backends/api/model-config.ts';
import type { InferenceError } from '../../proto/inference-error.ts';
import type { DecoupledChannel } from '../execution/decoupled-execution.ts';
import type { InstanceGroup } from '../execution/instance-group.ts';
import type { Clock } from '../inference/clock.ts';
import type { ModelSignature } from '../inference/model-signature.ts';
import type { NestedCalls } from '../inference/nested-calls.ts';
import type { ModelReporter } from '../metrics/model-reporter.ts';
import type { ResponseStore } from '../scheduling/cache/response-store.ts';
import type { EnsemblePlan } from '../scheduling/ensemble/ensemble-plan.ts';
import type { Scheduler } from '../scheduling/scheduler.ts';
import { planSequences, type SequencePlan } from '../scheduling/sequence/sequence-plan.ts';
import { createScheduler, isDecoupled } from './create-scheduler.ts';
import { createSignature } from './create-signature.ts';
import type { RateLimits } from './limit-instances.ts';

export interface ModelInit {
  readonly version: number;
  /** Complete: normalised, and its inputs and outputs filled in from the model file. */
  readonly config: ModelConfig;
  /** By output name. */
  readonly labels: ReadonlyMap<string, readonly string[]>;
  /** Of the kind that the configuration says: decoupled, or not. */
  readonly instances: InstanceGroup | InstanceGroup<DecoupledChannel>;
  /** Of an ensemble, which has no instances; null, or left out: it is none. */
  readonly plan?: EnsemblePlan | null;
  /** Of a model of sequences: contents of the files that its states begin with, by input. */
  readonly initialStates?: ReadonlyMap<string, Uint8Array>;
  readonly reporter: ModelReporter;
  /** Size of its files, which is the least that it takes in memory. */
  readonly fileBytes?: number;
  /** Bound of the queue when the configuration gives none. */
  readonly defaultMaxQueueSize: number;
  /** See CreateSchedulerOptions; left out: null. */
  readonly maxQueueTimeNs?: number | null;
  readonly clock: Clock;
  /** For models that call others. */
  readonly nestedCalls: NestedCalls;
  /** Left out or null: the server has no response cache. */
  readonly responseStore?: ResponseStore | null;
  /** Left out or null: its instances run whenever they can. */
  readonly rateLimits?: RateLimits | null;
  readonly onFault: (error: unknown) => void;
  /** It goes into service, or out of it; it may do so several times. */
  readonly onService?: (isInService: boolean) => void;
  /** When it has been unloaded. */
  readonly onStopped: () => void;
}

/** One loaded version of a model: its configuration, scheduler, instances and statistics, from READY to unloaded. */
export class Model {
  readonly name: string;
  readonly version: string;
  readonly signature: ModelSignature;
  readonly scheduler: Scheduler;
  readonly reporter: ModelReporter;
  readonly plan: EnsemblePlan | null;
  readonly rateLimits: RateLimits | null;
  /** Of a model of sequences; null: it is none. */
  readonly sequencePlan: SequencePlan | null;
  /** When it last took a request, or was loaded; on the clock's scale. The door writes it. */
  lastUsedNs: number;
  /** When it was loaded, ms since 1970. */
  readonly loadedAtMs: number = Date.now();
  readonly #fileBytes: number;
  /** Of decoupled channels where `isDecoupled`. */
  readonly instances: InstanceGroup | InstanceGroup<DecoupledChannel>;
  readonly #onStopped: () => void;
  readonly #onService: (isInService: boolean) => void;
  #config: ModelConfig;

  constructor(init: ModelInit) {
    const { config, clock, reporter, instances } = init;
    this.name = config.name;
    this.version = String(init.version);
    this.#config = config;
    this.lastUsedNs = clock.nowNs();
    this.#fileBytes = init.fileBytes ?? 0;
    this.#onService = init.onService ?? (() => {});
    this.reporter = reporter;
    this.plan = init.plan ?? null;
    this.rateLimits = init.rateLimits ?? null;
    this.instances = instances;
    this.#onStopped = init.onStopped;
    this.signature = createSignature(config, this.version, init.labels);
    const { signature } = this;
    this.sequencePlan =
      config.sequenceBatching === null ? null : planSequences(config, signature, instances.metadata, init.initialStates ?? new Map());
    this.scheduler = createScheduler({
      config,
      signature,
      instances,
      plan: this.plan,
      sequencePlan: this.sequencePlan,
      defaultMaxQueueSize: init.defaultMaxQueueSize,
      maxQueueTimeNs: init.maxQueueTimeNs ?? null,
      reporter,
      clock,
      nestedCalls: init.nestedCalls,
      responseStore: init.responseStore ?? null,
      rateLimits: this.rateLimits,
      onFault: init.onFault,
    });
  }

  /** Complete; only `instance_group` and what says nothing of one version may change while it is loaded. */
  get config(): ModelConfig {
    return this.#config;
  }

  /** What it takes, as far as that can be seen. */
  get memoryBytes(): number {
    return Math.max(this.#fileBytes, this.instances.memoryBytes);
  }

  /** From now on requests are routed here; its metrics are shown. */
  enterService(): void {
    this.#onService(true);
  }

  /** It is kept for a rollback: no metrics while nobody is routed here. */
  leaveService(): void {
    this.#onService(false);
  }

  /** The parts of the configuration that need no new load: instances, version policy, labels. */
  adopt({ instanceGroup, versionPolicy, versionLabels }: ModelConfig): void {
    this.#config = { ...this.#config, instanceGroup, versionPolicy, versionLabels };
  }

  /** `platform` of the metadata: the configuration's, or its backend where it names no platform (reference section 1.4). */
  get platform(): string {
    return this.config.platform === '' ? this.config.backend : this.config.platform;
  }

  /** Finishes what is accepted, then gives the instances back. */
  async stop(): Promise<void> {
    await this.scheduler.stop();
    await this.instances.stop();
    this.#onStopped();
  }

  /** It answers a request with any number of responses (`model_transaction_policy`). */
  get isDecoupled(): boolean {
    return isDecoupled(this.config);
  }

  /** Instances that are alive now. */
  get instanceCount(): number {
    return this.instances.aliveCount;
  }

  /** No instance will come back: whoever waits hears why. */
  failPending(error: InferenceError): void {
    this.scheduler.failPending(error);
  }
}
