import type { Client, Instance, Options, Result } from 'autocannon';
import { GeneratorMeter } from '../load/generator-meter.ts';
import type { LoadPlan } from '../load/load-plan.ts';
import type { LoadWindow } from '../load/load-window.ts';
import { NodeLoop } from '../load/node-loop.ts';
import { WindowCounters } from '../load/window-counters.ts';
import type { MeasureRules } from '../measure/measure-rules.ts';
import { type MeasuredWindow, summarizePoint } from '../measure/summarize-point.ts';
import type { BenchPoint } from '../report/bench-report.ts';
import type { Target, UseSample } from '../target/target.ts';
import { httpStatusText, outcomeOfHttpStatus } from '../wire/outcome-of-status.ts';
import { loadAutocannon } from './load-autocannon.ts';
import { quickRequests } from './quick-requests.ts';

const WARM_UP_S = 1;
const WINDOW_MS = 1000;
/** How soon after `stop` autocannon ends, ms. */
const SAMPLE_MS = 100;
/** autocannon refuses to wait for less. */
const LEAST_TIMEOUT_MS = 1000;
/** A server that is not there would be asked again and again, without a pause. */
const MAX_ERRORS = 10_000;
const NO_TEXT = 'autocannon does not tell what the answer said: without --quick its text is here';

/**
 * One point, driven by autocannon in this process: `concurrency` connections with a request on each, a second of warm-up, then `seconds` that count. For a first look: nothing waits until the load is stable, nothing
 * looks at answers, and autocannon's own cost is several times that of the load process.
 *
 * autocannon's histogram has whole milliseconds; times come from its `response` events here, which have the fraction. Throws UNIMPLEMENTED when it is not installed, INVALID_ARGUMENT for a plan that is not inference
 * over HTTP.
 */
export async function measureQuick(plan: LoadPlan, concurrency: number, seconds: number, target: Target | null): Promise<BenchPoint> {
  const { requests, meanBytes } = quickRequests(plan, concurrency);
  const autocannon = await loadAutocannon();
  const { host, port, tls } = plan.target;
  const timeoutMs = Math.max(LEAST_TIMEOUT_MS, plan.timeoutMs);
  const options: Options = {
    url: `${tls === null ? 'http' : 'https'}://${host.includes(':') ? `[${host}]` : host}:${port}`,
    connections: concurrency,
    // Longer than it runs: it is stopped when the last window is over.
    duration: WARM_UP_S + seconds + 60,
    sampleInt: SAMPLE_MS,
    timeout: timeoutMs / 1000,
    bailout: MAX_ERRORS,
    requests,
    ...(tls === null
      ? {}
      : { tlsOptions: { ...(tls.ca === '' ? {} : { ca: tls.ca }), ...(tls.cert === '' ? {} : { cert: tls.cert, key: tls.key }) } }),
  };
  const run = new QuickRun(plan.deadlineMs, meanBytes, target);
  let instance: Instance | undefined;
  const ended = new Promise<Result>((resolve, reject) => {
    instance = autocannon(options, (error, result) => (result === undefined ? reject(error as Error) : resolve(result)));
  });
  run.listen(instance!);
  let isWhole: boolean;
  try {
    isWhole = await Promise.race([run.measure(seconds).then(() => true), ended.then(() => false)]);
  } finally {
    run.end();
    instance!.stop();
  }
  const lost = lostRequests(await ended, concurrency);
  const after = (await target?.statistics().catch(() => null)) ?? null;
  const point = summarizePoint({
    options: { pace: { kind: 'closed', concurrency }, rules: rulesOf(seconds), target, onProgress: () => {}, signal: null },
    load: { sockets: 'node', processes: 1 },
    windows: run.windows,
    warmUp: [],
    rest: null,
    warmUpMs: WARM_UP_S * 1000,
    isWarm: true,
    wide: null,
    isCutShort: false,
    useBefore: run.useBefore,
    statisticsBefore: run.statisticsBefore,
    statisticsAfter: after,
  });
  const warnings = [
    ...point.warnings,
    `--quick: one run of ${seconds} s by autocannon, stable or not; answers were not looked at, but for their HTTP status`,
  ];
  if (!isWhole) warnings.push(`ended early: autocannon gave up after ${MAX_ERRORS} lost connections and timeouts`);
  if (timeoutMs > plan.timeoutMs) warnings.push(`requests had ${timeoutMs} ms instead of ${plan.timeoutMs}: autocannon waits no less`);
  if (lost > 0) {
    warnings.push(
      `${lost} requests ended without an answer: the server closes connections, and autocannon says nothing of it; its latencies are wrong then`,
    );
  }
  if (requests.length < plan.requests.length) {
    warnings.push(`only ${requests.length} of the ${plan.requests.length} requests were sent: autocannon copies them for each connection`);
  }
  if (tls?.verify === true) warnings.push("the server's certificate was not verified: autocannon takes any");
  return { ...point, warnings, generator: { ...point.generator, sockets: 'autocannon' } };
}

