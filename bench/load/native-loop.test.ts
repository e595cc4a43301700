import { describe, expect, it } from 'vitest';
import { NativeLoop } from './native-loop.ts';
import { itIsASocketLoop } from './socket-loop.case.ts';

const hasNative = process.platform === 'linux';

if (hasNative) {
  itIsASocketLoop('native sockets', () => new NativeLoop());
  itIsASocketLoop('native sockets on a kernel whose waits are whole milliseconds', () => new NativeLoop(false));
}

describe('NativeLoop', () => {
  it.runIf(hasNative)('has no TLS, and says so', async () => {
    const loop = new NativeLoop();
    const target = { host: '127.0.0.1', port: 1, basePath: '', headers: {}, tls: { ca: '', cert: '', key: '', verify: true } };
    await expect(loop.connect(target, { onBytes: () => {}, onClose: () => {} })).rejects.toThrow(/native sockets have no TLS/);
    loop.close();
  });

  it.runIf(!hasNative)('says what it needs', () => {
    expect(() => new NativeLoop()).toThrow(/native sockets need Linux/);
  });
});
