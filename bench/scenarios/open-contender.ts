import type { LoadProcess } from '../load/load-client.ts';
import type { LoadPlan, Pace, PlannedRequest } from '../load/load-plan.ts';
import { type LoadWindow, OUTCOMES } from '../load/load-window.ts';
import { startLoadProcess } from '../load/start-load-process.ts';
import { MergedHistogram } from '../statistics/merged-histogram.ts';
import type { BenchRepository } from './bench-repository.ts';
import type { EchoOptions } from './blocking-echo.ts';
import { cpuSeconds } from './child.ts';
import { LoopProcess } from './loop-process.ts';
import { machineTime, sharesBetween, type TimeShares } from './machine-watch.ts';
import { LOAD_CORE, pinProcess, SERVER_CORE } from './pinning.ts';
import type { RawOnnxRuntimeOptions } from './raw-onnxruntime.ts';
import type { Contender, LoadContender, LoopContender, Slice } from './scenario.ts';
import type { RunningServer, ServerFleet } from './server-fleet.ts';

/** A contender whose processes run. */
export interface OpenContender {
  readonly name: string;
  /** What is to be known of it beside its name: 'batch 32'. */
  readonly note: string;
  /** Repeats its work for `warmUpMs`, and then measures it for `measuredMs`. */
  slice(warmUpMs: number, measuredMs: number): Promise<Slice>;
  close(): Promise<void>;
}

/** One answer in so many is decoded and looked at. */
const VALIDATED_EVERY = 100;
const TIMEOUT_MS = 30_000;
/** Windows of a slice. */
const WINDOWS = 4;

export function openContender(
  contender: Contender,
  fleet: ServerFleet,
  repository: BenchRepository,
  isPinned: boolean,
): Promise<OpenContender> {
  return contender.kind === 'load' ? openLoad(contender, fleet, isPinned) : openLoop(contender, repository, isPinned);
}

export async function openLoad(contender: LoadContender, fleet: ServerFleet, isPinned: boolean): Promise<OpenContender> {
  const { name, server: spec, protocol, pace } = contender;
  const server = spec.kind === 'empty' ? await fleet.getEmpty(spec, name, protocol) : await fleet.get(spec);
  const load = await startLoadProcess(planOf(contender, server));
  pinProcess(load.pid, isPinned ? LOAD_CORE : null);
  return {
    name,
    note: load.sockets === 'native' ? '' : `sockets of ${load.sockets}`,
    slice: async (warmUpMs, measuredMs) => sliceOf(await measureLoad(load, server.process.pid, pace, warmUpMs, measuredMs)),
    close: () => load.close(),
  };
}

/** What a stretch of load was, and what its server took meanwhile. */
export interface MeasuredLoad {
  readonly windows: readonly LoadWindow[];
  readonly cpuSeconds: number;
  readonly shares: TimeShares;
}

/** One slice of load. Rejects when an answer was wrong, or missing: nothing must win by failing fast. */
export async function measureLoad(
  load: LoadProcess,
  serverPid: number,
  pace: Pace,
  warmUpMs: number,
  measuredMs: number,
): Promise<MeasuredLoad> {
  const windowMs = Math.max(1, Math.round(measuredMs / WINDOWS));
  const warmWindows = Math.max(1, Math.ceil(warmUpMs / windowMs));
  const windows: LoadWindow[] = [];
  let cpuBefore = 0;
  let cpuAfter = 0;
  let timeBefore = machineTime();
  let seen = 0;
  let shares: TimeShares = { steal: 0, others: 0 };
  await new Promise<void>((resolve, reject) => {
    const late = setTimeout(() => reject(new Error('the load process says nothing')), warmWindows * windowMs + measuredMs + TIMEOUT_MS);
    const onWindow = (window: LoadWindow): void => {
      refuseFailures(window);
      seen++;
      if (seen === warmWindows) {
        cpuBefore = cpuSeconds(serverPid);
        timeBefore = machineTime();
      } else if (seen > warmWindows && windows.length < WINDOWS) {
        windows.push(window);
        if (windows.length < WINDOWS) return;
        cpuAfter = cpuSeconds(serverPid);
        shares = sharesBetween(timeBefore, machineTime());
        clearTimeout(late);
        resolve();
      }
    };
    const guarded = (window: LoadWindow): void => {
      try {
        onWindow(window);
      } catch (error) {
        clearTimeout(late);
        reject(error as Error);
      }
    };
    load.start(pace, windowMs, guarded).catch((error: unknown) => {
      clearTimeout(late);
      reject(error as Error);
    });
  }).catch(async (error: unknown) => {
    // What went wrong first is what is told.
    await load.stop().catch(() => {});
    throw error;
  });
  refuseFailures(await load.stop());
  return { windows, cpuSeconds: cpuAfter - cpuBefore, shares };
}

