import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { connect } from '../index.ts';

let server: Server | null = null;
const seen: { path: string; body: unknown }[] = [];

afterEach(() => {
  server?.closeAllConnections();
  server?.close();
  seen.length = 0;
});

/** A client of a server that answers everything with `answer`. */
async function clientOf(answer: string): ReturnType<typeof connect> {
  server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const text = Buffer.concat(parts).toString();
      seen.push({ path: `${request.method} ${request.url}`, body: text === '' ? null : JSON.parse(text) });
      response.end(answer);
    });
  });
  await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve));
  return connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
}

test('load and unload with all that they can say', async () => {
  const client = await clientOf('');
  const large = new Uint8Array(20_000).fill(255);
  await client.loadModel('a b', { config: { max_batch_size: 2 }, files: { '1/model.onnx': Uint8Array.of(1, 2), big: large } });
  await client.loadModel('m', { config: '{}' });
  await client.loadModel('m');
  await client.unloadModel('m', { unloadDependents: true });
  await client.unloadModel('m');
  const content = { 'file:1/model.onnx': 'AQI=', 'file:big': Buffer.from(large).toString('base64') };
  expect(seen).toEqual([
    { path: 'POST /v2/repository/models/a%20b/load', body: { parameters: { config: '{"max_batch_size":2}', ...content } } },
    { path: 'POST /v2/repository/models/m/load', body: { parameters: { config: '{}' } } },
    { path: 'POST /v2/repository/models/m/load', body: null },
    { path: 'POST /v2/repository/models/m/unload', body: { parameters: { unload_dependents: true } } },
    { path: 'POST /v2/repository/models/m/unload', body: null },
  ]);
  await client.close();
});

test('rollback says which versions serve', async () => {
  const client = await clientOf('{"name":"m","versions":["1","3"]}');
  expect(await client.rollbackModel('m')).toEqual(['1', '3']);
  expect(seen).toEqual([{ path: 'POST /v2/repository/models/m/rollback', body: null }]);
  await client.close();
});

test('an answer to rollback that is none is an error', async () => {
  const client = await clientOf('{"name":"m"}');
  await expect(client.rollbackModel('m')).rejects.toMatchObject({ message: expect.stringContaining('list of versions') });
  await client.close();
});
