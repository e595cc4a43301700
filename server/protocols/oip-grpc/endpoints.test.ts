import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { descriptor } from '../../../proto/gen/descriptor.ts';
import type * as gen from '../../../proto/gen/inference-service.ts';
import { InferenceError } from '../../../proto/inference-error.ts';
import { encodeModelConfig } from '../../model-config/encode-model-config.ts';
import { anyModelConfig } from '../../model-config/model-config.case.ts';
import type { HttpBody, HttpExchange } from '../../transports/http-exchange.ts';
import { controlRoutes } from '../oip-rest/control.ts';
import { encodeMessage, messageType } from './control-messages.ts';
import { oipGrpcMethods } from './endpoints.ts';
import { answer, decodeAs, type InferAnswer, inferRequest, ServedModels } from './served-models.case.ts';

const CANCELLED = 1;
const INVALID_ARGUMENT = 3;
const DEADLINE_EXCEEDED = 4;
const NOT_FOUND = 5;
const UNIMPLEMENTED = 12;
const INTERNAL = 13;
const UNAVAILABLE = 14;

let served: ServedModels;

beforeAll(async () => {
  served = await ServedModels.start();
});

afterAll(async () => {
  await served.stop();
  expect(served.faults).toEqual([]);
});

async function statusOf(promise: Promise<unknown>): Promise<[number, string]> {
  try {
    await promise;
  } catch (error) {
    const { code, details } = error as { code: number; details: string };
    return [code, details];
  }
  return [0, ''];
}

it('has every RPC of the service', () => {
  const { nested } = descriptor as unknown as { nested: { inference: { nested: { GRPCInferenceService: { methods: object } } } } };
  const rpcs = Object.keys(nested.inference.nested.GRPCInferenceService.methods);
  expect(rpcs).toHaveLength(20);
  expect(
    oipGrpcMethods(served.context)
      .map(({ path }) => path)
      .sort(),
  ).toEqual(rpcs.map((rpc) => `/inference.GRPCInferenceService/${rpc}`).sort());
});

