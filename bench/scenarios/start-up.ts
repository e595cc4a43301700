import { estimateMedian } from '../statistics/estimate.ts';
import { makeBenchRepository } from './bench-repository.ts';
import { residentMiB, serveModels } from './child.ts';
import type { OwnTable } from './own-table.ts';

const START_GOAL_MS = 1000;
const MEMORY_GOAL_MIB = 120;

/** A server with one small model: how long it takes to be ready, and what it has taken by then. */
export const startUp: OwnTable = {
  name: 'start-up',
  title: 'Start, and memory before the first request',
  about: 'From the start of the process until it is ready, with one tiny model, and the memory of the gateway, without its hosts.',
  run: async ({ rounds, onProgress }) => {
    const repository = makeBenchRepository(['tiny']);
    const readyMs: number[] = [];
    const gatewayMiB: number[] = [];
    try {
      for (let round = 0; round < rounds; round++) {
        onProgress(`start ${round + 1}/${rounds}`);
        const server = await serveModels(repository.path);
        readyMs.push(server.startMs);
        gatewayMiB.push(residentMiB(server.pid));
        await server.stop();
      }
    } finally {
      repository.remove();
    }
    const line = (what: string, values: readonly number[], goal: number): string => {
      const { value, low, high } = estimateMedian(values);
      const interval = `${low.toFixed(0)} and ${high.toFixed(0)}`;
      const verdict = `<= ${goal}  ${value <= goal ? 'met' : 'NOT MET'}`;
      return `${what.padEnd(36)}${value.toFixed(0).padStart(8)}  ${interval.padStart(16)}  ${verdict}`;
    };
    return [
      `${rounds} starts`,
      '',
      `${''.padEnd(36)}  median      95 % between  goal`,
      line('ready, ms', readyMs, START_GOAL_MS),
      line('memory of the gateway, MiB', gatewayMiB, MEMORY_GOAL_MIB),
    ];
  },
};
