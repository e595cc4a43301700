/** @hotpath every request of a model with a response cache passes here */

import { InferenceError } from '../../../proto/inference-error.ts';
import type { Clock } from '../../inference/clock.ts';
import type { InferenceRequest, RequestHolder } from '../../inference/inference-request.ts';
import { cachedTiming, InferenceResponse } from '../../inference/inference-response.ts';
import type { ModelSignature } from '../../inference/model-signature.ts';
import type { ModelReporter } from '../../metrics/model-reporter.ts';
import { type Scheduler, schedulerStopping } from '../scheduler.ts';
import { CacheKeys } from './cache-keys.ts';
import { Flight, type FlightOwner } from './flight.ts';
import { DIGESTED_AT_ONCE_BYTES, LargeKeys } from './large-keys.ts';
import type { CachedResponse, ResponseStore } from './response-store.ts';

export interface CachedSchedulerOptions {
  /** The model's own: it gets what has to run. */
  readonly inner: Scheduler;
  readonly signature: ModelSignature;
  readonly store: ResponseStore;
  /** Names what answers at the moment. */
  readonly identity: () => string;
  readonly reporter: ModelReporter;
  readonly clock: Clock;
  readonly onFault: (error: unknown) => void;
}

/**
 * Answers from the store what is there; of identical requests in flight it lets the model run one. It holds the requests that came, and the scheduler inside it their shadows, so that each keeps
 * its own cancel and deadline.
 *
 * Counted as a hit: what ends with a response that it did not run for, whether that was in the store or came with another's. As a miss: each execution that brought a response.
 */
export class CachedScheduler implements Scheduler, FlightOwner, RequestHolder {
  readonly #inner: Scheduler;
  readonly #signature: ModelSignature;
  readonly #store: ResponseStore;
  readonly #keys: CacheKeys;
  readonly #largeKeys: LargeKeys;
  readonly #reporter: ModelReporter;
  readonly #clock: Clock;
  readonly #onFault: (error: unknown) => void;
  /** One for each key that is looked up elsewhere, or run: no more than requests in flight. */
  readonly #flights: Map<string, Flight> = new Map();
  /** What is to be answered at the end of this tick: at the same index, the request and what was found for it. */
  #hitRequests: InferenceRequest[] = [];
  #hitResponses: CachedResponse[] = [];
  readonly #answerHits: () => void;
  /** Requests that this holds. */
  #held = 0;
  /** Shadows that the scheduler inside has. */
  #shadows = 0;
  #isStopping = false;
  #onEmpty: (() => void)[] = [];

  constructor(options: CachedSchedulerOptions) {
    this.#inner = options.inner;
    this.#signature = options.signature;
    this.#store = options.store;
    this.#keys = new CacheKeys(options.signature, options.identity);
    this.#reporter = options.reporter;
    this.#clock = options.clock;
    this.#onFault = options.onFault;
    this.#largeKeys = new LargeKeys(this.#keys, options.clock, (request, key) => this.#onLargeKey(request, key));
    this.#answerHits = () => this.#answer();
    options.reporter.hasResponseCache = true;
  }

  get inflightCount(): number {
    return this.#held + this.#inner.inflightCount - this.#shadows;
  }

  get pendingCount(): number {
    return this.#inner.pendingCount;
  }