describe('ModelInfer', () => {
  it('answers with the id, the version that ran and the bytes', async () => {
    const { answer: answered } = served.call('ModelInfer', inferRequest('plain', 'a'));
    const before = served.plain.taken;
    await served.plain.took(before + 1);
    const request = served.plain.byId('a');
    expect([request.modelVersion, request.inputs[0]!.data.length, request.deadlineNs]).toEqual(['1', 4, Number.POSITIVE_INFINITY]);
    request.respond(answer('plain', 42));
    expect(decodeAs<InferAnswer>('ModelInferResponse', await answered)).toEqual({
      modelName: 'plain',
      modelVersion: '1',
      id: 'a',
      parameters: {},
      outputs: [{ name: 'OUTPUT0', datatype: 'INT32', shape: [1, 1], parameters: {}, contents: null }],
      rawOutputContents: [Buffer.from([42, 0, 0, 0])],
    });
  });

  it('fails as its model does', async () => {
    const { answer: answered } = served.call('ModelInfer', inferRequest('plain', 'b'));
    await served.plain.took(served.plain.taken + 1);
    served.plain.byId('b').fail(new InferenceError('INTERNAL', 'it broke'));
    expect(await statusOf(answered)).toEqual([INTERNAL, 'it broke']);
  });

  it('gives its deadline to the request, and cancels it then', async () => {
    const { answer: answered } = served.call('ModelInfer', inferRequest('plain', 'c'), 200);
    await served.plain.took(served.plain.taken + 1);
    const leftMs = served.plain.byId('c').deadlineNs / 1e6 - performance.now();
    expect(leftMs).toBeGreaterThan(0);
    expect(leftMs).toBeLessThan(210);
    expect(await statusOf(answered)).toEqual([DEADLINE_EXCEEDED, expect.any(String)]);
    await expect.poll(() => served.plain.cancelled).toContain('c');
  });

  it('cancels the request when the client does', async () => {
    const call = served.call('ModelInfer', inferRequest('plain', 'd'));
    await served.plain.took(served.plain.taken + 1);
    call.cancel();
    expect(await statusOf(call.answer)).toEqual([CANCELLED, expect.any(String)]);
    await expect.poll(() => served.plain.cancelled).toContain('d');
    served.plain.byId('d').respond(answer('plain', 1));
  });

  it('refuses an answer that cannot be encoded, for this caller alone', async () => {
    const outputs = [{ name: 'OUTPUT0', parameters: { classification: { int64Param: 1 } } }];
    const { answer: answered } = served.call('ModelInfer', inferRequest('plain', 'e', { outputs }));
    await served.plain.took(served.plain.taken + 1);
    const good = answer('plain', 1);
    served.plain.byId('e').respond({ ...good, outputs: [{ ...good.outputs[0]!, datatype: 'BYTES' }] });
    expect(await statusOf(answered)).toEqual([INVALID_ARGUMENT, expect.stringContaining('class result not available')]);
  });

  const emptyFinal = { parameters: { triton_enable_empty_final_response: { boolParam: true } } };
  it.each<[string, Uint8Array, number, string]>([
    ['an unknown model', inferRequest('plaim', ''), NOT_FOUND, "Request for unknown model: 'plaim' is not found; did you mean 'plain'?"],
    ['an unknown version', inferRequest('plain', '', { modelVersion: '7' }), NOT_FOUND, "'plain' version 7 is not found"],
    ['a version that is no number', inferRequest('plain', '', { modelVersion: 'x' }), INVALID_ARGUMENT, "version string 'x'"],
    ['a model that could not be loaded', inferRequest('broken', ''), NOT_FOUND, "'broken' has no available versions"],
    ['its version', inferRequest('broken', '', { modelVersion: '1' }), UNAVAILABLE, 'is not at ready state'],
    ['a decoupled model', inferRequest('many', ''), UNIMPLEMENTED, "doesn't support models with decoupled transaction policy"],
    [
      'an empty final response',
      inferRequest('plain', '', emptyFinal),
      INVALID_ARGUMENT,
      'triton_enable_empty_final_response: a unary call',
    ],
    [
      'another shape',
      inferRequest('plain', '', { inputs: [{ name: 'INPUT0', datatype: 'INT32', shape: [1, 2] }] }),
      INVALID_ARGUMENT,
      'unexpected shape',
    ],
    ['a message that is none', Uint8Array.of(0xff), INVALID_ARGUMENT, 'ModelInferRequest: a varint that the end of the message cuts'],
    ['no message', new Uint8Array(0), NOT_FOUND, "Request for unknown model: '' is not found"],
  ])('refuses %s', async (_what, message, code, text) => {
    expect(await statusOf(served.call('ModelInfer', message).answer)).toEqual([code, expect.stringContaining(text)]);
  });
});

/** What REST answers, to compare with. */
function rest(method: string, pattern: string, params: readonly string[], body = ''): unknown {
  const route = controlRoutes(served.context).find((one) => one.method === method && one.pattern === pattern);
  let answered: { status: number; body: unknown } | undefined;
  const respond = (status: number, _headers: readonly string[], text: HttpBody): void => {
    answered = { status, body: JSON.parse(String(text)) };
  };
  route!.handle({ params, body: Buffer.from(body), respond } as unknown as HttpExchange);
  return answered!.body;
}

const snake = (text: string): string => text.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** A decoded answer of these tests, whose maps are empty, with members named as in the .proto file, null ones left out. */
const ownFields: ReadonlySet<string> = new Set(['versionLabels', 'goldenCheck', 'warmupRequests']);

function asJson(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(asJson);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, member]) => member !== null)
      // REST leaves this server's own fields out while they are empty.
      .filter(([key, member]) => !ownFields.has(key) || Object.keys(member as object).length > 0)
      .map(([key, member]) => [snake(key), asJson(member)]),
  );
}

