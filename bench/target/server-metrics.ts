import { InferenceError, invalidArgument } from '../../proto/inference-error.ts';
import type { LoadTarget } from '../load/load-plan.ts';
import { callHttp } from './call-http.ts';
import type { UseSample } from './target.ts';

/** Of the Prometheus client libraries, so in Nereid's, MLServer's and vLLM's page alike. They are of the one process that has the page. */
const CPU_SECONDS = 'process_cpu_seconds_total';
const RESIDENT_BYTES = 'process_resident_memory_bytes';
/** Triton's ports of HTTP and gRPC, and its page's beside them. Of a server elsewhere the page at 8002 may be another server's. */
const USUAL_PORTS = [8000, 8001];
const METRICS_PORT = 8002;
const MAX_PROBE_MS = 1000;

/** A page of metrics in Prometheus' text format. */
export interface MetricsPage {
  readonly target: LoadTarget;
  readonly path: string;
}

/** Throws INVALID_ARGUMENT for what is no URL. */
export function parseMetricsUrl(url: string, load: LoadTarget): MetricsPage {
  let parsed: URL;
  try {
    parsed = new URL(/^https?:\/\//i.test(url) ? url : `http://${url}`);
  } catch {
    throw invalidArgument(`metrics-url: expected a URL such as http://${load.host}:${METRICS_PORT}/metrics, got '${url}'`);
  }
  const isSecure = parsed.protocol === 'https:';
  const tls = isSecure ? (load.tls ?? { ca: '', cert: '', key: '', verify: true }) : null;
  const port = parsed.port === '' ? (isSecure ? 443 : 80) : Number(parsed.port);
  const host = parsed.hostname.replace(/^\[(.*)\]$/, '$1');
  // A credential is for the host that it was given for.
  const target = { host, port, basePath: '', tls, headers: host === load.host ? load.headers : {} };
  return { target, path: parsed.pathname === '/' ? '/metrics' : parsed.pathname + parsed.search };
}

/** The page at Triton's port, of a server that is at Triton's ports, if it answers and tells what a process takes. */
export async function findMetrics(load: LoadTarget, timeoutMs: number): Promise<MetricsPage | null> {
  if (!USUAL_PORTS.includes(load.port)) return null;
  const page = { target: { ...load, port: METRICS_PORT, basePath: '', tls: null, headers: {} }, path: '/metrics' };
  const use = await readMetrics(page, Math.min(timeoutMs, MAX_PROBE_MS)).catch(() => null);
  return use === null ? null : page;
}

/**
 * null: the page has nothing of the kind. `nv_cpu_utilization` and `nv_cpu_memory_used_bytes`, which Triton has in its place, are of the whole machine, all that runs on it included: not a
 * server's use. Throws an InferenceError when the page does not come.
 */
export async function readMetrics({ target, path }: MetricsPage, timeoutMs: number): Promise<UseSample | null> {
  const { status, text } = await callHttp(target, 'GET', path, null, timeoutMs);
  if (status !== 200) throw new InferenceError('UNAVAILABLE', `metrics-url: ${target.host}:${target.port}${path} answered HTTP ${status}`);
  const cpuSeconds = metricValue(text, CPU_SECONDS);
  if (cpuSeconds === null) return null;
  return { cpuSeconds, memoryMiB: (metricValue(text, RESIDENT_BYTES) ?? 0) / 2 ** 20, source: 'metrics' };
}

/** The sum of a metric's series; null: there is none. Source: Prometheus text exposition format 0.0.4. */
export function metricValue(page: string, name: string): number | null {
  let sum: number | null = null;
  for (const line of page.split('\n')) {
    if (!line.startsWith(name)) continue;
    // Labels may hold any text, braces in quotes too.
    const value = /^(?:\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})?[ \t]+(\S+)/.exec(line.slice(name.length))?.[1];
    const number = value === undefined ? Number.NaN : Number(value);
    if (Number.isFinite(number)) sum = (sum ?? 0) + number;
  }
  return sum;
}
