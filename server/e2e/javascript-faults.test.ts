/** Models that are code and go wrong, when they are loaded and when they run: only they pay for it. */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { body, type Sent, vector } from './javascript-models.case.ts';
import { type Answer, isAlive, makeRepository, ServerProcess, until } from './serve.ts';

const files: Record<string, string> = {
  'asks/1/model.mjs': `${vector(0)}
export default class {
  #context;
  initialize(context) { this.#context = context; console.log('a word on the console'); context.logger.warn('a warning', { of: 'mine' }); }
  async execute([request]) {
    const { IN } = request.inputs;
    const { name, version, directory, parameters, config } = this.#context;
    this.#context.logger.info(JSON.stringify({ id: request.id, parameters: request.parameters, sequence: request.sequence && { ...request.sequence, id: String(request.sequence.id) },
      priority: request.priority, outputs: request.requestedOutputs, name, version, here: directory.split('/').slice(-2), own: parameters, backend: config.backend }));
    return [{ OUT: IN }];
  }
  async finalize() { await null; this.#context.logger.info('finalized'); }
}`,
  'asks/config.pbtxt': `input [{ name: "IN" data_type: TYPE_FP32 dims: [ -1 ] }] output [{ name: "OUT" data_type: TYPE_FP32 dims: [ -1 ] }] parameters { key: "colour" value: { string_value: "blue" } }`,
  'deaf/1/model.mjs': `${vector(0)}
export const execute = async ([{ inputs: { IN } }]) => {
  if (IN.data[0] === 0) return new Promise(() => {});
  if (IN.data[0] > 99) await new Promise((resolve) => setTimeout(resolve, IN.data[0]));
  return [{ OUT: IN }];
};`,
  'promising/1/model.mjs': `${vector(0)}
export const execute = (requests) => requests.map(async ({ inputs: { IN } }) => ({ OUT: IN }));`,
  'leaky/1/model.mjs': `${vector(0)}
export const execute = ([{ inputs: { IN } }]) => {
  const all = [];
  while (IN.data[0] === 0) all.push(new Array(1e5).fill(all.length));
  return [{ OUT: IN }];
};`,
  'chatty/1/model.mjs': `${vector(0)}
export const execute = ([{ inputs: { IN } }]) => {
  while (IN.data[0] === 0) console.log('blah blah blah');
  return [{ OUT: IN }];
};`,
  'evil/1/model.mjs': `${vector(0)}
const ways = [
  () => { for (;;); },
  () => process.exit(3),
  () => { setTimeout(() => { throw new Error('thrown to nobody'); }); return new Promise(() => {}); },
  () => { void Promise.reject(new Error('rejected to nobody')); return new Promise(() => {}); },
  () => process.kill(process.pid, 'SIGSEGV'),
  () => [{ OUT: [process.pid] }],
];
export const execute = ([{ inputs: { IN } }]) => ways[IN.data[0]]();`,
};

const cleanups: (() => unknown)[] = [];
let server: ServerProcess;

beforeAll(async () => {
  const repository = makeRepository(files);
  cleanups.push(repository.remove);
  server = await ServerProcess.start([
    `--model-repository=${repository.path}`,
    '--execution-timeout-ms=2000',
    '--host-memory-bytes=200MiB',
  ]);
  cleanups.push(() => server.kill());
});
const ownCleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of ownCleanups.splice(0).reverse()) await cleanup();
});
afterAll(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
});

const infer = (model: string, values: readonly unknown[], sent: Sent = {}): Promise<Answer> =>
  server.post(`/v2/models/${model}/infer`, body(values, sent));

async function outOf(model: string, values: readonly unknown[], sent: Sent = {}): Promise<unknown[]> {
  const { status, json } = await infer(model, values, sent);
  expect([status, json]).toEqual([200, expect.anything()]);
  return json.outputs[0].data;
}

