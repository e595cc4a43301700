import { Client, type ClientDuplexStream, credentials, type ServiceError } from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { identity } from '../../bench/models/test-models.ts';
import { decodeBytes, encodeBytes } from '../../proto/bytes.ts';
import { descriptor } from '../../proto/gen/descriptor.ts';
import { makeRepository, ServerProcess, until } from './serve.ts';

/**
 * Requests with a value that no other has come through four doors at once, many in flight on each, while hosts are killed: each gets one answer, its own or UNAVAILABLE.
 */

const requestsEach = 250;
const inFlightEach = 12;
const kills = 3;
const path = '/inference.GRPCInferenceService/';
const types = protobuf.Root.fromJSON(descriptor);
const requestType = types.lookupType('inference.ModelInferRequest');
const responseType = types.lookupType('inference.ModelInferResponse');
const streamResponseType = types.lookupType('inference.ModelStreamInferResponse');

/** The value that came back, or why there is none. */
type Answer = { readonly value: string } | { readonly code: string };
type Door = (id: string) => Promise<Answer>;

interface GrpcResponse {
  id: string;
  rawOutputContents: Uint8Array[];
  parameters: Readonly<Record<string, { stringParam: string }>>;
}

const tensor = { name: 'INPUT0', datatype: 'BYTES', shape: [1, 1] };
const same = (bytes: Buffer): Buffer => bytes;
const textOf = (response: GrpcResponse): string => Buffer.from(decodeBytes(response.rawOutputContents[0]!, 'an answer')[0]!).toString();
const jsonOf = (id: string): object => ({ id, inputs: [{ ...tensor, data: [`value of ${id}`] }] });
const messageOf = (id: string): Buffer =>
  Buffer.from(
    requestType
      .encode({ modelName: 'text', id, inputs: [tensor], rawInputContents: [encodeBytes([`value of ${id}`])] })
      .finish() as Uint8Array,
  );

/** Answers told apart by id; one that nobody waits for is a fault. */
class Expected {
  readonly faults: string[] = [];
  readonly #waiting = new Map<string, (answer: Answer) => void>();

