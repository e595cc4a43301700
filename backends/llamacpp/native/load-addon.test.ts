import { describe, expect, it } from 'vitest';
import type { LlamaAddon } from './llama-addon.ts';
import { checkAddon, isInRange, load, loadAddon, packagesOf } from './load-addon.ts';

const silent = () => {};

function missing(): Promise<never> {
  return Promise.reject(Object.assign(new Error('Cannot find package'), { code: 'ERR_MODULE_NOT_FOUND' }));
}

describe('loadAddon', () => {
  it('starts llama.cpp, once', async () => {
    const lines: string[] = [];
    const loaded = await loadAddon((level, text) => lines.push(`${level} ${text}`));
    expect(loaded.version).toMatch(/^3\./);
    expect(loaded.addon.systemInfo()).toContain('CPU');
    expect(await loadAddon(silent)).toBe(loaded);
    const broken = new loaded.addon.AddonModel('/nowhere/model.gguf', {});
    expect(await broken.init()).toBe(false);
    await broken.dispose();
    const problems = await loaded.takeProblems();
    expect(problems.join()).toContain('failed to open GGUF file');
    expect(lines.some((line) => line.startsWith('warn llama.cpp: ') && line.includes('failed to open'))).toBe(true);
  });
});

describe('packagesOf', () => {
  it('prefers what was installed for a GPU', () => {
    expect(packagesOf('linux', 'x64')).toEqual(['linux-x64-cuda', 'linux-x64-vulkan', 'linux-x64']);
    expect(packagesOf('darwin', 'arm64')).toEqual(['mac-arm64-metal']);
    expect(() => packagesOf('sunos', 'x64')).toThrow(/no build of llama.cpp for sunos on x64; known: linux-x64, /);
  });
});

describe('load', () => {
  it('says what to install', async () => {
    await expect(load(silent, ['linux-x64-cuda', 'linux-x64'], missing)).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message:
        'llamacpp: the package @node-llama-cpp/linux-x64 is not installed; npm install "@node-llama-cpp/linux-x64@>=3.21.1 <3.23.0", or for a GPU @node-llama-cpp/linux-x64-cuda',
    });
  });

  it('passes by placeholders', async () => {
    await expect(load(silent, ['linux-x64'], () => Promise.resolve({}))).rejects.toThrow(/is not installed/);
  });

  it('refuses another version', async () => {
    const other = { getBinsDir: () => ({ binsDir: '/nowhere', packageVersion: '4.0.0' }) };
    await expect(load(silent, ['linux-x64'], () => Promise.resolve(other))).rejects.toThrow(
      /expected a version >=3.21.1 <3.23.0, got 4.0.0; npm install/,
    );
  });

  it('goes on without a GPU build whose libraries are missing, but not without the plain one', async () => {
    const lines: string[] = [];
    const broken = { getBinsDir: () => ({ binsDir: '/nowhere', packageVersion: '3.22.1' }) };
    const both = load(
      (level, text) => lines.push(`${level} ${text}`),
      ['linux-x64-cuda', 'linux-x64'],
      (name) => (name.endsWith('cuda') ? Promise.resolve(broken) : missing()),
    );
    await expect(both).rejects.toThrow(/linux-x64 is not installed/);
    expect(lines).toEqual([expect.stringMatching(/^warn llamacpp: @node-llama-cpp\/linux-x64-cuda: its addon cannot be loaded: /)]);
    await expect(load(silent, ['linux-x64'], () => Promise.resolve(broken))).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringMatching(/cannot be loaded/),
    });
    await expect(load(silent, ['linux-x64'], () => Promise.reject(new Error('odd')))).rejects.toThrow(/cannot be loaded; install it anew/);
  });
});

describe('checkAddon', () => {
  it('names what is missing', async () => {
    const { addon } = await loadAddon(silent);
    expect(() => checkAddon(addon, 'p', '1.0.0')).not.toThrow();
    class Odd {
      init(): void {}
    }
    const odd = Object.create(addon, { AddonSampler: { value: undefined }, AddonContext: { value: Odd } }) as LlamaAddon;
    expect(() => checkAddon(odd, '@node-llama-cpp/x', '3.22.9')).toThrow(
      /@node-llama-cpp\/x 3.22.9 lacks AddonSampler, AddonContext.initBatch, /,
    );
  });
});

describe('isInRange', () => {
  it.each([
    ['3.21.0', false],
    ['3.21.1', true],
    ['3.22.9', true],
    ['3.23.0', false],
    ['2.99.0', false],
    ['4.0.0', false],
    ['three', false],
  ])('%s: %s', (version, expected) => expect(isInRange(version)).toBe(expected));
});
