/** @hotpath one object per execution that other requests may share (measured by cached-scheduler.bench.ts) */

import { InferenceError } from '../../../proto/inference-error.ts';
import { type InferenceCaller, InferenceRequest, type RequestHolder } from '../../inference/inference-request.ts';
import type { InferenceResponse } from '../../inference/inference-response.ts';

/** The cached scheduler, as its flights know it. */
export interface FlightOwner {
  /** Throws what the scheduler throws that refuses the request. */
  run(shadow: InferenceRequest): void;
  /** Nobody waits for it any more, or it has its answer: who comes next starts another. */
  ended(flight: Flight): void;
  /** A request of it has ended otherwise than by an answer. */
  left(): void;
  /** It has the model's answer, borrowed until this returns. */
  answered(flight: Flight, response: InferenceResponse): void;
  /** The model failed both requests that were tried: the others are on their own. */
  released(request: InferenceRequest): void;
  onFault(error: unknown): void;
}

/** Failures of the model before those that still wait are run each by itself. */
const MAX_FAILURES = 2;

/**
 * Identical requests that wait for one execution. The model is given a request of the flight's own, the shadow, which has the inputs of the first that waits, the leader: when that one ends before
 * its answer, its bytes are gone, so the next takes over with its own.
 */
export class Flight implements RequestHolder, InferenceCaller {
  readonly key: string;
  /** What was to answer when the flight began. */
  readonly identity: string;
  /** How long the leader's lookup took. */
  lookupNs = 0;
  leader: InferenceRequest;
  /** In order of arrival. */
  followers: Set<InferenceRequest> | null = null;
  readonly #owner: FlightOwner;
  #shadow: InferenceRequest | null = null;
  #failures = 0;
  /** A store is asked; the model is not. */
  #isLookingUp = false;
  isEnded = false;

  constructor(leader: InferenceRequest, key: string, identity: string, owner: FlightOwner) {
    this.key = key;
    this.identity = identity;
    this.leader = leader;
    this.#owner = owner;
    leader.holder = this;
  }

  lookUp(): void {
    this.#isLookingUp = true;
  }

  join(request: InferenceRequest): void {
    request.holder = this;
    this.followers ??= new Set();
    this.followers.add(request);
  }

  /** Gives the leader's request to the model. Throws, and the flight is where it was, when that refuses it. */
  run(): void {
    this.#isLookingUp = false;
    const shadow = shadowOf(this.leader, this);
    this.#owner.run(shadow);
    this.#shadow = shadow;
  }

  /** As {@link run}, for a leader who has been told that his request was accepted: what is refused is his failure, and the next takes over. */
  runOrFail(): void {
    while (!this.isEnded) {
      try {
        this.run();
        return;
      } catch (error) {
        this.#failLeader(InferenceError.from(error));
      }
    }
  }

  onRequestCancelled(request: InferenceRequest): void {
    request.holder = null;
    this.#owner.left();
    if (this.followers?.delete(request)) return;
    const shadow = this.#shadow;
    this.#shadow = null;
    if (this.#promote() && !this.#isLookingUp) this.runOrFail();
    // Last: it may be the flight's own instance that hears of it, and finds work.
    shadow?.cancel();
  }

  onRequestResumed(): void {}

  onResponse(shadow: InferenceRequest, response: InferenceResponse): void {
    if (shadow !== this.#shadow) return;
    this.#shadow = null;
    this.#end();
    this.#owner.answered(this, response);
  }

  onError(shadow: InferenceRequest, error: InferenceError): void {
    if (shadow !== this.#shadow) return;
    this.#shadow = null;
    if (error.code !== 'DEADLINE_EXCEEDED') this.#failures++;
    this.#failLeader(error);
    if (this.isEnded) return;
    if (this.#failures < MAX_FAILURES) {
      this.runOrFail();
      return;
    }
    const rest = this.#takeAll();
    this.#end();
    for (const request of rest) this.#owner.released(request);
  }

  /** Decoupled models have no response cache. */
  onComplete(): void {}

  /** Its owner answers everyone who waits. */
  close(): void {
    this.#end();
  }

  /** Ends everyone who waits. */
  fail(error: InferenceError): void {
    const shadow = this.#shadow;
    this.#shadow = null;
    const rest = this.#takeAll();
    this.#end();
    for (const request of rest) this.#failOne(request, error);
    shadow?.cancel();
  }

  #takeAll(): InferenceRequest[] {
    const all = [this.leader, ...(this.followers ?? [])];
    this.followers = null;
    for (const request of all) request.holder = null;
    return all;
  }

  #failLeader(error: InferenceError): void {
    const { leader } = this;
    this.#promote();
    this.#failOne(leader, error);
  }

  #failOne(request: InferenceRequest, error: InferenceError): void {
    request.holder = null;
    this.#owner.left();
    try {
      request.fail(error);
    } catch (fault) {
      this.#owner.onFault(fault);
    }
  }

  /** The next that waits is the leader; false, and the flight is over, when there is none. */
  #promote(): boolean {
    const next = this.followers?.values().next().value;
    if (next === undefined) {
      this.#end();
      return false;
    }
    this.followers!.delete(next);
    this.leader = next;
    return true;
  }

  #end(): void {
    if (this.isEnded) return;
    this.isEnded = true;
    this.#owner.ended(this);
  }
}

function shadowOf(leader: InferenceRequest, caller: InferenceCaller): InferenceRequest {
  const shadow = new InferenceRequest({
    modelName: leader.modelName,
    modelVersion: leader.modelVersion,
    id: leader.id,
    inputs: leader.inputs,
    outputs: leader.outputs,
    parameters: leader.parameters,
    priority: leader.priority,
    timeoutUs: leader.timeoutUs,
    caller,
  });
  shadow.boundInputs = leader.boundInputs;
  shadow.batchSize = leader.batchSize;
  shadow.deadlineNs = leader.deadlineNs;
  shadow.receivedNs = leader.receivedNs;
  shadow.inputBytes = leader.inputBytes;
  shadow.model = leader.model;
  shadow.depth = leader.depth;
  return shadow;
}
