/**
 * All that the server does for a gRPC inference but its sockets and its model: from the message to the encoded answer, alone and on a stream.
 * `node dist/bench/micro/unary-infer.bench.js`
 */

import type { InferenceError } from '../../proto/inference-error.ts';
import { messageType } from '../../server/protocols/oip-grpc/control-messages.ts';
import { oipGrpcMethods } from '../../server/protocols/oip-grpc/endpoints.ts';
import type {
  RpcCancelListener,
  StreamCall,
  StreamListener,
  StreamMethod,
  UnaryCall,
  UnaryMethod,
} from '../../server/transports/rpc-call.ts';
import { answeredContext } from './answered-context.ts';
import { COLUMNS, MAX_BATCH_SIZE, TickClock } from './answered-model.ts';
import { CallBench } from './call-bench.ts';

const COUNT = 64;
const clock = new TickClock();
const context = await answeredContext(clock);
const methods = oipGrpcMethods(context);
const unary = methods.find(({ path }) => path.endsWith('/ModelInfer')) as UnaryMethod;
const streamed = methods.find(({ path }) => path.endsWith('/ModelStreamInfer')) as StreamMethod;

let answeredBytes = 0;

class MessageCall implements UnaryCall {
  readonly message: Uint8Array;
  readonly deadlineMs = Number.POSITIVE_INFINITY;
  readonly isCancelled = false;
  cancelListener: RpcCancelListener | null = null;

  constructor(message: Uint8Array) {
    this.message = message;
  }

  metadata(): string {
    return '';
  }

  allocate(bytes: number): Buffer {
    return Buffer.allocUnsafe(bytes);
  }

  respond(message: Uint8Array): void {
    answeredBytes += message.length;
  }

  fail(error: InferenceError): void {
    throw error;
  }
}

class OpenStream implements StreamCall {
  readonly deadlineMs = Number.POSITIVE_INFINITY;
  readonly isCancelled = false;
  cancelListener: RpcCancelListener | null = null;
  listener: StreamListener | null = null;

  metadata(): string {
    return '';
  }

  send(message: Uint8Array): boolean {
    answeredBytes += message.length;
    return true;
  }

  fail(error: InferenceError): void {
    throw error;
  }

  pause(): void {}
  resume(): void {}
  holdAnswer(): void {}
  end(): void {}
}

const names = ['INPUT0', 'INPUT1'];
const requestType = messageType('ModelInferRequest');
const message = Buffer.from(
  requestType
    .encode(
      requestType.fromObject({
        modelName: 'add_sub',
        id: '42',
        inputs: names.map((name) => ({ name, datatype: 'FP32', shape: [1, COLUMNS] })),
        rawInputContents: names.map(() => new Uint8Array(4 * COLUMNS)),
      }),
    )
    .finish(),
);
const stream = new OpenStream();
streamed.open(stream);

const bench = new CallBench('a gRPC inference without sockets and model, add_sub [1,16]');
for (const perTick of [1, MAX_BATCH_SIZE]) {
  bench.add(`ModelInfer, ${perTick} a tick`, COUNT, () => {
    for (let sent = 0; sent < COUNT; sent += perTick) {
      for (let i = 0; i < perTick; i++) unary.handle(new MessageCall(message));
      clock.tick();
    }
    return answeredBytes;
  });
  bench.add(`ModelStreamInfer, ${perTick} a tick`, COUNT, () => {
    for (let sent = 0; sent < COUNT; sent += perTick) {
      for (let i = 0; i < perTick; i++) stream.listener!.onMessage(message);
      clock.tick();
    }
    return answeredBytes;
  });
}
await bench.run();
