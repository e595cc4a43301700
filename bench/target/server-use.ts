import { invalidArgument } from '../../proto/inference-error.ts';
import type { LoadTarget } from '../load/load-plan.ts';
import { findMetrics, parseMetricsUrl, readMetrics } from './server-metrics.ts';
import { isProcess, listeningPids, ProcessUse } from './server-process.ts';
import type { UseSample } from './target.ts';

export interface ServerUseOptions {
  readonly serverPid: number | null;
  readonly metricsUrl: string | null;
  readonly timeoutMs: number;
}

/**
 * What says how much processor time and memory the server takes: the process given, else the metrics given, else the process of this machine that listens on the port, else the metrics at
 * Triton's port. `addresses`: those of the server that are this machine's. Throws for a process or metrics that were given and are not there.
 */
export async function openServerUse(
  load: LoadTarget,
  addresses: readonly string[],
  { serverPid, metricsUrl, timeoutMs }: ServerUseOptions,
): Promise<() => Promise<UseSample | null>> {
  if (serverPid !== null) {
    if (!isProcess(serverPid)) throw invalidArgument(`server-pid: expected a process of this machine, got ${serverPid}, which is none`);
    const use = new ProcessUse([serverPid]);
    return () => Promise.resolve(use.read());
  }
  if (metricsUrl !== null) {
    const page = parseMetricsUrl(metricsUrl, load);
    if ((await readMetrics(page, timeoutMs)) === null) {
      throw invalidArgument(`metrics-url: expected a page with process_cpu_seconds_total, got one without it: '${metricsUrl}'`);
    }
    return () => readMetrics(page, timeoutMs);
  }
  const pids = addresses.length === 0 ? [] : listeningPids(load.port, addresses);
  if (pids.length > 0) return useOfListener(pids, load.port, addresses);
  const page = await findMetrics(load, timeoutMs);
  return page === null ? () => Promise.resolve(null) : () => readMetrics(page, timeoutMs);
}

/** Looks for the process again when it has ended: a server that was started again is another one. */
function useOfListener(pids: readonly number[], port: number, addresses: readonly string[]): () => Promise<UseSample | null> {
  let use = new ProcessUse(pids);
  return () => {
    const sample = use.read();
    if (sample !== null) return Promise.resolve(sample);
    use = new ProcessUse(listeningPids(port, addresses));
    return Promise.resolve(use.read());
  };
}
