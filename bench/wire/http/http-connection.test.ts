/** What a connection makes of servers that misbehave. */

import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import type { Lane } from '../../load/lane.ts';
import { NodeLoop } from '../../load/node-loop.ts';
import { AskingSink, OK } from '../asking.case.ts';
import { inferOf, inputOf, planOf, targetOf } from '../plans.case.ts';
import { createHttpLanes } from './http-lane.ts';

const ANSWER = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}';
const loop = new NodeLoop('http/1.1');
let server: Server | null = null;
let peers: Socket[] = [];

afterEach(async () => {
  for (const peer of peers) peer.destroy();
  peers = [];
  await new Promise<void>((resolve) => (server === null ? resolve() : server.close(() => resolve())));
  server = null;
});
afterAll(() => loop.close());

/** A lane to a server that does `answer` for each piece of bytes it gets; `greet`: at once. */
async function laneTo(
  answer: (peer: Socket, bytes: Buffer) => void,
  greet: (peer: Socket) => void = () => {},
  values = 1,
): Promise<{ lane: Lane; sink: AskingSink }> {
  server = createServer((peer) => {
    peers.push(peer);
    peer.on('error', () => {});
    peer.on('data', (bytes) => answer(peer, bytes));
    greet(peer);
  });
  await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const request = inferOf('m', [inputOf('X', 'INT8', [values], new Int8Array(values))]);
  const plan = planOf('http-binary', targetOf(url), [request], { sequence: { minLength: 1, maxLength: 1, firstId: 1_000_000_000 } });
  const sink = new AskingSink();
  return { lane: await createHttpLanes(plan).open(loop, sink), sink };
}

const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 30));

test('a server that closes after each answer: the end first, then the closing', async () => {
  const { lane, sink } = await laneTo((peer) => peer.end(ANSWER.replace('\r\n', '\r\nconnection: close\r\n')));
  expect(await sink.ask(lane, 0, null, false)).toMatchObject(OK);
  expect(lane.isOpen).toBe(false);
  expect(sink.closings).toEqual(['the server closes the connection after its answer']);
  await settled();
  expect(sink.closings.length).toBe(1);
});

test('an answer without any length ends with the connection', async () => {
  const { lane, sink } = await laneTo((peer) => peer.end('HTTP/1.1 200 OK\r\n\r\n{}'));
  expect(await sink.ask(lane, 0, null, false)).toMatchObject(OK);
  expect(sink.closings.length).toBe(1);
});

describe('answers that are none', () => {
  test.each([
    ['', 'connection lost', 'the server closed the connection'],
    ['HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}', 'connection lost', 'the server closed the connection, within an answer'],
    [`${ANSWER}HTTP/1.1 408 X`, 'malformed answer', '14 bytes more came than the answer has'],
    ['SSH-2.0-OpenSSH\r\n', 'malformed answer', 'expected a status line of HTTP/1.1, got "SSH-2.0-OpenSSH"'],
  ])('%j', async (bytes, status, message) => {
    const { lane, sink } = await laneTo((peer) => peer.end(bytes));
    expect(await sink.ask(lane, 0, null, false)).toEqual({ outcome: 'failed', status, message, parts: [] });
    expect(lane.isOpen).toBe(false);
    expect(sink.closings).toEqual([message]);
  });
});

