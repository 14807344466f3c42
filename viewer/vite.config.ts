import { defineConfig } from 'vite'
import { licences } from './licences.ts'

export default defineConfig({
  // The page works from any folder of any host.
  base: './',
  build: {
    outDir: '../dor_ecco_assets/pyramids/page',
    emptyOutDir: true,
    target: 'es2022',
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    // MapLibre alone is 1.1 MB.
    chunkSizeWarningLimit: 2000,
    rollupOptions: {
      output: {
        // Hosts that do not know .mjs serve .js as a script.
        assetFileNames: ({ names }) =>
          names[0]?.endsWith('.mjs') ? 'assets/[name]-[hash].js' : 'assets/[name]-[hash][extname]',
      },
    },
  },
  plugins: [licences()],
})
