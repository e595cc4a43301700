import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { addSub, endlessLoop, failAtRun, heavyOnRequest, identity, memoryBomb, scalarIdentity } from '../../bench/models/test-models.ts';
import { DATATYPES, type Datatype } from '../../proto/datatype.ts';
import { exampleRepository, isAlive, makeRepository, ServerProcess, until } from './serve.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function serve(files: Record<string, string | Uint8Array>, args: string[] = []): Promise<ServerProcess> {
  const repository = makeRepository(files);
  cleanups.push(repository.remove);
  const server = await ServerProcess.start([`--model-repository=${repository.path}`, ...args]);
  cleanups.push(() => server.kill());
  return server;
}

const fp32 = (values: number[]): object => ({ inputs: [{ name: 'INPUT0', datatype: 'FP32', shape: [1, values.length], data: values }] });
const int64 = (name: string, value: number): object => ({ name, datatype: 'INT64', shape: [1, 1], data: [value] });

describe('a repository with broken models', () => {
  it('serves the good ones and says of each other one what is wrong with it', async () => {
    const good = addSub('FP32', ['batch', 4]);
    const server = await serve({
      'good/1/model.onnx': good,
      'half/1/model.onnx': good.subarray(0, good.length >> 1),
      'empty/1/model.onnx': new Uint8Array(0),
      'text/1/model.onnx': 'this is no model',
      'misspelt/config.pbtxt': 'max_batch_sise: 8',
      'misspelt/1/model.onnx': good,
      'refused/config.pbtxt': 'model_operations { op_library_filename: "custom.so" }',
      'refused/1/model.onnx': good,
      'mismatch/config.yaml':
        'input: [{ name: INPUT9, data_type: TYPE_FP32, dims: [4] }]\noutput: [{ name: OUTPUT0, data_type: TYPE_FP32, dims: [4] }]',
      'mismatch/1/model.onnx': good,
      'versionless/config.pbtxt': 'backend: "onnxruntime"',
      'elsewhere/config.pbtxt': 'backend: "tensorrt"',
      'elsewhere/1/model.plan': 'x',
      'nofile/config.pbtxt': 'backend: "onnxruntime"',
      'nofile/1/other.onnx': good,
    });
    const index: { name: string; state: string; reason?: string }[] = (await server.post('/v2/repository/index', '')).json;
    const of = (name: string): { name: string; state: string; reason?: string } => index.find((one) => one.name === name)!;
    expect(of('good')).toMatchObject({ state: 'READY' });
    for (const name of ['half', 'empty', 'text', 'misspelt', 'refused', 'mismatch', 'versionless', 'elsewhere', 'nofile']) {
      expect(of(name)).toMatchObject({ state: 'UNAVAILABLE', reason: expect.stringMatching(/^[A-Z][a-z ]+: .{10,}/) });
      // A reason is for whoever asks over the network: it names no place on this machine.
      expect(of(name).reason).not.toContain('/tmp/');
    }
    expect(of('misspelt').reason).toContain('max_batch_size');
    expect(of('refused').reason).toContain('model_operations');
    expect(of('mismatch').reason).toContain('INPUT9');
    expect((await server.get('/v2/health/ready')).status).toBe(400);
    expect((await server.get('/v2/models/half/ready')).status).not.toBe(200);
    // Without a version there is none to take; by its number it is known, and not ready.
    expect((await server.post('/v2/models/half/infer', fp32([1, 2, 3, 4]))).status).toBe(404);
    expect((await server.post('/v2/models/half/versions/1/infer', fp32([1, 2, 3, 4]))).status).toBe(503);
    const two = { inputs: ['INPUT0', 'INPUT1'].map((name) => ({ name, datatype: 'FP32', shape: [1, 4], data: [1, 2, 3, 4] })) };
    expect((await server.post('/v2/models/good/infer', two)).json.outputs[0].data).toEqual([2, 4, 6, 8]);
  });

  it('is ready all the same without --strict-readiness, and does not start with --exit-on-error', async () => {
    const files = { 'text/1/model.onnx': 'this is no model' };
    const server = await serve(files, ['--strict-readiness=false']);
    expect((await server.get('/v2/health/ready')).status).toBe(200);
    const repository = makeRepository(files);
    cleanups.push(repository.remove);
    const exit = await ServerProcess.run([
      'serve',
      '--http-port=0',
      '--grpc-port=0',
      '--metrics-port=0',
      '--exit-on-error=true',
      `--model-repository=${repository.path}`,
    ]).exited;
    expect(exit.code).toBe(1);
    expect(exit.stderr).toContain('text');
  });
});

