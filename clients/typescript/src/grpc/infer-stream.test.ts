import protobuf from 'protobufjs';
import { afterEach, describe, expect, test } from 'vitest';
import { descriptor } from '../../../../proto/gen/descriptor.ts';
import { InferenceError } from '../../../../proto/inference-error.ts';
import type { CallContext, InferRequest, InferResponse, Transport } from '../transport.ts';
import { CANCEL, FaultyServer, frame, type ReceivedCall } from './faulty-server.case.ts';
import { createTransport } from './grpc-transport.ts';

const root = protobuf.Root.fromJSON(descriptor).resolveAll();
const requestType = root.lookupType('inference.ModelInferRequest');
const streamType = root.lookupType('inference.ModelStreamInferResponse');

/** A response with one byte, or none; `flag` null: a server that says nothing of ends. */
function message(value: number | null, flag: boolean | null): Uint8Array {
  const outputs =
    value === null ? {} : { outputs: [{ name: 'OUT', datatype: 'UINT8', shape: [1] }], rawOutputContents: [Buffer.from([value])] };
  const parameters = flag === null ? {} : { parameters: { triton_final_response: { boolParam: flag } } };
  return streamType.encode(streamType.fromObject({ inferResponse: { modelName: 'm', ...parameters, ...outputs } })).finish();
}

const errorMessage = (text: string): Uint8Array => streamType.encode({ errorMessage: text, inferResponse: { id: 'x' } }).finish();

const request: InferRequest = { modelName: 'm', modelVersion: '', id: 'x', parameters: { seed: 1 }, inputs: [], outputs: [], json: false };
const anyCall: CallContext = { signal: null, deadlineMs: Number.POSITIVE_INFINITY, headers: {} };

const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function streamOf(
  reply: (call: ReceivedCall) => void,
  context: Partial<CallContext> = {},
): Promise<{ server: FaultyServer; responses: AsyncIterableIterator<InferResponse>; transport: Transport }> {
  const server = await FaultyServer.start(reply);
  ends.push(() => server.stop());
  const transport = createTransport(new URL(`grpc://127.0.0.1:${server.port}`), { compression: 'none', tls: null, fetch: null });
  ends.push(() => transport.close());
  return { server, transport, responses: transport.stream(request, { ...anyCall, ...context }) };
}

const byteOf = (response: InferResponse): number => response.outputs[0]!.data![0]!;

async function values(responses: AsyncIterable<InferResponse>): Promise<number[]> {
  const read: number[] = [];
  for await (const response of responses) read.push(byteOf(response));
  return read;
}

const failureOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'it went well',
    (error: unknown) => error,
  );

