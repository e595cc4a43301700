/** Short forms for what most scenarios are made of. */

import type { PlannedRequest, WireProtocol } from '../../load/load-plan.ts';
import type { EmptyStack, LoadContender, LoopContender, NereidSpec, Ratio } from '../scenario.ts';

/** Models in processes of their own: as the server comes. */
export const HOSTED: NereidSpec = { kind: 'nereid', flags: [] };
/** Models on the loop that reads sockets. */
export const INLINE: NereidSpec = { kind: 'nereid', flags: ['--execution-host=inline'] };
export const INLINE_NODE: NereidSpec = { kind: 'nereid', flags: ['--execution-host=inline', '--http-engine=node'] };

/** Requests in flight on one connection of gRPC or WebSocket. */
const IN_FLIGHT_EACH = 8;

export interface Load {
  readonly protocol: WireProtocol;
  readonly requests: readonly PlannedRequest[];
  /** Requests in flight. */
  readonly concurrency: number;
  /** Left out: one for each request in flight over HTTP, for each eight over anything else. */
  readonly connections?: number;
}

/** A closed loop against Nereid. */
export function nereid(name: string, server: NereidSpec, load: Load): LoadContender {
  const { protocol, requests, concurrency } = load;
  const connections = load.connections ?? Math.ceil(concurrency / (protocol.startsWith('http') ? 1 : IN_FLIGHT_EACH));
  return { kind: 'load', name, server, protocol, requests, connections, pace: { kind: 'closed', concurrency }, sequence: null };
}

/** The same load against a server that does nothing, which answers as `like` does. */
export function empty(name: string, stack: EmptyStack, like: NereidSpec, load: Load): LoadContender {
  return { ...nereid(name, like, load), server: { kind: 'empty', stack, like } };
}

export function rawRun(name: string, model: string, requests: readonly PlannedRequest[], batch: number | 'best' = 1): LoopContender {
  return { kind: 'loop', name, loop: { kind: 'onnxruntime', model, through: 'c-api', batch, requests } };
}

export function bindingRun(name: string, model: string, requests: readonly PlannedRequest[]): LoopContender {
  return { kind: 'loop', name, loop: { kind: 'onnxruntime', model, through: 'binding', batch: 1, requests } };
}

export function echo(name: string, sentBytes: number, answeredBytes: number): LoopContender {
  return { kind: 'loop', name, loop: { kind: 'echo', sentBytes, answeredBytes } };
}

type Sides = Pick<Ratio, 'of'> & { readonly to: string | readonly string[]; readonly inGate?: boolean };

/** More is better. `goal` null: there is none. */
export function throughput(what: string, { of, to, inGate = false }: Sides, goal: number | null): Ratio {
  return { what, figure: 'perSecond', of, to: [to].flat(), goal, isFloor: true, inGate };
}

/** Median latency: less is better. */
export function latency(what: string, { of, to, inGate = false }: Sides, goal: number | null): Ratio {
  return { what, figure: 'p50Us', of, to: [to].flat(), goal, isFloor: false, inGate };
}

/** Processor time of a request: less is better. It moves less than anything else when others use the machine. */
export function processorTime(what: string, { of, to, inGate = false }: Sides): Ratio {
  return { what: `${what}, processor time`, figure: 'cpuUsPerRequest', of, to: [to].flat(), goal: null, isFloor: false, inGate };
}
