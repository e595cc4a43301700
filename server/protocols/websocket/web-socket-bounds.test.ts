import { describe, expect, it } from 'vitest';
import { echo, echoHeader, HeldSession, onesBytes, responseTo, stream } from './held-session.case.ts';
import { BacklogBudget, MessageBacklog } from './message-backlog.ts';
import { HIGH_WATER_BYTES } from './web-socket-session.ts';

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const int32 = (value: number): Uint8Array => new Uint8Array(Int32Array.of(value).buffer);

describe('bounds', () => {
  it('holds streams and reading back while the peer is slow, and lets both go on when it has read', async () => {
    const held = await HeldSession.open();
    held.text(stream('s'));
    held.text(stream('t'));
    const s = held.takeHeld('s');
    held.connection.isSlow = true;
    held.connection.unsentBytes = HIGH_WATER_BYTES - 10;
    s.stream(responseTo(s, int32(1)));
    expect([s.isPaused, held.held[0]!.isPaused, held.connection.isPaused]).toEqual([true, true, true]);
    // What comes nevertheless waits.
    held.text(echo('later'));
    expect(held.held.map((request) => request.id)).toEqual(['t']);
    held.connection.unsentBytes = HIGH_WATER_BYTES / 2 + 1;
    held.session.onDrain();
    await nextTurn();
    expect([s.isPaused, held.connection.isPaused]).toEqual([true, true]);
    held.connection.unsentBytes = HIGH_WATER_BYTES / 2;
    held.session.onDrain();
    expect(held.scheduler.resumed.map((request) => request.id)).toEqual(['s', 't']);
    await nextTurn();
    expect(held.connection.isPaused).toBe(false);
    expect(held.held.map((request) => request.id)).toEqual(['t', 'later']);
  });

  it('stops reading at its number of requests, keeps what still comes, and goes on when there is room', async () => {
    const held = await HeldSession.open({ maxInflightRequests: 4 });
    for (let i = 0; i < 10; i++) held.text(echo(`r${i}`));
    expect([held.held.length, held.connection.isPaused, held.messages.length]).toEqual([4, true, 0]);
    held.answer('r0');
    await nextTurn();
    expect(held.held.map((request) => request.id)).toEqual(['r1', 'r2', 'r3']);
    held.answer('r1');
    await nextTurn();
    expect(held.held.map((request) => request.id)).toEqual(['r2', 'r3', 'r4', 'r5']);
    while (held.held.length > 0) {
      held.answer(held.held[0]!.id);
      await nextTurn();
    }
    expect(held.messages.map(({ json }) => json.id)).toEqual(Array.from({ length: 10 }, (_, i) => `r${i}`));
    expect([held.connection.isPaused, held.connection.pauses]).toEqual([false, 1]);
  });

  it('stops reading at its number of bytes', async () => {
    const held = await HeldSession.open({ maxInflightBytes: 500 });
    for (let i = 0; i < 5; i++) held.binary(echoHeader(`r${i}`), onesBytes);
    const taken = held.held.length;
    expect(taken).toBeLessThan(5);
    expect(held.connection.isPaused).toBe(true);
    while (held.held.length > 0) {
      held.answer(held.held[0]!.id);
      await nextTurn();
    }
    expect(held.messages.map(({ json }) => json.code ?? json.id)).toEqual(['r0', 'r1', 'r2', 'r3', 'r4']);
  });

  it('an engine that cannot stop reading: what does not fit is refused in-band, and cancels are heard', async () => {
    const held = await HeldSession.open({ maxInflightRequests: 1 });
    held.text(echo('first'));
    const large = { ...echo('kept'), padding: 'x'.repeat(700_000) };
    held.text(large);
    held.text({ ...large, id: 'refused' });
    expect(held.last.json).toMatchObject({ id: 'refused', code: 'UNAVAILABLE', status: 503, retry_after: 1 });
    held.binary({ ...{ type: 'cancel', id: 'first' }, padding: 'x'.repeat(700_000) }, new Uint8Array());
    expect(held.last.json).toMatchObject({ id: 'first', code: 'CANCELLED' });
    await nextTurn();
    held.answer('kept');
    expect(held.last.json).toMatchObject({ id: 'kept', model_name: 'echo' });
  });

  it('where all in flight are streams it reads on, so that a cancel is heard, and refuses', async () => {
    const held = await HeldSession.open({ maxInflightRequests: 2 });
    for (const id of ['s', 't', 'u']) held.text(stream(id));
    expect(held.connection.isPaused).toBe(false);
    expect(held.last.json).toMatchObject({ id: 'u', code: 'UNAVAILABLE' });
    held.text({ type: 'cancel', id: 's' });
    held.text(stream('u'));
    expect(held.held.map((request) => request.id)).toEqual(['s', 't', 'u']);
  });

  it('reads on when its last request that is no stream has ended', async () => {
    const held = await HeldSession.open({ maxInflightRequests: 4 });
    for (const id of ['s', 't', 'u']) held.text(stream(id));
    held.text(echo('a'));
    held.text({ type: 'cancel', id: 's' });
    expect([held.connection.isPaused, held.messages.length]).toEqual([true, 0]);
    held.answer('a');
    await nextTurn();
    expect([held.connection.isPaused, held.last.json.code]).toEqual([false, 'CANCELLED']);
  });

  it('a stream that fills the peer again at once holds the others back', async () => {
    const held = await HeldSession.open();
    held.text(stream('s'));
    held.text(stream('t'));
    const s = held.takeHeld('s');
    held.connection.isSlow = true;
    held.connection.unsentBytes = HIGH_WATER_BYTES;
    s.stream(responseTo(s, int32(1)));
    held.scheduler.onResumed = (request) => {
      held.connection.unsentBytes = HIGH_WATER_BYTES;
      request.stream(responseTo(request, int32(2)));
    };
    held.connection.unsentBytes = 0;
    held.session.onDrain();
    await nextTurn();
    expect(held.scheduler.resumed.map((request) => request.id)).toEqual(['s']);
    expect([s.isPaused, held.held[0]!.isPaused, held.connection.isPaused]).toEqual([true, true, true]);
  });

  it('a peer that reads nothing and sends on: bytes and number of what is put aside have an end', async () => {
    const held = await HeldSession.open();
    held.text(echo('a'));
    held.connection.unsentBytes = HIGH_WATER_BYTES + 1;
    held.answer('a');
    for (let i = 0; i < 4200; i++) held.text({ id: `r${i}` });
    expect(held.messages.slice(1).map(({ json }) => [json.id, json.code])).toEqual(
      Array.from({ length: 4200 - 4096 }, (_, i) => [`r${4096 + i}`, 'INVALID_ARGUMENT']),
    );
    // One that is in order is refused for what it is: too many.
    held.text(echo('b'));
    expect(held.last.json).toMatchObject({ id: 'b', code: 'UNAVAILABLE' });
    held.connection.unsentBytes = 0;
    held.session.onDrain();
    await nextTurn();
    held.text(echo('b'));
    expect([held.messages.length, held.held.length]).toEqual([4202, 1]);
  });
});