test('refusals, and errors of every form', async () => {
  const answers: readonly (readonly [number, string, string, string])[] = [
    [503, '{"error":"full"}', 'refused', 'full'],
    [503, '{"error":"full"}', 'refused', 'full'],
    [429, '{"error":{"message":"slow down","type":"x"}}', 'refused', 'slow down'],
    [504, '{"detail":"too late"}', 'expired', 'too late'],
    [502, '<html>Bad Gateway</html>', 'failed', '<html>Bad Gateway</html>'],
    [500, '', 'failed', 'the server gave no reason'],
    [500, `{"error":"${'x'.repeat(300)}"}`, 'failed', `${'x'.repeat(197)}...`],
    [301, '', 'failed', 'the server gave no reason'],
  ];
  let next = 0;
  const { lane, sink } = await laneTo((peer) => {
    const [status, body] = answers[next++]!;
    peer.write(`HTTP/1.1 ${status} X\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
  });
  for (const [status, , outcome, message] of answers) {
    expect(await sink.ask(lane, 0)).toEqual({ outcome, status: `HTTP ${status}`, message, parts: [] });
  }
  expect(sink.closings).toEqual([]);
  lane.close();
});

test('a body that is not what it says', async () => {
  const bodies = ['{}', '{"outputs":[', '{"outputs":[{"name":"Y","datatype":"INT8","shape":[2],"data":[1]}]}', '"\xff"'];
  const lengths = ['', '', '', '', 'inference-header-content-length: 99\r\n'];
  let next = 0;
  const { lane, sink } = await laneTo((peer) => {
    const body = Buffer.from(bodies[next % bodies.length]!, 'latin1');
    peer.write(`HTTP/1.1 200 OK\r\n${lengths[next++]!}content-length: ${body.length}\r\n\r\n`);
    peer.write(body);
  });
  const messages: string[] = [];
  for (const _ of lengths) {
    const ended = await sink.ask(lane, 0);
    expect(ended).toMatchObject({ outcome: 'wrong', status: 'wrong answer' });
    messages.push(ended.message);
  }
  expect(messages[0]).toContain("'outputs' is not an array");
  expect(messages[2]).toContain('outputs.Y: expected 2 bytes');
  expect(messages[3]).toBe('the JSON of the answer is not UTF-8');
  expect(messages[4]).toBe('inference-header-content-length is 99, and the body has 2 bytes');
  lane.close();
});

test('bytes that nobody asked for close the lane', async () => {
  const { sink } = await laneTo(
    () => {},
    (peer) => setTimeout(() => peer.write('HTTP/1.1 408 Request Timeout\r\n\r\n'), 10),
  );
  await expect.poll(() => sink.closings).toEqual(['bytes came that no request had asked for']);
});

test('a server that closes an idle connection', async () => {
  const { lane, sink } = await laneTo(
    () => {},
    (peer) => setTimeout(() => peer.end(), 10),
  );
  await expect.poll(() => sink.closings).toEqual(['the server closed the connection']);
  expect(lane.isOpen).toBe(false);
});

test('what was given up is not reported, whatever comes', async () => {
  const { lane, sink } = await laneTo((peer) => setTimeout(() => peer.write(ANSWER), 10));
  let ended = false;
  void sink.ask(lane, 0, null, false, 3).then(() => {
    ended = true;
  });
  lane.abandon(4);
  expect(lane.isOpen).toBe(true);
  lane.abandon(3);
  expect(lane.isOpen).toBe(false);
  await settled();
  expect(ended).toBe(false);
  expect(sink.closings).toEqual([]);
});

test('an answer that comes before the request was read: the stamp of the next one leaves the first as it is', async () => {
  const pieces: Buffer[] = [];
  const size = 8 * 1024 * 1024;
  let answered = false;
  const { lane, sink } = await laneTo(
    (peer, bytes) => {
      pieces.push(Buffer.from(bytes));
      if (answered) return;
      answered = true;
      // Reads no further before both requests have been sent.
      peer.pause();
      peer.write(ANSWER);
    },
    () => {},
    size,
  );
  expect(await sink.ask(lane, 0, { id: 1_111_111_111, isStart: true, isEnd: false }, false)).toMatchObject(OK);
  const second = sink.ask(lane, 0, { id: 2_222_222_222, isStart: false, isEnd: true }, false);
  peers[0]!.resume();
  await expect.poll(() => pieces.reduce((bytes, piece) => bytes + piece.length, 0), { timeout: 10_000 }).toBe(sink.sent);
  peers[0]!.write(ANSWER);
  expect(await second).toMatchObject(OK);
  const heads = Buffer.concat(pieces).toString('latin1').split('POST /v2/models/m/infer').slice(1);
  expect(heads.map((head) => head.slice(head.indexOf('{'), head.indexOf(',"binary_data_output"')))).toEqual([
    '{"parameters":{"sequence_id":      1111111111,"sequence_start":true ,"sequence_end":false',
    '{"parameters":{"sequence_id":      2222222222,"sequence_start":false,"sequence_end":true ',
  ]);
  lane.close();
});
