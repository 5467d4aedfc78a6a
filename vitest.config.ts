// Two projects: `fast` needs nothing but this folder; `real` needs browsers or the real model (scripts/test.mjs gets both).
// A test belongs to `real` when it lies in test/browser/ or its name ends in .real.test.ts.
import { defineConfig } from 'vitest/config'

const real = ['test/browser/**/*.test.ts', 'test/**/*.real.test.ts']

export default defineConfig({
  test: {
    projects: [
      // Two at a time also on two cores, where vitest would take one.
      {
        test: {
          name: 'fast',
          include: ['test/**/*.test.ts'],
          exclude: [...real, '**/node_modules/**'],
          environment: 'node',
          testTimeout: 120_000,
          maxWorkers: 2,
        },
      },
      {
        // One file at a time: each starts browsers or holds a whole model.
        test: {
          name: 'real',
          include: real,
          exclude: ['**/node_modules/**'],
          environment: 'node',
          testTimeout: 600_000,
          hookTimeout: 600_000,
          fileParallelism: false,
          // Real browsers on a busy machine: one more try, which the report marks. A test that needs it is to be mended, not left so.
          retry: 1,
        },
      },
    ],
  },
})
