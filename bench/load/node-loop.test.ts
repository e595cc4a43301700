import { readFileSync } from 'node:fs';
import { createServer, type TlsOptions } from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { runUntil } from './create-loop.ts';
import type { LoadTarget, LoadTls } from './load-plan.ts';
import { NodeLoop } from './node-loop.ts';
import { itIsASocketLoop } from './socket-loop.case.ts';

itIsASocketLoop("Node's sockets", () => new NodeLoop('http/1.1'));

describe('TLS', () => {
  const fixture = (name: string) => readFileSync(new URL(`../../server/transports/fixtures/${name}`, import.meta.url), 'utf8');
  const cert = fixture('localhost.cert.pem');
  const key = fixture('localhost.key.pem');
  const closers: (() => void)[] = [];
  afterEach(() => {
    for (const close of closers.splice(0)) close();
  });

  async function target(options: TlsOptions, tls: Partial<LoadTls>): Promise<LoadTarget> {
    const server = createServer({ cert, key, ...options }, (socket) => {
      socket.on('error', () => {});
      socket.pipe(socket);
    });
    server.on('tlsClientError', () => {});
    closers.push(() => server.close());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    return { host: 'localhost', port, basePath: '', headers: {}, tls: { ca: cert, cert: '', key: '', verify: true, ...tls } };
  }

  function echo(loop: NodeLoop, to: LoadTarget): Promise<string> {
    closers.push(() => loop.close());
    const echoed = new Promise<string>((resolve, reject) => {
      const handler = { onBytes: (bytes: Buffer, length: number) => resolve(bytes.toString('utf8', 0, length)), onClose: () => {} };
      loop.connect(to, handler).then((socket) => socket.writeTwo(Buffer.from('hel'), Buffer.from('lo')), reject);
    });
    return runUntil(loop, echoed);
  }

  it('speaks it to a server whose certificate is known', async () => {
    expect(await echo(new NodeLoop('h2'), await target({ ALPNProtocols: ['h2'] }, {}))).toMatch(/^hel/);
    expect(await echo(new NodeLoop('http/1.1'), await target({}, {}))).toMatch(/^hel/);
  });

  it('refuses an unknown certificate, unless it is told not to look', async () => {
    await expect(echo(new NodeLoop('http/1.1'), await target({}, { ca: '' }))).rejects.toThrow(/SELF_SIGNED|UNABLE_TO_VERIFY/);
    expect(await echo(new NodeLoop('http/1.1'), await target({}, { ca: '', verify: false }))).toMatch(/^hel/);
  });

  it('says when the server does not offer HTTP/2', async () => {
    await expect(echo(new NodeLoop('h2'), await target({}, {}))).rejects.toThrow(/does not offer h2 \(it says nothing\)/);
  });
});
