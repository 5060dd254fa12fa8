// What the page asks the server, and what that tells it by itself: that somebody has committed to the file.

import { useEffect, useRef, useState } from 'preact/hooks';
import type { Selection } from './answers.ts';

/** Where the token is kept, which is gone from the address at once. */
const TOKEN = 'token';

/** Changes are read no more often than that. */
const PAUSE_MS = 1_000;

export class Failure extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** Takes the token out of the address. */
export function takeToken() {
  const given = /^#token=(.+)$/.exec(location.hash)?.[1];
  if (given === undefined) return;
  keepToken(decodeURIComponent(given));
  history.replaceState(null, '', location.pathname);
}

export const keepToken = (token: string) => sessionStorage.setItem(TOKEN, token);

/** Forgets the token. @returns whether there was one */
export function forgetToken(): boolean {
  const hadToken = sessionStorage.getItem(TOKEN) !== null;
  sessionStorage.removeItem(TOKEN);
  return hadToken;
}

const headers = (): Record<string, string> => {
  const token = sessionStorage.getItem(TOKEN);
  return token === null ? {} : { authorization: `Bearer ${token}` };
};

async function answerOf(response: Response) {
  const answer = await response.json().catch(() => undefined);
  if (response.ok && answer !== undefined) return answer;
  const { code = 'FAILED', message = 'The server gave no answer.' } = answer?.error ?? {};
  throw new Failure(response.status, code, message);
}

async function request(path: string, options: RequestInit) {
  let response: Response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if ((error as Error).name === 'AbortError') throw error;
    throw new Failure(0, 'GONE', 'The dashboard’s server does not answer.');
  }
  return answerOf(response);
}

export type Parameters = Record<string, string | number | boolean | undefined>;

const query = (parameters: Parameters) => {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined);
  return new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
};

export const read = (name: string, parameters: Parameters, signal?: AbortSignal) =>
  request(`api/${name}?${query(parameters)}`, { headers: headers(), signal });

export const purge = (
  selection: Selection,
  dryRun: boolean,
  signal?: AbortSignal,
): Promise<{ count?: number; removed?: number }> =>
  request('api/purge', {
    method: 'POST',
    headers: { ...headers(), 'content-type': 'application/json' },
    body: JSON.stringify({ selection, dryRun }),
    signal,
  });

// Live ------------------------------------------------------------------------------------------------------------

export type Connection =
  | { state: 'connecting' | 'live' | 'lost' }
  | { state: 'problem'; message: string };

type Listener = () => void;
const changeListeners = new Set<Listener>();
const connectionListeners = new Set<Listener>();
let connection: Connection = { state: 'connecting' };

function setConnection(next: Connection) {
  connection = next;
  for (const listener of connectionListeners) listener();
}

function take(event: string, data: string) {
  if (event === 'change') {
    setConnection({ state: 'live' });
    for (const listener of changeListeners) listener();
  } else if (event === 'problem') {
    setConnection({ state: 'problem', message: JSON.parse(data).message });
  }
}

/** Reads one stream of events to its end. Not by `EventSource`, which sends no token. */
async function listenOnce() {
  const response = await fetch('api/events', { headers: headers() });
  if (!response.ok || response.body === null) await answerOf(response);
  const reader = (response.body as ReadableStream<Uint8Array>)
    .pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>)
    .getReader();
  let text = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const events = text.split('\n\n');
    text = events.pop() ?? '';
    for (const each of events) {
      const field = (name: string) => new RegExp(`^${name}: ?(.*)$`, 'm').exec(each)?.[1];
      const event = field('event');
      if (event !== undefined) take(event, field('data') ?? '');
    }
  }
}

/** Listens as long as the page is there. */
export async function listen() {
  for (let pause = 1_000; ; pause = Math.min(10_000, pause * 2)) {
    try {
      await listenOnce();
      pause = 500;
    } catch {
      // It is tried again: that the server is gone is told until then.
    }
    setConnection({ state: 'lost' });
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

export function useConnection(): Connection {
  const [, redraw] = useState(connection);
  useEffect(() => {
    const listener = () => redraw(connection);
    connectionListeners.add(listener);
    // It may have changed since this was drawn.
    listener();
    return () => {
      connectionListeners.delete(listener);
    };
  }, []);
  return connection;
}

// Clock -----------------------------------------------------------------------------------------------------------

/** By how much the server's clock is ahead. */
let ahead = 0;

/** What time it is for the server. */
export const serverNow = () => Date.now() + ahead;

const clockListeners = new Set<Listener>();
let ticking: ReturnType<typeof setInterval> | undefined;

function tick() {
  for (const listener of clockListeners) listener();
}

/** What time it is, again each second, with one timer for all who want to know. */
export function useClock(): number {
  const [now, setNow] = useState(serverNow);
  useEffect(() => {
    const listener = () => setNow(serverNow());
    clockListeners.add(listener);
    ticking ??= setInterval(tick, 1_000);
    return () => {
      clockListeners.delete(listener);
      if (clockListeners.size > 0) return;
      clearInterval(ticking);
      ticking = undefined;
    };
  }, []);
  return now;
}

// Data ------------------------------------------------------------------------------------------------------------

export interface Data<T> {
  data: T | undefined;
  error: Failure | undefined;
  isLoading: boolean;
  reload(): void;
}

/**
 * What the server answers, read again when the file has changed, and at `dueAt`: when something is known to change with time.
 * What was answered before stays until then.
 */
export function useData<T>(
  name: string,
  parameters: Parameters,
  { isLive = true, dueAt }: { isLive?: boolean; dueAt?: (data: T) => number } = {},
): Data<T> {
  const [state, setState] = useState<Omit<Data<T>, 'reload'>>({
    data: undefined,
    error: undefined,
    isLoading: true,
  });
  const reloading = useRef<Listener>(() => {});
  const key = query(parameters);

  useEffect(() => {
    const ending = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let isReading = false;
    let isStale = false;
    let readAt = 0;

    const again = () => {
      isStale = true;
      if (isReading || document.hidden || ending.signal.aborted) return;
      clearTimeout(timer);
      timer = setTimeout(run, Math.max(0, readAt + PAUSE_MS - performance.now()));
    };
    const run = async () => {
      isReading = true;
      isStale = false;
      readAt = performance.now();
      setState((before) => ({ ...before, isLoading: true }));
      try {
        const data = await read(name, parameters, ending.signal);
        if (typeof data.now === 'number') ahead = data.now - Date.now();
        setState({ data, error: undefined, isLoading: false });
        const due = dueAt?.(data);
        if (due !== undefined && Number.isFinite(due)) {
          clearTimeout(timer);
          timer = setTimeout(again, Math.min(2 ** 31 - 1, Math.max(PAUSE_MS, due - serverNow())));
        }
      } catch (error) {
        if (ending.signal.aborted) return;
        setState((before) => ({ ...before, error: error as Failure, isLoading: false }));
      }
      isReading = false;
      if (isStale) again();
    };
    const shown = () => {
      if (isStale) again();
    };

    reloading.current = again;
    if (isLive) changeListeners.add(again);
    document.addEventListener('visibilitychange', shown);
    run();
    return () => {
      ending.abort();
      clearTimeout(timer);
      changeListeners.delete(again);
      document.removeEventListener('visibilitychange', shown);
    };
  }, [name, key, isLive]);

  return { ...state, reload: () => reloading.current() };
}
