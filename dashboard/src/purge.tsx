// Removing entries: what is selected is counted first.

import { useEffect, useRef, useState } from 'preact/hooks';
import type { Selection } from './answers.ts';
import { Dialog, Problem } from './parts.tsx';
import { type Failure, purge } from './server.ts';
import { count, counted, plain, shortKey } from './words.ts';

const WAYS = ['expired', 'tag', 'prefix', 'all'] as const;
type Way = (typeof WAYS)[number];

const NAMES: Record<Way, string> = {
  expired: 'What has expired',
  tag: 'A tag',
  prefix: 'Keys that begin with',
  all: 'Everything',
};

/** What is counted and may be removed; the first is what a filter suggests. */
export interface Suggestion {
  key?: string;
  tag?: string;
  prefix?: string;
}

function selectionOf(way: Way, tag: string, prefix: string): Selection | undefined {
  if (way === 'expired') return { expired: true };
  if (way === 'all') return { all: true };
  if (way === 'tag') return tag === '' ? undefined : { tag };
  return prefix === '' ? undefined : { prefix };
}

/** How many it would be, while it is asked; again when the selection differs. */
function useCount(selection: Selection | undefined) {
  const [state, setState] = useState<{ key?: string; counted?: number; error?: Failure }>({});
  const key = JSON.stringify(selection);
  // The key is the selection.
  useEffect(() => {
    if (selection === undefined) return;
    const ending = new AbortController();
    const timer = setTimeout(async () => {
      try {
        const { count: counted } = await purge(selection, true, ending.signal);
        setState({ key, counted });
      } catch (error) {
        if (!ending.signal.aborted) setState({ key, error: error as Failure });
      }
    }, 250);
    return () => {
      ending.abort();
      clearTimeout(timer);
    };
  }, [key]);
  return state.key === key ? state : {};
}

export function PurgeDialog({
  suggestion,
  tags,
  onClose,
  onPurged,
}: {
  suggestion: Suggestion;
  tags: string[];
  onClose: () => void;
  onPurged: (removed: number) => void;
}) {
  const { key } = suggestion;
  const [way, setWay] = useState<Way>(
    suggestion.tag ? 'tag' : suggestion.prefix ? 'prefix' : 'expired',
  );
  const [tag, setTag] = useState(suggestion.tag ?? '');
  const [prefix, setPrefix] = useState(suggestion.prefix ?? '');
  const [isPurging, setPurging] = useState(false);
  const [failure, setFailure] = useState<Failure>();
  const isShown = useRef(true);
  useEffect(
    () => () => {
      isShown.current = false;
    },
    [],
  );

  const selection = key === undefined ? selectionOf(way, tag, prefix) : { key };
  const { counted: number, error } = useCount(selection);

  const run = async () => {
    if (selection === undefined) return;
    setPurging(true);
    try {
      const { removed = 0 } = await purge(selection, false);
      onPurged(removed);
    } catch (thrown) {
      if (isShown.current) setFailure(thrown as Failure);
    }
    if (isShown.current) setPurging(false);
  };

  let told = 'Counting…';
  if (selection === undefined) told = 'Say which entries.';
  else if (number === 0) told = 'There is no such entry.';
  else if (number !== undefined)
    told = `This removes ${counted(number, 'entry', 'entries')}, for all processes.`;

  return (
    <Dialog title={key === undefined ? 'Purge entries' : 'Purge this entry'} onClose={onClose}>
      <form
        method="dialog"
        onSubmit={(event) => {
          event.preventDefault();
          run();
        }}
      >
        {key === undefined ? (
          <fieldset>
            <legend class="hidden">Which</legend>
            {WAYS.map((each) => (
              <div key={each} class="way">
                <label>
                  <input
                    type="radio"
                    name="way"
                    checked={way === each}
                    onChange={() => setWay(each)}
                  />
                  {NAMES[each]}
                </label>
                {each === 'tag' && way === 'tag' && (
                  <>
                    <input
                      type="text"
                      aria-label="Tag"
                      list="purge-tags"
                      value={tag}
                      onInput={({ currentTarget }) => setTag(currentTarget.value)}
                    />
                    <datalist id="purge-tags">
                      {tags.map((name) => (
                        <option key={name} value={name} />
                      ))}
                    </datalist>
                  </>
                )}
                {each === 'prefix' && way === 'prefix' && (
                  <input
                    type="text"
                    aria-label="Prefix"
                    value={prefix}
                    onInput={({ currentTarget }) => setPrefix(currentTarget.value)}
                  />
                )}
              </div>
            ))}
          </fieldset>
        ) : (
          <p>
            <code>{shortKey(key)}</code>
          </p>
        )}
        <p role="status" class="told">
          {error ? '' : plain(told)}
        </p>
        {error && <Problem error={error} />}
        {failure && <Problem error={failure} />}
        <div class="buttons">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="danger" disabled={isPurging || !number}>
            {isPurging ? 'Purging…' : number ? `Purge ${count(number)}` : 'Purge'}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
