import { defineConfig } from 'vitest/config';

// `forks`: several suites load native addons, which want a process of their own.
export default defineConfig({
  test: {
    pool: 'forks',
    include: ['{proto,backends,server,models,bench}/**/*.test.ts'],
    exclude: ['**/node_modules/**', 'dist/**'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
