/** The control of the gRPC rows: a grpc-js handler that answers every ModelInfer with the same bytes. Arguments: port, bytes of the answer. */

import { Server, ServerCredentials, type ServiceDefinition } from '@grpc/grpc-js';

const [port, answerBytes] = process.argv.slice(2).map(Number);
const answer = Buffer.alloc(answerBytes!);
const same = (bytes: Buffer): Buffer => bytes;
const service: ServiceDefinition = {
  modelInfer: {
    path: '/inference.GRPCInferenceService/ModelInfer',
    requestStream: false,
    responseStream: false,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  },
};
const server = new Server({ 'grpc.max_receive_message_length': -1 });
server.addService(service, { modelInfer: (_call: unknown, callback: (error: null, answer: Buffer) => void) => callback(null, answer) });
server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error) => {
  if (error !== null) throw error;
});
process.once('SIGTERM', () => server.forceShutdown());
