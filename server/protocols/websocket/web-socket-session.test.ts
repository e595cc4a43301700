import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InferenceError } from '../../../proto/inference-error.ts';
import { STATUS_FORMS } from '../../../proto/status-forms.ts';
import { CLOSE_CODES } from './close-codes.ts';
import { binaryMessage, echo, echoHeader, HeldSession, notText, ones, onesBytes, responseTo, stream } from './held-session.case.ts';

const int32 = (value: number): Uint8Array => new Uint8Array(Int32Array.of(value).buffer);

describe('requests and answers', () => {
  it('answers text with text: the response of the protocol, its id, and that it is the last', async () => {
    const held = await HeldSession.open();
    held.text(echo('a', { model_version: '1', parameters: { flavour: 'sweet' } }));
    expect(held.held[0]).toMatchObject({ modelName: 'echo', modelVersion: '1', id: 'a', parameters: { flavour: 'sweet' } });
    held.answer('a');
    expect(held.messages).toHaveLength(1);
    expect(held.last.isBinary).toBe(false);
    expect(held.last.json).toEqual({
      id: 'a',
      model_name: 'echo',
      model_version: '1',
      parameters: { triton_final_response: true },
      outputs: [{ name: 'OUT', datatype: 'FP32', shape: [3], data: ones }],
    });
  });

  it('takes binary messages, and answers with one where outputs are asked for as binary data', async () => {
    const held = await HeldSession.open();
    held.binary(echoHeader('json'), onesBytes);
    held.binary(echoHeader('binary', { parameters: { binary_data_output: true } }), onesBytes);
    held.binary(echoHeader('one', { type: 'infer', outputs: [{ name: 'OUT', parameters: { binary_data: true } }] }), onesBytes);
    held.text(echo('from text', { parameters: { binary_data_output: true } }));
    for (const id of ['json', 'binary', 'one', 'from text']) held.answer(id);
    expect(held.messages.map(({ json, isBinary }) => [json.id, isBinary])).toEqual([
      ['json', false],
      ['binary', true],
      ['one', true],
      ['from text', true],
    ]);
    expect(held.messages[0]!.json.outputs[0].data).toEqual(ones);
    for (const { json, tail } of held.messages.slice(1)) {
      expect(json.outputs).toEqual([{ name: 'OUT', datatype: 'FP32', shape: [3], parameters: { binary_data_size: 12 } }]);
      expect(new Uint8Array(tail)).toEqual(onesBytes);
    }
  });

  it('takes a binary message whose JSON has come before, with another id, for what it says', async () => {
    const headers: readonly ((id: string) => Record<string, unknown>)[] = [
      (id) => echoHeader(id, { parameters: { binary_data_output: true } }),
      (id) => ({ parameters: { binary_data_output: true, priority: 2 }, ...echoHeader(id) }),
      (id) => echoHeader(id, { model_version: '1', timeout_ms: 60_000 }),
      (id) => ({ ...echoHeader(id), model_name: 'text' }),
      (id) => ({ ...echoHeader(id), model_name: 'nobody', model_version: 'one' }),
      (id) => echoHeader(id, { type: 'cancel' }),
      (id) => echoHeader(id, { type: 'sing' }),
      (id) => echoHeader(id, { parameters: { sequence_id: 5, sequence_start: id === 'a' } }),
    ];
    const message = fc.record({
      header: fc.constantFrom(...headers),
      id: fc.constantFrom('a', 'b', 'c', 'longer', 'é', '"', ''),
      extraBytes: fc.constantFrom(0, 0, 0, 1),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(message, { maxLength: 20 }), async (messages) => {
        let busy = await HeldSession.open();
        for (const { header, id, extraBytes } of messages) {
          const fresh = await HeldSession.open();
          const outcomes = [busy, fresh].map((session) => {
            const count = session.messages.length;
            session.binary(header(id), Buffer.concat([onesBytes, Buffer.alloc(extraBytes)]));
            const got = session.held.map(({ modelName, inputs, outputs, parameters, priority, sequence, deadlineNs }) => ({
              modelName,
              inputs: inputs.map(({ name, datatype, shape, data }) => ({ name, datatype, shape, data: [...data] })),
              outputs,
              parameters: { ...parameters },
              priority,
              sequence,
              hasDeadline: deadlineNs < Number.POSITIVE_INFINITY,
            }));
            while (session.held.length > 0) session.answer(id);
            return { got, answers: session.messages.slice(count), close: session.connection.close_ };
          });
          expect(outcomes[0]).toEqual(outcomes[1]);
          if (busy.connection.close_ !== null) busy = fresh.connection.close_ === null ? fresh : await HeldSession.open();
        }
      }),
      { numRuns: 100 },
    );
  });

  it("keeps the model's response parameters beside its own", async () => {
    const held = await HeldSession.open();
    held.text(echo('a'));
    held.answer('a', { seed: 5, triton_final_response: 'nonsense' });
    expect(held.last.json.parameters).toEqual({ seed: 5, triton_final_response: true });
  });

  it('answers in whatever order the models do, each to its own id, and an id is free again after its answer', async () => {
    const held = await HeldSession.open();
    for (const id of ['a', 'b', 'c']) held.text(echo(id));
    for (const id of ['c', 'a']) held.answer(id);
    held.text(echo('a'));
    for (const id of ['a', 'b']) held.answer(id);
    expect(held.messages.map(({ json }) => json.id)).toEqual(['c', 'a', 'a', 'b']);
    expect(held.admission.requestsInFlight).toBe(0);
  });

  it('gives back what it was given, whatever the ids, sizes, forms and order', async () => {
    const request = fc.record({
      id: fc.string({ minLength: 1, maxLength: 20 }),
      values: fc.array(fc.float({ noNaN: true })),
      isBinary: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(request, { selector: (one) => one.id, maxLength: 8 }),
        fc.infiniteStream(fc.nat()),
        async (requests, order) => {
          const held = await HeldSession.open();
          for (const { id, values, isBinary } of requests) {
            const data = new Uint8Array(Float32Array.from(values).buffer);
            const input = { name: 'IN', datatype: 'FP32', shape: [values.length] };
            const body = { id, model_name: 'echo', parameters: { binary_data_output: isBinary } };
            if (isBinary) held.binary({ inputs: [{ ...input, parameters: { binary_data_size: data.length } }], ...body }, data);
            else
              held.text({
                inputs: [
                  { ...input, data: values.map((value) => (Object.is(value, -0) || Number.isFinite(value) ? value : String(value))) },
                ],
                ...body,
              });
          }
          while (held.held.length > 0) held.answer(held.held[order.next().value! % held.held.length]!.id);
          for (const { id, values, isBinary } of requests) {
            const { json, tail } = held.messages.find((message) => message.json.id === id)!;
            const got = isBinary ? new Float32Array(new Uint8Array(tail).buffer) : Float32Array.from(json.outputs[0].data.map(Number));
            // JSON.stringify sends -0 as 0.
            expect([...got].map((value) => value + 0)).toEqual(values.map((value) => value + 0));
          }
          expect(held.messages).toHaveLength(requests.length);
          expect(held.connection.close_).toBeNull();
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe('decoupled models', () => {
  it('sends responses as they come and announces the end with a message without outputs, always', async () => {
    const held = await HeldSession.open();
    held.text(stream('s'));
    held.text(stream('none'));
    const request = held.takeHeld('s');
    for (const value of [7, 8]) request.stream(responseTo(request, int32(value)));
    request.complete();
    held.takeHeld('none').complete();
    expect(
      held.messages.map(({ json }) => [
        json.id,
        json.parameters.triton_final_response,
        json.outputs.map((one: { data: number[] }) => one.data),
      ]),
    ).toEqual([
      ['s', false, [[7]]],
      ['s', false, [[8]]],
      ['s', true, []],
      ['none', true, []],
    ]);
    expect(held.last.json).toEqual({
      id: 'none',
      model_name: 'stream',
      model_version: '1',
      parameters: { triton_final_response: true },
      outputs: [],
    });
  });

  it('ends a request that fails half-way with an error', async () => {
    const held = await HeldSession.open();
    held.text(stream('s'));
    const request = held.takeHeld('s');
    request.stream(responseTo(request, int32(1)));
    request.fail(new InferenceError('INTERNAL', 'the model broke', { failureReason: 'BACKEND' }));
    request.stream(responseTo(request, int32(2)));
    expect(held.messages.map(({ json }) => json.code)).toEqual([undefined, 'INTERNAL']);
    expect(held.last.json).toEqual({ id: 's', error: 'the model broke', code: 'INTERNAL', status: 500 });
    expect(held.faults).toHaveLength(1);
  });
});

describe('cancel', () => {
  it('is answered with CANCELLED, frees the id, and silences the request', async () => {
    const held = await HeldSession.open();
    held.text(stream('s'));
    const request = held.takeHeld('s');
    held.text({ type: 'cancel', id: 's' });
    expect(held.last.json).toEqual({ id: 's', error: 'cancelled by the client', code: 'CANCELLED', status: 499 });
    expect(held.scheduler.cancelled).toEqual([request]);
    held.text(echo('s'));
    request.stream(responseTo(request, int32(1)));
    request.fail(new InferenceError('CANCELLED', 'late'));
    held.answer('s');
    expect(held.messages.map(({ json }) => json.code ?? json.model_name)).toEqual(['CANCELLED', 'echo']);
    expect(held.admission.requestsInFlight).toBe(0);
  });

  it('silences a model that answers once as well', async () => {
    const held = await HeldSession.open();
    held.text(echo('a'));
    held.text({ type: 'cancel', id: 'a' });
    held.answer('a');
    expect(held.messages.map(({ json }) => json.code)).toEqual(['CANCELLED']);
  });

  it('crossing its answer does nothing', async () => {
    const held = await HeldSession.open();
    held.text(echo('a'));
    held.answer('a');
    held.text({ id: 'a', type: 'cancel' });
    held.binary({ type: 'cancel', id: 'b' }, new Uint8Array());
    expect([held.messages.length, held.connection.close_]).toEqual([1, null]);
  });
});

describe('deadlines', () => {
  it('end a request that its model has not answered by then, and no other', async () => {
    const held = await HeldSession.open();
    held.text(echo('late', { timeout_ms: 2.5 }));
    held.text(echo('patient', { timeout_ms: 60_000 }));
    held.text(stream('s', { timeout_ms: 5 }));
    const running = held.takeHeld('s');
    running.stream(responseTo(running, int32(1)));
    while (held.context.door.deadlines.size > 1) await new Promise((resolve) => setImmediate(resolve));
    expect(held.messages.slice(1).map(({ json }) => [json.id, json.code, json.status])).toEqual([
      ['late', 'DEADLINE_EXCEEDED', 504],
      ['s', 'DEADLINE_EXCEEDED', 504],
    ]);
    expect(held.scheduler.cancelled.map(({ id }) => id)).toEqual(['late', 's']);
    // Its id is free, and what its model says now is nobody's.
    held.text(echo('late'));
    held.answer('late');
    held.answer('patient');
    held.answer('late');
    expect(held.messages.slice(3).map(({ json }) => [json.id, json.model_name])).toEqual([
      ['patient', 'echo'],
      ['late', 'echo'],
    ]);
    expect([held.admission.requestsInFlight, held.context.door.deadlines.size]).toEqual([0, 0]);
  });

  it.each([0, -1, '5', null, true, 604_800_001, 1e300])('are numbers of milliseconds: not %s', async (timeout_ms) => {
    const held = await HeldSession.open();
    held.text(echo('x', { timeout_ms }));
    expect(held.last.json).toMatchObject({ id: 'x', code: 'INVALID_ARGUMENT' });
    expect(held.last.json.error).toMatch(/'timeout_ms': expected a number of milliseconds above 0 and up to 604800000, got /);
  });
});

describe('sequences', () => {
  it('keep the order of their messages, also of those that are put aside for a while', async () => {
    const held = await HeldSession.open({ maxInflightRequests: 2 });
    const sent = Array.from({ length: 6 }, (_, i) => String(i));
    for (const id of sent) {
      held.text(echo(id, { parameters: { sequence_id: 'a', sequence_start: id === '0', sequence_end: id === '5' } }));
    }
    const taken: string[] = [];
    while (held.held.length > 0) {
      const request = held.held[0]!;
      taken.push(request.id);
      expect(request.sequence).toEqual({ id: 'a', isStart: request.id === '0', isEnd: request.id === '5' });
      held.answer(request.id);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(taken).toEqual(sent);
  });

  it('may end as a whole when one of their requests is cancelled: each is told once, also when the connection closes meanwhile', async () => {
    for (const isClose of [false, true]) {
      const held = await HeldSession.open();
      for (const id of ['a', 'b', 'c']) held.text(echo(id, { parameters: { sequence_id: 5 } }));
      const requests = [...held.held];
      held.scheduler.onCancelled = () => {
        for (const request of requests) request.fail(new InferenceError('CANCELLED', 'another request of its sequence was cancelled'));
      };
      if (isClose) held.session.onClose();
      else held.text({ type: 'cancel', id: 'b' });
      expect(held.messages.map(({ json }) => [json.id, json.code])).toEqual(
        isClose
          ? []
          : [
              ['b', 'CANCELLED'],
              ['a', 'CANCELLED'],
              ['c', 'CANCELLED'],
            ],
      );
      expect(held.admission.requestsInFlight).toBe(0);
    }
  });
});

describe('errors of one request', () => {
  const cases: [string, unknown, string, RegExp][] = [
    ['an unknown model', echo('x', { model_name: 'eco' }), 'NOT_FOUND', /unknown model: 'eco'/],
    ['an unknown version', echo('x', { model_version: '9' }), 'NOT_FOUND', /version 9/],
    ['a version that is none', echo('x', { model_version: 'new' }), 'INVALID_ARGUMENT', /version/],
    ['a version that is a number', echo('x', { model_version: 1 }), 'INVALID_ARGUMENT', /model_version: expected a string, got 1/],
    ['no model', { id: 'x', inputs: [] }, 'INVALID_ARGUMENT', /'model_name'/],
    ['no inputs', { id: 'x', model_name: 'echo' }, 'INVALID_ARGUMENT', /'inputs'/],
    ['a wrong shape', echo('x', { inputs: [{ name: 'IN', datatype: 'FP32', shape: [2], data: ones }] }), 'INVALID_ARGUMENT', /expected 2/],
    ['its id behind the mistake', { inputs: [{ data: [[[1, '"]']]] }], model_name: 'echo', id: 'x' }, 'INVALID_ARGUMENT', /'name'/],
    ['JSON that breaks off behind the id', '{"id":"x","model_name":"echo",', 'INVALID_ARGUMENT', /failed to parse the request JSON/],
    ['reserved parameters', echo('x', { parameters: { triton_enable_empty_final_response: false } }), 'INVALID_ARGUMENT', /triton_/],
    [
      'a sequence id that is none',
      echo('x', { parameters: { sequence_id: -5 } }),
      'INVALID_ARGUMENT',
      /sequence_id: expected an integer from 0/,
    ],
    ['binary inputs in a text message', echoHeader('x'), 'INVALID_ARGUMENT', /0 bytes are left/],
    ['a repeated key', '{"id":"x","model_name":"a","model_name":"b"}', 'INVALID_ARGUMENT', /repeated/],
  ];
  it.each(cases)('%s', async (_what, message, code, says) => {
    const held = await HeldSession.open();
    held.text(echo('bystander'));
    held.text(message);
    expect(held.last.json).toEqual({ id: 'x', error: expect.stringMatching(says), code, status: STATUS_FORMS[code as 'INTERNAL'].http });
    expect(held.refused).toHaveLength(1);
    expect(held.connection.close_).toBeNull();
    held.answer('bystander');
    expect(held.last.json.outputs[0].data).toEqual(ones);
  });

  it('binary messages too, and a length that cuts the JSON is named', async () => {
    const held = await HeldSession.open();
    held.binary(echoHeader('more'), Buffer.concat([onesBytes, int32(1)]));
    held.binary(echoHeader('less'), onesBytes.subarray(4));
    const cut = binaryMessage(echoHeader('cut'), onesBytes);
    cut.writeUInt32LE(40, 0);
    held.session.onBinary(cut);
    expect(held.messages.map(({ json }) => [json.id, json.code])).toEqual(['more', 'less', 'cut'].map((id) => [id, 'INVALID_ARGUMENT']));
    expect(held.last.json.error).toMatch(/the length before it says so/);
  });

  it('a second request with an id in flight is ALREADY_EXISTS, whatever else is wrong with it; the first is answered', async () => {
    const held = await HeldSession.open();
    held.text(echo('a'));
    held.text(echo('a'));
    held.text('{"id":"a","inputs":5}');
    held.answer('a');
    expect(held.messages.map(({ json }) => json.code ?? json.outputs[0].data)).toEqual(['ALREADY_EXISTS', 'ALREADY_EXISTS', ones]);
    expect(held.held).toHaveLength(0);
  });

  it('an output that JSON cannot carry fails its own request alone, and ends a stream', async () => {
    const held = await HeldSession.open();
    held.text({ model_name: 'text', id: 't', inputs: [{ name: 'IN', datatype: 'BYTES', shape: [1], data: ['x'] }] });
    const request = held.takeHeld('t');
    request.respond(responseTo(request, notText));
    expect(held.last.json).toMatchObject({ id: 't', code: 'INVALID_ARGUMENT', error: expect.stringContaining('not valid UTF-8') });
    held.text(stream('s'));
    const second = held.takeHeld('s');
    Object.assign(second.inputs[0]!, { datatype: 'BYTES' });
    second.stream(responseTo(second, notText));
    second.stream(responseTo(second, notText));
    expect(held.messages).toHaveLength(2);
    expect(held.scheduler.cancelled).toEqual([second]);
  });

  it('an answer larger than may ever wait is an error, not the end of the connection', async () => {
    const held = await HeldSession.open({ maxUnsentBytes: 300 });
    held.text(echo('a', { parameters: { binary_data_output: true } }));
    const request = held.takeHeld('a');
    request.respond(responseTo(request, new Uint8Array(300)));
    expect(held.last.json).toMatchObject({ id: 'a', code: 'RESOURCE_EXHAUSTED', error: expect.stringContaining('300') });
  });

  it('an answer for which the peer has left no room is dropped, with an error that says so', async () => {
    const held = await HeldSession.open({ maxUnsentBytes: 400 });
    held.connection.isSlow = true;
    for (let i = 0; i < 5; i++) held.text(echo(`r${i}`));
    for (let i = 0; i < 5; i++) held.answer(`r${i}`);
    expect(held.messages.map(({ json }) => json.code ?? 'OK')).toEqual(['OK', 'OK', 'UNAVAILABLE', 'UNAVAILABLE', 'UNAVAILABLE']);
    expect(held.connection.close_).toBeNull();
  });

  it('says when a retry may help', async () => {
    const held = await HeldSession.open();
    held.admission.drain();
    held.text(echo('a'));
    expect(held.last.json).toMatchObject({ id: 'a', code: 'UNAVAILABLE', status: 503, retry_after: 1 });
  });
});

describe('what belongs to no request closes the connection', () => {
  const text: [string, unknown, number][] = [
    ['no JSON', 'hello', 4400],
    ['nothing', '', 4400],
    ['an array', '[]', 4400],
    ['a byte order mark', '\uFEFF{}', 4400],
    ['no id', { model_name: 'echo', inputs: [] }, 4400],
    ['an empty id', echo(''), 4400],
    ['an id that is a number', echo('x', { id: 5 }), 4400],
    ['an id that is too long', echo('x'.repeat(1025)), 4400],
    ['an unknown type', { type: 'cancle', id: 'a' }, 4400],
    ['a cancel of nothing', { type: 'cancel' }, 4400],
    [
      'no id, and what is not done',
      { inputs: [{ name: 'IN', datatype: 'FP32', shape: [1], parameters: { shared_memory_region: 'r' } }] },
      4501,
    ],
    ['nesting without end', `{"x":${'['.repeat(200)}`, 4400],
  ];
  it.each(text)('text: %s', async (_what, message, code) => {
    const held = await HeldSession.open();
    held.text(stream('running'));
    held.text(message);
    expect(held.connection.close_).toMatchObject({ code });
    expect(held.connection.close_!.reason).not.toBe('');
    expect(CLOSE_CODES).toHaveProperty(String(code));
    expect(held.scheduler.cancelled.map((request) => request.id)).toEqual(['running']);
    const request = held.takeHeld('running');
    request.fail(new InferenceError('CANCELLED', 'nobody hears this'));
    held.text(echo('after'));
    expect([held.messages.length, held.held.length]).toEqual([0, 0]);
  });

  const binary: [string, Uint8Array][] = [
    ['nothing', new Uint8Array()],
    ['half a length', Uint8Array.of(1, 0)],
    ['a length past the message', binaryMessage(echoHeader('a'), onesBytes).subarray(0, 30)],
    ['a length of 4 GiB', Buffer.concat([Buffer.alloc(4, 0xff), Buffer.from('{"id":"a"}')])],
    ['no JSON', Buffer.alloc(8)],
    ['a REST body', Buffer.from(JSON.stringify(echo('a')))],
  ];
  it.each(binary)('binary: %s', async (_what, message) => {
    const held = await HeldSession.open();
    held.session.onBinary(message);
    expect(held.connection.close_).toMatchObject({ code: 4400 });
  });

  it('no bytes at all bring it down', async () => {
    const valid = binaryMessage(echoHeader('a'), onesBytes);
    const change = fc.record({ at: fc.nat(valid.length - 1), byte: fc.nat(255), end: fc.nat(valid.length) });
    await fc.assert(
      fc.asyncProperty(change, fc.boolean(), async ({ at, byte, end }, isText) => {
        const held = await HeldSession.open();
        const changed = Buffer.from(valid.subarray(0, end));
        if (at < end) changed[at] = byte;
        if (isText) held.session.onText(changed.subarray(4));
        else held.session.onBinary(changed);
        // It was taken, refused by an answer, or closed the connection: one of them, and never by a fault.
        const outcomes = [held.held.length, held.messages.length, held.connection.close_ === null ? 0 : 1];
        expect(outcomes.reduce((sum, one) => sum + one)).toBe(1);
        expect(held.connection.close_?.code ?? 4400).toBe(4400);
        expect(held.faults.filter((fault) => !(fault instanceof InferenceError) || fault.code === 'INTERNAL')).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });

  it('a peer that leaves cancels all it had in flight', async () => {
    const held = await HeldSession.open();
    for (const id of ['a', 'b']) held.text(stream(id));
    held.session.onClose();
    expect(held.scheduler.cancelled.map((request) => request.id)).toEqual(['a', 'b']);
    for (const id of ['a', 'b']) held.takeHeld(id).fail(new InferenceError('CANCELLED', ''));
    expect(held.messages).toEqual([]);
    expect(held.admission.requestsInFlight).toBe(0);
  });
});
