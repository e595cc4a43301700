/**
 * The responses of a decoupled model as they come, over a WebSocket, with the example model `repeat_int32`; then a second request that is left early.
 *
 *     npm start &
 *     node dist/clients/typescript/examples/websocket-stream.js [ws://127.0.0.1:8000]
 */

// In your own program: from '@nereid/client'. Node before 22 also needs the package ws.
import { connect } from '../src/index.ts';

const client = await connect(process.argv[2] ?? 'ws://127.0.0.1:8000', { timeoutMs: 10_000 });
try {
  const repeat = await client.model('repeat_int32');
  // One response for each number of IN, each after the milliseconds of DELAY.
  const inputs = { IN: [3, 1, 4, 1, 5], DELAY: [100, 100, 100, 100, 100], WAIT: [0] };
  for await (const { outputs } of repeat.stream(inputs)) console.log(`response ${outputs['IDX']!.data[0]}: ${outputs['OUT']!.data[0]}`);

  for await (const { outputs } of repeat.stream(inputs)) {
    console.log(`${outputs['OUT']!.data[0]} is enough: leaving the loop cancels the request`);
    break;
  }
} finally {
  await client.close();
}