  enqueue(request: InferenceRequest): void {
    if (this.#isStopping) throw schedulerStopping(this.#signature.modelName);
    if (request.sequence !== null) {
      this.#inner.enqueue(request);
      return;
    }
    request.queuedNs = this.#clock.nowNs();
    if (request.inputBytes > DIGESTED_AT_ONCE_BYTES) {
      this.#held++;
      request.holder = this;
      this.#largeKeys.add(request);
      return;
    }
    this.#lookUp(request, this.#keys.keyOf(request));
  }

  poke(): void {
    this.#inner.poke();
  }

  failPending(error: InferenceError): void {
    for (const request of this.#largeKeys.takeAll()) {
      this.#release(request);
      this.#failOne(request, error);
    }
    for (const flight of [...this.#flights.values()]) flight.fail(error);
    this.#inner.failPending(error);
    this.#settleStop();
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    // Until then a flight may need the scheduler once more.
    if (this.#held > 0) await new Promise<void>((resolve) => this.#onEmpty.push(resolve));
    await this.#inner.stop();
  }

  /** One that is answered at the end of the tick, or whose key is being made. */
  onRequestCancelled(request: InferenceRequest): void {
    this.#largeKeys.remove(request);
    this.#release(request);
    this.#settleStop();
  }

  onRequestResumed(): void {}

  run(shadow: InferenceRequest): void {
    this.#inner.enqueue(shadow);
    this.#shadows++;
    shadow.observer = this.#shadowObserver;
  }

  ended(flight: Flight): void {
    // Another of the same key may have begun.
    if (this.#flights.get(flight.key) === flight) this.#flights.delete(flight.key);
  }

  left(): void {
    this.#held--;
    this.#settleStop();
  }

  answered(flight: Flight, response: InferenceResponse): void {
    const { leader, followers } = flight;
    const startedNs = this.#clock.nowNs();
    // A model that the ensemble calls may have been replaced while it ran.
    if (flight.identity === this.#keys.identity) this.#store.insert(flight.key, response);
    this.#reporter.cacheMiss.add(flight.lookupNs + this.#clock.nowNs() - startedNs);
    this.#release(leader);
    this.#respond(leader, response);
    if (followers !== null) {
      for (const follower of followers) {
        this.#reporter.cacheShared++;
        this.#answerFrom(follower, response);
      }
    }
    this.#settleStop();
  }

  released(request: InferenceRequest): void {
    this.#held--;
    try {
      this.#inner.enqueue(request);
    } catch (error) {
      this.#failOne(request, InferenceError.from(error));
    }
    this.#settleStop();
  }

  onFault(error: unknown): void {
    this.#onFault(error);
  }

  readonly #shadowObserver: { onRequestEnd(): void } = {
    onRequestEnd: () => {
      this.#shadows--;
    },
  };

  /** Throws as `enqueue` does, having done nothing. */
  #lookUp(request: InferenceRequest, key: string): void {
    const flight = this.#flights.get(key);
    if (flight !== undefined) {
      if (request.depth <= flight.leader.depth) {
        this.#held++;
        flight.join(request);
      } else {
        // What the model is running may have made this request, and would wait for itself.
        this.#inner.enqueue(request);
      }
      return;
    }
    const found = this.#store.lookup(key, this.#signature);
    if (found === null) this.#run(request, key);
    else if (found instanceof Promise) this.#wait(request, key, found);
    else this.#hit(request, found);
  }

  #hit(request: InferenceRequest, found: CachedResponse): void {
    this.#held++;
    request.holder = this;
    this.#reporter.cacheHit.add(this.#clock.nowNs() - request.queuedNs);
    this.#hitResponses.push(found);
    if (this.#hitRequests.push(request) === 1) this.#clock.endOfTick(this.#answerHits);
  }

  #run(request: InferenceRequest, key: string): void {
    const flight = new Flight(request, key, this.#keys.identity, this);
    flight.lookupNs = this.#clock.nowNs() - request.queuedNs;
    try {
      flight.run();
    } catch (error) {
      request.holder = null;
      throw error;
    }
    this.#held++;
    this.#flights.set(key, flight);
  }

  #wait(request: InferenceRequest, key: string, looking: Promise<CachedResponse | null>): void {
    const flight = new Flight(request, key, this.#keys.identity, this);
    this.#held++;
    this.#flights.set(key, flight);
    flight.lookUp();
    looking.then(
      (found) => {
        if (flight.isEnded) return;
        if (found === null) {
          flight.lookupNs = this.#clock.nowNs() - flight.leader.queuedNs;
          flight.runOrFail();
          return;
        }
        flight.close();
        this.#answerFrom(flight.leader, found);
        if (flight.followers !== null) for (const follower of flight.followers) this.#answerFrom(follower, found);
        this.#settleStop();
      },
      // No store rejects; what it does wrong may not keep requests for ever.
      (error: unknown) => {
        this.#onFault(error);
        if (!flight.isEnded) flight.runOrFail();
      },
    );
  }

  #onLargeKey(request: InferenceRequest, key: string): void {
    this.#release(request);
    try {
      this.#lookUp(request, key);
    } catch (error) {
      this.#failOne(request, InferenceError.from(error));
    }
    this.#settleStop();
  }

  #answer(): void {
    const requests = this.#hitRequests;
    const responses = this.#hitResponses;
    this.#hitRequests = [];
    this.#hitResponses = [];
    for (let i = 0; i < requests.length; i++) {
      const request = requests[i]!;
      if (request.isDone) continue;
      this.#release(request);
      this.#respondFrom(request, responses[i]!);
    }
    this.#settleStop();
  }

  /** A hit that had to be waited for. */
  #answerFrom(request: InferenceRequest, found: CachedResponse): void {
    this.#reporter.cacheHit.add(this.#clock.nowNs() - request.queuedNs);
    this.#release(request);
    this.#respondFrom(request, found);
  }

  #respondFrom(request: InferenceRequest, { outputs, parameters }: CachedResponse): void {
    const { modelName, modelVersion } = this.#signature;
    this.#respond(request, new InferenceResponse(modelName, modelVersion, outputs, parameters, cachedTiming));
  }

  #respond(request: InferenceRequest, response: InferenceResponse): void {
    try {
      request.respond(response);
    } catch (fault) {
      this.#onFault(fault);
    }
  }

  #failOne(request: InferenceRequest, error: InferenceError): void {
    try {
      request.fail(error);
    } catch (fault) {
      this.#onFault(fault);
    }
  }

  #release(request: InferenceRequest): void {
    request.holder = null;
    this.#held--;
  }

  #settleStop(): void {
    if (this.#held > 0 || this.#onEmpty.length === 0) return;
    for (const resolve of this.#onEmpty.splice(0)) resolve();
  }
}
