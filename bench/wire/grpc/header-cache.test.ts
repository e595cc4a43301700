import { describe, expect, it } from 'vitest';
import { HeaderCache } from './header-cache.ts';

function block(status: string, message: string): Buffer {
  const field = (name: string, value: string): number[] => [0, name.length, ...Buffer.from(name), value.length, ...Buffer.from(value)];
  return Buffer.from([...field('grpc-status', status), ...field('grpc-message', message)]);
}

describe('the cache of header blocks', () => {
  it('knows a block again, wherever it lies, and tells blocks apart', () => {
    const cache = new HeaderCache();
    const ok = block('0', '');
    const first = cache.decode(ok, 0, ok.length);
    const elsewhere = Buffer.concat([Buffer.from('xyz'), ok, Buffer.from('z')]);
    expect(cache.decode(elsewhere, 3, 3 + ok.length)).toBe(first);
    for (let i = 0; i < 10; i++) {
      const other = block(String(i), '');
      expect(cache.decode(other, 0, other.length)).toMatchObject({ grpcStatus: i });
    }
  });

  it('does not lose what comes again to blocks that come once', () => {
    const cache = new HeaderCache();
    const ok = block('0', '');
    const first = cache.decode(ok, 0, ok.length);
    for (let i = 0; i < 100; i++) {
      const once = block('3', `request ${i}`);
      expect(cache.decode(once, 0, once.length)).toMatchObject({ grpcMessage: `request ${i}` });
      expect(cache.decode(ok, 0, ok.length)).toBe(first);
    }
  });

  it('does not keep the bytes that it was given', () => {
    const cache = new HeaderCache();
    const bytes = block('0', 'a');
    cache.decode(bytes, 0, bytes.length);
    bytes.fill('b', bytes.length - 1);
    expect(cache.decode(bytes, 0, bytes.length)).toMatchObject({ grpcMessage: 'b' });
  });
});
