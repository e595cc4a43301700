import { InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import { ClosedLoop } from './closed-loop.ts';
import { createLoop, runUntil } from './create-loop.ts';
import type { LaneFactory, LaneSink } from './lane.ts';
import { createLaneFactory } from './lane-factories.ts';
import type { LoadPlan, Pace } from './load-plan.ts';
import { LoadRun } from './load-run.ts';
import type { LoadWindow } from './load-window.ts';
import { OpenLoop } from './open-loop.ts';
import { SequencePool } from './sequence-pool.ts';
import type { SocketLoop } from './socket-loop.ts';

/** More requests in flight than any server takes; each has a row of some 100 bytes. */
const MAX_SLOTS = 1_000_000;
/** How long the first connections may take, handshakes done, whatever the plan's patience with answers is. */
const LEAST_OPEN_LIMIT_MS = 10_000;

const nobody: LaneSink = { part() {}, ended() {}, closed() {}, sentBytes() {}, receivedBytes() {} };

/** What a load process does, apart from its messages: one plan, and points of load one after the other. */
export class LoadWorker {
  readonly loop: SocketLoop;
  readonly #plan: LoadPlan;
  readonly #factory: LaneFactory;
  readonly #sequences: SequencePool | null;
  #run: LoadRun | null = null;
  #finished: Promise<LoadWindow> | null = null;

  /** Rejects when the protocol cannot carry the plan, or when the server does not take a connection. */
  static async create(plan: LoadPlan): Promise<LoadWorker> {
    if (plan.requests.length === 0) throw invalidArgument('the plan has no requests; it needs at least one');
    if (!Number.isInteger(plan.connections) || plan.connections < 1) {
      throw invalidArgument(`connections must be a whole number from 1; got ${plan.connections}`);
    }
    const worker = new LoadWorker(plan, await createLaneFactory(plan), createLoop(plan));
    try {
      await worker.#probe();
    } catch (error) {
      worker.loop.close();
      throw error;
    }
    return worker;
  }

  private constructor(plan: LoadPlan, factory: LaneFactory, loop: SocketLoop) {
    this.#plan = plan;
    this.#factory = factory;
    this.loop = loop;
    this.#sequences = plan.sequence === null ? null : new SequencePool(plan.sequence, plan.seed);
  }

  /** Returns when all connections are open and requests go out. */
  async start(pace: Pace, windowMs: number, onWindow: (window: LoadWindow) => void): Promise<void> {
    if (this.#run !== null) throw invalidArgument('a point of load is running; stop it before the next one starts');
    checkPace(pace);
    const run = new LoadRun({
      plan: this.#plan,
      loop: this.loop,
      factory: this.#factory,
      pacing: pace.kind === 'closed' ? new ClosedLoop(pace) : new OpenLoop(pace, this.#plan.seed),
      sequences: this.#sequences,
      windowMs,
      onWindow,
    });
    try {
      await this.#opened(run.open());
    } catch (error) {
      run.close();
      throw error;
    }
    this.#run = run;
    this.#finished = run.run();
    // Whoever stops it hears of it; until then nobody does.
    this.#finished.catch(() => {});
  }

  async stop(): Promise<LoadWindow> {
    if (this.#run === null || this.#finished === null) throw invalidArgument('no point of load is running; start one before it is stopped');
    this.#run.stop();
    try {
      return await this.#finished;
    } finally {
      this.#run = null;
      this.#finished = null;
    }
  }

  async #probe(): Promise<void> {
    const lane = await this.#opened(this.#factory.open(this.loop, nobody));
    lane.close();
  }

  #opened<T>(opening: Promise<T>): Promise<T> {
    const limitMs = Math.max(LEAST_OPEN_LIMIT_MS, this.#plan.timeoutMs);
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<never>((_resolve, reject) => {
      const { host, port } = this.#plan.target;
      timer = setTimeout(
        () =>
          reject(
            new InferenceError('UNAVAILABLE', `${host}:${port} took a connection and did not end its handshake within ${limitMs / 1000} s`),
          ),
        limitMs,
      );
    });
    return runUntil(this.loop, Promise.race([opening, limit])).finally(() => clearTimeout(timer));
  }
}

function checkPace(pace: Pace): void {
  const [name, slots] = pace.kind === 'closed' ? ['concurrency', pace.concurrency] : ['maxInFlight', pace.maxInFlight];
  if (!Number.isInteger(slots) || slots < 1 || slots > MAX_SLOTS) {
    throw invalidArgument(`${name} must be a whole number from 1 to ${MAX_SLOTS}; got ${slots}`);
  }
  if (pace.kind === 'open' && !(pace.perSecond > 0 && Number.isFinite(pace.perSecond))) {
    throw invalidArgument(`perSecond must be a number above 0; got ${pace.perSecond}`);
  }
}
