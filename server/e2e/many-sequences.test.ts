/** Ten thousand sequences at once, each with a state of its own, over one socket. */

import { afterAll, beforeAll, expect, test } from 'vitest';
import { runningSum } from '../../bench/models/sequence-models.ts';
import { connect } from '../../clients/typescript/src/index.ts';
import { makeRepository, ServerProcess } from './serve.ts';

const SEQUENCES = 10_000;
/** Requests under way at a time. */
const LANES = 128;

let repository: { path: string; remove(): void };
let server: ServerProcess;
beforeAll(async () => {
  repository = makeRepository({
    'sum/1/model.onnx': runningSum(),
    'sum/config.pbtxt': `max_batch_size: 64
      input { name: "INPUT" data_type: TYPE_INT32 dims: 1 }
      output { name: "OUTPUT" data_type: TYPE_INT32 dims: 1 }
      sequence_batching { max_sequence_idle_microseconds: 60000000 oldest { max_candidate_sequences: ${SEQUENCES} }
        state { input_name: "STATE_IN" output_name: "STATE_OUT" data_type: TYPE_INT32 dims: 1 } }`,
  });
  server = await ServerProcess.start([`--model-repository=${repository.path}`]);
}, 30_000);
afterAll(async () => {
  expect((await server.stop()).code).toBe(0);
  repository.remove();
});

test('10,000 live sequences keep their sums apart', async () => {
  const client = await connect(server.http.replace('http', 'ws'));
  const model = await client.model('sum');
  const wrong: string[] = [];
  for (const round of [0, 1, 2]) {
    let next = 1;
    const lane = async (): Promise<void> => {
      for (let id = next++; id <= SEQUENCES; id = next++) {
        const sequence = { id, start: round === 0, end: round === 2 };
        const { outputs } = await model.infer({ INPUT: { shape: [1, 1], data: [id + round] } }, { sequence });
        const sum = Number(outputs['OUTPUT']!.data[0]);
        // id, then 2 id + 1, then 3 id + 3.
        if (sum !== [id, 2 * id + 1, 3 * id + 3][round]) wrong.push(`${id}, round ${round}: ${sum}`);
      }
    };
    await Promise.all(Array.from({ length: LANES }, lane));
  }
  expect(wrong).toEqual([]);
  expect(await server.metric('nv_inference_count{model="sum",version="1"}')).toBe(3 * SEQUENCES);
  await client.close();
}, 60_000);
