/**
 * Another control of the gRPC rows: a handler of grpc-js, the gRPC library of most Node servers. The first call goes on to a real server, and its message is the answer to all.
 * `empty-grpc-server.js PORT UPSTREAM-PORT`
 */

import { Server, ServerCredentials, type ServiceDefinition } from '@grpc/grpc-js';
import { frame } from './grpc-lane.ts';
import { GrpcRecorder } from './grpc-recorder.ts';

const MODEL_INFER = '/inference.GRPCInferenceService/ModelInfer';
const FRAMING_BYTES = 5;
const [port, upstreamPort] = process.argv.slice(2).map(Number);
const recorder = new GrpcRecorder(upstreamPort!);
const same = (bytes: Buffer): Buffer => bytes;
const service: ServiceDefinition = {
  modelInfer: {
    path: MODEL_INFER,
    requestStream: false,
    responseStream: false,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  },
};
/** Without its framing, which grpc-js adds. */
let answer: Buffer | null = null;
const server = new Server({ 'grpc.max_receive_message_length': -1 });
server.addService(service, {
  modelInfer: (call: { request: Buffer }, callback: (error: Error | null, answer?: Buffer) => void) => {
    if (answer !== null) {
      callback(null, answer);
      return;
    }
    recorder.ask(MODEL_INFER, frame(call.request)).then((framed) => {
      answer = framed.subarray(FRAMING_BYTES);
      callback(null, answer);
    }, callback);
  },
});
server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error) => {
  if (error !== null) throw error;
});
process.once('SIGTERM', () => server.forceShutdown());
