/**
 * `npm run bench:transports`: the same inferences over REST, gRPC and WebSocket, beside an empty grpc-js handler, all in one rotation. One closed loop drives
 * them all (closed-loop.ts); what counts is the median over the rounds of the ratios.
 *
 * BENCH_ROUNDS, BENCH_SECONDS and BENCH_ONLY as in bench:smoke; BENCH_GENERATOR=h2load drives REST and unary gRPC by h2load
 * where it is installed: WebSocket and streams are beyond it.
 */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import protobuf from 'protobufjs';
import { descriptor } from '../../proto/gen/descriptor.ts';
import { addSub, identity } from '../models/test-models.ts';
import { ByteLane, httpAnswer, webSocketFrame } from './byte-lane.ts';
import { type BenchServer, cpuSeconds, serveModels, startServer } from './child.ts';
import { type Lane, runClosedLoop } from './closed-loop.ts';
import { frame, GrpcConnection } from './grpc-lane.ts';
import { type H2loadRequest, runH2load } from './h2load.ts';
import { median, postRequest, quantile } from './http-client.ts';

const rounds = Number(process.env['BENCH_ROUNDS'] ?? 5);
const seconds = Number(process.env['BENCH_SECONDS'] ?? 2);
const only = new RegExp(process.env['BENCH_ONLY'] ?? '');
const hasH2load = process.env['BENCH_GENERATOR'] === 'h2load';

const MODEL_INFER = '/inference.GRPCInferenceService/ModelInfer';
const MODEL_STREAM_INFER = '/inference.GRPCInferenceService/ModelStreamInfer';
/** An image of 1x3x224x224 floats: 602,112 bytes. */
const IMAGE = [1, 3, 224, 224];

