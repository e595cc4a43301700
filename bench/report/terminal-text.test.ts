import { expect, test } from 'vitest';
import { printable } from './terminal-text.ts';

test.each([
  ['\u001b[31mred', '\\x1b[31mred'],
  ['two\r\n lines', 'two lines'],
  ['turned \u202eevil', 'turned \\u202eevil'],
  ['Grüße, 世界', 'Grüße, 世界'],
])('printable: %j', (text, shown) => {
  expect(printable(text)).toBe(shown);
});
