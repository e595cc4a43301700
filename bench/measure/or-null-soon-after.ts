/** For answers that are on their way when a person wants the run to end. */
const GRACE_MS = 1000;

/**
 * `work`, or null when it is not done a second after `signal` has come: a server that never answers does not hold up who has pressed Ctrl-C. What becomes of `work` after that is
 * nobody's concern.
 */
export function orNullSoonAfter<T>(signal: AbortSignal | null, work: Promise<T>): Promise<T | null> {
  if (signal === null) return work;
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    const onAbort = (): void => {
      timer = setTimeout(() => resolve(null), GRACE_MS);
    };
    const settled = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    };
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(settled);
  });
}
