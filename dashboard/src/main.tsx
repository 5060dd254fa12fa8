// The page: what is around the screens, and which of them is shown.

import { render } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { About, Stats } from './answers.ts';
import { Cache } from './cache.tsx';
import { Health } from './health.tsx';
import { Jobs } from './jobs.tsx';
import { Limits } from './limits.tsx';
import { Loading, Problem } from './parts.tsx';
import { address, type Route, useRoute } from './route.ts';
import {
  type Data,
  forgetToken,
  keepToken,
  listen,
  takeToken,
  useConnection,
  useData,
} from './server.ts';
import './style.css';
import { startTheme, ThemeSwitch } from './theme.tsx';
import { count, plain } from './words.ts';

const SCREENS = { limits: 'Limits', cache: 'Cache', jobs: 'Jobs', health: 'Health' } as const;
type Screen = keyof typeof SCREENS;

const STATES = {
  connecting: 'Connecting',
  live: 'Live',
  lost: 'No connection',
  problem: 'Problem',
};

function Connected() {
  const connection = useConnection();
  const { state } = connection;
  return (
    <p class={`connection ${state}`} role="status">
      <span class="dot" aria-hidden="true" />
      {state === 'problem' ? connection.message : STATES[state]}
    </p>
  );
}

/** What there is of each, beside the screen's name. */
const numbers = (stats: Stats | undefined): Partial<Record<Screen, number>> =>
  stats === undefined
    ? {}
    : { cache: stats.cache.entries, jobs: stats.jobs.pending + stats.jobs.failed };

function Screens({
  screen,
  route,
  about,
  stats,
}: {
  screen: Screen;
  route: Route;
  about: About;
  stats: Data<Stats>;
}) {
  if (screen === 'cache')
    return <Cache about={about} stats={stats} parameters={route.parameters} />;
  if (screen === 'jobs') return <Jobs />;
  if (screen === 'health') return <Health stats={stats} />;
  return <Limits stats={stats} />;
}

function Page({ about }: { about: About }) {
  const route = useRoute();
  const stats = useData<Stats>('stats', {});
  const screen = (route.screen in SCREENS ? route.screen : 'limits') as Screen;
  const name = about.path.split(/[\\/]/).at(-1) ?? about.path;
  const main = useRef<HTMLElement>(null);
  const isFirst = useRef(true);
  useEffect(() => {
    document.title = `${SCREENS[screen]} · ${plain(name)}`;
    // Whoever goes to another screen by keyboard begins there.
    if (!isFirst.current) main.current?.focus({ preventScroll: true });
    isFirst.current = false;
  }, [screen, name]);
  const amounts = numbers(stats.data);
  return (
    <>
      <button type="button" class="skip" onClick={() => main.current?.focus()}>
        Skip to content
      </button>
      <header>
        <div class="file">
          <strong>{plain(name)}</strong>
          <span class="quiet path" title={plain(about.path)}>
            {plain(about.path)}
          </span>
        </div>
        <Connected />
        <ThemeSwitch />
        <nav aria-label="Screens">
          {(Object.keys(SCREENS) as Screen[]).map((each) => (
            <a key={each} href={address(each)} aria-current={each === screen ? 'page' : undefined}>
              {SCREENS[each]}
              {amounts[each] !== undefined && (
                <span class="amount number">{count(amounts[each])}</span>
              )}
            </a>
          ))}
        </nav>
      </header>
      <main id="main" tabIndex={-1} ref={main}>
        {stats.error && screen !== 'health' && <Problem error={stats.error} retry={stats.reload} />}
        <Screens key={screen} screen={screen} route={route} about={about} stats={stats} />
      </main>
    </>
  );
}

/** Asks for the token, where none was in the address or it is not the right one. */
function TokenForm({ isWrong }: { isWrong: boolean }) {
  const [token, setToken] = useState('');
  return (
    <main class="token">
      <h1>Token</h1>
      <p>
        {isWrong ? 'That token is not the right one.' : 'This dashboard asks for its token.'} It is
        in the address that the command has printed.
      </p>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          keepToken(token);
          location.reload();
        }}
      >
        <label>
          Token
          <input
            type="password"
            autocomplete="off"
            required
            value={token}
            onInput={({ currentTarget }) => setToken(currentTarget.value)}
          />
        </label>
        <button type="submit">Open</button>
      </form>
    </main>
  );
}

function Dashboard() {
  const about = useData<About>('about', {}, { isLive: false });
  const [isWrong, setWrong] = useState(false);
  const { data, error, reload } = about;
  const isThere = data !== undefined;
  useEffect(() => {
    if (isThere) listen();
  }, [isThere]);
  useEffect(() => {
    // One of a dashboard that was here before, perhaps: this one may need none.
    if (error?.status !== 401 || !forgetToken()) return;
    setWrong(true);
    reload();
  }, [error]);
  if (data) return <Page about={data} />;
  if (error?.status === 401) return <TokenForm isWrong={isWrong} />;
  return <main>{error ? <Problem error={error} retry={reload} /> : <Loading />}</main>;
}

takeToken();
startTheme();
render(<Dashboard />, document.getElementById('page') as HTMLElement);