describe('every datatype', () => {
  it('comes back bit for bit, in binary, through a real model', async () => {
    const files: Record<string, Uint8Array> = {};
    const fixed = Object.values(DATATYPES).filter((info) => info.byteSize > 0);
    for (const { name } of fixed) files[`id_${name}/1/model.onnx`] = identity(name, ['batch', 16]);
    files['scalar/1/model.onnx'] = scalarIdentity('FP32');
    const server = await serve(files);
    for (const { name, byteSize } of fixed) {
      const tensor = Buffer.alloc(3 * 16 * byteSize);
      for (let i = 0; i < tensor.length; i++) tensor[i] = name === 'BOOL' ? i & 1 : (i * 37 + 11) & 0xff;
      const header = Buffer.from(
        JSON.stringify({
          inputs: [{ name: 'INPUT0', datatype: name satisfies Datatype, shape: [3, 16], parameters: { binary_data_size: tensor.length } }],
          parameters: { binary_data_output: true },
        }),
      );
      const answer = await server.post(`/v2/models/id_${name}/infer`, Buffer.concat([header, tensor]), {
        'inference-header-content-length': String(header.length),
      });
      const back = answer.bytes.subarray(Number(answer.headers.get('inference-header-content-length')));
      expect([name, answer.status, back.equals(tensor)]).toEqual([name, 200, true]);
    }
    for (const [datatype, values] of [
      ['INT64', ['-9223372036854775808', '9223372036854775807', '9007199254740993']],
      ['UINT64', ['18446744073709551615', '0', '9007199254740993']],
    ] as const) {
      const body = `{"inputs":[{"name":"INPUT0","datatype":"${datatype}","shape":[1,16],"data":[${[...values, ...Array(13).fill('0')].join(',')}]}]}`;
      const text = (await server.post(`/v2/models/id_${datatype}/infer`, body)).bytes.toString();
      for (const value of values) expect(text).toContain(value);
    }
    for (const shape of [[], [1]]) {
      const { json } = await server.post('/v2/models/scalar/infer', { inputs: [{ name: 'INPUT0', datatype: 'FP32', shape, data: [2.5] }] });
      expect(json.outputs[0].data).toEqual([2.5]);
    }
    const none = await server.post('/v2/models/id_FP32/infer', {
      inputs: [{ name: 'INPUT0', datatype: 'FP32', shape: [0, 16], data: [] }],
    });
    expect([none.status, none.json.outputs[0].shape, none.json.outputs[0].data]).toEqual([200, [0, 16], []]);
  });
});

