import { defineConfig, type ViteUserConfig } from 'vitest/config';

// `forks`: several suites load native addons, which want a process of their own.
const config: ViteUserConfig = defineConfig({
  test: {
    pool: 'forks',
    include: ['{proto,backends,server,clients,bench}/**/*.test.ts'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});

export default config;
