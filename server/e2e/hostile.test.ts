import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addSub, dynamicOutput, identity, scalarIdentity } from '../../bench/models/test-models.ts';
import { SeededRandom } from '../../bench/statistics/seeded-random.ts';
import { DATATYPES, type Datatype } from '../../proto/datatype.ts';
import { RawHttpConnection, type RawHttpResponse } from '../transports/raw-http-connection.ts';
import { loadUws } from '../transports/uws/uws-module.ts';
import { type HostileRequest, HostileRequests, type TargetModel } from './mutated-bodies.ts';
import { makeRepository, ServerProcess } from './serve.ts';

const uws = await loadUws();
const engines = 'module' in uws ? (['uws', 'node'] as const) : (['node'] as const);
/** For a longer sweep by hand: NEREID_HOSTILE_CASES=200000 NEREID_HOSTILE_SEED=7 npx vitest run server/e2e/hostile.test.ts */
const cases = Number(process.env['NEREID_HOSTILE_CASES'] ?? 3000);
const seed = Number(process.env['NEREID_HOSTILE_SEED'] ?? 1);
const answerLimitMs = 10_000;

const datatypes = (Object.keys(DATATYPES) as Datatype[]).filter((datatype) => datatype !== 'BF16');
const targets: TargetModel[] = [
  ...datatypes.map((datatype) => ({ name: `id_${datatype}`, inputs: [{ name: 'INPUT0', datatype, dims: [-1, -1] }] })),
  { name: 'scalar', inputs: [{ name: 'INPUT0', datatype: 'FP32', dims: [1] }] },
  { name: 'where', inputs: [{ name: 'INPUT0', datatype: 'FP32', dims: [-1] }] },
  { name: 'sum', inputs: ['INPUT0', 'INPUT1'].map((name) => ({ name, datatype: 'INT32', dims: [-1, 16] }) as const) },
];
const files = {
  ...Object.fromEntries(datatypes.map((datatype) => [`id_${datatype}/1/model.onnx`, identity(datatype, ['batch', 'any'])])),
  'scalar/1/model.onnx': scalarIdentity('FP32'),
  'where/1/model.onnx': dynamicOutput(),
  'sum/1/model.onnx': addSub('INT32', ['batch', 16]),
};