describe('models that misbehave', () => {
  it('an execution that never ends is cut off at its deadline, and the next request is answered by another host', async () => {
    const server = await serve({ 'loop/1/model.onnx': endlessLoop('positive'), 'other/1/model.onnx': identity('FP32', ['batch', 1]) }, [
      '--execution-timeout-ms=1000',
    ]);
    const [host] = server.hosts();
    const stuck = await server.post('/v2/models/loop/infer', fp32([1]));
    expect([stuck.status, stuck.json.error]).toEqual([504, expect.stringContaining('loop')]);
    await until(async () => (await server.post('/v2/models/other/infer', fp32([7]))).status === 200, 5000);
    expect((await server.post('/v2/models/loop/infer', fp32([-1]))).status).toBe(200);
    await until(() => !isAlive(host!));
  });

  it('a host killed in mid-batch fails its requests at once and is replaced', async () => {
    const server = await serve({ 'slow/1/model.onnx': heavyOnRequest() });
    const body = { inputs: [{ name: 'INPUT0', datatype: 'FP32', shape: [1, 256], data: Array(256).fill(1) }, int64('INPUT1', 100_000)] };
    const metadata = (await server.get('/v2/models/slow')).json;
    const inputs = metadata.inputs.map((input: { name: string; datatype: string; shape: number[] }) => {
      const shape = input.shape.map((dim) => (dim === -1 ? 1 : dim));
      const count = shape.reduce((a, b) => a * b, 1);
      return { name: input.name, datatype: input.datatype, shape, data: Array(count).fill(input.datatype === 'INT64' ? 100_000 : 1) };
    });
    expect(body.inputs).toHaveLength(inputs.length);
    const answer = server.post('/v2/models/slow/infer', { inputs });
    await until(async () => (await server.metric('nv_inference_pending_request_count{model="slow",version="1"}')) === 0);
    const [host] = server.hosts();
    process.kill(host!, 'SIGKILL');
    const { status, json } = await answer;
    expect([status, json.error]).toEqual([503, expect.stringMatching(/host/)]);
    const quick = { inputs: inputs.map((input: { datatype: string; data: number[] }) => ({ ...input, data: input.data.map(() => 1) })) };
    await until(async () => (await server.post('/v2/models/slow/infer', quick)).status === 200, 5000);
    expect(server.hosts()).not.toContain(host);
  });

  it('a run that fails answers 500 and the next one works', async () => {
    const server = await serve({ 'fails/1/model.onnx': failAtRun() });
    const failed = await server.post('/v2/models/fails/infer', { inputs: [int64('INPUT0', 10)] });
    expect([failed.status, failed.json.error]).toEqual([500, expect.stringContaining('out of data bounds')]);
    expect((await server.post('/v2/models/fails/infer', { inputs: [int64('INPUT0', 3)] })).status).toBe(200);
    expect(await server.metric('nv_inference_request_failure{model="fails",version="1",reason="BACKEND"}')).toBe(1);
  });

  it('a host that outgrows its memory is replaced, and the server lives', async () => {
    const server = await serve({ 'bomb/1/model.onnx': memoryBomb(), 'other/1/model.onnx': identity('FP32', ['batch', 1]) }, [
      `--host-memory-bytes=${600 * 2 ** 20}`,
    ]);
    const bomb = { inputs: [{ name: 'INPUT0', datatype: 'INT64', shape: [3], data: [1024, 1024, 1024] }] };
    const { status, json } = await server.post('/v2/models/bomb/infer', bomb);
    expect(status).toBeGreaterThanOrEqual(500);
    expect(json.error).toEqual(expect.any(String));
    await until(async () => (await server.post('/v2/models/other/infer', fp32([7]))).status === 200, 5000);
  });
});

describe('ends', () => {
  it('SIGTERM finishes what was accepted, refuses the rest, and leaves no process', async () => {
    const server = await serve({ 'slow/1/model.onnx': heavyOnRequest() });
    const metadata = (await server.get('/v2/models/slow')).json;
    const inputs = metadata.inputs.map((input: { name: string; datatype: string; shape: number[] }) => {
      const shape = input.shape.map((dim) => (dim === -1 ? 1 : dim));
      return {
        name: input.name,
        datatype: input.datatype,
        shape,
        data: Array(shape.reduce((a, b) => a * b, 1)).fill(input.datatype === 'INT64' ? 4000 : 1),
      };
    });
    const hosts = server.hosts();
    expect(hosts.length).toBeGreaterThan(0);
    const accepted = server.post('/v2/models/slow/infer', { inputs });
    await until(async () => (await server.metric('nv_inference_pending_request_count{model="slow",version="1"}')) === 0);
    const ended = server.stop();
    expect((await accepted).status).toBe(200);
    expect((await ended).code).toBe(0);
    await until(() => !hosts.some(isAlive));
  });

  it('a second SIGTERM cuts off what is stuck', async () => {
    const server = await serve({ 'loop/1/model.onnx': endlessLoop('positive') });
    const hosts = server.hosts();
    const stuck = server.post('/v2/models/loop/infer', fp32([1])).catch((error: Error) => error);
    await until(async () => (await server.metric('nv_inference_pending_request_count{model="loop",version="1"}')) === 0);
    server.signal('SIGTERM');
    await server.logLine((line) => String(line['msg']).startsWith('draining'));
    // Two signals at once are one wish (npm passes them on), so the second one comes later.
    await new Promise((resolve) => setTimeout(resolve, 300));
    server.signal('SIGTERM');
    const exit = await server.exited;
    expect(exit.code).toBe(1);
    await stuck;
    await until(() => !hosts.some(isAlive));
  });

  it('SIGKILL leaves no host behind', async () => {
    const server = await serve({ 'other/1/model.onnx': identity('FP32', ['batch', 1]) });
    const hosts = server.hosts();
    expect(hosts.length).toBeGreaterThan(0);
    await server.kill();
    await until(() => !hosts.some(isAlive));
  });
});

