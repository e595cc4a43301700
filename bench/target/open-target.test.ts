import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { exampleRepository, ServerProcess } from '../../server/e2e/serve.ts';
import { explainUnreachable } from './explain-unreachable.ts';
import { type OpenTargetOptions, openTarget } from './open-target.ts';
import { type Answers, mlserverAnswers, type SmallServer, Status, serveAnswers } from './small-server.case.ts';

const fixture = (name: string): string =>
  readFileSync(new URL(`../../server/transports/fixtures/localhost.${name}`, import.meta.url), 'utf8');

function optionsOf(url: string, more: Partial<OpenTargetOptions> = {}): OpenTargetOptions {
  return {
    url,
    protocol: url.startsWith('grpc') ? 'grpc' : 'http-binary',
    model: 'simple',
    version: '',
    headers: {},
    tls: null,
    serverPid: null,
    metricsUrl: null,
    timeoutMs: 5_000,
    ...more,
  };
}

function portOf(url: string): number {
  return Number(url.split(':').at(-1)!.split('/')[0]);
}

async function closedPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe('openTarget, of a Nereid', () => {
  let server: ServerProcess;
  let http: string;
  let grpc: string;

  beforeAll(async () => {
    const models = ['simple', 'simple_sequence', 'repeat_int32', 'tiny_llm'].map((name) => `--load-model=${name}`);
    server = await ServerProcess.start([`--model-repository=${exampleRepository}`, '--model-control-mode=explicit', ...models]);
    http = `127.0.0.1:${portOf(server.http)}`;
    grpc = `grpc://127.0.0.1:${portOf(server.grpc)}`;
  }, 60_000);

  afterAll(async () => {
    await server?.stop();
  });

  it.each(['http-binary', 'websocket-json', 'grpc'] as const)('describes server and model for %s', async (protocol) => {
    const isGrpc = protocol === 'grpc';
    const { target, model } = await openTarget(optionsOf(isGrpc ? grpc.slice(7) : http, { protocol }));
    const scheme = isGrpc ? 'grpc' : protocol === 'http-binary' ? 'http' : 'ws';
    expect(target.facts).toMatchObject({ name: 'nereid', url: `${scheme}://${isGrpc ? grpc.slice(7) : http}` });
    expect(target.facts.version).not.toBe('');
    expect(target.isLocal).toBe(true);
    expect(target.load).toEqual({ host: '127.0.0.1', port: portOf(isGrpc ? grpc : http), basePath: '', tls: null, headers: {} });
    const tensor = (name: string) => ({ name, datatype: 'INT32', shape: [-1, 16], isOptional: false });
    expect(model).toEqual({
      name: 'simple',
      version: '',
      inputs: [tensor('INPUT0'), tensor('INPUT1')],
      outputs: [tensor('OUTPUT0'), tensor('OUTPUT1')],
      maxBatchSize: 8,
      isDecoupled: false,
      hasSequences: false,
    });
    await target.close();
  });

  it('knows sequences, decoupled models and optional inputs, over both', async () => {
    for (const url of [http, grpc]) {
      const { model: sequence } = await openTarget(optionsOf(url, { model: 'simple_sequence' }));
      expect(sequence).toMatchObject({ hasSequences: true, isDecoupled: false });
      const { model: decoupled } = await openTarget(optionsOf(url, { model: 'repeat_int32' }));
      expect(decoupled).toMatchObject({ hasSequences: false, isDecoupled: true, maxBatchSize: 0 });
      const { model: llm } = await openTarget(optionsOf(url, { model: 'tiny_llm' }));
      expect(llm!.inputs.some(({ isOptional }) => isOptional)).toBe(true);
    }
  });

  it('counts what was answered between two samples', async () => {
    const { target } = await openTarget(optionsOf(http));
    const { target: other } = await openTarget(optionsOf(grpc, { version: '1' }));
    const before = (await target.statistics())!;
    const tensor = (name: string) => ({ name, shape: [2, 16], datatype: 'INT32', data: Array.from({ length: 32 }, () => 1) });
    for (let i = 0; i < 5; i++) {
      expect((await server.post('/v2/models/simple/infer', { inputs: [tensor('INPUT0'), tensor('INPUT1')] })).status).toBe(200);
    }
    const after = (await target.statistics())!;
    expect(after.requests - before.requests).toBe(5);
    expect(after.inferences - before.inferences).toBe(10);
    expect(after.executions - before.executions).toBeGreaterThan(0);
    expect(after.computeInferNs).toBeGreaterThan(before.computeInferNs);
    expect(await other.statistics()).toEqual(after);
  });

  it('finds its process, children included', async () => {
    const { target } = await openTarget(optionsOf(http));
    const { target: told } = await openTarget(optionsOf(http, { serverPid: server.pid }));
    const found = (await target.use())!;
    expect(found.source).toBe('process');
    expect(found.cpuSeconds).toBeGreaterThan(0);
    // Node alone takes more.
    expect(found.memoryMiB).toBeGreaterThan(30);
    const same = (await told.use())!;
    expect(same.cpuSeconds).toBeGreaterThanOrEqual(found.cpuSeconds);
    expect(Math.abs(same.memoryMiB - found.memoryMiB)).toBeLessThan(0.3 * found.memoryMiB);
  });

  it('reads its metrics when they are given', async () => {
    const { target } = await openTarget(optionsOf(http, { metricsUrl: server.metrics }));
    const use = (await target.use())!;
    expect(use.source).toBe('metrics');
    expect(use.cpuSeconds).toBeGreaterThan(0);
    expect(use.memoryMiB).toBeGreaterThan(30);
    await expect(openTarget(optionsOf(http, { metricsUrl: server.http }))).rejects.toMatchObject({
      message: expect.stringContaining('metrics-url'),
    });
  });

  it('confirms a model of OpenAI and asks for no tensors', async () => {
    const { target, model } = await openTarget(optionsOf(`http://${http}/v1`, { protocol: 'openai', model: 'tiny_llm' }));
    expect(model).toBeNull();
    expect(target.load.basePath).toBe('');
    expect(target.facts.name).toBe('nereid');
    expect(await target.statistics()).toMatchObject({ requests: 0 });
    await expect(openTarget(optionsOf(http, { protocol: 'openai', model: 'tinyllm2' }))).rejects.toMatchObject({
      code: 'NOT_FOUND',
      message: expect.stringContaining("did you mean 'tiny_llm'?"),
    });
  });

  it('says which model was meant, which version there is, and what is not loaded', async () => {
    for (const url of [http, grpc]) {
      await expect(openTarget(optionsOf(url, { model: 'simpel' }))).rejects.toMatchObject({
        code: 'NOT_FOUND',
        message: expect.stringContaining("model 'simpel': the server has no such model; did you mean 'simple'?"),
      });
      await expect(openTarget(optionsOf(url, { model: 'zzzzzz' }))).rejects.toMatchObject({ message: expect.stringContaining("'simple'") });
      await expect(openTarget(optionsOf(url, { version: '7' }))).rejects.toMatchObject({
        code: 'NOT_FOUND',
        message: expect.stringContaining('expected version 1, got 7'),
      });
      await expect(openTarget(optionsOf(url, { model: 'simple_string' }))).rejects.toMatchObject({
        code: 'UNAVAILABLE',
        message: expect.stringContaining('POST /v2/repository/models/simple_string/load'),
      });
    }
  });

  it('notices that it was given the port of the other protocol', async () => {
    await expect(openTarget(optionsOf(grpc.slice(7), { protocol: 'http-json' }))).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringMatching(/is the gRPC port of nereid .*: give --protocol grpc, or the HTTP port/),
    });
    await expect(openTarget(optionsOf(`grpc://${http}`))).rejects.toMatchObject({
      message: expect.stringMatching(/is the HTTP port of nereid .*: give --protocol http-binary, or the gRPC port/),
    });
  });

  it('says that nothing listens, and who is there instead', async () => {
    const port = await closedPort();
    await expect(openTarget(optionsOf(`127.0.0.1:${port}`))).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringContaining(`url: nothing listens on 127.0.0.1:${port}`),
    });
    await expect(openTarget(optionsOf(`grpc://127.0.0.1:${port}`))).rejects.toMatchObject({
      message: expect.stringContaining(`url: nothing listens on 127.0.0.1:${port}`),
    });
    const target = { host: '127.0.0.1', port, basePath: '', tls: null, headers: {} };
    const error = Object.assign(new Error('refused'), { code: 'UNAVAILABLE', cause: { code: 'ECONNREFUSED' } }) as never;
    const said = await explainUnreachable(target, 'http-json', error, { http: [portOf(http), port], grpc: [portOf(grpc)] });
    expect(said.message).toMatch(
      new RegExp(`there is nereid \\S+ on port ${portOf(http)} \\(HTTP\\), nereid \\S+ on port ${portOf(grpc)} \\(gRPC\\): give`),
    );
    const none = await explainUnreachable(target, 'http-json', error, { http: [port], grpc: [] });
    expect(none.message).toContain('no V2 server on the usual ports');
  });

  it('refuses what is no process', async () => {
    await expect(openTarget(optionsOf(http, { serverPid: 2 ** 22 + 1 }))).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('server-pid'),
    });
  });
});