  wait(id: string): Promise<Answer> {
    return new Promise((resolve) => this.#waiting.set(id, resolve));
  }

  came(id: string, answer: Answer): void {
    const resolve = this.#waiting.get(id);
    if (resolve === undefined) this.faults.push(`an answer to ${id}, which nobody waits for: ${JSON.stringify(answer)}`);
    this.#waiting.delete(id);
    resolve?.(answer);
  }
}

let server: ServerProcess;
let repository: ReturnType<typeof makeRepository>;
let client: Client;
let stream: ClientDuplexStream<Buffer, Buffer>;
let socket: WebSocket;
const expected = new Expected();

beforeAll(async () => {
  repository = makeRepository({
    'text/1/model.onnx': identity('BYTES', ['batch', 'any']),
    'text/config.yaml': 'max_batch_size: 8\ndynamic_batching: {}\ninstance_group: [{ count: 2 }]\n',
  });
  server = await ServerProcess.start([`--model-repository=${repository.path}`]);
  client = new Client(server.grpc.slice('grpc://'.length), credentials.createInsecure());
  stream = client.makeBidiStreamRequest(`${path}ModelStreamInfer`, same, same);
  stream.on('error', (error) => expected.faults.push(`the stream: ${error.message}`));
  stream.on('data', (bytes: Buffer) => {
    const { errorMessage, inferResponse } = streamResponseType.decode(bytes) as unknown as {
      errorMessage: string;
      inferResponse: GrpcResponse;
    };
    const code = inferResponse.parameters['error_code']?.stringParam ?? 'none';
    expected.came(inferResponse.id, errorMessage === '' ? { value: textOf(inferResponse) } : { code });
  });
  socket = new WebSocket(`${server.http.replace('http', 'ws')}/v2/ws`);
  socket.on('close', () => expected.faults.push('the WebSocket was closed'));
  socket.on('message', (data: Buffer) => {
    const { id, error, code, outputs } = JSON.parse(data.toString()) as {
      id: string;
      error?: string;
      code: string;
      outputs: { data: string[] }[];
    };
    expected.came(id, error === undefined ? { value: outputs[0]!.data[0]! } : { code });
  });
  await new Promise((resolve) => socket.once('open', resolve));
});

afterAll(async () => {
  socket?.removeAllListeners('close').terminate();
  stream
    ?.removeAllListeners('error')
    .on('error', () => {})
    .cancel();
  client?.close();
  expect((await server.stop()).code).toBe(0);
  repository.remove();
});

const doors: Readonly<Record<string, Door>> = {
  rest: async (id) => {
    const { status, json } = await server.post('/v2/models/text/infer', jsonOf(id));
    if (status !== 200) return { code: status === 503 ? 'UNAVAILABLE' : String(status) };
    return { value: json.id === id ? json.outputs[0].data[0] : `with the id ${json.id}` };
  },
  unary: (id) =>
    new Promise((resolve) => {
      client.makeUnaryRequest(`${path}ModelInfer`, same, same, messageOf(id), (error: ServiceError | null, bytes?: Buffer) => {
        if (error !== null) return resolve({ code: error.code === 14 ? 'UNAVAILABLE' : error.message });
        const response = responseType.decode(bytes!) as unknown as GrpcResponse;
        return resolve({ value: response.id === id ? textOf(response) : `with the id ${response.id}` });
      });
    }),
  stream: (id) => {
    const answer = expected.wait(id);
    stream.write(messageOf(id));
    return answer;
  },
  webSocket: (id) => {
    const answer = expected.wait(id);
    socket.send(JSON.stringify({ model_name: 'text', ...jsonOf(id) }));
    return answer;
  },
};

const ownAnswer = async (door: string, id: string): Promise<boolean> => {
  const answer = await doors[door]!(id);
  return 'value' in answer && answer.value === `value of ${id}`;
};

it('each door gives each request one answer, its own, while hosts are killed', { timeout: 60_000 }, async () => {
  const names = Object.keys(doors);
  const total = names.length * requestsEach;
  const counts: Record<string, { own: number; unavailable: number }> = {};
  const wrong: string[] = [];
  const killAt = Array.from({ length: kills }, (_, i) => Math.floor((total * (i + 1)) / (kills + 1)));
  let answered = 0;
  let killed = 0;
  const work = async (door: string): Promise<void> => {
    const count = { own: 0, unavailable: 0 };
    counts[door] = count;
    let next = 0;
    const worker = async (): Promise<void> => {
      while (next < requestsEach) {
        const id = `${door} ${next++}`;
        const answer = await doors[door]!(id);
        if ('value' in answer && answer.value === `value of ${id}`) count.own++;
        else if ('code' in answer && answer.code === 'UNAVAILABLE') {
          count.unavailable++;
          // With no host alive a refusal takes no time; the load is to outlast the new one's start.
          await until(async () => (await server.get('/v2/models/text/ready')).status === 200);
        } else wrong.push(`${id}: ${JSON.stringify(answer)}`);
        const [host] = server.hosts();
        if (++answered < (killAt[killed] ?? Number.POSITIVE_INFINITY) || host === undefined) continue;
        process.kill(host, 'SIGKILL');
        killed++;
      }
    };
    await Promise.all(Array.from({ length: inFlightEach }, worker));
  };
  await Promise.all(names.map(work));
  expect([wrong.slice(0, 5), expected.faults]).toEqual([[], []]);
  expect([killed, answered]).toEqual([kills, total]);
  for (const count of Object.values(counts)) {
    expect(count.own + count.unavailable).toBe(requestsEach);
    expect(count.own).toBeGreaterThan(requestsEach / 2);
  }
  // What the killed hosts held was lost with them, and was told.
  for (const door of names) await until(() => ownAnswer(door, `${door} after ${Math.random()}`));
  expect(expected.faults).toEqual([]);
});
