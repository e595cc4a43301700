import type { CreateLaneFactory, Lane, LaneFactory, LaneSink } from '../../load/lane.ts';
import type { LoadPlan } from '../../load/load-plan.ts';
import type { SocketLoop } from '../../load/socket-loop.ts';
import { encodePlan } from './lane-plan.ts';
import { StreamLane } from './stream-lane.ts';
import { UnaryLane } from './unary-lane.ts';

/** For connection and SETTINGS, where the plan has more patience. */
const MAX_OPEN_MS = 10_000;

/**
 * Lanes for 'grpc' (ModelInfer, a stream for each request) and 'grpc-stream' (ModelStreamInfer, one stream for all requests of a lane), over an HTTP/2 client of its own: Node's takes some 30 us of processor time for each call,
 * this one about as much as h2load. Throws INVALID_ARGUMENT for requests and headers that gRPC cannot carry.
 */
export const createGrpcLanes: CreateLaneFactory = (plan: LoadPlan): LaneFactory => {
  const encoded = encodePlan(plan);
  return {
    async open(loop: SocketLoop, sink: LaneSink): Promise<Lane> {
      const lane = plan.protocol === 'grpc-stream' ? new StreamLane(encoded, sink) : new UnaryLane(encoded, loop, sink);
      await lane.open(loop, plan.target, Math.min(plan.timeoutMs, MAX_OPEN_MS));
      return lane;
    },
  };
};
