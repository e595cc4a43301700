import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { runClosedLoop } from './closed-loop.ts';
import { GrpcConnection } from './grpc-lane.ts';
import { inferMessage, type Quantiles, type SenderPlan, type SenderReport } from './open-loop-sender.ts';

/** Two full batches of eight run or wait in the host, and another waits for them. */
const LANES = 32;
const CAPACITY_MS = 3000;
const run = promisify(execFile);
const script = fileURLToPath(new URL('./open-loop-sender.js', import.meta.url));

/** Sends by the plan, from a process of its own: a sender must not be late because something else is busy. */
export async function runSender(plan: SenderPlan): Promise<SenderReport> {
  const { stdout } = await run(process.execPath, [script, JSON.stringify(plan)], { maxBuffer: 2 ** 20 });
  const report = JSON.parse(stdout) as SenderReport;
  if (report.failed > 0) throw new Error(`${report.failed} of ${report.sent} requests failed: ${report.failure}`);
  return report;
}

/** What a closed loop of `LANES` gets through in a second, which keeps a model's batches full. */
export async function measureCapacity(plan: Pick<SenderPlan, 'port' | 'model' | 'rowLength' | 'priority'>): Promise<number> {
  const connection = await GrpcConnection.open(plan.port);
  const message = inferMessage(plan);
  const lanes = Array.from({ length: LANES }, () => connection.unaryLane('/inference.GRPCInferenceService/ModelInfer', message));
  const { answered, seconds } = await runClosedLoop(lanes, CAPACITY_MS);
  connection.close();
  return answered / seconds;
}

/** `p50 1.2 p99 3.4 ms`. */
export function shownQuantiles({ p50, p99 }: Quantiles): string {
  return p50 === null || p99 === null ? 'none' : `p50 ${p50.toFixed(1)} p99 ${p99.toFixed(1)} ms`;
}
