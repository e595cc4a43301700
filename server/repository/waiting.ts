/** What somebody waits for and may stop waiting for. What is under way goes on. */
export interface Waiting<T> extends Promise<T> {
  /** Rejects the promise with CANCELLED, unless it has ended: the place in the queue is free at once. */
  cancel(): void;
}

/** As `Promise.then`, and a cancel of what it returns is one of what it was made from. */
export function thenWaiting<T, U>(waiting: Waiting<T>, then: (value: T) => U): Waiting<U> {
  return Object.assign(waiting.then(then), { cancel: () => waiting.cancel() });
}