describe.each(engines)('over %s', (engine) => {
  let server: ServerProcess;
  let repository: ReturnType<typeof makeRepository>;
  beforeAll(async () => {
    repository = makeRepository(files);
    server = await ServerProcess.start([`--model-repository=${repository.path}`, `--http-engine=${engine}`]);
  });
  afterAll(async () => {
    expect((await server.stop()).code).toBe(0);
    repository.remove();
  });

  /** One tensor to the model `id_<datatype>`, as JSON numbers and as bytes. */
  const asJson = (datatype: string, shape: string, data: string): ReturnType<ServerProcess['post']> =>
    server.post(
      `/v2/models/id_${datatype}/infer`,
      `{"inputs":[{"name":"INPUT0","datatype":"${datatype}","shape":${shape},"data":${data}}]}`,
    );
  const asBytes = (datatype: string, shape: string, bytes: Uint8Array, size: number | string = bytes.length, isBinaryOut = false) => {
    const input = `{"name":"INPUT0","datatype":"${datatype}","shape":${shape},"parameters":{"binary_data_size":${size}}}`;
    const json = Buffer.from(`{"inputs":[${input}],"parameters":{"binary_data_output":${isBinaryOut}}}`);
    return server.post(`/v2/models/id_${datatype}/infer`, Buffer.concat([json, bytes]), {
      'inference-header-content-length': String(json.length),
    });
  };

  it.each([
    '[1,2147483648]',
    '[2147483648,2147483648]',
    '[4294967296,4294967296]',
    '[9007199254740992,1]',
    '[9223372036854775807,2]',
    '[18446744073709551615,1]',
    '[1,4611686018427387904]',
    '[1,1e308]',
    '[1,1.5]',
    '[1,"2"]',
    '[1,null]',
    '[1,true]',
    '[1,-1]',
    '[1,[2]]',
    '[]',
    'null',
    '{}',
    '[0,2]',
    '[1,0]',
    `[${Array(10_000).fill(1)}]`,
  ])('refuses shape %.30s with two values, in JSON and in bytes', async (shape) => {
    for (const answer of [await asJson('FP32', shape, '[1,2]'), await asBytes('FP32', shape, new Uint8Array(8))]) {
      expect([answer.status, answer.json.error]).toEqual([400, expect.stringContaining('INPUT0')]);
    }
  });

  it('answers nothing with nothing, in JSON and in bytes', async () => {
    for (const shape of ['[0,2]', '[2,0]']) {
      for (const datatype of ['FP32', 'BYTES']) {
        const [json, bytes] = [await asJson(datatype, shape, '[]'), await asBytes(datatype, shape, new Uint8Array(0))];
        const expected = [{ name: 'OUTPUT0', datatype, shape: JSON.parse(shape), data: [] }];
        expect([json.json.outputs, bytes.json.outputs]).toEqual([expected, expected]);
      }
    }
  });

  it('takes of BOOL two bytes only', async () => {
    expect((await asBytes('BOOL', '[1,2]', Uint8Array.of(1, 0))).json.outputs[0].data).toEqual([true, false]);
    const bad = await asBytes('BOOL', '[1,2]', Uint8Array.of(1, 2));
    expect([bad.status, bad.json.error]).toEqual([400, expect.stringContaining('element 1 is the byte 2')]);
    expect((await asJson('BOOL', '[1,2]', '[true,1]')).status).toBe(400);
  });

  it('writes NaN and infinities as JSON that any parser reads, and as they are in bytes', async () => {
    const values = Float32Array.of(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0);
    const bytes = new Uint8Array(values.buffer);
    for (const answer of [await asBytes('FP32', '[1,4]', bytes), await asJson('FP32', '[1,4]', '["NaN",Infinity,"-Infinity",-0.0]')]) {
      expect(answer.json.outputs[0].data).toEqual(['NaN', 'Infinity', '-Infinity', -0]);
    }
    const binary = await asBytes('FP32', '[1,4]', bytes, bytes.length, true);
    expect(binary.bytes.subarray(-16).equals(bytes)).toBe(true);
  });

  it.each([
    ['a cut length', [1, 0]],
    ['a length past the end', [9, 0, 0, 0, 65]],
    ['the largest length', [255, 255, 255, 255, 65]],
    ['an element too many', [0, 0, 0, 0, 0, 0, 0, 0]],
    ['none', []],
  ])('refuses BYTES with %s', async (_what, bytes) => {
    const answer = await asBytes('BYTES', '[1,1]', Uint8Array.from(bytes));
    expect([answer.status, answer.json.error]).toEqual([400, expect.stringContaining('INPUT0')]);
  });

  it('refuses binary sizes that do not add up', async () => {
    for (const size of [-1, 3, 8, '4.0', '9007199254740993', '"4"']) {
      const answer = await asBytes('FP32', '[1,1]', new Uint8Array(4), size);
      expect([size, answer.status, answer.json.error]).toEqual([size, 400, expect.any(String)]);
    }
  });

  it.each(['-1', '+5', '99999', '2147483648', '99999999999999999999', '1e3', '0x10', '5,5', '12abc'])(
    'refuses Inference-Header-Content-Length %s',
    async (value) => {
      const answer = await server.post('/v2/models/sum/infer', '{"inputs":[]}', { 'inference-header-content-length': value });
      expect([answer.status, answer.json.error]).toEqual([400, expect.stringContaining('Inference-Header-Content-Length')]);
    },
  );

  it('refuses two of that header, and one that splits a character', async () => {
    const connection = await RawHttpConnection.open(Number(new URL(server.http).port));
    const name = 'Inference-Header-Content-Length';
    connection.write(
      `POST /v2/models/sum/infer HTTP/1.1\r\nHost: x\r\n${name}: 13\r\n${name}: 13\r\nContent-Length: 13\r\n\r\n{"inputs":[]}`,
    );
    const answer = await connection.next();
    expect([answer?.status, answer?.body.toString()]).toEqual([400, expect.stringContaining(name)]);
    connection.destroy();
    const split = await server.post('/v2/models/sum/infer', Buffer.from('{"id":"é"}'), { [name]: '8' });
    expect([split.status, split.json.error]).toEqual([400, expect.stringContaining(name)]);
  });

  it(`answers ${cases} damaged bodies with 200 or 4xx, and right requests beside them rightly`, {
    timeout: 30_000 + cases * 20,
  }, async () => {
    const port = Number(new URL(server.http).port);
    const hosts = server.hosts();
    const requests = new HostileRequests(new SeededRandom(seed), targets);
    const statuses = new Map<number, number>();
    const wrong: string[] = [];
    let left = cases;
    const client = async (): Promise<void> => {
      let connection = await RawHttpConnection.open(port);
      for (let i = 0; left > 0; i++) {
        left--;
        const request = i % 50 === 49 ? null : requests.next();
        const answer = await within(ask(connection, request ?? golden(i)));
        const status = answer?.status ?? 0;
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        const text = answer?.body.toString('utf8') ?? '';
        if (request === null) {
          if (!text.includes(`"data":[${i},`)) wrong.push(`golden ${i}: ${status} ${text}`);
        } else if (!(status === 200 ? isWellFormed(answer!) : isRefusal(status) && isErrorBody(text))) {
          wrong.push(`${status} ${text}: ${describe1(request)}`);
        }
        if (answer === null || connection.isClosed || answer.headers.get('connection') === 'close') {
          connection.destroy();
          connection = await RawHttpConnection.open(port);
        }
      }
      connection.destroy();
    };
    await Promise.all(Array.from({ length: 8 }, client));
    if (cases > 3000) console.log(engine, Object.fromEntries(statuses));
    expect(wrong.slice(0, 10)).toEqual([]);
    // Both ways are really taken.
    expect(statuses.get(200)).toBeGreaterThan(cases / 50);
    expect(statuses.get(400)).toBeGreaterThan(cases / 4);
    expect(server.hosts()).toEqual(hosts);
    expect((await server.get('/v2/health/ready')).status).toBe(200);
  });
});

