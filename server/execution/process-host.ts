/**
 * A process host, seen from the gateway: starts the child, speaks its control messages, watches over it and says how it ended.
 */

import type { ChildProcess } from 'node:child_process';
import type { Duplex } from 'node:stream';
import type { ModelSpec } from '../../backends/api/backend.ts';
import { InferenceError } from '../../proto/inference-error.ts';
import { checkMetadata } from './check-metadata.ts';
import { HostFault } from './check-response.ts';
import { ProcessDecoupledChannel } from './decoupled-channel.ts';
import type { ExecutionHost, HostEnd, HostKind, LoadedModel } from './execution-host.ts';
import { ExecutionWatch } from './execution-watch.ts';
import { hostEntry } from './host-entry.ts';
import type { HostLink, HostLinkOwner } from './host-link.ts';
import { completeHostOptions, type ProcessHostOptions, progressIntervalMs } from './host-options.ts';
import { type CreatedInstance, grownBytes, HostRequests, parseControl, readLogMessage } from './host-requests.ts';
import { ProcessInstanceChannel } from './instance-channel.ts';
import { listenToHost } from './listen-to-host.ts';
import { BOUNDARY_VERSION, controlFrame, FRAME_KIND, type FrameKind, type HelloMessage, HOST_FDS } from './messages.ts';
import { ModelTensors } from './model-tensors.ts';
import { createLinks, type ProcessLinks } from './process-links.ts';
import { RequestChannel } from './request-channel.ts';
import type { RequestLink } from './request-link.ts';
import { createSharedMemory } from './shared-memory.ts';
import { chooseTransport, spawnHost } from './spawn-host.ts';

/** How long a host that was asked to end may take for it. */
const STOP_GRACE_MS = 1000;

/** How long the code of a model may take to end. */
const FINALIZE_MS = 10_000;

/** How often memory is given back; what has been free for a whole interval goes. */
const TRIM_INTERVAL_MS = 10_000;

/** `name:version`, as HostEnd.blamed has it. */
export function modelKey(spec: ModelSpec): string {
  return `${spec.name}:${spec.version}`;
}

interface Ending {
  readonly reason: string;
  readonly blamed: string | null;
  readonly expected: boolean;
}

export class ProcessHost implements ExecutionHost {
  readonly kind: HostKind = 'process';
  readonly transport: 'shared-memory' | 'socket';
  /** Resolves when the process is gone and its memory is released. */
  readonly ended: Promise<HostEnd>;
  readonly #options: ProcessHostOptions;
  readonly #child: ChildProcess;
  readonly #control: Duplex;
  readonly #link: HostLink;
  readonly #links: ProcessLinks;
  readonly #requests: HostRequests;
  readonly #watch: ExecutionWatch;
  readonly #trimTimer: NodeJS.Timeout;
  /** The one model of a host that runs models' own code. */
  #codeKey: string | null = null;
  readonly #channels: Map<number, ProcessInstanceChannel | ProcessDecoupledChannel | RequestChannel> = new Map();
  /** The model whose load or instance creation is under way. */
  #loading: string | null = null;
  #loadStartedMs = 0;
  #loadQueue: Promise<unknown> = Promise.resolve();
  #lastNumber = 0;
  #isReady = false;
  #ending: Ending | null = null;
  #resolveReady: () => void = () => {};
  #rejectReady: (error: InferenceError) => void = () => {};

  /** Resolves when the host is ready for its first load. Rejects with UNAVAILABLE when it can't be started. `onSpawned` gets it before that, to stop it. */
  static async start(options: Partial<ProcessHostOptions> = {}, onSpawned?: (host: ProcessHost) => void): Promise<ProcessHost> {
    const complete = completeHostOptions(options);
    let host: ProcessHost;
    try {
      host = new ProcessHost(complete);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new InferenceError('UNAVAILABLE', `an execution host can't be started: ${reason}`, { cause: error });
    }
    onSpawned?.(host);
    await host.#becomeReady();
    return host;
  }