describe('a stream', () => {
  test('of a decoupled model ends with its empty final response', async () => {
    const { server, responses } = await streamOf((call) => call.send(message(4, false), message(2, false), message(null, true)).end(0));
    expect(server.calls).toHaveLength(0);
    expect(await values(responses)).toEqual([4, 2]);
    const [call] = server.calls;
    expect(call!.method).toBe('ModelStreamInfer');
    expect(call!.headers['triton_grpc_error']).toBe('true');
    expect(requestType.toObject(requestType.decode(call!.message))['parameters']).toEqual({
      triton_enable_empty_final_response: { boolParam: true },
      seed: { int64Param: expect.anything() },
    });
    expect(await call!.closed).toBe(0);
    expect(await responses.next()).toEqual({ done: true, value: undefined });
  });

  test('of a model with one response ends with it', async () => {
    const { responses } = await streamOf((call) => call.send(message(9, true)).end(0));
    const first = await responses.next();
    expect(first.value.parameters).toEqual({});
    expect(await responses.next()).toEqual({ done: true, value: undefined });
  });

  test('of a server that says nothing of ends goes on to the status', async () => {
    const { responses } = await streamOf((call) => call.send(message(1, null), message(2, null), message(3, null)).end(0));
    expect(await values(responses)).toEqual([1, 2, 3]);
  });

  test('of no response at all is empty', async () => {
    const { responses } = await streamOf((call) => call.end(0));
    expect(await values(responses)).toEqual([]);
  });

  test('answers calls of next that do not wait for each other, in order', async () => {
    const { responses } = await streamOf((call) => call.send(message(1, false), message(2, false), message(null, true)).end(0));
    const steps = await Promise.all([responses.next(), responses.next(), responses.next(), responses.next()]);
    expect(steps.map(({ done, value }) => (done ? 'end' : byteOf(value)))).toEqual([1, 2, 'end', 'end']);
  });

  test('from which something comes behind its last response is cancelled', async () => {
    const { server, responses } = await streamOf((call) => void call.send(message(1, true), message(2, false)));
    expect(await values(responses)).toEqual([1]);
    expect(await server.calls[0]!.closed).toBe(CANCEL);
  });

  test('any number of which run side by side', async () => {
    const held: ReceivedCall[] = [];
    const { transport } = await streamOf((call) => {
      held.push(call);
      if (held.length === 8) for (const [index, one] of held.entries()) one.send(message(index, false), message(index, true)).end(0);
    });
    const read = await Promise.all(Array.from({ length: 8 }, () => values(transport.stream(request, anyCall))));
    expect(read.map(([first]) => first).sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(read.every(([first, second]) => first === second)).toBe(true);
  });
});

describe('a stream that fails', () => {
  test('with a message of the server’s', async () => {
    const { server, responses } = await streamOf((call) => void call.send(message(1, false), errorMessage('no room')));
    expect(byteOf((await responses.next()).value)).toBe(1);
    expect(await failureOf(responses.next())).toMatchObject({ code: 'UNKNOWN', message: 'no room', phase: 'answered' });
    expect(await responses.next()).toEqual({ done: true, value: undefined });
    expect(await server.calls[0]!.closed).toBe(CANCEL);
  });

  test('with a status before any response', async () => {
    const { responses } = await streamOf((call) => call.end(14, 'draining', { 'retry-after': '2' }));
    expect(await failureOf(responses.next())).toMatchObject({ code: 'UNAVAILABLE', status: 14, phase: 'refused', retryAfterSeconds: 2 });
  });

  test('with a status behind a response', async () => {
    const { server, responses } = await streamOf((call) => void call.send(message(1, false)));
    expect(byteOf((await responses.next()).value)).toBe(1);
    const second = failureOf(responses.next());
    server.calls[0]!.end(13, 'the model broke');
    expect(await second).toMatchObject({ code: 'INTERNAL', status: 13, phase: 'answered', message: 'the model broke' });
  });

  test('while nobody waits: the next step says so, once', async () => {
    const controller = new AbortController();
    const { responses } = await streamOf((call) => void call.send(message(1, false)), { signal: controller.signal });
    await responses.next();
    const reason = new InferenceError('CANCELLED', 'enough');
    controller.abort(reason);
    expect(await failureOf(responses.next())).toBe(reason);
    expect(await responses.next()).toEqual({ done: true, value: undefined });
  });

  test('by a message that is none', async () => {
    const { server, responses } = await streamOf((call) => void call.send(Buffer.from('garbage')));
    expect(await failureOf(responses.next())).toMatchObject({ code: 'INTERNAL', phase: 'answered' });
    expect(await server.calls[0]!.closed).toBe(CANCEL);
  });

  test('by a cut connection', async () => {
    const { responses, server } = await streamOf((call) => void call.send(message(1, false)));
    expect(byteOf((await responses.next()).value)).toBe(1);
    const second = failureOf(responses.next());
    server.calls[0]!.cut();
    expect(await second).toMatchObject({ code: 'UNAVAILABLE', phase: 'answered', status: 0 });
  });

  test('before it began: by a parameter without a form', async () => {
    const { server, transport } = await streamOf((call) => call.end(0));
    const bad = transport.stream({ ...request, parameters: { seed: 2n ** 70n } }, anyCall);
    expect(await failureOf(bad.next())).toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(await bad.next()).toEqual({ done: true, value: undefined });
    expect(server.calls).toHaveLength(0);
  });
});

describe('a reader', () => {
  test('that leaves cancels the request', async () => {
    const { server, responses } = await streamOf((call) => void call.send(message(1, false), message(2, false)));
    for await (const response of responses) {
      expect(byteOf(response)).toBe(1);
      break;
    }
    expect(await server.calls[0]!.closed).toBe(CANCEL);
    expect(await responses.next()).toEqual({ done: true, value: undefined });
  });

  test('that leaves while a step waits ends that too', async () => {
    const { server, responses } = await streamOf((call) => void call.send(message(1, false)));
    await responses.next();
    const waiting = responses.next();
    await responses.return!();
    expect(await waiting).toEqual({ done: true, value: undefined });
    expect(await server.calls[0]!.closed).toBe(CANCEL);
  });

  test('that leaves before it began sends nothing', async () => {
    const { server, responses } = await streamOf((call) => call.end(0));
    await responses.return!();
    expect(await responses.next()).toEqual({ done: true, value: undefined });
    expect(server.calls).toHaveLength(0);
  });

  test('that is slow holds the server back, and gets everything in the end', async () => {
    const megabyte = 1024 * 1024;
    const count = 64;
    const part = (index: number): Buffer => {
      const data = Buffer.alloc(megabyte, index);
      const outputs = { outputs: [{ name: 'OUT', datatype: 'UINT8', shape: [megabyte] }], rawOutputContents: [data] };
      const parameters = { triton_final_response: { boolParam: index === count - 1 } };
      return frame(streamType.encode(streamType.fromObject({ inferResponse: { parameters, ...outputs } })).finish());
    };
    let written = 0;
    let stalled!: () => void;
    const isStalled = new Promise<void>((resolve) => (stalled = resolve));
    const { responses } = await streamOf((call) => {
      call.send();
      const more = (): void => {
        if (written === count) {
          call.end(0);
          return;
        }
        let isOut = false;
        call.stream.write(part(written++), () => {
          isOut = true;
          more();
        });
        // Nothing moved for a second: flow control has closed.
        const at = written;
        setTimeout(() => !isOut && at === written && stalled(), 1_000).unref();
      };
      more();
    });
    const first = await responses.next();
    expect(byteOf(first.value)).toBe(0);
    await isStalled;
    // The window is 4 MiB; a message may be on its way on both sides of it.
    expect(written).toBeLessThan(10);
    const rest = await values(responses);
    expect(rest).toEqual(Array.from({ length: count - 1 }, (_, index) => index + 1));
  });
});
