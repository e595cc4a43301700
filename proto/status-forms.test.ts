import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { STATUS_FORMS } from './status-forms.ts';

test('docs/errors.md and the table have the same codes with the same forms', () => {
  const page = readFileSync(join(import.meta.dirname, '..', 'docs', 'errors.md'), 'utf8');
  const rows = [...page.matchAll(/^\| `([A-Z_]+)` \| (\d+) \| (\d+) \| (\d+) \| .{10,} \|$/gm)];
  const documented = Object.fromEntries(
    rows.map(([, code, http, grpc, webSocketClose]) => [
      code,
      { http: Number(http), grpc: Number(grpc), webSocketClose: Number(webSocketClose) },
    ]),
  );
  expect(documented).toEqual(STATUS_FORMS);
});

test('every form is one that its protocol has', () => {
  const grpc = Object.values(STATUS_FORMS).map((form) => form.grpc);
  expect(new Set(grpc).size).toBe(grpc.length);
  for (const { http, grpc: code, webSocketClose } of Object.values(STATUS_FORMS)) {
    expect(http).toBeGreaterThanOrEqual(400);
    expect(http).toBeLessThan(600);
    expect(code).toBeGreaterThanOrEqual(1);
    expect(code).toBeLessThanOrEqual(16);
    // RFC 6455, 7.4: 1005, 1006 and 1015 are never sent; 4000 to 4999 are an application's own.
    expect([1008, 1009, 1011, 1013].includes(webSocketClose) || (webSocketClose >= 4000 && webSocketClose < 5000)).toBe(true);
  }
});
