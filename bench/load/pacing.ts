/** How requests are spaced: what a closed and an open loop do differently. */
export interface Pacing {
  /** Requests in flight and due, at the most. */
  readonly slots: number;
  /** Whether requests have times of their own, from which they are measured. */
  readonly isOpen: boolean;
  start(starter: RequestStarter, nowMs: number): void;
  /** When `due` is to be called next; Infinity: only what ends brings something new. */
  nextMs(): number;
  due(starter: RequestStarter): void;
  /** The request of `slot` has ended; the slot is free again. */
  ended(starter: RequestStarter, slot: number, nowMs: number): void;
}

export interface RequestStarter {
  now(): number;
  /** Sends a request in a slot that is free, as soon as there is a lane for it. */
  begin(slot: number, intendedMs: number, nowMs: number): void;
  /** A request is due and there is no slot for it. */
  unsent(): void;
}