/** autocannon opens a connection that the server has closed again, and forgets the request that was on it. */
function lostRequests({ requests, errors }: Result, concurrency: number): number {
  return requests.sent - requests.total - errors - concurrency;
}

/** What autocannon's events say, by window. */
class QuickRun {
  readonly windows: MeasuredWindow[] = [];
  useBefore: UseSample | null = null;
  statisticsBefore: Awaited<ReturnType<Target['statistics']>> = null;
  readonly #deadlineMs: number;
  readonly #requestBytes: number;
  readonly #target: Target | null;
  readonly #counters = new WindowCounters();
  readonly #meter = new GeneratorMeter(new NodeLoop('http/1.1'));
  readonly #startMs = performance.now();
  #fromMs = 0;
  #timer: NodeJS.Timeout | null = null;
  #isEnded = false;
  #sampling: Promise<void> = Promise.resolve();

  constructor(deadlineMs: number, requestBytes: number, target: Target | null) {
    this.#deadlineMs = deadlineMs;
    this.#requestBytes = requestBytes;
    this.#target = target;
  }

  listen(instance: Instance): void {
    instance.on('response', (_client: Client, status: number, bytes: number, ms: number) => this.#onResponse(status, bytes, ms));
    instance.on('reqError', (error: Error) => this.#onError(error));
  }

  /** Resolves when `seconds` have been measured, behind the warm-up, and the server has said what it took. */
  async measure(seconds: number): Promise<void> {
    await this.#wait(WARM_UP_S * 1000);
    this.#cut();
    this.#sampling = this.#sample().then(async (use) => {
      this.useBefore = use;
      this.statisticsBefore = (await this.#target?.statistics().catch(() => null)) ?? null;
    });
    const endMs = performance.now() + seconds * 1000;
    for (let leftMs = seconds * 1000; leftMs > 1 && !this.#isEnded; leftMs = endMs - performance.now()) {
      await this.#wait(Math.min(WINDOW_MS, leftMs));
      if (this.#isEnded) return;
      const measured: MeasuredWindow = { window: this.#cut(), use: null };
      this.windows.push(measured);
      this.#sampling = this.#sampling.then(async () => {
        measured.use = await this.#sample();
      });
    }
    await this.#sampling;
  }

  /** Nothing counts any more. A window that has begun counts if there is no other. */
  end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    if (this.windows.length === 0) this.windows.push({ window: this.#cut(), use: null });
  }

  #onResponse(status: number, bytes: number, ms: number): void {
    if (this.#isEnded) return;
    const counters = this.#counters;
    this.#countSent();
    counters.bytesReceived += bytes;
    const outcome = outcomeOfHttpStatus(status);
    if (outcome === 'ok') {
      counters.ok();
      counters.latency.record(ms * 1000);
      if (this.#deadlineMs === 0 || ms <= this.#deadlineMs) counters.good++;
    } else {
      counters.notOk(outcome, httpStatusText(status), NO_TEXT);
      if (outcome === 'refused') counters.refusal.record(ms * 1000);
    }
  }

  #onError(error: Error): void {
    if (this.#isEnded) return;
    this.#countSent();
    if (error.message === 'request timed out') this.#counters.notOk('expired', 'timeout', error.message);
    else this.#counters.notOk('failed', 'connection lost', error.message);
  }

  /** autocannon does not tell of sendings. In a closed loop as many begin as end. */
  #countSent(): void {
    this.#counters.sent++;
    this.#counters.bytesSent += this.#requestBytes;
  }

  #cut(): LoadWindow {
    const toMs = performance.now() - this.#startMs;
    const window = this.#counters.take(this.#fromMs, toMs, this.#meter.take());
    this.#fromMs = toMs;
    return { ...window, bytesSent: Math.round(window.bytesSent) };
  }

  async #sample(): Promise<UseSample | null> {
    return (await this.#target?.use().catch(() => null)) ?? null;
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#timer = setTimeout(resolve, ms);
    });
  }
}

/** None of these is looked at: the run has an end of its own. */
function rulesOf(seconds: number): MeasureRules {
  return {
    windowMs: WINDOW_MS,
    stableWindows: 1,
    stableWithin: 1,
    maxWarmUpMs: WARM_UP_S * 1000,
    minWindows: 1,
    precision: 1,
    quantile: '99',
    maxMs: seconds * 1000,
  };
}
