import type { CallContext, CreateTransport, InferRequest, InferResponse, Transport } from '../transport.ts';
import { decodeInferResponse } from './decode-infer-response.ts';
import { encodeInferRequest } from './encode-infer-request.ts';
import { GrpcControl } from './grpc-control.ts';
import { GrpcSession } from './grpc-session.ts';
import { InferStream } from './infer-stream.ts';
import { openChannel } from './open-channel.ts';

/** The gRPC form of the Open Inference Protocol (inference.GRPCInferenceService), in Node. */
class GrpcTransport extends GrpcControl implements Transport {
  readonly name = 'gRPC';
  readonly #session: GrpcSession;

  constructor(session: GrpcSession) {
    super(session);
    this.#session = session;
  }

  async infer(request: InferRequest, call: CallContext): Promise<InferResponse> {
    const answer = await this.#session.unary('ModelInfer', encodeInferRequest(request, false), call);
    return decodeInferResponse(answer, request);
  }

  stream(request: InferRequest, call: CallContext): AsyncIterableIterator<InferResponse> {
    return new InferStream(this.#session, request, call);
  }

  async close(): Promise<void> {
    this.#session.close();
  }
}

/** See CreateTransport. `grpc:` and `grpcs:` URLs, port 8001 when there is none. */
export const createTransport: CreateTransport = (url, options) => new GrpcTransport(new GrpcSession(openChannel(url, options)));
