import { expect, test } from 'vitest';
import { STATUS_FORMS } from '../../proto/status-forms.ts';
import { grpcStatusText, httpStatusText, outcomeOfCodeName, outcomeOfGrpcCode, outcomeOfHttpStatus } from './outcome-of-status.ts';

test('statuses of HTTP', () => {
  for (const status of [200, 201, 204, 299]) expect(outcomeOfHttpStatus(status)).toBe('ok');
  for (const status of [429, 503]) expect(outcomeOfHttpStatus(status)).toBe('refused');
  for (const status of [408, 504]) expect(outcomeOfHttpStatus(status)).toBe('expired');
  for (const status of [0, 100, 301, 400, 404, 413, 499, 500, 502, 599, 999]) expect(outcomeOfHttpStatus(status)).toBe('failed');
  expect(httpStatusText(503)).toBe('HTTP 503');
  expect(httpStatusText(999)).toBe('HTTP 999');
});

test('a code of the protocol is the same outcome by its number and by its name', () => {
  const outcomes = Object.entries(STATUS_FORMS).map(([name, { grpc }]) => {
    expect(outcomeOfCodeName(name)).toBe(outcomeOfGrpcCode(grpc));
    expect(grpcStatusText(grpc)).toBe(`gRPC ${grpc} ${name}`);
    return [name, outcomeOfGrpcCode(grpc)];
  });
  expect(outcomes.filter(([, outcome]) => outcome !== 'failed')).toEqual([
    ['RESOURCE_EXHAUSTED', 'refused'],
    ['UNAVAILABLE', 'refused'],
    ['DEADLINE_EXCEEDED', 'expired'],
  ]);
  expect(outcomeOfGrpcCode(0)).toBe('ok');
  expect(outcomeOfCodeName('OK')).toBe('ok');
  expect(outcomeOfCodeName('NO_SUCH_CODE')).toBe('failed');
  expect(outcomeOfGrpcCode(99)).toBe('failed');
  expect(grpcStatusText(99)).toBe('gRPC 99');
});
