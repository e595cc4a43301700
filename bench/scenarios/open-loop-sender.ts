/**
 * An open-loop sender, to be started as a process of its own: it sends unary gRPC inferences when their time has come, whatever became of those before, and counts each from the time at which it was meant to be
 * sent. Takes a `SenderPlan` as JSON in its only argument and prints a `SenderReport` as JSON.
 */

import { type ClientHttp2Session, connect } from 'node:http2';
import { pathToFileURL } from 'node:url';
import protobuf from 'protobufjs';
import { descriptor } from '../../proto/gen/descriptor.ts';
import { SeededRandom } from '../statistics/seeded-random.ts';
import { frame } from './grpc-lane.ts';
import { quantile } from './http-client.ts';

export interface SenderPlan {
  readonly port: number;
  /** ServerLive: a call that does nothing, which shows what the machine and the gRPC server take for themselves. */
  readonly method: 'ModelInfer' | 'ServerLive';
  readonly model: string;
  /** Values in the one row of INPUT0, FP32. */
  readonly rowLength: number;
  readonly perSecond: number;
  /** Evenly apart, or at random. */
  readonly schedule: 'fixed' | 'poisson';
  readonly seed: number;
  readonly warmUpMs: number;
  readonly measuredMs: number;
  /** 0: none. */
  readonly deadlineMs: number;
  /** 0: none. */
  readonly priority: number;
}

/** Of the requests meant to be sent while it measured. */
export interface SenderReport {
  readonly sent: number;
  /** Answered, and in time. */
  readonly good: number;
  /** Answered too late. */
  readonly late: number;
  /** UNAVAILABLE. */
  readonly refused: number;
  /** DEADLINE_EXCEEDED, or the client gave up. */
  readonly expired: number;
  /** Any other status; the first one is in `failure`. */
  readonly failed: number;
  readonly failure: string;
  /** Answers in a second, of those in time. */
  readonly goodput: number;
  /** From the time it was meant to be sent to the answer, of those answered. */
  readonly latencyMs: Quantiles;
  /** The same, from the sending. */
  readonly answerMs: Quantiles;
  /** From the sending to the refusal. */
  readonly refusalMs: Quantiles;
  /** By how much the sender was late itself. */
  readonly lagMs: Quantiles;
}

/** Null: of nothing. */
export interface Quantiles {
  readonly p50: number | null;
  readonly p99: number | null;
}

const CONNECTIONS = 4;
const SERVICE = '/inference.GRPCInferenceService';
const UNAVAILABLE = '14';
const DEADLINE_EXCEEDED = '4';

async function main(plan: SenderPlan): Promise<SenderReport> {
  const sessions = await Promise.all(Array.from({ length: CONNECTIONS }, () => open(plan.port)));
  const sender = new Sender(plan, sessions);
  const report = await sender.run();
  for (const session of sessions) session.destroy();
  return report;
}

class Sender {
  readonly #plan: SenderPlan;
  readonly #sessions: readonly ClientHttp2Session[];
  readonly #path: string;
  readonly #message: Buffer;
  readonly #random: SeededRandom;
  readonly #latencies: number[] = [];
  readonly #answers: number[] = [];
  readonly #refusals: number[] = [];
  readonly #lags: number[] = [];
  #sent = 0;
  #good = 0;
  #late = 0;
  #expired = 0;
  #failed = 0;
  #failure = '';
  #open = 0;
  #next = 0;

  constructor(plan: SenderPlan, sessions: readonly ClientHttp2Session[]) {
    this.#plan = plan;
    this.#sessions = sessions;
    this.#path = `${SERVICE}/${plan.method}`;
    this.#message = frame(plan.method === 'ModelInfer' ? inferMessage(plan) : new Uint8Array());
    this.#random = new SeededRandom(plan.seed);
  }

