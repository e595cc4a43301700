import type { CreateLaneFactory, LaneFactory } from './lane.ts';
import type { LoadPlan, WireProtocol } from './load-plan.ts';

/** Who speaks a protocol. Loaded when it is needed: a load process speaks one. */
const PROTOCOLS: Readonly<Record<WireProtocol, () => Promise<CreateLaneFactory>>> = {
  'http-json': http,
  'http-binary': http,
  grpc,
  'grpc-stream': grpc,
  'websocket-json': webSocket,
  'websocket-binary': webSocket,
  generate: text,
  'generate-stream': text,
  openai: text,
};

async function http(): Promise<CreateLaneFactory> {
  return (await import('../wire/http/http-lane.ts')).createHttpLanes;
}

async function text(): Promise<CreateLaneFactory> {
  return (await import('../wire/text/text-lane.ts')).createTextLanes;
}

async function grpc(): Promise<CreateLaneFactory> {
  return (await import('../wire/grpc/grpc-lane.ts')).createGrpcLanes;
}

async function webSocket(): Promise<CreateLaneFactory> {
  return (await import('../wire/websocket/websocket-lane.ts')).createWebSocketLanes;
}

/** Throws an InferenceError on a plan whose requests the protocol cannot carry. */
export async function createLaneFactory(plan: LoadPlan): Promise<LaneFactory> {
  return (await PROTOCOLS[plan.protocol]())(plan);
}
