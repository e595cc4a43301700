/** The built modules in a real browser, with the example page, over its own WebSocket and fetch. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { exampleRepository, ServerProcess, until } from '../../../../server/e2e/serve.ts';
import { ChromiumPage, findChromium } from './fixtures/chromium.ts';

const chromium = findChromium();
if (chromium === null) console.warn('the client is not tested in a browser here: no chromium (Debian: apt-get install chromium)');

const serveScript = fileURLToPath(new URL('../../../../dist/clients/typescript/examples/browser/serve.js', import.meta.url));

describe.skipIf(chromium === null)('in chromium', () => {
  const ends: (() => unknown)[] = [];
  let page: ChromiumPage;

  beforeAll(async () => {
    const pages = spawn(process.execPath, [serveScript, '0'], { stdio: ['ignore', 'pipe', 'inherit'] });
    ends.push(async () => {
      const ended = once(pages, 'exit');
      pages.kill();
      await ended;
    });
    const [origin] = (await once(createInterface(pages.stdout!), 'line')) as [string];
    const server = await ServerProcess.start([`--model-repository=${exampleRepository}`, `--http-allow-origin=${new URL(origin).origin}`]);
    ends.push(() => server.stop());
    page = await ChromiumPage.open(chromium!, `${origin}?server=${new URL(server.http).host}`);
    ends.push(() => page.close());
  });

  afterAll(async () => {
    // Each by itself: one that fails must not leave the others' processes behind.
    const ended = await Promise.allSettled(ends.reverse().map(async (end) => end()));
    expect(ended.filter(({ status }) => status === 'rejected')).toEqual([]);
  });

  /** In the page, with `connect` and the address of the server as `host`. */
  const inPage = (body: string): Promise<unknown> =>
    page.evaluate(`(async () => {
      const { connect } = await import('@nereid/client');
      const host = new URLSearchParams(location.search).get('server');
      ${body}
    })()`);

  test('the example page reads its digit over both, and a stream', async () => {
    await until(async () => (await page.evaluate('document.title')) === 'done');
    const text = (id: string): Promise<unknown> => page.evaluate(`document.getElementById('${id}').textContent`);
    expect(await text('http')).toMatch(/^a 0 \(\d+\.\d %\)$/);
    expect(await text('ws')).toBe(await text('http'));
    expect(await text('stream')).toBe('3 1 4 1 5 and the end');
  });

  test('hundreds at once over one WebSocket, some of them large', async () => {
    const sums = await inPage(`
      const client = await connect('ws://' + host);
      const simple = await client.model('simple');
      const sums = await Promise.all(Array.from({ length: 600 }, async (_, i) => {
        const { outputs } = await simple.infer({ INPUT0: new Int32Array(16).fill(i), INPUT1: new Int32Array(16).fill(1) }, { json: i % 2 === 0 });
        return outputs.OUTPUT0.data[15];
      }));
      const identity = await client.model('simple_identity');
      const text = 'x'.repeat(2e5);
      const { outputs } = await identity.infer({ INPUT0: Array(16).fill(text) });
      await client.close();
      return [sums.every((sum, i) => sum === i + 1), outputs.OUTPUT0.strings().every((one) => one === text)];
    `);
    expect(sums).toEqual([true, true]);
  });

  test('a deadline, leaving a loop, a server that is not there, and headers, which a browser cannot send', async () => {
    const codes = await inPage(`
      const codeOf = (work) => work.then(() => 'none', (error) => [error.code, error.phase, error.message].join(' '));
      const client = await connect('ws://' + host, { retry: false });
      const repeat = await client.model('repeat_int32');
      const inputs = { IN: [1, 2], DELAY: [0, 60000], WAIT: [0] };
      const late = repeat.stream(inputs, { timeoutMs: 200 });
      await late.next();
      for await (const _ of repeat.stream(inputs)) break;
      const nobody = await connect('ws://127.0.0.1:1', { retry: false });
      const call = { model: 'simple', inputs: [] };
      const codes = [await codeOf(late.next()), await codeOf(nobody.infer(call)), await codeOf(client.infer({ ...call, headers: { authorization: 'x' } }))];
      await client.close();
      return [...codes, await codeOf(client.infer(call))];
    `);
    expect(codes).toEqual([
      expect.stringMatching(/^DEADLINE_EXCEEDED/),
      expect.stringMatching(/^UNAVAILABLE refused ws:\/\/127\.0\.0\.1:1\/v2\/ws: no connection/),
      expect.stringMatching(/^INVALID_ARGUMENT .*authorization: .*in a browser/),
      expect.stringMatching(/^CANCELLED/),
    ]);
  });
});
