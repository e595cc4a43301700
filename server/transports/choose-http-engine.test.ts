import { describe, expect, it } from 'vitest';
import { chooseHttpEngine } from './choose-http-engine.ts';
import { startNodeHttpTransport } from './node-http/node-http-transport.ts';
import { TEST_TLS, TransportFixture } from './transport-fixture.ts';
import { loadUws } from './uws/uws-module.ts';

const loaded = await loadUws();
const missing = () => loadUws('a-package-that-is-not-installed');

describe('chooseHttpEngine', () => {
  it('takes node when uws does not load, and says why', async () => {
    const choice = await chooseHttpEngine('auto', null, missing);
    expect(choice.engine).toBe('node');
    expect(choice.start).toBe(startNodeHttpTransport);
    expect(choice.sentence).toBe('HTTP engine node:http: a-package-that-is-not-installed is not installed');
  });

  it('fails with one line when uws is asked for and does not load', async () => {
    await expect(chooseHttpEngine('uws', null, missing)).rejects.toThrow(/^cannot use the HTTP engine uws: [^\n]*is not installed[^\n]*$/);
    const broken = () => loadUws('node:path');
    await expect(chooseHttpEngine('uws', null, broken)).rejects.toThrow('lacks functions that are needed');
  });

  it('takes node where client certificates are asked for', async () => {
    const tls = { ...TEST_TLS, caFile: TEST_TLS.certFile };
    expect((await chooseHttpEngine('auto', tls)).engine).toBe('node');
    await expect(chooseHttpEngine('uws', tls)).rejects.toThrow('client certificates');
  });

  it('takes node when asked to', async () => {
    expect((await chooseHttpEngine('node', null)).engine).toBe('node');
  });

  it.runIf('module' in loaded)('takes uws when it loads, and it serves', async () => {
    const choice = await chooseHttpEngine('auto', null);
    expect(choice.engine).toBe('uws');
    const fixture = new TransportFixture(choice.start);
    const { port } = await fixture.serve();
    expect(await (await fetch(`http://127.0.0.1:${port}/hello`)).text()).toBe('hællo');
    await fixture.stop();
  });
});