describe('what a model does wrong is its own loss', () => {
  it.each([
    ['an endless loop', 0, 504, /did not end within the 2 s that an execution may take/],
    ['process.exit', 1, 503, /ended with exit code 3/],
    ['an exception in a timer', 2, 503, /ended with exit code/],
    ['a rejection that nobody handles', 3, 503, /ended with exit code/],
    ['a crash', 4, 503, /SIGSEGV/],
  ])('%s', async (_name, way, status, message) => {
    let own = 0;
    await until(async () => {
      const { status, json } = await infer('evil', [5]);
      own = json.outputs?.[0].data[0];
      return status === 200;
    });
    const others = server.hosts();
    const evil = infer('evil', [way]);
    expect(await outOf('asks', [1])).toEqual([1]);
    const answer = await evil;
    expect([answer.status, answer.json.error]).toEqual([status, expect.stringMatching(message)]);
    await until(() => !isAlive(own));
    for (const pid of others) if (pid !== own) expect(isAlive(pid)).toBe(true);
  });

  it('is quarantined when it goes on', async () => {
    await until(async () => (await server.get('/v2/models/evil/ready')).status !== 200);
    const [{ reason }] = (await server.post('/v2/repository/index', '')).json.filter(({ name }: { name: string }) => name === 'evil');
    expect(reason).toMatch(/quarantined/);
  });

  it('a promise for a single request is called by its name', async () => {
    expect((await infer('promising', [1])).json.error).toMatch(/gave a promise for a request.*Promise\.all/);
  });

  it('a flood of words does not drown the server', async () => {
    const shouting = infer('chatty', [0]);
    await until(() => server.stderr.includes('blah blah blah'));
    const startMs = performance.now();
    for (let i = 0; i < 20; i++) expect(await outOf('asks', [i])).toEqual([i]);
    expect(performance.now() - startMs).toBeLessThan(10_000);
    // Too long, or out of memory: what it prints is freed only when it pauses.
    expect([503, 504]).toContain((await shouting).status);
    expect(server.stderr.match(/blah blah blah/g)!.length).toBeLessThan(2500);
  });

  it('a leak ends at the limit of memory', async () => {
    const { status, json } = await infer('leaky', [0]);
    expect([status, json.error]).toEqual([503, expect.stringMatching(/ended by SIGABRT|of memory it may/)]);
    await until(async () => (await infer('leaky', [1])).status === 200);
  });

  it('a promise that never settles costs its request, not the process', async () => {
    const hosts = server.hosts();
    const hangs = infer('deaf', [0]);
    expect(await outOf('deaf', [1])).toEqual([1]);
    const { status, json } = await hangs;
    expect([status, json.error]).toEqual([504, expect.stringMatching(/it waits for something that does not come/)]);
    expect(await outOf('deaf', [2])).toEqual([2]);
    expect(server.hosts()).toEqual(hosts);
  });

  it('nor those that are answered meanwhile, for as long as there are any', async () => {
    const hangs = infer('deaf', [0]);
    const others: Promise<Answer>[] = [];
    // Past the time that an execution may take, twice.
    for (const end = performance.now() + 5000; performance.now() < end; await new Promise((resolve) => setTimeout(resolve, 300)))
      others.push(infer('deaf', [1000]));
    expect((await hangs).status).toBe(504);
    expect((await Promise.all(others)).map(({ status }) => status)).toEqual(others.map(() => 200));
  }, 20_000);
});

