'use strict';

const { EXIT } = require('../command.js');
const { entry, openFile } = require('../inspection/index.js');
const { printable, printableJson } = require('../inspection/values.js');
const { list } = require('../terminal/screen.js');
const { bytes, time } = require('../terminal/words.js');

/** @type {import('../command.js').Command} */
module.exports = {
  name: 'get',
  does: 'shows an entry of the cache with its value',
  takes: ['KEY'],
  options: { raw: { type: 'flag', does: 'only the JSON text of the value, as it is' } },
  examples: ['get cache.db 9f86d081884c7d65…', 'get cache.db KEY --raw > value.json'],
  more: 'Expired entries are shown, too. The exit code is 1 if there is no such entry, or its value cannot be read.',
  run({ path, rest: [key], options, screen, now }) {
    const found = entry(openFile(path), key, { now });
    if (!found)
      return { json: null, lines: [`There is no entry '${printable(key)}'.`], code: EXIT.found };
    const code = found.problem ? EXIT.found : EXIT.fine;
    if (options.raw) return { json: found, lines: [found.text], code };
    const isJson = !found.problem && !found.text.startsWith('__');
    const expires =
      found.expiresAt === null
        ? 'never'
        : `${time(found.expiresAt)}${found.isExpired ? ', expired' : ''}`;
    /** @type {[string, string][]} */
    const facts = [
      ['key', found.key],
      ['label', found.label || '-'],
      ['size', bytes(found.bytes)],
      ['created', time(found.createdAt)],
      ['expires', expires],
      ['tags', found.tags.join(', ') || '-'],
    ];
    if (found.problem) facts.push(['problem', found.problem]);
    const value = isJson
      ? printableJson(JSON.stringify(JSON.parse(found.text), null, 2)).split('\n')
      : list(screen, [['value', found.text]]);
    return { json: found, lines: [...list(screen, facts), '', ...value], code };
  },
};
