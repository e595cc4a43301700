import { describe, expect, test } from 'vitest';
import { mergeHeaders } from './call-headers.ts';

describe('mergeHeaders', () => {
  test('lower-cases names, and the call wins over the client', () => {
    expect(mergeHeaders({ Authorization: 'one', 'X-Tenant': 'a' }, { authorization: 'two', 'x-name': 'Zoë' })).toEqual({
      authorization: 'two',
      'x-tenant': 'a',
      'x-name': 'Zoë',
    });
  });

  test.each([
    [{ 'x-a': 'a\nb' }, 'headers.x-a: expected one line of printable Latin-1 characters'],
    [{ 'x-a': '\u65e5' }, 'headers.x-a: expected one line of printable Latin-1 characters'],
    [{ 'x a': 'b' }, 'headers: expected names of letters, digits and -, got "x a"'],
    [{ '': 'b' }, 'headers: expected names of letters, digits and -, got ""'],
    [{ 'Content-Length': '3' }, 'headers.Content-Length: the transport sets this one itself: leave it out'],
    [{ 'transfer-encoding': 'chunked' }, 'headers.transfer-encoding: the transport sets this one itself: leave it out'],
    [{ authorization: undefined as unknown as string }, 'headers.authorization: expected text, got undefined'],
  ])('%j is refused before anything is sent', (headers, message) => {
    expect(() => mergeHeaders({}, headers)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', message }));
    expect(() => mergeHeaders(headers, undefined)).toThrow(message);
  });
});
