import { describe, expect, it } from 'vitest';
import { AddonLog } from './addon-log.ts';

function recorded(nowMs: { value: number } = { value: 0 }): { log: AddonLog; lines: string[] } {
  const lines: string[] = [];
  return {
    log: new AddonLog(
      (level, text) => lines.push(`${level} ${text}`),
      () => nowMs.value,
    ),
    lines,
  };
}

describe('AddonLog', () => {
  it('writes whole lines, warnings and errors as warnings', () => {
    const { log, lines } = recorded();
    log.take(4, 'loading ');
    log.take(4, 'a model\nand');
    log.take(4, ' more\n');
    log.take(3, 'careful\n');
    log.take(2, 'broken\n\n');
    expect(lines).toEqual([
      'debug llama.cpp: loading a model',
      'debug llama.cpp: and more',
      'warn llama.cpp: careful',
      'warn llama.cpp: broken',
    ]);
  });

  it('leaves out the dots of a load', () => {
    const { log, lines } = recorded();
    for (let i = 0; i < 50; i++) log.take(4, '.');
    log.take(4, '\n');
    expect(lines).toEqual([]);
  });

  it('remembers the last errors, once', () => {
    const { log } = recorded();
    for (let i = 0; i < 20; i++) log.take(2, `error ${i}\n`);
    log.take(2, 'without an end');
    expect(log.takeProblems()).toEqual([
      'error 13',
      'error 14',
      'error 15',
      'error 16',
      'error 17',
      'error 18',
      'error 19',
      'without an end',
    ]);
    expect(log.takeProblems()).toEqual([]);
  });

  it('bounds a line, and the lines of a second', () => {
    const now = { value: 0 };
    const { log, lines } = recorded(now);
    log.take(4, 'x'.repeat(100_000));
    log.take(4, `${'y'.repeat(100_000)}\n`);
    expect(lines[0]!.length).toBeLessThan(600);
    for (let i = 0; i < 500; i++) log.take(i % 2 === 0 ? 3 : 4, `line ${i}\n`);
    expect(lines).toHaveLength(100);
    now.value = 1500;
    log.take(4, 'next\n');
    expect(lines.slice(100)).toEqual(['warn llama.cpp: 401 lines of its log were left out, 200 of them warnings', 'debug llama.cpp: next']);
  });
});