describe('the command', () => {
  const run = async (...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> => ServerProcess.run(args).exited;

  it('serves a single file', async () => {
    const repository = makeRepository({ 'my_model.onnx': identity('FP32', ['batch', 2]) });
    cleanups.push(repository.remove);
    const server = await ServerProcess.start([`${repository.path}/my_model.onnx`]);
    cleanups.push(() => server.kill());
    expect((await server.post('/v2/models/my_model/infer', fp32([1, 2]))).json.outputs[0].data).toEqual([1, 2]);
    expect((await server.get('/v2/models/my_model')).json.versions).toEqual(['1']);
  });

  it('runs inline when asked to, without a host process', async () => {
    // Models in JavaScript have processes of their own all the same.
    const only = ['--model-control-mode=explicit', '--load-model=simple'];
    const server = await ServerProcess.start([`--model-repository=${exampleRepository}`, '--execution-host=inline', ...only]);
    cleanups.push(() => server.kill());
    const inputs = ['INPUT0', 'INPUT1'].map((name) => ({ name, datatype: 'INT32', shape: [1, 16], data: Array(16).fill(2) }));
    expect((await server.post('/v2/models/simple/infer', { inputs })).json.outputs[0].data).toEqual(Array(16).fill(4));
    expect(server.hosts()).toEqual([]);
    expect((await server.stop()).code).toBe(0);
  });

  it('says in one line what is wrong with its arguments, and ends with 1', async () => {
    for (const [args, text] of [
      [['serve', '--http-prt=1'], '--http-port'],
      [['serve', '--model-repository=/nowhere/at/all'], '/nowhere/at/all'],
      [['serve', `--model-repository=${exampleRepository}`, '--http-port=99999'], 'http-port'],
      [['serve', `--model-repository=${exampleRepository}`, '--model-control-mode=pol'], 'expected one of none, poll, explicit'],
      [['sevre'], "did you mean 'serve'?"],
    ] as const) {
      const exit = await run(...args);
      expect([args, exit.code]).toEqual([args, 1]);
      expect(exit.stderr).toContain(text);
      expect(exit.stderr.trim().split('\n')).toHaveLength(1);
    }
  });

  it('ends with a clear line when its port is taken', async () => {
    const first = await ServerProcess.start([`--model-repository=${exampleRepository}`]);
    cleanups.push(() => first.kill());
    const { port } = new URL(first.http);
    const exit = await ServerProcess.run([
      'serve',
      `--model-repository=${exampleRepository}`,
      `--http-port=${port}`,
      '--grpc-port=0',
      '--metrics-port=0',
      '--log-format=json',
    ]).exited;
    expect(exit.code).not.toBe(0);
    expect(exit.stderr).toContain(port);
  });

  it('shows a table of models and the URLs to try', async () => {
    const server = await ServerProcess.start([`--model-repository=${exampleRepository}`, '--log-format=pretty', '--log-format=auto']);
    cleanups.push(() => server.kill());
    await until(() => server.stdout.includes('curl'));
    for (const word of ['digits', 'simple_string', 'READY', server.http]) expect(server.stdout).toContain(word);
  });

  it('listens on loopback by default', async () => {
    const server = await ServerProcess.start([`--model-repository=${exampleRepository}`]);
    cleanups.push(() => server.kill());
    expect(new URL(server.http).hostname).toBe('127.0.0.1');
    const elsewhere = new Promise((resolve) => {
      const socket = connect({ host: '127.0.0.2', port: Number(new URL(server.http).port) });
      socket.once('connect', () => resolve('connected'));
      socket.once('error', () => resolve('refused'));
    });
    expect(await elsewhere).toBe('refused');
  });
});
