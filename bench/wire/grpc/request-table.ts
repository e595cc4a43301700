import type { InferMessage } from './infer-message.ts';
import { type RequestOwner, StreamRequest } from './stream-request.ts';

/** A number on the wire has ten digits: the place, and how often it was used. */
const NUMBERS = 10_000_000_000;
/** A power of ten above what is in flight: requests that are awaited, and the one given up half sent. */
const MAX_PLACES = 1_000;

/** The requests of a stream, found by the number that goes over the wire as their id. */
export class RequestTable implements RequestOwner {
  readonly #requests: StreamRequest[] = [];
  readonly #free: StreamRequest[] = [];
  #lastOrder = 0;
  /** Requests that somebody waits for. */
  awaited = 0;
  /** Of these, the ones whose answers are looked at. */
  validated = 0;

  begin(slot: number, index: number, message: InferMessage, hasParts: boolean, isValidated: boolean): StreamRequest {
    const request = this.#free.pop() ?? this.#add();
    request.take(message);
    request.slot = slot;
    request.index = index;
    request.hasParts = hasParts;
    request.isValidated = isValidated;
    request.wrong = null;
    request.order = ++this.#lastOrder;
    request.isAwaited = true;
    request.isSent = false;
    this.awaited++;
    if (isValidated) this.validated++;
    return request;
  }

  /** The request with this number, if somebody waits for it; null: it is an old one's, or none's. */
  find(number: number): StreamRequest | null {
    const request = this.#requests[number % MAX_PLACES];
    return request !== undefined && request.number === number && request.isAwaited ? request : null;
  }

  /** The one that has waited longest; null: nobody waits. */
  oldest(): StreamRequest | null {
    let oldest: StreamRequest | null = null;
    for (const request of this.#requests) if (request.isAwaited && (oldest === null || request.order < oldest.order)) oldest = request;
    return oldest;
  }

  ofSlot(slot: number): StreamRequest | null {
    return this.#requests.find((request) => request.isAwaited && request.slot === slot) ?? null;
  }

  /** Nobody waits for it any more. */
  end(request: StreamRequest): void {
    request.isAwaited = false;
    this.awaited--;
    if (request.isValidated) this.validated--;
    if (request.isSent) this.#release(request);
  }

  onRequestSent(request: StreamRequest): void {
    if (!request.isAwaited) this.#release(request);
  }

  /** Nobody waits for any: their slots, of those that were awaited, oldest first. */
  endAll(): number[] {
    const open = this.#requests.filter(({ isAwaited }) => isAwaited).sort((a, b) => a.order - b.order);
    for (const request of open) this.end(request);
    return open.map(({ slot }) => slot);
  }

  /** A late answer must not be taken for that of the next request in its place. */
  #release(request: StreamRequest): void {
    request.number = (request.number + MAX_PLACES) % NUMBERS;
    this.#free.push(request);
  }

  #add(): StreamRequest {
    if (this.#requests.length === MAX_PLACES)
      throw new Error(`more than ${MAX_PLACES} requests in a stream: they go beyond the lane's capacity`);
    const request = new StreamRequest(this, this.#requests.length);
    this.#requests.push(request);
    return request;
  }
}