describe('openTarget, of others', () => {
  let small: SmallServer | null = null;

  afterEach(async () => {
    await small?.close();
    small = null;
  });

  async function open(answers: Answers, more: Partial<OpenTargetOptions> = {}): ReturnType<typeof openTarget> {
    small = await serveAnswers(answers);
    return openTarget(optionsOf(`http://127.0.0.1:${small.port}`, more));
  }

  it('takes a server without configurations and statistics', async () => {
    const { target, model } = await open(mlserverAnswers, { model: 'iris' });
    expect(target.facts).toMatchObject({ name: 'mlserver', version: '1.6.1' });
    expect(model).toEqual({
      name: 'iris',
      version: '',
      inputs: [{ name: 'predict', datatype: 'FP32', shape: [-1, 4], isOptional: false }],
      outputs: [{ name: 'predict', datatype: 'INT64', shape: [-1, 1], isOptional: false }],
      maxBatchSize: 0,
      isDecoupled: false,
      hasSequences: false,
    });
    expect(await target.statistics()).toBeNull();
    // This process is the server.
    expect((await target.use())!.source).toBe('process');
  });

  it('finds the nearest name by its index', async () => {
    await expect(open(mlserverAnswers, { model: 'irris' })).rejects.toMatchObject({
      message: expect.stringContaining("did you mean 'iris'?"),
    });
  });

  it('shows what the server says where there is no index', async () => {
    const { 'POST /v2/repository/index': _index, ...answers } = mlserverAnswers;
    await expect(open(answers, { model: 'guess' })).rejects.toMatchObject({ message: "model 'guess': Model guess not found" });
  });

  it('does not take a model that is not ready', async () => {
    const answers = { ...mlserverAnswers, 'GET /v2/models/iris/ready': { name: 'iris', ready: false } };
    await expect(open(answers, { model: 'iris' })).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringContaining("model 'iris'"),
    });
  });

  it('takes a gateway that has paths of models alone, below a path of its own', async () => {
    const { 'GET /v2': _metadata, ...models } = mlserverAnswers;
    const below = Object.fromEntries(Object.entries(models).map(([call, answer]) => [call.replace(' /', ' /seldon/'), answer]));
    small = await serveAnswers(below);
    const { target, model } = await openTarget(
      optionsOf(`http://127.0.0.1:${small.port}/seldon/`, { model: 'iris', headers: { authorization: 'Bearer x' } }),
    );
    expect(model!.name).toBe('iris');
    expect(target.facts).toEqual({ url: `http://127.0.0.1:${small.port}/seldon`, name: '', version: '' });
    expect(small.seen.every(({ headers }) => headers.authorization === 'Bearer x')).toBe(true);
  });

  it('says that it is no V2 server', async () => {
    await expect(open({ 'GET /v2': '<html>' })).rejects.toMatchObject({
      code: 'UNIMPLEMENTED',
      message: expect.stringContaining('not as a V2 inference server'),
    });
  });

  it('says that it is a server of OpenAI alone, and takes it as one', async () => {
    const answers = { 'GET /v1/models': { object: 'list', data: [{ id: 'llama', object: 'model' }] } };
    await expect(open(answers)).rejects.toMatchObject({ message: expect.stringContaining('--protocol openai') });
    const { target, model } = await openTarget(optionsOf(`127.0.0.1:${small!.port}`, { protocol: 'openai', model: 'llama' }));
    expect(model).toBeNull();
    expect(target.facts.name).toBe('');
    expect(await target.statistics()).toBeNull();
  });

  it('says that a V2 server has no OpenAI API', async () => {
    await expect(open(mlserverAnswers, { protocol: 'openai', model: 'iris' })).rejects.toMatchObject({
      message: expect.stringContaining("without OpenAI's API"),
    });
  });

  it('asks for a credential', async () => {
    await expect(open({ 'GET /v2': new Status(401, { error: 'no token' }) })).rejects.toMatchObject({
      code: 'UNAUTHENTICATED',
      message: expect.stringContaining('--header authorization:'),
    });
  });

  it('does not read metadata that it does not understand', async () => {
    const odd = { ...(mlserverAnswers['GET /v2/models/iris'] as object), inputs: [{ name: 'predict', datatype: 'FLOAT32', shape: [1] }] };
    await expect(open({ ...mlserverAnswers, 'GET /v2/models/iris': odd }, { model: 'iris' })).rejects.toMatchObject({
      message: expect.stringContaining("got 'FLOAT32'"),
    });
  });

  it('does not wait for ever', async () => {
    const server = createServer(() => {});
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const sockets = new Set<import('node:net').Socket>();
    server.on('connection', (socket) => sockets.add(socket));
    const { port } = server.address() as AddressInfo;
    await expect(openTarget(optionsOf(`127.0.0.1:${port}`, { timeoutMs: 100 }))).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });

  it('refuses headers that are none, without showing them', async () => {
    await expect(open(mlserverAnswers, { headers: { authorization: 'secret\n' } })).rejects.toSatisfy((error) => {
      const { code, message } = error as Error & { code: string };
      return code === 'INVALID_ARGUMENT' && message.includes('authorization') && !message.includes('secret');
    });
  });
});

