import { expect, it } from 'vitest';
import { codeLog } from './host-output.ts';

it('tells what a model says, and little of what it shouts', () => {
  let nowMs = 0;
  const lines: string[] = [];
  const add = (fields: object, message: string): void => void lines.push(`${JSON.stringify(fields)} ${message}`);
  const onLog = codeLog({ info: add, warn: add, error: add }, 'm:1', () => nowMs);
  onLog(7, 'one\n\ntwo\n', 'info');
  expect(lines).toEqual(['{"model":"m:1","pid":7} one', '{"model":"m:1","pid":7} two']);
  // There is no debug level here.
  onLog(7, 'three', 'debug');
  expect(lines).toHaveLength(2);
  for (let i = 0; i < 100; i++) onLog(7, 'x\n'.repeat(100), 'warn');
  expect(lines).toHaveLength(499);
  nowMs = 1000;
  onLog(7, 'later', 'info');
  expect(lines.slice(-2)).toEqual([
    expect.stringMatching(/says more than 500 lines a second; \d+ bytes were left out/),
    '{"model":"m:1","pid":7} later',
  ]);
  onLog(7, 'y'.repeat(5000), 'error');
  expect(lines.at(-1)).toHaveLength(24 + 2000);
});