interface BenchTensor {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

interface BenchModel {
  readonly name: string;
  readonly inputs: readonly BenchTensor[];
  /** Bytes of its gRPC answer, for the control. */
  readonly answerBytes: number;
}

const ints = new Uint8Array(new Int32Array(16).fill(1).buffer);
const simple: BenchModel = {
  name: 'simple',
  inputs: ['INPUT0', 'INPUT1'].map((name) => ({ name, datatype: 'INT32', shape: [1, 16], data: ints })),
  answerBytes: 210,
};
const image: BenchModel = {
  name: 'image',
  inputs: [{ name: 'INPUT0', datatype: 'FP32', shape: IMAGE, data: new Uint8Array(new Float32Array(3 * 224 * 224).fill(0.5).buffer) }],
  answerBytes: 602_200,
};

const types = protobuf.Root.fromJSON(descriptor);
const requestType = types.lookupType('inference.ModelInferRequest');
const streamResponseType = types.lookupType('inference.ModelStreamInferResponse');

function grpcMessage({ name, inputs }: BenchModel): Uint8Array {
  return requestType
    .encode(
      requestType.fromObject({
        modelName: name,
        inputs: inputs.map(({ name: input, datatype, shape }) => ({ name: input, datatype, shape })),
        rawInputContents: inputs.map(({ data }) => data),
      }),
    )
    .finish();
}

/** Header and tensors of the binary extension; `more` goes into the header. */
function binaryParts({ inputs }: BenchModel, more: object): { header: Buffer; tensors: Buffer } {
  const header = Buffer.from(
    JSON.stringify({
      ...more,
      inputs: inputs.map(({ name, datatype, shape, data }) => ({ name, datatype, shape, parameters: { binary_data_size: data.length } })),
      parameters: { binary_data_output: true },
    }),
  );
  return { header, tensors: Buffer.concat(inputs.map(({ data }) => data)) };
}

interface RestRequest {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

function restRequest(model: BenchModel): RestRequest {
  const { header, tensors } = binaryParts(model, {});
  return {
    path: `/v2/models/${model.name}/infer`,
    headers: { 'content-type': 'application/octet-stream', 'inference-header-content-length': String(header.length) },
    body: Buffer.concat([header, tensors]),
  };
}

function webSocketRequest(model: BenchModel): Buffer {
  const { header, tensors } = binaryParts(model, { model_name: model.name, id: '1' });
  const length = Buffer.alloc(4);
  length.writeUInt32LE(header.length);
  return webSocketFrame(2, Buffer.concat([length, header, tensors]));
}

interface Slice {
  readonly perSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly cpuUsPerRequest: number;
}

/** Opens the lanes, warms up, measures, closes. */
async function drive(server: BenchServer, open: () => Promise<{ lanes: readonly Lane[]; close(): void }>): Promise<Slice> {
  const { lanes, close } = await open();
  await runClosedLoop(lanes, 500);
  const cpuBefore = cpuSeconds(server.pid);
  const { answered, seconds: took, latenciesUs } = await runClosedLoop(lanes, seconds * 1000);
  const cpuUsPerRequest = ((cpuSeconds(server.pid) - cpuBefore) * 1e6) / answered;
  close();
  return { perSecond: answered / took, p50Us: median(latenciesUs), p99Us: quantile(latenciesUs, 0.99), cpuUsPerRequest };
}

async function byteLanes(count: number, open: () => Promise<ByteLane>): Promise<{ lanes: ByteLane[]; close(): void }> {
  const lanes = await Promise.all(Array.from({ length: count }, open));
  const close = (): void => {
    for (const lane of lanes) lane.close();
  };
  return { lanes, close };
}

async function rest(server: BenchServer, model: BenchModel, count: number): Promise<Slice> {
  const { path, headers, body } = restRequest(model);
  if (hasH2load) return byH2load(server, { url: `http://127.0.0.1:${server.port}${path}`, headers, body, isHttp1: true }, count, count);
  return drive(server, () => byteLanes(count, () => ByteLane.open(server.port, postRequest(path, headers, body), httpAnswer)));
}

/** h2load warms up for a second of its own, which counts as processor time here. */
async function byH2load(server: BenchServer, request: H2loadRequest, connections: number, inFlight: number): Promise<Slice> {
  const whole = Math.max(1, Math.round(seconds));
  const cpuBefore = cpuSeconds(server.pid);
  const { perSecond, latenciesUs } = await runH2load(request, connections, inFlight, whole);
  const cpuUsPerRequest = ((cpuSeconds(server.pid) - cpuBefore) * 1e6) / (perSecond * (whole + 1));
  return { perSecond, p50Us: median(latenciesUs), p99Us: quantile(latenciesUs, 0.99), cpuUsPerRequest };
}

const webSocket = (server: BenchServer, model: BenchModel, count: number): Promise<Slice> =>
  drive(server, () => byteLanes(count, () => ByteLane.openWebSocket(server.port, '/v2/ws', webSocketRequest(model))));

/** `count` calls in flight over `connections`. */
async function unary(server: BenchServer, port: number, model: BenchModel, count: number, connections = 1): Promise<Slice> {
  const message = grpcMessage(model);
  if (hasH2load) {
    const headers = { 'content-type': 'application/grpc', te: 'trailers' };
    const request = { url: `http://127.0.0.1:${port}${MODEL_INFER}`, headers, body: frame(message), isHttp1: false };
    return byH2load(server, request, connections, count);
  }
  return drive(server, async () => {
    const open = await Promise.all(Array.from({ length: connections }, () => GrpcConnection.open(port)));
    const lanes = Array.from({ length: count }, (_, i) => open[i % connections]!.unaryLane(MODEL_INFER, message));
    const close = (): void => {
      for (const connection of open) connection.close();
    };
    return { lanes, close };
  });
}

async function stream(server: BenchServer, port: number, model: BenchModel, count: number): Promise<Slice> {
  return drive(server, async () => {
    const connection = await GrpcConnection.open(port);
    const isAnswer = (bytes: Buffer): boolean => bytes[0] !== (1 << 3) + 2 || isSuccess(bytes);
    return {
      lanes: connection.streamLanes(MODEL_STREAM_INFER, grpcMessage(model), count, isAnswer),
      close: () => connection.close(),
    };
  });
}

/** Only looked at when a message begins with `error_message`, which a success may leave out. */
function isSuccess(bytes: Buffer): boolean {
  return (streamResponseType.toObject(streamResponseType.decode(bytes)) as { errorMessage?: string }).errorMessage === undefined;
}

const folder = mkdtempSync(join(tmpdir(), 'nereid-bench-'));
for (const [name, bytes] of [
  ['simple', addSub('INT32')],
  ['image', identity('FP32', IMAGE)],
] as const) {
  mkdirSync(join(folder, name, '1'), { recursive: true });
  writeFileSync(join(folder, name, '1', 'model.onnx'), bytes);
}
writeFileSync(join(folder, 'image', 'config.pbtxt'), 'max_batch_size: 0\n');

const server = await serveModels(folder);
const { grpcPort } = server;
const emptyOf = (model: BenchModel): Promise<BenchServer> =>
  startServer(
    'bench/scenarios/empty-grpc-server.js',
    (port) => [String(port), String(model.answerBytes)],
    async (port) => {
      const connection = await GrpcConnection.open(port);
      connection.close();
      return true;
    },
  );
const empty = await emptyOf(simple);
const emptyImage = await emptyOf(image);

const all: Readonly<Record<string, () => Promise<Slice>>> = {
  'empty grpc-js handler, c=32': () => unary(empty, empty.port, simple, 32, 4),
  'simple gRPC, c=32': () => unary(server, grpcPort, simple, 32, 4),
  'simple REST binary, c=32': () => rest(server, simple, 32),
  'simple WebSocket binary, c=32': () => webSocket(server, simple, 32),
  'simple gRPC, 1 connection, c=1': () => unary(server, grpcPort, simple, 1),
  'simple gRPC, 1 connection, c=64': () => unary(server, grpcPort, simple, 64),
  'simple gRPC stream, 64 in flight': () => stream(server, grpcPort, simple, 64),
  'simple REST binary, c=1': () => rest(server, simple, 1),
  'simple WebSocket binary, c=1': () => webSocket(server, simple, 1),
  'image REST binary, c=1': () => rest(server, image, 1),
  'image gRPC, c=1': () => unary(server, grpcPort, image, 1),
  'image WebSocket binary, c=1': () => webSocket(server, image, 1),
  'image, empty grpc-js handler, c=1': () => unary(emptyImage, emptyImage.port, image, 1),
};
// One right answer of each, which h2load does not look for.
for (const model of [simple, image]) {
  const connection = await GrpcConnection.open(grpcPort);
  await runClosedLoop([connection.unaryLane(MODEL_INFER, grpcMessage(model))], 1);
  connection.close();
}

const contenders = Object.entries(all).filter(([name]) => only.test(name));
const slices = new Map<string, Slice[]>(contenders.map(([name]) => [name, []]));
try {
  for (let round = 0; round < rounds; round++) {
    // Each round begins elsewhere, so that no contender always follows the same one.
    for (let i = 0; i < contenders.length; i++) {
      const [name, run] = contenders[(i + round * 5) % contenders.length]!;
      if (process.stderr.isTTY) process.stderr.write(`\r\x1b[Kround ${round + 1}/${rounds}  ${name}`);
      slices.get(name)!.push(await run());
    }
  }
} finally {
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  await Promise.all([server, empty, emptyImage].map((one) => one.stop()));
  rmSync(folder, { recursive: true, force: true });
}

const number = (value: number, digits = 0): string => (Number.isNaN(value) ? '-' : value.toFixed(digits)).padStart(9);
console.log(
  `\n${cpus().length} cores, Node ${process.version}, load by ${hasH2load ? 'h2load' : 'clients of our own'}; ${rounds} rounds of ${seconds} s, medians\n`,
);
console.log(`${''.padEnd(36)}    req/s    p50 us    p99 us  cpu us/req`);
for (const [name, rows] of slices) {
  const [rate, p50, p99, cpu] = (['perSecond', 'p50Us', 'p99Us', 'cpuUsPerRequest'] as const).map((field) =>
    median(rows.map((row) => row[field])),
  );
  console.log(`${name.padEnd(36)}${number(rate!)} ${number(p50!)} ${number(p99!)}  ${number(cpu!, 1)}`);
}

/** Median over the rounds of one contender's figure to another's. */
function ratio(a: string, b: string, field: keyof Slice): number {
  const [rowsOfA, rowsOfB] = [slices.get(a), slices.get(b)];
  if (rowsOfA === undefined || rowsOfB === undefined) return Number.NaN;
  return median(rowsOfA.map((row, i) => row[field] / rowsOfB[i]![field]));
}

const goals: readonly (readonly [what: string, value: number, bound: number, isFloor: boolean])[] = [
  [
    'gRPC simple c=32 / empty grpc-js handler, throughput',
    ratio('simple gRPC, c=32', 'empty grpc-js handler, c=32', 'perSecond'),
    0.6,
    true,
  ],
  ['WebSocket / REST, binary c=32, throughput', ratio('simple WebSocket binary, c=32', 'simple REST binary, c=32', 'perSecond'), 1, true],
  ['gRPC / REST, 600 KB, p50', ratio('image gRPC, c=1', 'image REST binary, c=1', 'p50Us'), 1.5, false],
  [
    'gRPC stream of 64 / unary c=64, one connection',
    ratio('simple gRPC stream, 64 in flight', 'simple gRPC, 1 connection, c=64', 'perSecond'),
    1.5,
    true,
  ],
  [
    'gRPC stream of 64 / unary c=1, one connection',
    ratio('simple gRPC stream, 64 in flight', 'simple gRPC, 1 connection, c=1', 'perSecond'),
    1.5,
    true,
  ],
];
console.log(`\n${'goal'.padEnd(56)}  measured   wanted`);
for (const [what, value, bound, isFloor] of goals) {
  const isMet = isFloor ? value >= bound : value <= bound;
  const verdict = Number.isNaN(value) ? 'not measured' : isMet ? 'met' : 'NOT MET';
  console.log(`${what.padEnd(56)} ${number(value, 2)}   ${`${isFloor ? '>=' : '<='} ${bound}`.padEnd(8)} ${verdict}`);
}
