/**
 * A hundred sums at once over one WebSocket, with the example model `simple`.
 *
 *     npm start &
 *     node dist/clients/typescript/examples/websocket-infer.js [ws://127.0.0.1:8000]
 */

// In your own program: from '@nereid/client'. Node before 22 also needs the package ws.
import { connect } from '../src/index.ts';

const client = await connect(process.argv[2] ?? 'ws://127.0.0.1:8000', { timeoutMs: 10_000 });
try {
  const simple = await client.model('simple');
  const sums = await Promise.all(
    Array.from({ length: 100 }, async (_, i) => {
      const { outputs } = await simple.infer({ INPUT0: new Int32Array(16).fill(i), INPUT1: new Int32Array(16).fill(1) });
      return outputs['OUTPUT0']!.data[0];
    }),
  );
  console.log(`${sums.length} answers over one connection: ${sums.slice(0, 5).join(', ')}, ... ${sums.at(-1)}`);
} finally {
  await client.close();
}
