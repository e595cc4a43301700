/** Models that are code and keep sequences: the controls and states that the configuration alone names reach the code. */

import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeRepository, ServerProcess } from './serve.ts';

const cleanups: (() => unknown)[] = [];
let server: ServerProcess;

beforeAll(async () => {
  const repository = makeRepository({
    'sums/1/model.mjs': `export const execute = (requests) => requests.map(({ inputs: { IN, START, END, CORRID, SUM_IN } }) => {
      const sum = SUM_IN.data[0] + IN.data[0];
      return { OUT: [[START.data[0], END.data[0], CORRID.strings()[0], sum].join(' ')], SUM_OUT: [sum] };
    });`,
    'sums/config.pbtxt': `max_batch_size: 4
      input [ { name: "IN" data_type: TYPE_INT32 dims: [ 1 ] } ]
      output [ { name: "OUT" data_type: TYPE_STRING dims: [ 1 ] } ]
      sequence_batching {
        control_input [
          { name: "START" control [ { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } ] },
          { name: "END" control [ { kind: CONTROL_SEQUENCE_END bool_false_true: [ false, true ] } ] },
          { name: "CORRID" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_STRING } ] }
        ]
        state [ { input_name: "SUM_IN" output_name: "SUM_OUT" data_type: TYPE_INT32 dims: [ 1 ] } ]
      }`,
  });
  cleanups.push(repository.remove);
  server = await ServerProcess.start([`--model-repository=${repository.path}`]);
  cleanups.push(() => server.kill());
});
afterAll(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
});

test('the code gets what the configuration names, and callers see their own tensors only', async () => {
  const metadata = await (await fetch(`${server.http}/v2/models/sums`)).json();
  expect(metadata).toMatchObject({ inputs: [{ name: 'IN' }], outputs: [{ name: 'OUT' }] });
  const answers: unknown[] = [];
  for (const value of [1, 2, 3]) {
    const parameters = { sequence_id: 'a', sequence_start: value === 1, sequence_end: value === 3 };
    const inputs = [{ name: 'IN', datatype: 'INT32', shape: [1, 1], data: [value] }];
    answers.push((await server.post('/v2/models/sums/infer', { parameters, inputs })).json.outputs);
  }
  const out = (text: string) => [{ name: 'OUT', datatype: 'BYTES', shape: [1, 1], data: [text] }];
  expect(answers).toEqual([out('1 0 a 1'), out('0 0 a 3'), out('0 1 a 6')]);
});
