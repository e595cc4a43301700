import type { HealthCheckResponseServingStatus } from '../../../proto/gen/health.ts';
import { InferenceError, invalidArgument } from '../../../proto/inference-error.ts';
import type { RpcCancelListener, StreamCall, StreamListener } from '../../transports/rpc-call.ts';
import type { ProtocolContext } from '../protocol.ts';
import { decodeHealthRequest, encodeHealthStatus, HEALTH_SERVICES } from './health-messages.ts';

/** How late a watcher may hear of a change, ms. Nobody watching, nobody looks. */
const LOOK_EVERY_MS = 250;
/** `Watch` calls open at one time, on all connections together. */
export const MAX_WATCHERS = 1000;

/** The open `Watch` calls. Each hears the status at once, and again whenever it has changed; a server on its way out ends them, so that it can drain. */
export class HealthWatchers {
  readonly #context: ProtocolContext;
  readonly #watchers = new Set<HealthWatcher>();
  #timer: NodeJS.Timeout | null = null;

  constructor(context: ProtocolContext) {
    this.#context = context;
  }

  open(call: StreamCall): void {
    if (this.#watchers.size >= MAX_WATCHERS) {
      call.fail(
        new InferenceError('RESOURCE_EXHAUSTED', `${MAX_WATCHERS} Watch calls are open, which is the most there may be; use Check`),
      );
      return;
    }
    const watcher = new HealthWatcher(call, this);
    call.listener = watcher;
    call.cancelListener = watcher;
    this.#watchers.add(watcher);
    this.#timer ??= setInterval(() => this.#look(), LOOK_EVERY_MS).unref();
  }

  status(): 'SERVING' | 'NOT_SERVING' {
    return this.#context.isReady() ? 'SERVING' : 'NOT_SERVING';
  }

  remove(watcher: HealthWatcher): void {
    this.#watchers.delete(watcher);
    if (this.#watchers.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }

  #look(): void {
    const status = this.status();
    const isLive = this.#context.isLive();
    for (const watcher of this.#watchers) {
      if (isLive) watcher.tell(status);
      else watcher.dismiss();
    }
  }
}

class HealthWatcher implements StreamListener, RpcCancelListener {
  readonly #call: StreamCall;
  readonly #watchers: HealthWatchers;
  #service: string | null = null;
  #told: HealthCheckResponseServingStatus | null = null;
  #isHeldBack = false;

  constructor(call: StreamCall, watchers: HealthWatchers) {
    this.#call = call;
    this.#watchers = watchers;
  }

  /** A watcher that does not read hears the latest once it does. */
  tell(serverStatus: 'SERVING' | 'NOT_SERVING'): void {
    if (this.#service === null || this.#isHeldBack) return;
    const status = HEALTH_SERVICES.includes(this.#service) ? serverStatus : 'SERVICE_UNKNOWN';
    if (status === this.#told) return;
    this.#told = status;
    this.#isHeldBack = !this.#call.send(encodeHealthStatus(status));
  }

  dismiss(): void {
    this.tell('NOT_SERVING');
    this.#end(new InferenceError('UNAVAILABLE', 'the server is shutting down'));
  }

  onMessage(message: Uint8Array): void {
    if (this.#service !== null) {
      this.#end(invalidArgument('Watch takes one request; open another call for another service'));
      return;
    }
    try {
      this.#service = decodeHealthRequest(message);
    } catch (error) {
      this.#end(InferenceError.from(error));
      return;
    }
    this.tell(this.#watchers.status());
  }

  onHalfClose(): void {
    // The one request has been sent: a client stays to listen.
    if (this.#service === null) this.#end(invalidArgument('Watch takes one request, got none'));
  }

  onDrain(): void {
    this.#isHeldBack = false;
    this.tell(this.#watchers.status());
  }

  onRpcCancelled(): void {
    this.#watchers.remove(this);
  }

  #end(error: InferenceError): void {
    this.#watchers.remove(this);
    this.#call.fail(error);
  }
}
