import { describe, expect, it } from 'vitest';
import { STATUS_FORMS } from '../../../proto/status-forms.ts';
import { decodeGrpcMessage, statusCodeOf, statusCodeOfHttp } from './grpc-status.ts';

describe('gRPC statuses', () => {
  it('has a code of ours for each', () => {
    for (const [code, { grpc }] of Object.entries(STATUS_FORMS)) expect(statusCodeOf(grpc)).toBe(code);
    expect(statusCodeOf(10)).toBe('UNAVAILABLE');
    expect(statusCodeOf(99)).toBe('UNKNOWN');
  });

  it('takes HTTP statuses as gRPC says', () => {
    expect([400, 404, 429, 502, 503, 504].map(statusCodeOfHttp)).toEqual(['INTERNAL', 'UNIMPLEMENTED', ...Array(4).fill('UNAVAILABLE')]);
    expect([401, 403, 500, 200].map(statusCodeOfHttp)).toEqual(['UNAUTHENTICATED', 'PERMISSION_DENIED', 'UNKNOWN', 'UNKNOWN']);
  });

  it('decodes messages, and leaves what is no code', () => {
    expect(decodeGrpcMessage('plain')).toBe('plain');
    expect(decodeGrpcMessage('s%C3%ADmple 100%25')).toBe('símple 100%');
    expect(decodeGrpcMessage('50% of %zz%4')).toBe('50% of %zz%4');
  });
});
