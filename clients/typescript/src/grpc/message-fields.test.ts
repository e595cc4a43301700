import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';

test('message-fields.ts is what generate-message-fields.mjs writes from the .proto files now', () => {
  const folder = mkdtempSync(join(tmpdir(), 'nereid-message-fields-'));
  try {
    const fresh = join(folder, 'message-fields.ts');
    execFileSync(process.execPath, [join(import.meta.dirname, 'generate-message-fields.mjs'), '--out', fresh]);
    expect(readFileSync(join(import.meta.dirname, 'message-fields.ts'), 'utf8'), 'stale: run generate-message-fields.mjs').toBe(
      readFileSync(fresh, 'utf8'),
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});
