import { INFERENCE_TIMEOUT_MS } from '../../proto/headers.ts';
import { makeRequests } from '../input/make-inputs.ts';
import { makePrompts } from '../input/make-prompts.ts';
import type { LoadPlan, PlannedRequest } from '../load/load-plan.ts';
import type { Target, TargetModel } from '../target/target.ts';
import type { BenchSettings } from './bench-settings.ts';

/** Sockets of a protocol that carries many requests on each. */
const SHARED_CONNECTIONS = 4;
/** More sockets than this one process does not need: requests wait for one, and it counts. */
const MAX_CONNECTIONS = 1024;

/** The load as the load process gets it, and its requests in words. Throws InferenceError for what the model does not take. */
export async function makeLoadPlan(
  settings: BenchSettings,
  target: Target,
  model: TargetModel | null,
): Promise<{ plan: LoadPlan; words: string }> {
  const { protocol, deadlineMs, text } = settings;
  const { requests, words } = await requestsOf(settings, model);
  const isMultiplexed = protocol.startsWith('grpc') || protocol.startsWith('websocket');
  const wanted = Math.max(...settings.paces.map((pace) => (pace.kind === 'closed' ? pace.concurrency : pace.maxInFlight)));
  const plan: LoadPlan = {
    protocol,
    target: { ...target.load, headers: headersOf(settings, target) },
    requests,
    connections: settings.connections ?? Math.min(wanted, isMultiplexed ? SHARED_CONNECTIONS : MAX_CONNECTIONS),
    timeoutMs: settings.timeoutMs,
    deadlineMs,
    sendsDeadline: deadlineMs > 0,
    sequence: settings.sequence,
    validation: {
      every: settings.validateEvery,
      outputs: model === null || settings.input.outputs.length > 0 ? [] : model.outputs.map(({ name, datatype }) => ({ name, datatype })),
      isDeterministic: settings.isDeterministic,
    },
    firstTokenMs: text.firstTokenMs,
    perTokenMs: text.perTokenMs,
    seed: settings.seed,
    sockets: settings.sockets,
  };
  return { plan, words };
}

/** Nereid's header for how long a caller waits; another server does not read it. gRPC and WebSocket say it with each request. */
function headersOf({ protocol, deadlineMs }: BenchSettings, target: Target): Readonly<Record<string, string>> {
  if (deadlineMs === 0 || protocol.startsWith('grpc') || protocol.startsWith('websocket')) return target.load.headers;
  return { [INFERENCE_TIMEOUT_MS.toLowerCase()]: String(deadlineMs), ...target.load.headers };
}

async function requestsOf(
  settings: BenchSettings,
  model: TargetModel | null,
): Promise<{ requests: readonly PlannedRequest[]; words: string }> {
  const { protocol, input, text, seed } = settings;
  if (protocol === 'openai' || protocol === 'generate' || protocol === 'generate-stream') {
    const { model: name, modelVersion } = settings;
    return makePrompts({ ...text, protocol, model: name, modelVersion, distinct: input.distinct, parameters: input.parameters, seed });
  }
  // gRPC has a deadline of its own; the others carry it as Triton's request parameter, in microseconds.
  const isTold = settings.deadlineMs > 0 && !protocol.startsWith('grpc');
  const parameters = {
    ...(isTold ? { timeout: Math.round(settings.deadlineMs * 1000) } : {}),
    // Without it nobody can tell the last response of such a model.
    ...(model!.isDecoupled && protocol === 'grpc-stream' ? { triton_enable_empty_final_response: true } : {}),
    ...input.parameters,
  };
  return makeRequests({ ...input, parameters, model: model!, protocol, seed });
}
