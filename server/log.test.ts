import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { InferenceError } from '../proto/inference-error.ts';
import { createLogger, type Logger, type LoggerOptions, visibleText } from './log.ts';

const folder = mkdtempSync(join(tmpdir(), 'nereid-log-'));
afterAll(() => rmSync(folder, { recursive: true }));
let files = 0;

/** What `write` logs, as the file has it. */
function logged(options: Partial<LoggerOptions>, write: (log: Logger) => void): string {
  const destination = join(folder, `${files++}.log`);
  write(createLogger({ level: 'info', format: 'json', ...options, destination }));
  return readFileSync(destination, 'utf8');
}

function records(text: string): Record<string, unknown>[] {
  return text.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as Record<string, unknown>]));
}

const forged = 'model\nERROR: forged \u001b[31mred\u001b[0m \r\u009b2J \u202e end';

describe('JSON', () => {
  test('one object a line: level by name, time, fields, message', () => {
    const text = logged({}, (log) => {
      log.info({ model: 'm' }, 'model loaded');
      log.debug('left out');
      log.warn('w');
    });
    expect(records(text)).toEqual([
      { level: 'info', time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/), model: 'm', msg: 'model loaded' },
      { level: 'warn', time: expect.any(String), msg: 'w' },
    ]);
  });

  test('auto is JSON where there is no terminal', () => {
    expect(records(logged({ format: 'auto' }, (log) => log.info('x')))).toHaveLength(1);
  });

  test('no text breaks out of its line', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (message, field) => {
        const text = logged({}, (log) => log.info({ field }, '%s', message));
        expect(text.trimEnd()).not.toMatch(/\n/);
        expect(records(text)).toMatchObject([{ field: field.toWellFormed() }]);
      }),
      { numRuns: 50 },
    );
  });

  test('an InferenceError is its code and message; other errors have their stack', () => {
    const error = new InferenceError('UNAVAILABLE', 'queue full', { cause: new TypeError('inner') });
    const [ours, other] = records(
      logged({}, (log) => {
        log.error({ err: error }, 'a');
        log.error({ err: new RangeError('b') }, 'b');
      }),
    );
    expect(ours!['err']).toEqual({
      type: 'InferenceError',
      code: 'UNAVAILABLE',
      message: 'queue full',
      cause: expect.objectContaining({ type: 'TypeError' }),
    });
    expect(other!['err']).toMatchObject({ type: 'RangeError', message: 'b', stack: expect.stringContaining('log.test') });
  });
});

describe('pretty', () => {
  test('a line for people, without colours outside a terminal', () => {
    const text = logged({ format: 'pretty' }, (log) => log.info({ model: 'm' }, 'model loaded'));
    expect(text).toMatch(/^\[\d\d:\d\d:\d\d\.\d{3}\] INFO: model loaded \{"model":"m"\}\n$/);
  });

  test('neither message nor field nor key can forge a line or move the cursor', () => {
    const text = logged({ format: 'pretty' }, (log) => log.info({ name: forged, [forged]: { deep: [forged] }, stack: forged }, forged));
    expect(text.trimEnd()).not.toMatch(/[\p{Cc}\u202e]/u);
    expect(text).toContain('model\\x0aERROR: forged \\x1b[31mred');
  });

  test('what follows a line break in an error stays behind an indent', () => {
    const text = logged({ format: 'pretty' }, (log) => log.error({ err: new Error(forged) }, 'failed'));
    const lines = text.trimEnd().split('\n');
    expect(lines[0]).toMatch(/ERROR: failed *$/);
    for (const line of lines.slice(1)) expect(line).toMatch(/^ {4}/);
    expect(text).not.toContain('\u001b');
  });

  test('visibleText leaves ordinary text alone', () => {
    expect(visibleText('größe 模型 🐬 "x" \\')).toBe('größe 模型 🐬 "x" \\');
  });
});

test('levels: the least one, and muted ones in between', () => {
  const text = logged({ level: 'debug', mutedLevels: ['info', 'error'] }, (log) => {
    for (const level of ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const) log[level](level);
  });
  expect(records(text).map((record) => record['msg'])).toEqual(['debug', 'warn', 'fatal']);
  expect(logged({ level: 'silent' }, (log) => log.fatal('x'))).toBe('');
});

test('a log file that cannot be opened is an error at start', () => {
  expect(() => createLogger({ level: 'info', format: 'json', destination: join(folder, 'absent', 'a.log') })).toThrow(/ENOENT/);
});

describe('a log that cannot be written', () => {
  /** A pipe with a reading and a writing end; the reader is this test. */
  function openPipe(): { reader: number; writer: number } {
    const fifo = join(folder, `fifo${files++}`);
    execFileSync('mkfifo', [fifo]);
    const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
    return { reader, writer: openSync(fifo, constants.O_WRONLY) };
  }

  /** What is in the pipe now, without waiting for more. */
  function readNow(reader: number): string {
    const chunks: Buffer[] = [];
    const chunk = Buffer.alloc(65_536);
    try {
      for (let read = readSync(reader, chunk); read > 0; read = readSync(reader, chunk)) chunks.push(Buffer.from(chunk.subarray(0, read)));
    } catch (error) {
      expect(error).toMatchObject({ code: 'EAGAIN' });
    }
    return Buffer.concat(chunks).toString();
  }

  test('because its reader went away: it ends, the process does not', () => {
    const { reader, writer } = openPipe();
    const log = createLogger({ level: 'info', format: 'json', destination: writer });
    log.info('one');
    expect(records(readNow(reader))).toMatchObject([{ msg: 'one' }]);
    closeSync(reader);
    log.info('two');
    log.fatal('three');
    log.info('four');
  });

  test('because the disk is full', () => {
    const log = createLogger({ level: 'info', format: 'json', destination: '/dev/full' });
    log.info('one');
    log.fatal('two');
  });

  test('because its reader does not keep up: lines are held in order, further ones dropped and counted, and nothing waits', async () => {
    const { reader, writer } = openPipe();
    const log = createLogger({ level: 'info', format: 'json', destination: writer });
    const padding = 'x'.repeat(1_000);
    const startMs = performance.now();
    for (let i = 0; i < 6_000; i++) log.info({ i, padding }, 'line');
    expect(performance.now() - startMs).toBeLessThan(5_000);
    let text = '';
    await expect
      .poll(
        () => {
          text += readNow(reader);
          return text.endsWith('keep up"}\n');
        },
        { timeout: 20_000, interval: 5 },
      )
      .toBe(true);
    const lines = records(text);
    const last = lines.pop()!;
    expect(lines.map((line) => line['i'])).toEqual(lines.map((_, i) => i));
    expect(lines.length + (last['dropped'] as number)).toBe(6_000);
    expect(text.length).toBeGreaterThan(4 * 1024 * 1024);
    log.info('after');
    expect(records(readNow(reader))).toMatchObject([{ msg: 'after' }]);
    closeSync(reader);
    closeSync(writer);
  });

  test('at the end with a stuck reader costs a fifth of a second', () => {
    const { reader, writer } = openPipe();
    const log = createLogger({ level: 'info', format: 'json', destination: writer });
    log.info({ padding: 'x'.repeat(1_000_000) }, 'more than a pipe holds');
    const startMs = performance.now();
    log.fatal('last');
    expect(performance.now() - startMs).toBeLessThan(2_000);
    closeSync(reader);
    closeSync(writer);
  });
});
