import { deadlinePassed, type Watched } from '../data-plane/deadline-watch.ts';
import type { Model } from '../repository/model.ts';
import type { Waiting } from '../repository/waiting.ts';
import type { ProtocolContext } from './protocol.ts';

/** A call whose model is being loaded: hears of the end once. What `onRouted` throws comes back as `onRouteFailed`. */
export interface RoutedCall {
  onRouted(model: Model): void;
  /** A cancelled wait ends here too, with CANCELLED, and one whose deadline passes, with DEADLINE_EXCEEDED. */
  onRouteFailed(error: unknown): void;
}

/**
 * A request that waits for its model to be loaded (`InferenceDoor.route` gave a promise). It holds a place and its bytes among the requests in flight, so that those who wait are bounded
 * as those who are answered; both are free again before the call hears, which may then send its request through the door.
 */
export class RouteWait implements Watched {
  readonly #context: ProtocolContext;
  readonly #routed: Waiting<Model>;
  readonly #bytes: number;
  readonly #call: RoutedCall;
  readonly deadlineNs: number;
  watchIndex = -1;
  #isExpired = false;

  private constructor(context: ProtocolContext, routed: Waiting<Model>, bytes: number, call: RoutedCall, deadlineNs: number) {
    this.#context = context;
    this.#routed = routed;
    this.#bytes = bytes;
    this.#call = call;
    this.deadlineNs = deadlineNs;
  }

  /** `bytes`: of the request's message, which is kept. Throws UNAVAILABLE when there is no room for it. */
  static start(context: ProtocolContext, routed: Waiting<Model>, bytes: number, call: RoutedCall, deadlineNs: number): RouteWait {
    const wait = new RouteWait(context, routed, bytes, call, deadlineNs);
    try {
      context.door.hold(bytes);
    } catch (error) {
      routed.catch(() => {});
      routed.cancel();
      throw error;
    }
    if (deadlineNs !== Number.POSITIVE_INFINITY) context.door.deadlines.add(wait);
    routed
      .then(
        (model) => wait.#routedTo(model),
        (error: unknown) => wait.#failed(error),
      )
      .catch(context.reportFault);
    return wait;
  }

  /** The caller is gone. The load goes on. */
  cancel(): void {
    this.#routed.cancel();
  }

  expire(): void {
    this.#isExpired = true;
    this.#routed.cancel();
  }

  #routedTo(model: Model): void {
    this.#release();
    try {
      this.#call.onRouted(model);
    } catch (error) {
      this.#call.onRouteFailed(error);
    }
  }

  #failed(error: unknown): void {
    this.#release();
    this.#call.onRouteFailed(this.#isExpired ? deadlinePassed('the model was loaded') : error);
  }

  #release(): void {
    const { door } = this.#context;
    door.deadlines.remove(this);
    door.release(this.#bytes);
  }
}
