// The pictures of a terminal in the docs are what the commands print: node scripts/terminal-picture.mjs draws them anew.
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { draw, PICTURES } from './support/pictures.mjs';

it.each(PICTURES)('docs/images/$file is what is printed', async (picture) => {
  const file = new URL(`../docs/images/${picture.file}`, import.meta.url);
  expect(readFileSync(file, 'utf8')).toBe(await draw(picture));
});
