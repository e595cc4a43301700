/**
 * Adds and subtracts over gRPC, with the example model `simple`; and what a mistake looks like.
 *
 *     npm start &
 *     node dist/clients/typescript/examples/grpc-infer.js [grpc://127.0.0.1:8001]
 */

// In your own program: from '@nereid/client'.
import { connect, InferenceError, type InferOutput, type ModelInput } from '../src/index.ts';

/** What `nereid client types simple` writes. */
interface SimpleModel {
  readonly inputs: { readonly INPUT0: ModelInput<'INT32'>; readonly INPUT1: ModelInput<'INT32'> };
  readonly outputs: { readonly OUTPUT0: InferOutput<'INT32'>; readonly OUTPUT1: InferOutput<'INT32'> };
}

const client = await connect(process.argv[2] ?? 'grpc://127.0.0.1:8001', { timeoutMs: 10_000 });
try {
  const simple = await client.model<SimpleModel>('simple');
  // 16 values for [-1, 16]: a batch of one.
  const counting = Int32Array.from({ length: 16 }, (_, i) => i);
  const { outputs } = await simple.infer({ INPUT0: counting, INPUT1: new Int32Array(16).fill(10) });
  console.log(`sums         ${outputs.OUTPUT0.data.join(' ')}`);
  console.log(`differences  ${outputs.OUTPUT1.data.join(' ')}`);

  await client.infer({ model: 'no_such_model', inputs: [{ name: 'INPUT0', data: counting, shape: [1, 16] }] });
} catch (error) {
  if (!(error instanceof InferenceError)) throw error;
  console.log(`an error     ${error.code}: ${error.message}`);
} finally {
  await client.close();
}