function golden(value: number): HostileRequest {
  const inputs = [value, 0].map((one, i) => ({ name: `INPUT${i}`, datatype: 'INT32', shape: [1, 16], data: Array(16).fill(one) }));
  return { path: '/v2/models/sum/infer', headers: {}, body: Buffer.from(JSON.stringify({ inputs })) };
}

function ask(connection: RawHttpConnection, { path, headers, body }: HostileRequest): ReturnType<RawHttpConnection['next']> {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  connection.write(
    Buffer.concat([Buffer.from(`POST ${path} HTTP/1.1\r\nHost: x\r\n${lines.join('')}Content-Length: ${body.length}\r\n\r\n`), body]),
  );
  return connection.next();
}

async function within<T>(answer: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${answerLimitMs} ms`)), answerLimitMs);
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** JSON, or JSON and as many bytes behind it as it says. */
function isWellFormed({ headers, body }: RawHttpResponse): boolean {
  const headerLength = Number(headers.get('inference-header-content-length') ?? body.length);
  const json = JSON.parse(body.toString('utf8', 0, headerLength)) as { outputs?: { parameters?: { binary_data_size?: number } }[] };
  const binaryBytes = (json.outputs ?? []).reduce((sum, output) => sum + (output.parameters?.binary_data_size ?? 0), 0);
  return headerLength + binaryBytes === body.length;
}

/** 501: a shared memory region, which damage can ask for as well as anyone. */
const isRefusal = (status: number): boolean => (status >= 400 && status < 500) || status === 501;

function isErrorBody(text: string): boolean {
  try {
    const { error } = JSON.parse(text) as { error: unknown };
    return typeof error === 'string' && error.length > 0 && !error.includes('/tmp/') && !/\.[jt]s:\d/.test(error);
  } catch {
    return false;
  }
}

function describe1(request: HostileRequest): string {
  return `${request.path} ${JSON.stringify(request.headers)} ${request.body.toString('latin1').slice(0, 500)}`;
}