  private constructor(options: ProcessHostOptions) {
    this.#options = options;
    this.transport = options.isDecoupled || options.runsCode ? 'socket' : chooseTransport(options.transport);
    const entry = options.entry ?? hostEntry();
    const memory = this.transport === 'shared-memory' ? createSharedMemory(options.memoryBytes) : null;
    try {
      this.#child = spawnHost(entry, memory, options.runsCode ? options.maxHostMemoryBytes : -1);
    } catch (error) {
      memory?.close();
      throw error;
    }
    const stdio = this.#child.stdio as unknown as Duplex[];
    this.#control = stdio[HOST_FDS.control]!;
    const owner: HostLinkOwner = {
      onFault: (reason) => this.#onFault(reason),
      onBusy: () => this.#watch.start(),
      sendFrame: (chunks) => this.#sendFrame(chunks),
    };
    this.#links = createLinks(options, memory, owner, () => this.#codeKey ?? '');
    this.#link = this.#links.link;
    this.#requests = new HostRequests((detail) => options.onLog(this.pid, detail, 'warn'));
    this.#watch = new ExecutionWatch({
      pid: this.pid,
      inflight: this.#link.inflight,
      executionTimeoutMs: options.executionTimeoutMs,
      maxMemoryBytes: options.maxHostMemoryBytes,
      isLoading: () => this.#requests.count > 0,
      isHeldUp: () => this.#loading !== null && !this.#link.isExecuting(this.#loadStartedMs),
      poll: () => this.#link.poll(),
      onTooLate: () => this.#onTooLate(),
      onTooLarge: (usedBytes) => this.#onTooLarge(usedBytes),
    });
    this.ended = this.#listen(stdio);
    const { spinUs, backendSettings, preload, runsCode } = options;
    const common = { spinUs, backendSettings, preload, runsCode, progressMs: progressIntervalMs(options) };
    const hello: HelloMessage = { memoryBytes: memory?.byteLength ?? 0, ...common };
    this.#control.write(controlFrame(FRAME_KIND.hello, hello));
    this.#trimTimer = setInterval(() => this.#link.trim(), TRIM_INTERVAL_MS).unref();
  }

  /** -1 when the process could not be started at all. */
  get pid(): number {
    return this.#child.pid ?? -1;
  }

  get isAlive(): boolean {
    return this.#ending === null;
  }

  load(spec: ModelSpec): Promise<LoadedModel> {
    const loaded = this.#loadQueue.then(() => this.#load(spec));
    this.#loadQueue = loaded.catch(() => {});
    return loaded;
  }

  async stop(): Promise<void> {
    if (this.#ending === null) {
      // One that is busy would not hear of it before its batch ends, and nobody waits for that.
      const graceMs = this.#link.inflight.count > 0 || !this.#isReady ? 0 : STOP_GRACE_MS;
      this.#control.end();
      this.#link.announceControl();
      this.#end({ reason: 'was stopped by the server', blamed: null, expected: true }, null);
      const timer = setTimeout(() => this.#child.kill('SIGKILL'), graceMs);
      await this.ended;
      clearTimeout(timer);
    }
    await this.ended;
  }

  #sendFrame(chunks: readonly Uint8Array[]): void {
    if (this.#ending !== null) return;
    this.#control.cork();
    for (const chunk of chunks) this.#control.write(chunk);
    this.#control.uncork();
  }

  #onFault(reason: string, blamed: string | null = this.#link.headModel ?? this.#loading): void {
    const error = new InferenceError('INTERNAL', `the model's execution host ${reason}; it was ended`, { failureReason: 'BACKEND' });
    this.#kill({ reason: `ended by the server: it ${reason}`, blamed, expected: false }, error);
  }

  #onTooLate(): void {
    const seconds = this.#options.executionTimeoutMs / 1000;
    if (this.#link.abandonHead(seconds)) return;
    const blamed = this.#link.headModel;
    const text = `model '${blamed}' did not end within the ${seconds} s that an execution may take; its execution host was killed and is being replaced`;
    const error = new InferenceError('DEADLINE_EXCEEDED', text, { failureReason: 'BACKEND' });
    this.#kill({ reason: `did not answer within ${seconds} s`, blamed, expected: false }, error);
  }

  #onTooLarge(usedBytes: number): void {
    const reason = `used ${gib(usedBytes)} of the ${gib(this.#options.maxHostMemoryBytes)} of memory it may (--host-memory-bytes)`;
    this.#kill({ reason, blamed: this.#blamed(), expected: false }, null);
  }

  /** The model whose work it was that the host did last. */
  #blamed(): string | null {
    if (this.#codeKey !== null) return this.#codeKey;
    if (this.#loading !== null && !this.#link.isExecuting(this.#loadStartedMs)) return this.#loading;
    return this.#channels.get(this.#link.currentInstance)?.tensors.key ?? null;
  }

  #kill(ending: Ending, headError: InferenceError | null): void {
    this.#child.kill('SIGKILL');
    this.#end(ending, headError);
  }

  /** Everything that waits for the host hears of its end now, whether the process is gone already or not. */
  #end(ending: Ending, headError: InferenceError | null): void {
    if (this.#ending !== null) return;
    this.#ending = ending;
    this.#watch.stop();
    clearInterval(this.#trimTimer);
    const reason = `the execution host ${ending.reason}`;
    const loading = this.#loading;
    const channels = [...this.#channels.values()];
    this.#channels.clear();
    for (const channel of channels) channel.hostEnded();
    this.#rejectReady(new InferenceError('UNAVAILABLE', `${reason} before it was ready`));
    const onLoad = loading === null ? reason : `${reason} while it loaded model '${loading}'`;
    this.#requests.failAll(new InferenceError('UNAVAILABLE', onLoad, { failureReason: 'BACKEND' }));
    const lost = new InferenceError('UNAVAILABLE', `${reason}; retry`, { failureReason: 'BACKEND', retryAfterSeconds: 1 });
    this.#link.end(headError ?? lost, lost);
    this.#links.desk?.end();
  }

  async #listen(stdio: readonly (Duplex | null)[]): Promise<HostEnd> {
    const reason = await listenToHost(this.#child, stdio, {
      isEnded: () => this.#ending !== null,
      onFrame: (kind, payload) => this.#onFrame(kind, payload),
      onFault: (fault) => this.#onFault(fault),
      onWake: () => this.#link.poll(),
      onText: (text, level) => this.#options.onLog(this.pid, text, level),
    });
    this.#link.poll();
    this.#end({ reason, blamed: this.#blamed(), expected: false }, null);
    for (const stream of stdio) stream?.destroy();
    const ending = this.#ending!;
    return { reason: ending.reason, blamed: ending.blamed, expected: ending.expected };
  }

  #onFrame(kind: number, payload: Buffer): void {
    if (this.#ending !== null) return;
    switch (kind) {
      case FRAME_KIND.ready: {
        const { boundaryVersion } = parseControl(payload);
        if (this.#isReady || boundaryVersion !== BOUNDARY_VERSION)
          throw new HostFault(`speaks version ${boundaryVersion} instead of ${BOUNDARY_VERSION}`);
        this.#isReady = true;
        this.#resolveReady();
        break;
      }
      case FRAME_KIND.loaded:
      case FRAME_KIND.done:
      case FRAME_KIND.failed:
        this.#requests.settle(kind, payload);
        break;
      case FRAME_KIND.call:
      case FRAME_KIND.cancelCall:
      case FRAME_KIND.callCredit:
        if (this.#links.desk === null) throw new HostFault('made a call, though it runs no code of a model');
        this.#links.desk.onFrame(kind, payload);
        break;
      case FRAME_KIND.log:
        {
          const { level, text } = readLogMessage(payload);
          this.#options.onLog(this.pid, text, level);
        }
        break;
      default:
        this.#link.onFrame(kind, payload);
    }
  }

  async #becomeReady(): Promise<void> {
    const ready = new Promise<void>((resolve, reject) => {
      this.#resolveReady = resolve;
      this.#rejectReady = reject;
      if (this.#ending !== null) reject(new InferenceError('UNAVAILABLE', `the execution host ${this.#ending.reason}`));
    });
    const { startTimeoutMs } = this.#options;
    const timer = setTimeout(() => {
      this.#kill({ reason: `was not ready within ${startTimeoutMs / 1000} s`, blamed: null, expected: false }, null);
    }, startTimeoutMs);
    try {
      await ready;
    } catch (error) {
      await this.ended;
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  async #load(spec: ModelSpec): Promise<LoadedModel> {
    const key = modelKey(spec);
    const model = ++this.#lastNumber;
    if (this.#options.runsCode) this.#codeKey = key;
    const answer = await this.#timedRequest(key, FRAME_KIND.load, { model, spec });
    let tensors: ModelTensors;
    try {
      tensors = new ModelTensors(key, checkMetadata(answer['metadata']));
    } catch (error) {
      if (!(error instanceof HostFault)) throw error;
      this.#onFault(error.message, key);
      throw new InferenceError('UNAVAILABLE', `the execution host ${error.message} for model '${key}'; it was ended`);
    }
    const loaded = {
      metadata: tensors.metadata,
      memoryBytes: grownBytes(answer),
      createInstance: async (onCapacity: () => void): Promise<ProcessInstanceChannel | RequestChannel> => {
        if (this.#links.code !== null) return this.#createCodeInstance(this.#links.code, model, tensors, loaded, onCapacity);
        const link = this.#links.batches;
        if (link === null) throw new Error('this execution host is for decoupled models');
        const { instance, memoryBytes } = await this.#requestInstance(model, tensors, false);
        loaded.memoryBytes += memoryBytes;
        return this.#adopt(new ProcessInstanceChannel(link, tensors, instance, onCapacity, this.#disposeInstance));
      },
      createDecoupledInstance: async (onCapacity: () => void) => {
        const link = this.#links.decoupled;
        if (link === null) throw new Error('this execution host is not for decoupled models');
        const created = await this.#requestInstance(model, tensors, true);
        loaded.memoryBytes += created.memoryBytes;
        return this.#adopt(new ProcessDecoupledChannel(link, tensors, created, onCapacity, this.#disposeInstance));
      },
      unload: async () => {
        if (this.#ending === null) await this.#orGone(this.#request(FRAME_KIND.unload, { model }));
      },
    };
    return loaded;
  }

  async #requestInstance(model: number, tensors: ModelTensors, isDecoupled: boolean): Promise<CreatedInstance> {
    const instance = ++this.#lastNumber;
    const body = { model, instance, isDecoupled };
    const created = this.#loadQueue.then(() => this.#timedRequest(tensors.key, FRAME_KIND.createInstance, body));
    this.#loadQueue = created.catch(() => {});
    const answer = await created;
    return { instance, maxRequests: Number(answer['maxRequests']), memoryBytes: grownBytes(answer), statistics: answer['statistics'] };
  }

  async #createCodeInstance(
    link: RequestLink,
    model: number,
    tensors: ModelTensors,
    loaded: { memoryBytes: number },
    onCapacity: () => void,
  ): Promise<RequestChannel> {
    const { instance, maxRequests, memoryBytes } = await this.#requestInstance(model, tensors, false);
    loaded.memoryBytes += memoryBytes;
    return this.#adopt(new RequestChannel(link, tensors, instance, maxRequests, onCapacity, this.#disposeInstance));
  }

  #adopt<Channel extends ProcessInstanceChannel | ProcessDecoupledChannel | RequestChannel>(channel: Channel): Channel {
    // The host may have ended between its answer and here.
    if (this.#ending !== null) channel.hostEnded();
    else this.#channels.set(channel.instance, channel);
    return channel;
  }

  readonly #disposeInstance = async (instance: number): Promise<void> => {
    const key = this.#channels.get(instance)?.tensors.key ?? '';
    this.#channels.delete(instance);
    if (this.#ending !== null) return;
    // A model's own code may run there, for ever.
    const dispose = this.#options.runsCode
      ? this.#timedRequest(key, FRAME_KIND.disposeInstance, { instance }, FINALIZE_MS)
      : this.#request(FRAME_KIND.disposeInstance, { instance });
    await this.#orGone(dispose);
  };

  /** A request that runs a model's code: it is blamed on the model and has a deadline. */
  async #timedRequest(
    key: string,
    kind: FrameKind,
    body: object,
    timeoutMs: number = this.#options.loadTimeoutMs,
  ): Promise<Record<string, unknown>> {
    if (this.#ending !== null)
      throw new InferenceError('UNAVAILABLE', `the execution host ${this.#ending.reason}`, { failureReason: 'BACKEND' });
    this.#loading = key;
    this.#loadStartedMs = performance.now();
    this.#watch.start();
    const onTimeout = (): void => {
      this.#kill({ reason: `did not end a load within ${timeoutMs / 1000} s`, blamed: this.#blamed(), expected: false }, null);
    };
    const timer = timeoutMs === 0 ? undefined : setTimeout(onTimeout, timeoutMs);
    try {
      return await this.#request(kind, body);
    } finally {
      clearTimeout(timer);
      if (!this.#link.isExecuting(this.#loadStartedMs)) this.#link.inflight.restartHead();
      this.#loading = null;
    }
  }

  #request(kind: FrameKind, body: object): Promise<Record<string, unknown>> {
    return this.#requests.open((id) => {
      this.#control.write(controlFrame(kind, { id, ...body }), () => this.#link.announceControl());
      this.#link.announceControl();
    });
  }

  /** Releasing something in a host that ends meanwhile has reached its aim. */
  async #orGone(request: Promise<unknown>): Promise<void> {
    try {
      await request;
    } catch (error) {
      if (this.#ending === null) throw error;
    }
  }
}

function gib(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(2)} GiB`;
}
