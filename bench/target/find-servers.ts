import type { LoadTarget } from '../load/load-plan.ts';
import { GrpcControlCalls } from './grpc-control-calls.ts';
import { HttpControlCalls } from './http-control-calls.ts';

export interface FoundServer {
  readonly protocol: 'http' | 'grpc';
  readonly port: number;
  /** 'nereid 1.0.0'. */
  readonly name: string;
}

/** Where Nereid and Triton listen, MLServer, and OpenVINO Model Server (whose gRPC port is as one likes; its examples have 9000). */
export const USUAL_PORTS: { readonly http: readonly number[]; readonly grpc: readonly number[] } = {
  http: [8000, 8080],
  grpc: [8001, 8081, 9000],
};
/** On this machine an answer is there at once, or never. */
const PROBE_TIMEOUT_MS = 500;

/** The V2 server behind `port` of the target's host, by either protocol; null: none. */
export async function findServer(target: LoadTarget, port: number, protocol: 'http' | 'grpc'): Promise<FoundServer | null> {
  const there = { ...target, port };
  const calls = protocol === 'http' ? new HttpControlCalls(there, PROBE_TIMEOUT_MS) : new GrpcControlCalls(there, PROBE_TIMEOUT_MS);
  try {
    const { name, version } = await calls.serverMetadata();
    return { protocol, port, name: `${name} ${version}`.trim() || 'a V2 server' };
  } catch {
    return null;
  }
}

/** All that answer on `ports` of the host. What the caller's headers hold is not for them. */
export async function findServers({ host, port: own }: LoadTarget, ports: typeof USUAL_PORTS): Promise<readonly FoundServer[]> {
  const target: LoadTarget = { host, port: own, basePath: '', tls: null, headers: {} };
  const probes = (['http', 'grpc'] as const).flatMap((protocol) => ports[protocol].map((port) => findServer(target, port, protocol)));
  return (await Promise.all(probes)).filter((found) => found !== null);
}