export function sliceOf({ windows, cpuSeconds: cpu, shares }: MeasuredLoad): Slice {
  const answered = windows.reduce((sum, window) => sum + window.outcomes.ok, 0);
  const ms = windows.reduce((sum, window) => sum + window.toMs - window.fromMs, 0);
  const latency = new MergedHistogram(windows.map((window) => window.latency));
  return {
    perSecond: (answered * 1000) / ms,
    p50Us: latency.quantile(50),
    p99Us: latency.quantile(99),
    cpuUsPerRequest: (cpu * 1e6) / answered,
    generatorBusy: windows.reduce((sum, window) => sum + window.generator.busy, 0) / windows.length,
    shares,
  };
}

/** Throws when a window has answers that are not as they must be. */
export function refuseFailures(window: LoadWindow): void {
  const bad = OUTCOMES.filter((outcome) => outcome !== 'ok' && window.outcomes[outcome] > 0);
  if (bad.length === 0) return;
  const errors = window.errors.map(({ status, message, count }) => `${count} x ${status}: ${message}`);
  throw new Error(
    `not all requests were answered as they must be: ${bad.map((one) => `${window.outcomes[one]} ${one}`).join(', ')}; ${errors.join('; ')}`,
  );
}

export function planOf({ protocol, requests, connections, sequence, server: spec }: LoadContender, server: RunningServer): LoadPlan {
  const withoutExpected = (request: PlannedRequest): PlannedRequest => ({ ...request, expected: null });
  return {
    protocol,
    target: { host: '127.0.0.1', port: server.portOf(protocol), basePath: '', tls: null, headers: {} },
    // A control gives the first request's answer to all.
    requests: spec.kind === 'empty' ? requests.map(withoutExpected) : requests,
    connections,
    timeoutMs: TIMEOUT_MS,
    deadlineMs: 0,
    sendsDeadline: false,
    sequence,
    // What a step of a sequence answers depends on those before it.
    validation: { every: VALIDATED_EVERY, outputs: [], isDeterministic: sequence === null },
    firstTokenMs: 0,
    perTokenMs: 0,
    seed: 1,
    sockets: 'auto',
  };
}

async function openLoop({ name, loop }: LoopContender, repository: BenchRepository, isPinned: boolean): Promise<OpenContender> {
  const process = await startLoop(loop, repository, isPinned);
  return {
    name,
    note: process.note,
    slice: async (warmUpMs, measuredMs) => {
      await process.run(warmUpMs);
      const timeBefore = machineTime();
      const cpuBefore = cpuSeconds(process.pid);
      const { itemsPerSecond, items, p50Us, p99Us } = await process.run(measuredMs);
      const cpuUsPerRequest = ((cpuSeconds(process.pid) - cpuBefore) * 1e6) / items;
      return {
        perSecond: itemsPerSecond,
        p50Us,
        p99Us,
        cpuUsPerRequest,
        generatorBusy: 0,
        shares: sharesBetween(timeBefore, machineTime()),
      };
    },
    close: () => process.close(),
  };
}

function startLoop(loop: LoopContender['loop'], repository: BenchRepository, isPinned: boolean): Promise<LoopProcess> {
  if (loop.kind === 'echo') {
    const { sentBytes, answeredBytes } = loop;
    const options: EchoOptions = { sentBytes, answeredBytes, isPinned };
    // It stands where a generator stands, and what answers it where a server stands.
    return LoopProcess.start('blocking-echo.js', options, isPinned ? LOAD_CORE : null);
  }
  const options: RawOnnxRuntimeOptions = {
    modelFile: repository.modelFile(loop.model),
    through: loop.through,
    batch: loop.batch,
    requests: loop.requests.map(({ infer }) => infer?.inputs ?? []),
  };
  return LoopProcess.start('raw-onnxruntime.js', options, isPinned ? SERVER_CORE : null);
}
