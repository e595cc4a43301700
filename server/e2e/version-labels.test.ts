/** Names of versions (`version_labels`) wherever a version's number may stand, over every door. */

import { afterAll, beforeAll, expect, test } from 'vitest';
import { addSub } from '../../bench/models/test-models.ts';
import { type DoorAnswer, type DoorName, Doors, type DoorTensor } from './doors.ts';
import { makeRepository, ServerProcess } from './serve.ts';

const file = addSub('INT32');
const config = `version_policy { specific { versions: [1, 2, 3] } }
version_labels { key: "stable" value: 2 }
version_labels { key: "next/one" value: 3 }
`;
const files = { 'm/config.pbtxt': config, 'm/1/model.onnx': file, 'm/2/model.onnx': file, 'm/3/model.onnx': file };
const repository = makeRepository(files);
let server: ServerProcess;
let doors: Doors;

beforeAll(async () => {
  server = await ServerProcess.start([`--model-repository=${repository.path}`, '--load-on-demand']);
  doors = new Doors(server.http, new URL(server.grpc).host);
});

afterAll(async () => {
  doors.close();
  expect((await server.stop()).code).toBe(0);
  repository.remove();
});

function ask(door: DoorName, version: string): Promise<DoorAnswer> {
  const data = new Uint8Array(new Int32Array(16).fill(1).buffer);
  const inputs = ['INPUT0', 'INPUT1'].map((name): DoorTensor => ({ name, datatype: 'INT32', shape: [1, 16], data }));
  return doors.send(door, { model: 'm', version, inputs });
}

test.each<DoorName>(['REST JSON', 'REST binary', 'gRPC raw', 'gRPC stream', 'WebSocket JSON'])(
  '%s: the answer names the number; a label that there is not is unknown, with the nearest',
  async (door) => {
    expect(await ask(door, 'stable')).toMatchObject({ code: 'OK', version: '2' });
    expect(await ask(door, door.startsWith('REST') ? 'next%2Fone' : 'next/one')).toMatchObject({ code: 'OK', version: '3' });
    expect(await ask(door, '1')).toMatchObject({ code: 'OK', version: '1' });
    expect(await ask(door, 'stabel')).toMatchObject({
      code: 'NOT_FOUND',
      message: expect.stringMatching(/'stabel'; did you mean 'stable'/),
    });
  },
);

test('metadata, configuration, readiness and statistics know labels', async () => {
  const path = '/v2/models/m/versions/stable';
  expect((await server.get(path)).json).toMatchObject({ name: 'm', versions: ['2'] });
  expect((await server.get(`${path}/config`)).json).toMatchObject({ name: 'm', version_labels: expect.anything() });
  expect((await server.get(`${path}/ready`)).status).toBe(200);
  expect((await server.get(`${path}/stats`)).json.model_stats).toMatchObject([{ name: 'm', version: '2' }]);
  for (const tail of ['', '/config', '/ready']) expect((await server.get(`/v2/models/m/versions/stabel${tail}`)).status).toBe(404);
  // Of statistics, whatever is unknown is the caller's mistake.
  expect((await server.get('/v2/models/m/versions/stabel/stats')).status).toBe(400);
  expect((await server.get('/v2/models/m/versions/7')).status).toBe(404);
});