describe('openTarget, over TLS', () => {
  const pem = { key: fixture('key.pem'), cert: fixture('cert.pem') };
  const tls = { ca: pem.cert, cert: '', key: '', verify: true };
  let small: SmallServer;

  beforeAll(async () => {
    small = await serveAnswers(mlserverAnswers, pem);
  });

  afterAll(() => small.close());

  it('trusts the authority given, or any certificate', async () => {
    for (const trust of [tls, { ...tls, ca: '', verify: false }]) {
      const { target } = await openTarget(optionsOf(`https://localhost:${small.port}`, { model: 'iris', tls: trust }));
      expect(target.facts.url).toBe(`https://localhost:${small.port}`);
      expect(target.load.tls).toEqual(trust);
    }
  });

  it('says what to do about certificates and schemes', async () => {
    await expect(openTarget(optionsOf('[::1]:1'))).rejects.toThrow('nothing listens on [::1]:1');
    await expect(openTarget(optionsOf(`https://localhost:${small.port}`, { tls: { ...tls, ca: pem.key } }))).rejects.toThrow(
      'tls: expected a PEM file with a certificate for --ca, got one without',
    );
    await expect(openTarget(optionsOf(`https://127.0.0.1:${small.port}`))).rejects.toMatchObject({
      message: expect.stringMatching(/certificate that is not trusted.*--ca.*--insecure/),
    });
    await expect(openTarget(optionsOf(`http://127.0.0.1:${small.port}`))).rejects.toMatchObject({
      message: expect.stringContaining('give it as https://'),
    });
    await expect(openTarget(optionsOf(`grpc://127.0.0.1:${small.port}`))).rejects.toMatchObject({
      message: expect.stringContaining('speaks TLS'),
    });
    const plain = await serveAnswers(mlserverAnswers);
    await expect(openTarget(optionsOf(`https://127.0.0.1:${plain.port}`, { tls }))).rejects.toMatchObject({
      message: expect.stringContaining('does not speak TLS: give it as http://'),
    });
    await plain.close();
    await expect(
      openTarget(optionsOf(`https://127.0.0.1:${small.port}`, { tls: { ...tls, ca: 'no PEM', cert: 'x', key: 'y' } })),
    ).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('PEM'),
    });
    await expect(openTarget(optionsOf(`https://127.0.0.1:${small.port}`, { tls: { ...tls, cert: 'x' } }))).rejects.toMatchObject({
      message: expect.stringContaining('got --cert alone'),
    });
  });
});
