import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { generateBody } from './generate.ts';
import { readEvents } from './http/event-stream.ts';
import { connect, type InferenceClient } from './index.ts';

async function events(text: string, size: number): Promise<string[]> {
  const bytes = Buffer.from(text);
  const all: string[] = [];
  async function* chunks(): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
  }
  for await (const event of readEvents(chunks())) all.push(event);
  return all;
}

describe('readEvents', () => {
  it.each([1, 2, 3, 7, 1000])('reads events however they are cut: %s bytes', async (size) => {
    const text = ': a comment\ndata: {"a":"ü€"}\n\nevent: x\r\ndata:one\r\ndata: two\r\n\r\nid: 3\n\ndata: \n\n';
    expect(await events(text, size)).toEqual(['{"a":"ü€"}', 'one\ntwo', '']);
  });

  it('refuses a stream that is cut, and bytes that are no text', async () => {
    await expect(events('data: a\n\ndata: b', 4)).rejects.toThrow('middle of an event');
    await expect(events('data: a\n', 4)).rejects.toThrow('middle of an event');
    const bytes = async function* (): AsyncGenerator<Uint8Array> {
      yield Uint8Array.of(0x64, 0xff, 0x0a);
    };
    await expect(readEvents(bytes()).next()).rejects.toThrow('not UTF-8');
    expect(await events('', 4)).toEqual([]);
  });
});

describe('generateBody', () => {
  it('writes values as they are', () => {
    const inputs = { text_input: 'a"\u2713', big: [2n ** 63n, -1n], nested: [[1, 2.5], [true]], odd: Number.NaN };
    expect(generateBody({ model: 'm', id: 'x', inputs, parameters: { max_tokens: 3, seed: 2n ** 60n } })).toBe(
      '{"id":"x","text_input":"a\\"✓","big":[9223372036854775808,-1],"nested":[[1,2.5],[true]],"odd":"NaN","parameters":{"max_tokens":3,"seed":1152921504606846976}}',
    );
    expect(generateBody({ model: 'm', inputs: {} })).toBe('{}');
  });

  it('refuses what JSON has no form for, and names that are taken', () => {
    for (const [inputs, error] of [
      [{ a: null }, 'inputs.a: expected'],
      [{ a: [{}] }, 'inputs.a[0]: expected'],
      [{ parameters: 1 }, 'inputs.parameters'],
      [null, 'inputs: expected'],
    ] as const) {
      expect(() => generateBody({ model: 'm', inputs: inputs as never })).toThrow(error);
    }
  });
});

describe('over HTTP', () => {
  const cleanups: (() => unknown)[] = [];
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });

  async function serve(listener: Parameters<typeof createServer>[1] & object): Promise<InferenceClient> {
    const server: Server = createServer({}, listener);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    cleanups.push(
      () => server.close(),
      () => server.closeAllConnections(),
    );
    const client = await connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    cleanups.push(() => client.close());
    return client;
  }

  it('sends the body to the model and version, with the time that is left', async () => {
    const seen: unknown[] = [];
    const client = await serve((request, response) => {
      let body = '';
      request.on('data', (chunk) => {
        body += chunk;
      });
      request.on('end', () => {
        seen.push([request.url, body, Number(request.headers['inference-timeout-ms']) <= 5000]);
        response.end('{"model_name":"m","model_version":"2","text_output":"hi","big":9223372036854775807}');
      });
    });
    const call = { model: 'a b', version: 2, inputs: { text_input: 'x' }, timeoutMs: 5000 };
    expect(await client.generate(call)).toEqual({ model_name: 'm', model_version: '2', text_output: 'hi', big: 9223372036854775807n });
    expect(seen).toEqual([['/v2/models/a%20b/versions/2/generate', '{"text_input":"x"}', true]]);
  });

  it('gives each response as it comes, cancels when the loop is left, and throws what is said later', async () => {
    let isGone: () => void = () => {};
    const gone = new Promise<void>((resolve) => {
      isGone = resolve;
    });
    const client = await serve((request, response) => {
      response.on('close', () => isGone());
      if (request.url === '/v2/models/refused/generate_stream') {
        response.writeHead(400).end('{"error":"temperature: no"}');
        return;
      }
      response.write('data: {"model_name":"m","text_output":"one"}\n\n');
      if (request.url === '/v2/models/cut/generate_stream') setTimeout(() => response.destroy(), 20);
      if (request.url === '/v2/models/fails/generate_stream') response.end('data: {"error":"stopped"}\n\n');
    });
    const stream = (model: string): AsyncGenerator<unknown> => client.generateStream({ model, inputs: { text_input: 'x' } });
    for await (const response of stream('endless')) {
      expect(response).toEqual({ model_name: 'm', text_output: 'one' });
      break;
    }
    await gone;
    const fails = stream('fails');
    expect((await fails.next()).done).toBe(false);
    await expect(fails.next()).rejects.toMatchObject({ code: 'UNKNOWN', message: 'stopped' });
    const cut = stream('cut');
    expect((await cut.next()).done).toBe(false);
    await expect(cut.next()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await expect(stream('refused').next()).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message: 'temperature: no' });
  });

  it('ends by its signal, and is refused over other transports', async () => {
    const client = await serve((_request, response) => {
      response.write('data: {"text_output":"one"}\n\n');
    });
    const stop = new AbortController();
    const stream = client.generateStream({ model: 'm', inputs: {}, signal: stop.signal });
    await stream.next();
    const next = stream.next();
    stop.abort();
    await expect(next).rejects.toMatchObject({ code: 'CANCELLED' });
    const grpc = await connect('grpc://127.0.0.1:1');
    cleanups.push(() => grpc.close());
    await expect(grpc.generate({ model: 'm', inputs: {} })).rejects.toThrow('not over gRPC');
    await expect(grpc.generateStream({ model: 'm', inputs: {} }).next()).rejects.toMatchObject({ code: 'UNIMPLEMENTED' });
  });
});
