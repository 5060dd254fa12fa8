// Builds the dashboard's page into what the server serves. No name of a file depends on anything but its content.
import { defineConfig } from 'vite';

export default defineConfig({
  root: import.meta.dirname,
  base: './',
  logLevel: 'warn',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    outDir: '../tools/dashboard/static',
    emptyOutDir: true,
    target: 'es2022',
    // The server's rules allow neither data: URLs nor scripts in the page.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
});
