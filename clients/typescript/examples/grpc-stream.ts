/**
 * Reads the responses of a decoupled model one by one over gRPC, with the example model `repeat_int32`: it answers once for each number, when its delay is over.
 *
 *     npm start &
 *     node dist/clients/typescript/examples/grpc-stream.js [grpc://127.0.0.1:8001]
 */

// In your own program: from '@nereid/client'.
import { connect, type InferOutput, type ModelInput } from '../src/index.ts';

/** What `nereid client types repeat_int32` writes. */
interface RepeatModel {
  readonly inputs: { readonly IN: ModelInput<'INT32'>; readonly DELAY: ModelInput<'UINT32'>; readonly WAIT: ModelInput<'UINT32'> };
  readonly outputs: { readonly OUT: InferOutput<'INT32'>; readonly IDX: InferOutput<'UINT32'> };
}

const client = await connect(process.argv[2] ?? 'grpc://127.0.0.1:8001');
try {
  const repeat = await client.model<RepeatModel>('repeat_int32');
  const beginMs = performance.now();
  const request = { IN: [4, 2, 0, 1], DELAY: [100, 200, 300, 400], WAIT: [0] };
  for await (const { outputs } of repeat.stream(request, { timeoutMs: 30_000 })) {
    console.log(
      `after ${(performance.now() - beginMs).toFixed(0).padStart(4)} ms: response ${outputs.IDX.data[0]} is ${outputs.OUT.data[0]}`,
    );
  }
  // Leaving the loop cancels what is left of the request.
  for await (const { outputs } of repeat.stream({ IN: [7, 8], DELAY: [0, 60_000], WAIT: [0] })) {
    console.log(`of another request: ${outputs.OUT.data[0]}, and no more`);
    break;
  }
} finally {
  await client.close();
}
