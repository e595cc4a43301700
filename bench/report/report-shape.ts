import { WIRE_PROTOCOLS } from '../load/load-plan.ts';
import { type ErrorCount, OUTCOMES, type Outcome } from '../load/load-window.ts';
import type {
  BenchPoint,
  BenchReport,
  Estimate,
  LatencySplit,
  LatencySummary,
  MachineFacts,
  ServerFacts,
  ServerUse,
  TextSummary,
  WindowSummary,
} from './bench-report.ts';
import { REPORT_FORMAT } from './bench-report.ts';
import { flag, list, nullable, number, numberOrNaN, object, oneOf, record, type Shape, text } from './json-shape.ts';

const estimate = object<Estimate>({ value: number, low: number, high: number });

const curvePoint: Shape<readonly [number, number]> = (value, source, path) => {
  const [percentile, us] = list(number)(value, source, path);
  return [number(percentile, source, `${path}[0]`), number(us, source, `${path}[1]`)];
};

const latency = object<LatencySummary>({
  count: number,
  mean: number,
  min: number,
  max: number,
  quantiles: record(estimate),
  curve: list(curvePoint),
  hdr: text,
});

const point = object<BenchPoint>({
  name: text,
  load: object<BenchPoint['load']>({
    kind: oneOf(['concurrency', 'rate']),
    value: number,
    schedule: nullable(oneOf(['fixed', 'poisson'])),
  }),
  warnings: list(text),
  isSaturated: flag,
  warmUpMs: number,
  measuredMs: number,
  throughput: estimate,
  goodput: estimate,
  sent: number,
  outcomes: object<Record<Outcome, number>>(
    Object.fromEntries(OUTCOMES.map((outcome) => [outcome, number])) as Record<Outcome, Shape<number>>,
  ),
  unsent: number,
  validated: number,
  errors: list(object<ErrorCount>({ status: text, message: text, count: number })),
  bytesSent: number,
  bytesReceived: number,
  latency: nullable(latency),
  refusal: nullable(latency),
  lag: nullable(latency),
  text: nullable(
    object<TextSummary>({ firstToken: nullable(latency), betweenTokens: nullable(latency), tokensPerSecond: estimate, tokens: number }),
  ),
  split: nullable(
    object<LatencySplit>({
      queue: number,
      computeInput: number,
      computeInfer: number,
      computeOutput: number,
      overhead: number,
      network: number,
      batchSize: number,
    }),
  ),
  serverUse: nullable(
    object<ServerUse>({ cpu: number, cpuUsPerRequest: number, memoryMiB: number, source: oneOf(['process', 'metrics']) }),
  ),
  generator: object<BenchPoint['generator']>({
    busy: number,
    cpu: number,
    sockets: oneOf(['native', 'node', 'autocannon']),
    processes: number,
  }),
  windows: list(
    object<WindowSummary>({
      fromMs: number,
      toMs: number,
      perSecond: number,
      p50: numberOrNaN,
      p99: numberOrNaN,
      errors: number,
      serverCpu: nullable(number),
      serverMemoryMiB: nullable(number),
    }),
  ),
});

/** The whole of bench-report.ts: what passes can be shown and compared without another look. */
export const reportShape: Shape<BenchReport> = object<BenchReport>({
  format: oneOf([REPORT_FORMAT]),
  startedAt: text,
  command: list(text),
  machine: object<MachineFacts>({ cpu: text, cores: number, memoryMiB: number, system: text, node: text, isShared: flag }),
  server: object<ServerFacts>({ url: text, name: text, version: text }),
  model: text,
  modelVersion: text,
  protocol: oneOf(WIRE_PROTOCOLS),
  input: text,
  deadlineMs: number,
  firstTokenMs: number,
  perTokenMs: number,
  points: list(point),
});
