/** What docs/bundlers.md says, for `output: 'standalone'`; nothing without. @type {import('next').NextConfig} */
const standalone = {
  output: 'standalone',
  outputFileTracingIncludes: { '/*': ['./node_modules/@comic-vine/sqlite-store-*/**'] },
};

export default {
  // The repository has a package-lock.json of its own.
  outputFileTracingRoot: import.meta.dirname,
  turbopack: { root: import.meta.dirname },
  ...(process.env.STANDALONE ? standalone : {}),
};
