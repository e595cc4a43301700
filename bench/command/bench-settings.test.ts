import { describe, expect, test } from 'vitest';
import { CommandLineError } from '../../server/commands/run-command.ts';
import { benchFlags, benchUsage } from './bench-options.ts';
import { readBenchSettings } from './bench-settings.ts';
import { parseLoadLevels } from './parse-load-levels.ts';

describe('load levels', () => {
  test.each([
    ['16', [16]],
    ['1,4,16', [1, 4, 16]],
    ['1:4', [1, 2, 3, 4]],
    ['1:64:x2', [1, 2, 4, 8, 16, 32, 64]],
    ['10:30:10,100', [10, 20, 30, 100]],
    ['1:10:x3', [1, 3, 9]],
    ['5:5', [5]],
  ])('%s', (text, levels) => {
    expect(parseLoadLevels('--concurrency', text, true)).toEqual(levels);
  });

  test('rates may have fractions', () => {
    expect(parseLoadLevels('--rate', '0.5:2:0.5', false)).toEqual([0.5, 1, 1.5, 2]);
  });

  test.each(['', '0', '-1', 'a', '1.5', '4:1', '1:4:0', '1:4:x1', '1:2:3:4', '1,,2', '1:', '1:1000000'])('%s is refused', (text) => {
    expect(() => parseLoadLevels('--concurrency', text, true)).toThrow(CommandLineError);
  });
});

describe('settings', () => {
  test('of nothing but a model', () => {
    const settings = readBenchSettings({}, ['simple']);
    expect(settings).toMatchObject({
      model: 'simple',
      url: 'http://127.0.0.1:8000',
      protocol: 'http-binary',
      deadlineMs: 0,
      sequence: null,
      tls: null,
    });
    expect(settings.paces).toEqual([1, 4, 16].map((concurrency) => ({ kind: 'closed', concurrency })));
  });

  test('the scheme of a URL chooses the protocol, unless one is given', () => {
    expect(readBenchSettings({ url: 'grpc://h:1' }, ['m']).protocol).toBe('grpc');
    expect(readBenchSettings({ url: 'ws://h:1' }, ['m']).protocol).toBe('websocket-binary');
    expect(readBenchSettings({ url: 'grpc://h:1', protocol: 'grpc-stream' }, ['m']).protocol).toBe('grpc-stream');
    expect(readBenchSettings({ protocol: 'grpc' }, ['m']).url).toBe('grpc://127.0.0.1:8001');
  });

  test('open load, sequences, headers, parameters, shapes', () => {
    const settings = readBenchSettings(
      {
        rate: '100,200',
        distribution: 'poisson',
        'sequence-length': '2:5',
        header: ['Authorization: Bearer a:b'],
        parameter: ['priority:1', 'colour:red', 'flag:true'],
        shape: ['image:3,224,224'],
      },
      ['m'],
    );
    expect(settings.paces).toEqual([100, 200].map((perSecond) => ({ kind: 'open', perSecond, schedule: 'poisson', maxInFlight: 4096 })));
    expect(settings.sequence).toEqual({ minLength: 2, maxLength: 5, firstId: 1_000_000_000 });
    expect(settings.headers).toEqual({ authorization: 'Bearer a:b' });
    expect(settings.input.parameters).toEqual({ priority: 1, colour: 'red', flag: true });
    expect([...settings.input.shapes]).toEqual([['image', [3, 224, 224]]]);
  });

  test.each<[string, Record<string, string | boolean | string[]>, RegExp]>([
    ['both kinds of load', { rate: '1', concurrency: '1' }, /--concurrency or --rate, got both/],
    ['a distribution of nothing', { distribution: 'poisson' }, /--distribution: goes with --rate/],
    ['an unknown protocol', { protocol: 'http-jason' }, /--protocol: expected one of .*did you mean 'http-json'/],
    ['a header without a value', { header: ['x'] }, /--header: expected NAME:VALUE, got 'x'/],
    ['a shape of words', { shape: ['a:b'] }, /--shape a: expected whole numbers/],
    ['a sequence of none', { 'sequence-length': '0' }, /--sequence-length: expected N or N:M/],
    ['a sequence that shrinks', { 'sequence-length': '5:2' }, /--sequence-length/],
    ['TLS without TLS', { insecure: true }, /--insecure: goes with an https, grpcs or wss --url/],
    ['a window too short', { window: '5' }, /--window: expected a number from 50/],
    ['half a process', { processes: '1.5' }, /--processes: expected a whole number/],
    ['nothing as a number', { deadline: '' }, /--deadline: expected a number/],
  ])('%s', (_what, values, message) => {
    expect(() => readBenchSettings(values, ['m'])).toThrow(message);
    expect(() => readBenchSettings(values, ['m'])).toThrow(CommandLineError);
  });

  test('one model, no less and no more', () => {
    expect(() => readBenchSettings({}, [])).toThrow(/expected one MODEL, got none/);
    expect(() => readBenchSettings({}, ['a', 'b'])).toThrow(/expected one MODEL, got a b/);
  });

  test('every flag is in --help, and every flag of --help is read', () => {
    const told = new Set([...benchUsage.matchAll(/--([a-z][a-z-]*)/g)].map((match) => match[1]!));
    expect([...told].sort()).toEqual(Object.keys(benchFlags).sort());
  });
});