/** Hosts whose command line is that of a host of code: no small young generation. */
function codeHosts(server: ServerProcess): number {
  const lines = server.hosts().map((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8'));
  return lines.filter((line) => line.includes('host-process') && !line.includes('semi-space')).length;
}

describe('loading', () => {
  async function start(models: Record<string, string>, ...flags: string[]): Promise<ServerProcess> {
    const repository = makeRepository(models);
    ownCleanups.push(repository.remove);
    const own = await ServerProcess.start([`--model-repository=${repository.path}`, ...flags]);
    ownCleanups.push(() => own.kill());
    return own;
  }
  const identity = `${vector(0)} export const execute = (requests) => requests.map(({ inputs }) => ({ OUT: inputs.IN }));`;

  it('says what is wrong with a model', async () => {
    const own = await start({
      'syntax/1/model.mjs': '\nexport const execute = (;',
      'nothing/1/model.mjs': `${vector(0)} export const excute = 1;`,
      'throws/1/model.mjs': `${identity} throw new TypeError('at the top');`,
      'initialises/1/model.mjs': `${identity} export const initialize = async () => { throw new Error('no licence'); };`,
      'silent/1/model.mjs': 'export const execute = () => [];',
      'typed/1/model.mjs': `export const config = { inputs: [{ name: 'A', datatype: 'FLOAT', dims: [1] }], outputs: [] }; ${identity.slice(identity.indexOf('export const execute'))}`,
      'differs/1/model.mjs': identity,
      'differs/config.pbtxt':
        'input [{ name: "IN" data_type: TYPE_INT32 dims: [ -1 ] }] output [{ name: "OUT" data_type: TYPE_FP32 dims: [ -1 ] }]',
      'imports/1/model.mjs': "import './gone.mjs';",
      'many/1/model.mjs': identity,
      'many/config.yaml': 'instance_group: [{ count: 65 }]',
      'good/1/model.mjs': `import { one } from './part.mjs'; ${identity} one();`,
      'good/1/part.mjs': 'export const one = () => 1;',
    });
    const index = new Map(
      (await own.post('/v2/repository/index', '')).json.map((row: { name: string; reason?: string }) => [row.name, row.reason ?? '']),
    );
    expect(Object.fromEntries(index)).toEqual({
      syntax: expect.stringMatching(/could not be imported: SyntaxError: .* \(1\/model\.mjs:2\)/),
      nothing: expect.stringMatching(/execute: expected a function/),
      throws: expect.stringMatching(/TypeError: at the top \(1\/model\.mjs:2:\d+\)/),
      initialises: expect.stringMatching(/initialize failed: Error: no licence/),
      silent: expect.stringMatching(/says nothing of its inputs and outputs/),
      typed: expect.stringMatching(/config\.inputs\[0\]\.datatype: expected one such as FP32 or BYTES, got the string "FLOAT"/),
      differs: expect.stringMatching(/input\[0\] 'IN': data_type: the model says TYPE_FP32, the configuration TYPE_INT32/),
      imports: expect.stringMatching(/could not be imported: Error: Cannot find module/),
      many: expect.stringMatching(/65 instances, each of them a process/),
      good: '',
    });
    for (const reason of index.values()) expect(reason).not.toContain('/tmp/');
    // Of those that failed nothing is left.
    expect(own.hosts()).toHaveLength(1);
  });

  it('runs in a process of its own beside an inline host too, and ends orderly', async () => {
    const own = await start(
      { 'asks/1/model.mjs': files['asks/1/model.mjs']!, 'asks/config.pbtxt': files['asks/config.pbtxt']! },
      '--execution-host=inline',
    );
    expect(own.hosts()).toHaveLength(1);
    expect((await own.post('/v2/models/asks/infer', body([3]))).json.outputs[0].data).toEqual([3]);
    const { stderr, code } = await own.stop();
    expect(code).toBe(0);
    expect(stderr).toContain('"finalized"');
  });

  it('gets more instances, and fewer, and can be unloaded while it hangs at its start', async () => {
    const repository = makeRepository({
      'good/1/model.mjs': identity,
      'good/config.yaml': 'instance_group: [{ count: 1 }]\n',
      'hangs/1/model.mjs': `${vector(0)} console.log('hangs here'); await null; for (;;);`,
    });
    ownCleanups.push(repository.remove);
    const own = await ServerProcess.start([`--model-repository=${repository.path}`, '--model-control-mode=explicit', '--load-model=good']);
    ownCleanups.push(() => own.kill());
    const counts: number[] = [];
    for (const count of [3, 2]) {
      writeFileSync(join(repository.path, 'good/config.yaml'), `instance_group: [{ count: ${count} }]\n`);
      expect((await own.post('/v2/repository/models/good/load', '')).status).toBe(200);
      // A spare host waits beside them.
      counts.push(codeHosts(own));
      expect((await own.post('/v2/models/good/infer', body([3]))).status).toBe(200);
    }
    expect(counts).toEqual([3, 2]);
    const hanging = own.post('/v2/repository/models/hangs/load', '');
    await own.logLine((line) => line['msg'] === 'hangs here');
    expect((await own.post('/v2/repository/models/hangs/unload', '')).status).toBe(200);
    expect((await hanging).status).not.toBe(200);
    await until(() => codeHosts(own) === 2);
  });

  it.each([false, true])('a load request that brings code is refused unless the server allows it: %s', async (isAllowed) => {
    const own = await start(
      { 'good/1/model.mjs': identity },
      '--model-control-mode=explicit',
      ...(isAllowed ? ['--allow-uploaded-code'] : []),
    );
    const code = Buffer.from(identity).toString('base64');
    const answer = await own.post('/v2/repository/models/brought/load', {
      parameters: { config: '{"backend":"javascript"}', 'file:1/model.mjs': code },
    });
    if (isAllowed) {
      expect([answer.status, answer.json]).toEqual([200, undefined]);
      expect((await own.post('/v2/models/brought/infer', body([3]))).json.outputs[0].data).toEqual([3]);
    } else {
      expect([answer.status, answer.json.error]).toEqual([403, expect.stringMatching(/--allow-uploaded-code/)]);
    }
    expect((await own.post('/v2/repository/models/good/load', '')).status).toBe(200);
  });

  it('TypeScript runs where its types can be taken off', async () => {
    const typed = `${vector(0)}
interface Request { readonly inputs: Record<string, { readonly data: Float32Array }> }
export const execute = (requests: readonly Request[]): object[] => requests.map(({ inputs }): object => ({ OUT: inputs['IN']!.data }));`;
    const own = await start({ 'typed/1/model.ts': typed, 'wrong/1/model.ts': 'export const a: number = 1;\nexport const b: = 2;' });
    const why = (await own.post('/v2/repository/index', '')).json.find(({ name }: { name: string }) => name === 'wrong').reason;
    if (!/needs Node/.test(why)) expect(why).toMatch(/could not be imported: SyntaxError.*: \S.*expected/i);
    const { status } = await own.post('/v2/models/typed/infer', body([3]));
    if (status === 200) return;
    expect(why).toMatch(/needs Node\.js 22\.13 or later, or the package 'amaro'/);
    expect(Number(process.versions.node.split('.')[0])).toBeLessThan(22);
  });
});