describe('control', () => {
  it('is live, and ready when the server is', async () => {
    expect(await served.ask('ServerLive')).toEqual({ live: true });
    expect(await served.ask('ServerReady')).toEqual({ ready: true });
    served.isReady = false;
    expect(await served.ask('ServerReady')).toEqual({ ready: false });
    served.isReady = true;
  });

  it('a model is ready, or it is not; that its version is no number is an error', async () => {
    const ready = async (name: string, version = ''): Promise<boolean> =>
      (await served.ask<gen.ModelReadyResponse>('ModelReady', { name, version })).ready;
    expect([await ready('plain'), await ready('plain', '1'), await ready('many')]).toEqual([true, true, true]);
    expect([await ready('plain', '7'), await ready('none'), await ready('broken'), await ready('broken', '1')]).toEqual([
      false,
      false,
      false,
      false,
    ]);
    expect(await statusOf(ready('plain', 'x'))).toEqual([INVALID_ARGUMENT, expect.stringContaining("version string 'x'")]);
  });

  it('describes server, models, configurations, statistics and the repository as REST does', async () => {
    const ask = async (rpc: string, request: object = {}): Promise<unknown> => asJson(await served.ask(rpc, request));
    expect(await ask('ServerMetadata')).toEqual(rest('GET', '/v2', []));
    for (const version of ['', '1']) {
      const tail = version === '' ? '' : '/versions/{version}';
      const params = version === '' ? ['plain'] : ['plain', version];
      expect(await ask('ModelMetadata', { name: 'plain', version })).toEqual(rest('GET', `/v2/models/{model}${tail}`, params));
      expect(await ask('ModelConfig', { name: 'plain', version })).toEqual({
        config: rest('GET', `/v2/models/{model}${tail}/config`, params),
      });
      expect(await ask('ModelStatistics', { name: 'plain', version })).toEqual(rest('GET', `/v2/models/{model}${tail}/stats`, params));
    }
    const statistics = rest('GET', '/v2/models/stats', []) as {
      model_stats: { name: string; inference_stats: { fail: { count: number } } }[];
    };
    expect(statistics.model_stats.find(({ name }) => name === 'plain')!.inference_stats.fail.count).toBeGreaterThan(0);
    expect(await ask('ModelStatistics')).toEqual(statistics);
    for (const ready of [false, true]) {
      const models = rest('POST', '/v2/repository/index', [], JSON.stringify({ ready })) as object[];
      expect(models).toHaveLength(ready ? 2 : 3);
      expect(await ask('RepositoryIndex', { ready, repositoryName: 'any' })).toEqual({
        models: models.map((model) => ({ reason: '', ...model })),
      });
    }
  });

  it.each<[string, object, number, string]>([
    ['ModelMetadata', { name: 'none' }, NOT_FOUND, "Request for unknown model: 'none' is not found"],
    ['ModelConfig', { name: 'broken', version: '1' }, UNAVAILABLE, 'is not at ready state'],
    ['ModelStatistics', { name: 'none' }, INVALID_ARGUMENT, "requested model 'none' is not available"],
    ['ModelStatistics', { name: 'plain', version: '7' }, INVALID_ARGUMENT, "requested model version is not available for model 'plain'"],
    ['RepositoryModelLoad', { modelName: 'plain' }, UNAVAILABLE, 'explicit model load / unload is not allowed'],
    ['RepositoryModelUnload', { modelName: 'plain', parameters: { unload_dependents: { boolParam: true } } }, UNAVAILABLE, 'not allowed'],
    ['SystemSharedMemoryStatus', { name: 'r' }, NOT_FOUND, "Unable to find shared memory region 'r'"],
    ['CudaSharedMemoryStatus', { name: 'r' }, NOT_FOUND, "Unable to find shared memory region 'r'"],
    ['SystemSharedMemoryRegister', { name: 'r', key: '/k', byteSize: 64 }, UNIMPLEMENTED, 'Client shared memory is disabled'],
    [
      'CudaSharedMemoryRegister',
      { name: 'r', rawHandle: new Uint8Array(2), deviceId: -1 },
      UNIMPLEMENTED,
      'Client shared memory is disabled',
    ],
    ['SystemSharedMemoryUnregister', {}, UNIMPLEMENTED, 'Client shared memory is disabled'],
    ['CudaSharedMemoryUnregister', {}, UNIMPLEMENTED, 'Client shared memory is disabled'],
    [
      'TraceSetting',
      { settings: { trace_level: { value: ['OFF'] } } },
      UNIMPLEMENTED,
      'the trace extension is not supported by this server yet',
    ],
    ['LogSettings', {}, UNIMPLEMENTED, 'changing the log over the network is not supported by this server yet'],
  ])('%s %o is refused', async (rpc, request, code, text) => {
    expect(await statusOf(served.ask(rpc, request))).toEqual([code, expect.stringContaining(text)]);
  });

  it('has no shared memory regions, which is true', async () => {
    expect(await served.ask('SystemSharedMemoryStatus')).toEqual({ regions: {} });
    expect(await served.ask('CudaSharedMemoryStatus')).toEqual({ regions: {} });
  });

  it('refuses malformed messages, naming the field', async () => {
    const status = (rpc: string, ...bytes: number[]): Promise<[number, string]> =>
      statusOf(served.call(rpc, Uint8Array.from(bytes)).answer);
    expect(await status('ModelMetadata', 0x0a, 9)).toEqual([
      INVALID_ARGUMENT,
      expect.stringContaining('ModelMetadataRequest.name: a length of 9 bytes'),
    ]);
    expect(await status('ModelReady', 0x08, 1)).toEqual([
      INVALID_ARGUMENT,
      expect.stringContaining('ModelReadyRequest.name: expected wire type'),
    ]);
    expect(await status('RepositoryIndex', 0x12, 0)).toEqual([
      INVALID_ARGUMENT,
      expect.stringContaining('ready: expected wire type varint'),
    ]);
    expect(await status('RepositoryModelLoad', 0x18, 0)).toEqual([
      INVALID_ARGUMENT,
      expect.stringContaining('parameters: expected wire type'),
    ]);
    expect(await status('ServerLive', 0x0b)).toEqual([INVALID_ARGUMENT, expect.stringContaining('group')]);
    expect(await status('ModelConfig', 0x0a, 1, 0xff)).toEqual([INVALID_ARGUMENT, expect.stringContaining('invalid UTF-8')]);
    // Unknown fields are skipped.
    expect(await status('ServerLive', 0x7a, 1, 0x41)).toEqual([0, '']);
  });
});

/** The configuration's fields of 32-bit floats. */
const SINGLES = ['fp32_false_true', 'minimum_slot_utilization'];

/** `json` with floats that 32 bits hold. */
function inSingles(json: object): object {
  const single = (value: number): number => (Number.isFinite(Math.fround(value)) ? Math.fround(value) + 0 : 0);
  return JSON.parse(JSON.stringify(json), (key, value) =>
    SINGLES.includes(key) ? (Array.isArray(value) ? value.map((one: number) => single(one)) : single(value as number)) : value,
  ) as object;
}

it('any configuration is the same in protobuf as in JSON', () => {
  fc.assert(
    fc.property(anyModelConfig, (config) => {
      const json = inSingles(encodeModelConfig(config));
      const decoded = decodeAs<gen.ModelConfigResponse>(
        'ModelConfigResponse',
        encodeMessage(messageType('ModelConfigResponse'), { config: json }),
      );
      expect(encodeModelConfig(decoded.config!)).toEqual(json);
    }),
    { numRuns: 60 },
  );
});