  run(): Promise<SenderReport> {
    const { perSecond, schedule, warmUpMs, measuredMs } = this.#plan;
    const startMs = performance.now() + 20;
    const measuredFromMs = startMs + warmUpMs;
    const untilMs = measuredFromMs + measuredMs;
    let intendedMs = startMs;
    return new Promise((resolve) => {
      const tick = (): void => {
        const nowMs = performance.now();
        while (intendedMs <= nowMs && intendedMs < untilMs) {
          this.#send(intendedMs, intendedMs >= measuredFromMs);
          const share = schedule === 'fixed' ? 1 : -Math.log(1 - this.#random.next());
          intendedMs += (share * 1000) / perSecond;
        }
        if (intendedMs < untilMs || this.#open > 0) setTimeout(tick, 1);
        else resolve(this.#report());
      };
      tick();
    });
  }

  #send(intendedMs: number, isMeasured: boolean): void {
    const { deadlineMs } = this.#plan;
    const session = this.#sessions[this.#next++ % this.#sessions.length]!;
    const sentMs = performance.now();
    const headers: Record<string, string> = { ':method': 'POST', ':path': this.#path, te: 'trailers', 'content-type': 'application/grpc' };
    if (deadlineMs > 0) headers['grpc-timeout'] = `${Math.max(1, Math.round((intendedMs + deadlineMs - sentMs) * 1000))}u`;
    const stream = session.request(headers);
    let status = '';
    let detail = '';
    const note = (got: Record<string, unknown>): void => {
      if (got['grpc-status'] === undefined) return;
      status = String(got['grpc-status']);
      detail = String(got['grpc-message'] ?? '');
    };
    stream.on('response', note);
    stream.on('trailers', note);
    stream.on('error', (error: Error) => {
      detail = error.message;
    });
    stream.resume();
    this.#open++;
    stream.once('close', () => {
      this.#open--;
      if (isMeasured) this.#count(status, detail, intendedMs, sentMs);
    });
    stream.end(this.#message);
  }

  #count(status: string, detail: string, intendedMs: number, sentMs: number): void {
    const nowMs = performance.now();
    const { deadlineMs } = this.#plan;
    this.#sent++;
    this.#lags.push(sentMs - intendedMs);
    if (status === '0') {
      this.#latencies.push(nowMs - intendedMs);
      this.#answers.push(nowMs - sentMs);
      if (deadlineMs === 0 || nowMs - intendedMs <= deadlineMs) this.#good++;
      else this.#late++;
    } else if (status === UNAVAILABLE) this.#refusals.push(nowMs - sentMs);
    else if (status === DEADLINE_EXCEEDED) this.#expired++;
    else {
      this.#failed++;
      this.#failure ||= `${status}: ${detail}`;
    }
  }

  #report(): SenderReport {
    return {
      sent: this.#sent,
      good: this.#good,
      late: this.#late,
      refused: this.#refusals.length,
      expired: this.#expired,
      failed: this.#failed,
      failure: this.#failure,
      goodput: this.#good / (this.#plan.measuredMs / 1000),
      latencyMs: quantiles(this.#latencies),
      answerMs: quantiles(this.#answers),
      refusalMs: quantiles(this.#refusals),
      lagMs: quantiles(this.#lags),
    };
  }
}

/** A ModelInferRequest of one row of zeros. */
export function inferMessage({ model, rowLength, priority }: Pick<SenderPlan, 'model' | 'rowLength' | 'priority'>): Uint8Array {
  const type = protobuf.Root.fromJSON(descriptor).lookupType('inference.ModelInferRequest');
  const message = type.fromObject({
    modelName: model,
    inputs: [{ name: 'INPUT0', datatype: 'FP32', shape: [1, rowLength] }],
    parameters: priority === 0 ? {} : { priority: { uint64Param: priority } },
    rawInputContents: [new Uint8Array(rowLength * 4)],
  });
  return type.encode(message).finish();
}

function quantiles(values: readonly number[]): Quantiles {
  return values.length === 0 ? { p50: null, p99: null } : { p50: quantile(values, 0.5), p99: quantile(values, 0.99) };
}

async function open(port: number): Promise<ClientHttp2Session> {
  const session = connect(`http://127.0.0.1:${port}`);
  await new Promise<void>((resolve, reject) => {
    session.once('remoteSettings', () => resolve());
    session.once('error', reject);
  });
  return session;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  process.stdout.write(JSON.stringify(await main(JSON.parse(process.argv[2]!) as SenderPlan)));
}
