// Where in the page one is: in the address's fragment, so that "back" and a bookmark work.

import { useEffect, useState } from 'preact/hooks';

export interface Route {
  screen: string;
  parameters: URLSearchParams;
}

function routeOf(hash: string): Route {
  const [screen = '', query = ''] = hash.replace(/^#\/?/, '').split('?');
  return { screen, parameters: new URLSearchParams(query) };
}

export const address = (screen: string, parameters: Record<string, string | undefined> = {}) => {
  const given = Object.entries(parameters).filter(
    ([, value]) => value !== undefined && value !== '',
  );
  const query = new URLSearchParams(given as [string, string][]).toString();
  return `#/${screen}${query === '' ? '' : `?${query}`}`;
};

/** Goes there. @param replaces  the step before is not one to come back to */
export function go(hash: string, replaces = false) {
  if (!replaces) {
    location.hash = hash;
    return;
  }
  history.replaceState(null, '', hash);
  dispatchEvent(new HashChangeEvent('hashchange'));
}

export function useRoute(): Route {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const moved = () => setHash(location.hash);
    addEventListener('hashchange', moved);
    // It may have changed since this was drawn.
    moved();
    return () => removeEventListener('hashchange', moved);
  }, []);
  return routeOf(hash);
}
