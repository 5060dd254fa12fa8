// The dashboard's page in a browser: what each screen shows and does, with values that are not to be trusted and with a great
// many of them. Skipped, and that said, where there is no Chromium.
//
//   DASHBOARD_PICTURES=1 npx vitest run __test__/97   also makes the pictures of docs/images
import { mkdir, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { findChromium } from './support/chromium.mjs';
import { directory, end, start, write } from './support/dashboard.mjs';
import { sleep } from './support/waiting.mjs';

const require = createRequire(import.meta.url);
const executablePath = findChromium();
if (executablePath === undefined) {
  console.warn(
    '\n*** SKIPPED: the dashboard is not tested in a browser, since there is no Chromium here ***\n',
  );
}

/** For a machine that is busy. */
const PATIENCE = 60_000;

const SCREENS = ['limits', 'cache', 'jobs', 'health'];
const [usual, written, large, hostile, empty] = [
  'usual',
  'written',
  'large',
  'hostile',
  'empty',
].map((name) => join(directory, `${name}.db`));

describe.skipIf(executablePath === undefined)('the page', () => {
  /** @type {import('playwright-core').Browser} */
  let browser;
  /** @type {Awaited<ReturnType<typeof start>>} */
  let dashboard;
  /** What is not to be: errors, and requests to other hosts. @type {string[]} */
  const faults = [];
  /** @type {import('playwright-core').BrowserContext[]} */
  const contexts = [];

  beforeAll(async () => {
    const { chromium } = require('playwright-core');
    const args = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
    [browser] = await Promise.all([
      chromium.launch({ executablePath, args, timeout: PATIENCE }),
      write('usual', usual),
      write('usual', written),
      write('large', large),
      write('hostile', hostile),
      write('empty', empty),
    ]);
    dashboard = await start({ path: usual });
  });

  afterEach(async () => {
    await Promise.all(contexts.splice(0).map((context) => context.close()));
    expect(faults.splice(0)).toEqual([]);
  });

  afterAll(async () => {
    await browser?.close();
    await end();
  });

  /**
   * @param {string} url
   * @param {import('playwright-core').BrowserContextOptions & { mayFail?: boolean }} [options]
   */
  async function open(url, { mayFail = false, ...options } = {}) {
    const context = await browser.newContext({
      viewport: { width: 1200, height: 800 },
      ...options,
    });
    contexts.push(context);
    context.setDefaultTimeout(PATIENCE);
    const page = await context.newPage();
    const { origin } = new URL(url);
    page.on('request', (request) => {
      if (new URL(request.url()).origin !== origin) faults.push(`a request to ${request.url()}`);
    });
    page.on('pageerror', (error) => faults.push(String(error.stack)));
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type()) && !mayFail) faults.push(message.text());
    });
    await page.goto(url);
    return page;
  }

  /** @param {import('playwright-core').Page} page @param {string} screen */
  async function show(page, screen) {
    await page.evaluate((hash) => {
      location.hash = hash;
    }, `#/${screen}`);
    await page
      .getByRole('heading', { level: 1, name: new RegExp(`^${screen.split('?')[0]}`, 'i') })
      .waitFor();
    // What comes with an answer of the server's.
    const contents = {
      limits: '.resource .uplot canvas',
      cache: 'table',
      jobs: 'table',
      health: 'table',
    };
    await page.locator(contents[screen.split('?')[0]]).first().waitFor();
  }

  const text = (/** @type {import('playwright-core').Locator} */ locator) =>
    locator.innerText().then((found) => found.replace(/\s+/g, ' ').trim());

  /** Waits until something in the page is so. @param {() => Promise<unknown>} look @param {unknown} expected */
  const becomes = (look, expected) =>
    expect.poll(look, { timeout: PATIENCE, interval: 100 }).toEqual(expected);

  describe('limits', () => {
    test('what is left comes first, and when the next is free is counted down', async () => {
      const page = await open(dashboard.url);
      const characters = page.getByRole('region', { name: 'characters' });
      await characters.waitFor();
      expect(await text(characters.locator('.remaining'))).toBe('0 of 200 left');
      const next = () => text(characters.locator('.next'));
      const first = await next();
      expect(first).toMatch(/^Next free in \d+:\d\d$/);
      await expect.poll(next, { timeout: PATIENCE }).not.toBe(first);
      expect(await text(page.getByRole('region', { name: 'search' }).locator('.next'))).toMatch(
        /^Cooldown, over in [0-4]:\d\d$/,
      );
      expect(await text(page.getByRole('region', { name: 'issues' }).locator('.next'))).toBe(
        'Free now',
      );
    });

    test('shares, with the reason, and a timeline that says in words what it draws', async () => {
      const page = await open(dashboard.url);
      const issues = page.getByRole('region', { name: 'issues' });
      const users = issues.getByRole('meter', { name: /^Users/ });
      expect(await users.getAttribute('aria-valuetext')).toMatch(/^23 of \d+$/);
      expect(await issues.getByRole('meter').count()).toBe(2);
      expect(await text(issues.locator('.reason'))).toMatch(/activity/);
      await issues
        .getByRole('img', {
          name: '143 requests in the last hour: 23 for users, 120 in the background',
        })
        .waitFor();
      // It is drawn, and in two colours at least besides the axes.
      const colours = await issues.locator('canvas').evaluate((canvas) => {
        const { width, height } = /** @type {HTMLCanvasElement} */ (canvas);
        const context = /** @type {HTMLCanvasElement} */ (canvas).getContext('2d');
        const { data } = /** @type {any} */ (context).getImageData(0, 0, width, height);
        const found = new Set();
        for (let at = 0; at < data.length; at += 4)
          if (data[at + 3] === 255) found.add(data.slice(at, at + 3).join());
        return [...found];
      });
      expect(colours).toEqual(expect.arrayContaining(['31,95,191', '163,93,0']));
    });

    test('shows by itself what another process writes', async () => {
      const { url } = await start({ path: empty });
      const page = await open(url);
      const left = () => text(page.getByRole('region', { name: 'issues' }).locator('.remaining'));
      await becomes(left, '200 of 200 left');
      await write('write', empty);
      await becomes(left, '199 of 200 left');
    });

    test('asks for nothing while nothing happens', async () => {
      const path = join(directory, 'quiet.db');
      await write('empty', path);
      const { url } = await start({ path });
      const page = await open(url);
      await page.getByRole('region', { name: 'issues' }).waitFor();
      await page.getByText('Live', { exact: true }).waitFor();
      await page.waitForLoadState('load');
      // What its first event has it read again has been read.
      await sleep(1_200);
      let requests = 0;
      page.on('request', () => requests++);
      // Longer than any interval would be.
      await sleep(2_000);
      expect(requests).toBe(0);
    });
  });

  describe('cache', () => {
    test('is searched by tag, prefix and text, sorted, and read page by page', async () => {
      const page = await open(dashboard.url);
      await show(page, 'cache');
      const range = () => text(page.locator('.pages .number').first());
      await becomes(range, '1–100 of 240');
      await page.getByRole('button', { name: 'Next' }).first().click();
      await becomes(range, '101–200 of 240');

      await page.getByRole('button', { name: 'Size' }).click();
      await page.locator('th[aria-sort="ascending"]', { hasText: 'Size' }).waitFor();
      await page.getByRole('button', { name: 'Size' }).click();
      await page.locator('th[aria-sort="descending"]', { hasText: 'Size' }).waitFor();

      const search = page.locator('input[type="search"]');
      await page.getByLabel('Search by', { exact: true }).selectOption('tag');
      await search.fill('issues');
      await becomes(range, '1–80 of 80');
      await page.getByLabel('Search by', { exact: true }).selectOption('text');
      await search.fill('monstress 233');
      await becomes(range, '1–1 of 1');
      const key = await text(page.locator('.entries tbody code'));
      await page.getByLabel('Search by', { exact: true }).selectOption('prefix');
      await search.fill(key.slice(0, 12));
      await becomes(range, '1–1 of 1');
      await search.fill('none such');
      await page.getByText('No entry is like that.').waitFor();
      await search.fill('');
      await becomes(range, '1–100 of 240');
      await page.getByRole('button', { name: 'title:bone' }).first().click();
      await becomes(range, '1–30 of 30');
      expect(await search.inputValue()).toBe('title:bone');
      await page.getByLabel('Expired only').check();
      await expect.poll(range, { timeout: PATIENCE }).not.toBe('1–30 of 30');
    });

    test('an entry is opened, read and closed by keyboard', async () => {
      const page = await open(dashboard.url);
      await show(page, 'cache?text=Monstress+233');
      await becomes(() => text(page.locator('.pages .number').first()), '1–1 of 1');
      await page.locator('button.entry').first().focus();
      await page.keyboard.press('Enter');
      const detail = page.locator('.detail');
      await becomes(() => page.evaluate(() => document.activeElement?.id), 'detail-title');
      await detail.getByText('status_code').waitFor();
      await page.keyboard.press('Tab');
      expect(await page.evaluate(() => document.activeElement?.textContent)).toBe('Close');
      await detail.getByRole('button', { name: 'results' }).focus();
      await page.keyboard.press('Enter');
      await detail.getByText('"Monstress 233"').waitFor();
      // "Back" closes it, as the button does.
      await page.goBack();
      await detail.waitFor({ state: 'detached' });
      await becomes(() => page.evaluate(() => document.activeElement?.className), 'entry');
    });

    test('sizes and ages are plotted, and said in words', async () => {
      const page = await open(dashboard.url);
      await show(page, 'cache');
      await page
        .getByRole('img', { name: /^Entries by size. Most: 1 KiB to 2 KiB, \d+ entries$/ })
        .waitFor();
      await page.getByRole('img', { name: /^Entries by age. Most: / }).waitFor();
    });

    test('what is only read cannot be purged', async () => {
      const page = await open(dashboard.url);
      await show(page, 'cache');
      await page.getByText('Read-only.').waitFor();
      await page.locator('button.entry').first().click();
      await page.locator('.detail').getByText('status_code').waitFor();
      expect(await page.getByRole('button', { name: /Purge/ }).count()).toBe(0);
    });

    test('purges count first; what they have removed is gone for all', async () => {
      const { url } = await start({ path: written, write: true, timing: { lookMs: 100 } });
      // A look that meets the lock of a purge is answered 503, and made again.
      const [page, other] = [
        await open(url, { mayFail: true }),
        await open(url, { mayFail: true }),
      ];
      await Promise.all([show(page, 'cache'), show(other, 'cache')]);
      const total = () => text(other.locator('.summary strong'));
      await becomes(total, '240');

      await page.getByRole('button', { name: 'Purge…' }).click();
      const dialog = page.getByRole('dialog');
      await dialog.getByLabel('A tag').check();
      await dialog.getByText('Say which entries.').waitFor();
      expect(await dialog.getByRole('button', { name: 'Purge' }).isDisabled()).toBe(true);
      await dialog.getByRole('combobox', { name: 'Tag' }).fill('title:bone');
      await dialog.getByText('This removes 30 entries, for all processes.').waitFor();
      // Nothing is gone by counting.
      await page.keyboard.press('Escape');
      await dialog.waitFor({ state: 'detached' });
      expect(await total()).toBe('240');

      await page.getByRole('button', { name: 'Purge…' }).click();
      await dialog.getByLabel('A tag').check();
      await dialog.getByRole('combobox', { name: 'Tag' }).fill('title:bone');
      await dialog.getByRole('button', { name: 'Purge 30' }).click();
      await page.getByRole('status').filter({ hasText: '30 entries removed.' }).waitFor();
      await becomes(total, '210');

      await page.locator('button.entry').first().click();
      await page.getByRole('button', { name: 'Purge this entry…' }).click();
      await dialog.getByText('This removes 1 entry, for all processes.').waitFor();
      await dialog.getByRole('button', { name: 'Purge 1' }).click();
      await page.getByRole('status').filter({ hasText: '1 entry removed.' }).waitFor();
      await page.locator('.detail').waitFor({ state: 'detached' });
      await becomes(total, '209');

      await page.getByRole('button', { name: 'Purge…' }).click();
      await dialog.getByLabel('Keys that begin with').check();
      await dialog.getByRole('textbox', { name: 'Prefix' }).fill('none such');
      await dialog.getByText('There is no such entry.').waitFor();
      expect(await dialog.getByRole('button', { name: 'Purge' }).isDisabled()).toBe(true);
      await dialog.getByLabel('Everything').check();
      await dialog.getByRole('button', { name: 'Purge 209' }).click();
      await other.getByText('Nothing is cached in this file.').waitFor();
    });
  });

  test('jobs: who owns each, its lease, and what went wrong', async () => {
    const page = await open(dashboard.url);
    await show(page, 'jobs');
    expect(await text(page.locator('.summary'))).toBe('1 pending · 1 failed · 1 completed');
    const [pending, failed, completed] = await page.locator('tbody tr').all();
    expect(await text(pending)).toMatch(/pending process \d+ is dead/);
    expect(await text(failed)).toContain('RangeError: Request failed with status code 502');
    expect(await text(completed)).toContain('completed');
  });

  test('health: what is found, and the file', async () => {
    const page = await open(dashboard.url);
    await show(page, 'health');
    const findings = await page.locator('.findings tbody tr').count();
    expect(await text(page.locator('.summary'))).toMatch(
      new RegExp(`· ${findings} checks?, \\d+ s ago$`),
    );
    await page.getByRole('button', { name: 'Check again' }).click();
    await page.getByRole('button', { name: 'Check again' }).waitFor();
    const file = page.getByRole('region', { name: 'File' });
    expect(await text(file)).toContain(usual);
    expect(await text(file)).toContain('382 of 4 resources');
  });

  describe('values that are not to be trusted', () => {
    test('are text, whatever they look like', async () => {
      const { url } = await start({ path: hostile, write: true });
      const page = await open(url);
      const script = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>';
      await page.getByRole('heading', { level: 2, name: script }).waitFor();
      for (const screen of ['jobs', 'health', 'cache']) {
        await show(page, screen);
        expect(await page.locator('#page img[src], #page script').count()).toBe(0);
      }
      // Nor does any turn the direction of writing.
      expect(await page.locator('main').innerText()).not.toMatch(/[\u202a-\u202e\0]/);
      await page
        .getByRole('button', { name: script.slice(0, 40) })
        .first()
        .click();
      const detail = page.locator('.detail');
      await detail.getByText('name:').waitFor();
      // Its tag, and the dialog that takes it over.
      await detail.locator('button.tag').click();
      await becomes(() => text(page.locator('.pages .number').first()), '1–1 of 1');
      await page.getByRole('button', { name: 'Purge…' }).click();
      await page.getByText('This removes 1 entry').waitFor();
      expect(await page.evaluate(() => Reflect.get(window, 'hacked'))).toBeUndefined();
      expect(await page.locator('#page img[src], #page script').count()).toBe(0);
    });

    test('5 MB, 300,000 items, 50,000 levels and what does not parse leave the page alive', async () => {
      const { url } = await start({ path: hostile });
      const page = await open(url);
      await show(page, 'cache');
      const detail = page.locator('.detail');
      const choose = async (/** @type {string} */ key) => {
        await show(page, `cache?key=${key}`);
        await detail.locator('code', { hasText: new RegExp(`^${key}$`) }).waitFor();
      };
      const nodes = () => page.evaluate(() => document.querySelectorAll('.detail *').length);

      await choose('long');
      await detail.getByRole('button', { name: 'more of 5,000,000 characters' }).click();
      await expect
        .poll(async () => (await detail.innerText()).length, { timeout: PATIENCE })
        .toBeGreaterThan(20_000);
      expect((await detail.innerText()).length).toBeLessThan(30_000);

      await choose('many');
      await detail.getByRole('button', { name: 'list [300,000 items]' }).click();
      await detail.getByRole('button', { name: '100 more of 300,000' }).click();
      await detail.getByText('199:').waitFor();
      expect(await nodes()).toBeLessThan(2_000);

      await choose('deep');
      for (let level = 0; level < 40; level++) {
        await detail.locator('button.node').last().click();
        await becomes(() => detail.locator('button.node').count(), level + 3);
      }
      expect(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth)).toBe(
        true,
      );

      await choose('broken');
      await detail.getByText('The value does not parse').waitFor();
      await detail.getByText('{"a":').waitFor();
    });
  });

  test('100,000 entries and 50,000 requests can be used', async () => {
    const { url } = await start({ path: large });
    const page = await open(url);
    const issues = page.getByRole('region', { name: 'issues' });
    await issues.getByRole('img', { name: /^\d\d,\d{3} requests in the last hour$/ }).waitFor();
    await show(page, 'cache');
    const range = () => text(page.locator('.pages .number').first());
    await becomes(range, '1–100 of 100,000');
    expect(await page.locator('.entries tbody tr').count()).toBe(100);
    await page.getByRole('button', { name: 'Size' }).click();
    await page.locator('th[aria-sort="ascending"]', { hasText: 'Size' }).waitFor();
    await page.locator('input[type="search"]').fill('Entry 99999');
    await becomes(range, '1–1 of 1');
    await page.locator('input[type="search"]').fill('');
    await becomes(range, '1–100 of 100,000');
    await show(page, 'cache?offset=99900');
    await becomes(range, '99,901–100,000 of 100,000');
    expect(await page.getByRole('button', { name: 'Next' }).first().isDisabled()).toBe(true);
    // What is typed is there at once, whatever is being read.
    const took = await page.evaluate(async () => {
      const begin = performance.now();
      await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
      return performance.now() - begin;
    });
    expect(took).toBeLessThan(5_000);
  });

  describe('whoever sees or works otherwise', () => {
    const axe = require('axe-core').source;

    /** @param {import('playwright-core').Page} page @param {string} where */
    async function check(page, where) {
      await page.evaluate(axe);
      // In dark, only the colours differ.
      for (const [colorScheme, options] of /** @type {const} */ ([
        ['light', {}],
        ['dark', { runOnly: ['color-contrast'] }],
      ])) {
        await page.emulateMedia({ colorScheme });
        await page.locator(`html[data-theme="${colorScheme}"]`).waitFor();
        const { violations } = await page.evaluate(
          (given) => Reflect.get(window, 'axe').run(given),
          { resultTypes: ['violations'], ...options },
        );
        const serious = violations
          .filter((/** @type {any} */ { impact }) => impact === 'serious' || impact === 'critical')
          .map((/** @type {any} */ { id, nodes }) => `${id}: ${nodes[0].html.slice(0, 200)}`);
        expect([where, colorScheme, serious]).toEqual([where, colorScheme, []]);
      }
    }

    test('axe finds nothing serious, in light and dark', async () => {
      const { url } = await start({ path: usual, write: true });
      const page = await open(url);
      for (const screen of ['limits', 'cache?text=Monstress', 'jobs', 'health']) {
        await show(page, screen);
        await check(page, screen);
      }
      await show(page, 'cache?text=Monstress');
      await page.locator('button.entry').first().click();
      await page.locator('.detail').getByText('status_code').waitFor();
      await check(page, 'an entry');
      await page.getByRole('button', { name: 'Purge this entry…' }).click();
      await page.getByText('This removes 1 entry').waitFor();
      await check(page, 'the dialog');
    });

    test('nothing is wider than a phone', async () => {
      const page = await open(dashboard.url, { viewport: { width: 320, height: 740 } });
      /** @param {string} where */
      const fits = async (where) => {
        for (const width of [320, 375, 768]) {
          await page.setViewportSize({ width, height: 740 });
          await becomes(
            async () => [
              where,
              width,
              await page.evaluate(() => document.documentElement.scrollWidth),
            ],
            [where, width, width],
          );
        }
        await page.setViewportSize({ width: 375, height: 740 });
      };
      for (const screen of SCREENS) {
        await show(page, screen);
        await fits(screen);
      }
      await show(page, 'cache');
      await page.locator('button.entry').first().click();
      await page.locator('.detail').getByText('status_code').waitFor();
      await fits('an entry');
      expect(await page.locator('.list').isVisible()).toBe(false);
      await page.getByRole('button', { name: 'Close' }).click();
      await page.locator('.list').waitFor();
    });

    test('light and dark follow the system, unless one is chosen', async () => {
      const page = await open(dashboard.url, { colorScheme: 'dark' });
      await show(page, 'limits');
      const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      expect(await ground()).toBe('rgb(19, 20, 22)');
      await page.emulateMedia({ colorScheme: 'light' });
      await becomes(ground, 'rgb(246, 246, 244)');
      await page.getByLabel('Colours').selectOption('dark');
      await becomes(ground, 'rgb(19, 20, 22)');
      await page.reload();
      await show(page, 'limits');
      expect(await ground()).toBe('rgb(19, 20, 22)');
    });

    test('nothing moves for those who do not want it', async () => {
      const page = await open(dashboard.url, { reducedMotion: 'reduce' });
      await show(page, 'limits');
      const durations = await page.evaluate(() =>
        [...document.querySelectorAll('*')].map((element) => {
          const { transitionDuration, animationName } = getComputedStyle(element);
          return `${transitionDuration} ${animationName}`;
        }),
      );
      expect(new Set(durations)).toEqual(new Set(['0s none']));
    });

    test('all is reached by keyboard, and what has the focus is seen', async () => {
      const page = await open(dashboard.url);
      await show(page, 'jobs');
      await page.evaluate(() => /** @type {HTMLElement} */ (document.activeElement).blur());
      const reached = [];
      for (let step = 0; step < 6; step++) {
        await page.keyboard.press('Tab');
        reached.push(
          await page.evaluate(() => {
            const element = /** @type {HTMLElement} */ (document.activeElement);
            const { outlineStyle, outlineWidth } = getComputedStyle(element);
            return `${element.innerText.split('\n')[0].replace(/\d/g, '').trim()} ${outlineStyle} ${outlineWidth}`;
          }),
        );
      }
      expect(reached).toEqual(
        ['Skip to content', 'System colours', 'Limits', 'Cache', 'Jobs', 'Health'].map(
          (name) => `${name} solid 2px`,
        ),
      );
      await page.keyboard.press('Enter');
      await page.getByRole('heading', { level: 1, name: 'Health' }).waitFor();
      expect(await page.evaluate(() => document.activeElement?.id)).toBe('main');
    });
  });

  test('the token is taken out of the address, kept for a reload, and asked for where it lacks', async () => {
    const { url, port, token = '' } = await start({ path: usual, host: '0.0.0.0' });
    const local = `http://127.0.0.1:${port}/`;
    const page = await open(`${local}#token=${token}`);
    expect(url).toContain(`#token=${token}`);
    await page.getByRole('heading', { level: 1, name: 'Limits' }).waitFor();
    expect(await page.evaluate(() => location.href)).toBe(local);
    await page.reload();
    await page.getByRole('region', { name: 'issues' }).waitFor();
    await page.getByText('Live', { exact: true }).waitFor();

    // The browser says of refused requests that they were.
    const other = await open(local, { mayFail: true });
    await other.getByText('This dashboard asks for its token.').waitFor();
    await other.getByLabel('Token').fill('not-the-right-one');
    await other.getByRole('button', { name: 'Open' }).click();
    await other.getByText('That token is not the right one.').waitFor();
    await other.getByLabel('Token').fill(token);
    await other.getByRole('button', { name: 'Open' }).click();
    await other.getByRole('region', { name: 'issues' }).waitFor();

    // A token that is left of another dashboard does not shut out where none is needed.
    const stale = await open(`${dashboard.url}#token=of-a-dashboard-before`, { mayFail: true });
    await stale.getByRole('region', { name: 'issues' }).waitFor();
  });

  test('says that the server is gone, and goes on when it is back', async () => {
    const first = await start({ path: usual });
    const page = await open(first.url, { mayFail: true });
    await page.getByText('Live', { exact: true }).waitFor();
    await first.close();
    await page.getByText('No connection').waitFor();
    await start({ path: usual, port: first.port });
    await page.getByText('Live', { exact: true }).waitFor();
  });

  test.runIf(process.env.DASHBOARD_PICTURES)('pictures for the docs', async () => {
    const images = fileURLToPath(new URL('../docs/images/', import.meta.url));
    await mkdir(images, { recursive: true });
    const path = join(directory, 'comic-vine.db');
    await write('usual', path);
    const { url } = await start({ path, write: true });
    const converter = await (await browser.newContext()).newPage();
    for (const colorScheme of /** @type {const} */ (['light', 'dark'])) {
      const page = await open(url, { colorScheme, viewport: { width: 1120, height: 720 } });
      for (const screen of SCREENS) {
        await show(page, screen);
        if (screen === 'cache') {
          await page.locator('button.entry').nth(3).click();
          await page.locator('.detail').getByText('status_code').waitFor();
        }
        // The plots are drawn in the next frame, and what moves has moved.
        await sleep(700);
        const picture = (await page.screenshot()).toString('base64');
        const webp = await converter.evaluate(async (png) => {
          const image = new Image();
          image.src = `data:image/png;base64,${png}`;
          await image.decode();
          const canvas = document.createElement('canvas');
          [canvas.width, canvas.height] = [image.width, image.height];
          /** @type {any} */ (canvas.getContext('2d')).drawImage(image, 0, 0);
          return canvas.toDataURL('image/webp', 0.85).split(',')[1];
        }, picture);
        const name = join(images, `dashboard-${screen}-${colorScheme}.webp`);
        await writeFile(name, Buffer.from(webp, 'base64'));
        expect((await stat(name)).size).toBeLessThan(80_000);
      }
    }
  });
});