it('a backlog has the room again that was taken from it, its own and the one it shares', () => {
  const mib = 2 ** 20;
  const budget = new BacklogBudget(3 * mib);
  const [first, second] = [new MessageBacklog(4 * mib, budget), new MessageBacklog(4 * mib, budget)];
  const push = (backlog: MessageBacklog, ...sizes: number[]): boolean[] =>
    sizes.map((size) => backlog.push(new Uint8Array(size * mib), true));
  // One message alone is always let in; what is more than its own MiB is the budget's, and no backlog is over its own bound.
  expect(push(first, 8, 0.5)).toEqual([true, false]);
  expect([first.nextIsBinary, first.shift().length, first.isEmpty]).toEqual([true, 8 * mib, true]);
  expect(push(first, 1, 2, 1, 1)).toEqual([true, true, true, false]);
  expect(push(second, 1, 1)).toEqual([true, false]);
  for (let i = 0; i < 3; i++) first.shift();
  expect(push(second, 1, 1, 1, 1)).toEqual([true, true, true, false]);
  second.clear();
  expect(push(first, 1, 3)).toEqual([true, true]);
});

describe('shutting down', () => {
  it('answers what it has, refuses what is new, and then closes with 1001', async () => {
    const held = await HeldSession.open();
    held.text(echo('a'));
    held.admission.drain();
    held.session.onDrainRequested();
    held.text(echo('b'));
    expect(held.last.json).toMatchObject({ id: 'b', code: 'UNAVAILABLE' });
    expect(held.connection.close_).toBeNull();
    held.answer('a');
    expect(held.last.json.id).toBe('a');
    expect(held.connection.close_).toEqual({ code: 1001, reason: 'the server is shutting down' });
  });

  it('closes an idle connection at once', async () => {
    const held = await HeldSession.open();
    held.session.onDrainRequested();
    expect(held.connection.close_).toMatchObject({ code: 1001 });
  });
});
