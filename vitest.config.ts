import { tmpdir } from 'node:os';

import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/setup.ts'],
    // The tests share two cores with the addon's own threads, and some start whole processes.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
    // Without one, a layer of Mesa's Vulkan drivers complains on standard error when it looks for a display.
    env: { XDG_RUNTIME_DIR: process.env['XDG_RUNTIME_DIR'] ?? tmpdir() },
  },
});
