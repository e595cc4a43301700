import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { InferenceError } from '../../../proto/inference-error.ts';
import type { LoadTarget } from '../../load/load-plan.ts';
import { Handshake } from './handshake.ts';

const target: LoadTarget = { host: '::1', port: 8000, basePath: '/gateway', tls: null, headers: { authorization: 'Bearer x' } };

function answerTo(handshake: Handshake, changes: Readonly<Record<string, string>> = {}, status = '101 Switching Protocols'): Buffer {
  const key = /^Sec-WebSocket-Key: (.+)\r$/m.exec(handshake.request.toString())![1]!;
  const headers: Record<string, string> = {
    Upgrade: 'WebSocket',
    Connection: 'keep-alive, Upgrade',
    'Sec-WebSocket-Accept': createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64'),
    ...changes,
  };
  return Buffer.from(
    `HTTP/1.1 ${status}\r\n${Object.entries(headers)
      .map(([name, value]) => `${name}: ${value}\r\n`)
      .join('')}\r\n`,
  );
}

function failureOf(work: () => unknown): InferenceError {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(InferenceError);
    return error as InferenceError;
  }
  throw new Error('it did not fail');
}

test('asks below the base path, with the headers of the target', () => {
  const request = new Handshake(target, '/v2/ws').request.toString();
  expect(request).toMatch(/^GET \/gateway\/v2\/ws HTTP\/1\.1\r\n/);
  expect(request).toMatch(/\r\nHost: \[::1\]:8000\r\n/);
  expect(request).toMatch(/\r\nauthorization: Bearer x\r\n\r\n$/);
  expect(new Handshake(target, '/v2/ws').request).not.toEqual(new Handshake(target, '/v2/ws').request);
  expect(new Handshake({ ...target, headers: { host: 'a.b' } }, '/').request.toString()).not.toContain('::1');
});

test('tells where frames begin, however the answer is cut', () => {
  const handshake = new Handshake(target, '/v2/ws');
  const answer = answerTo(handshake);
  for (let at = 0; at < answer.length - 1; at++) expect(handshake.take(answer.subarray(at, at + 1))).toBe(-1);
  expect(handshake.take(Buffer.concat([answer.subarray(-1), Buffer.of(0x89, 0)]))).toBe(1);
});

describe('refuses', () => {
  test.each([
    ['another accept', { 'Sec-WebSocket-Accept': 'AAAA' }, undefined, 'INTERNAL', /expected Sec-WebSocket-Accept: \S+, got AAAA/],
    ['no upgrade', { Upgrade: 'h2c' }, undefined, 'INTERNAL', /Upgrade: websocket/],
    [
      'an extension that nobody offered',
      { 'Sec-WebSocket-Extensions': 'permessage-deflate' },
      undefined,
      'INTERNAL',
      /expected no sec-websocket-extensions/,
    ],
    ['404', {}, '404 Not Found', 'NOT_FOUND', /expected HTTP 101.*got HTTP 404.*Nereid/],
    ['401', {}, '401 Unauthorized', 'UNAUTHENTICATED', /got HTTP 401/],
  ] as const)('%s', (_, changes, status, code, text) => {
    const handshake = new Handshake(target, '/v2/ws');
    const failure = failureOf(() => handshake.take(answerTo(handshake, changes as Record<string, string>, status)));
    expect(failure.code).toBe(code);
    expect(failure.message).toMatch(text);
  });

  test('what is not HTTP, at its first byte, and what never ends', () => {
    expect(failureOf(() => new Handshake(target, '/').take(Buffer.of(0, 0, 6, 4))).message).toMatch(/is this the HTTP port/);
    const endless = Buffer.from(`HTTP/1.1 101 x\r\n${'a: b\r\n'.repeat(20_000)}`);
    expect(failureOf(() => new Handshake(target, '/').take(endless)).code).toBe('INTERNAL');
  });

  test.each([{ upgrade: 'h2c' }, { 'sec-websocket-key': 'a' }, { 'a b': 'c' }, { authorization: 'a\r\nb: c' }])('header %j', (headers) => {
    const failure = failureOf(() => new Handshake({ ...target, headers: headers as Record<string, string> }, '/'));
    expect(failure.code).toBe('INVALID_ARGUMENT');
    expect(failure.message).toMatch(/headers/);
    expect(failure.message).not.toContain('b: c');
  });
});
