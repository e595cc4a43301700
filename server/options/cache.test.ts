import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { serveHelp } from './options-help.ts';
import { parseServeOptions } from './parse-options.ts';

const repository = mkdtempSync(join(tmpdir(), 'nereid-cache-options-'));
afterAll(() => rmSync(repository, { recursive: true }));

const parse = (...argv: string[]) => parseServeOptions(['--model-repository', repository, ...argv], {});

describe('--cache-config', () => {
  test('takes its keys one by one or together, as tritonserver does', () => {
    const redis = parse('--cache-config', 'redis,host=h', '--cache-config=redis,port=7,user=u,password=p=q').options.cacheConfig;
    expect(redis).toMatchObject({ kind: 'redis', host: 'h', port: 7, user: 'u', password: 'p=q', database: 0, isTls: false, ttlSecs: 0 });
    expect(
      parse('--cache-config=redis,host=h,tls=true,cacert=a,sni=s,ttl=60,socket_timeout=5,pool_size=3').options.cacheConfig,
    ).toMatchObject({
      ...{ port: 6379, isTls: true, caPath: 'a', serverName: 's', ttlSecs: 60, socketTimeoutMs: 5 },
    });
    expect(parse('--cache-config=local,size=64KiB').options.cacheConfig).toEqual({ kind: 'local', sizeBytes: 65_536 });
    expect(parse().options.cacheConfig).toBeNull();
  });

  test.each([
    ['local', /expected local,KEY=VALUE, got 'local'/],
    ['local,size', /expected KEY=VALUE after 'local,', got 'size'/],
    ['local,size=12', /expected bytes, at least 1024/],
    ['local,host=h', /expected a key of local: size, got 'host'/],
    ['redis,port=1', /expected redis,host=HOST/],
    ['redis,host=h,port=70000', /expected an integer from 1 to 65535 for port, got '70000'/],
    ['redis,host=h,tls=yes', /expected true or false for tls, got 'yes'/],
    ['memcached,host=h', /expected one of the caches local, redis/],
  ])('refuses %s', (text, message) => {
    expect(() => parse(`--cache-config=${text}`)).toThrow(message);
  });

  test('refuses two caches', () => {
    expect(() => parse('--cache-config=local,size=1MiB', '--cache-config=redis,host=h')).toThrow(/one cache, 'local' as before/);
    expect(() => parse('--cache-config=local,size=1MiB', '--response-cache-byte-size=1MiB')).toThrow(/give --cache-config alone/);
  });

  test('says what has no effect', () => {
    expect(parse('--rate-limit-resource=R:1').warnings).toContain(
      '--rate-limit-resource has no effect without --rate-limit execution_count',
    );
    expect(serveHelp()).toContain('--rate-limit-resource NAME:COUNT[:DEVICE]');
  });
});
