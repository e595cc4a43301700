/** `dist/`, where the scripts lie that benchmarks start as processes; also for tests, which run from the sources. */
export const builtRoot: URL = import.meta.url.includes('/dist/bench/')
  ? new URL('../../', import.meta.url)
  : new URL('../../dist/', import.meta.url);
