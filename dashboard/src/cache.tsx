// What is cached: a list that is searched and sorted by the server, and one entry of it.

import { useEffect, useRef, useState } from 'preact/hooks';
import type { About, Entry, EntryInfo, Stats } from './answers.ts';
import { Ago, Announcement, Countdown, Empty, Loading, Problem } from './parts.tsx';
import { PurgeDialog, type Suggestion } from './purge.tsx';
import { address, go } from './route.ts';
import { type Data, useClock, useData } from './server.ts';
import { SizesAndAges } from './sizes.tsx';
import { Value } from './value.tsx';
import { bytes, count, counted, dateOf, plain, shortKey } from './words.ts';

const PAGE = 100;

const SEARCHES = { text: 'Text', prefix: 'Key prefix', tag: 'Tag' } as const;
type Search = keyof typeof SEARCHES;

const SORTS = { key: 'Entry', size: 'Size', age: 'Age', expiry: 'Expires' } as const;
type Sort = keyof typeof SORTS;

type Go = (change: Record<string, string | undefined>) => void;

function Expiry({ entry: { expiresAt, isExpired } }: { entry: EntryInfo }) {
  const now = useClock();
  if (expiresAt === null) return <span class="quiet">never</span>;
  if (isExpired || expiresAt <= now) return <span class="badge">expired</span>;
  return (
    <time dateTime={new Date(expiresAt).toISOString()} title={dateOf(expiresAt)}>
      in <Countdown to={expiresAt} />
    </time>
  );
}

function Tags({ tags, onChoose }: { tags: string[]; onChoose: (tag: string) => void }) {
  return (
    <span class="tags">
      {tags.slice(0, 20).map((tag) => (
        <button key={tag} type="button" class="tag" onClick={() => onChoose(tag)}>
          {plain(tag.slice(0, 60))}
        </button>
      ))}
      {tags.length > 20 && <span class="quiet">and {count(tags.length - 20)} more</span>}
    </span>
  );
}

function Header({
  sort,
  current,
  isDescending,
  move,
}: {
  sort: Sort;
  current: Sort;
  isDescending: boolean;
  move: Go;
}) {
  const isCurrent = sort === current;
  return (
    <th
      scope="col"
      class={sort === 'key' ? undefined : 'right'}
      aria-sort={isCurrent ? (isDescending ? 'descending' : 'ascending') : undefined}
    >
      <button
        type="button"
        onClick={() =>
          move({
            sort,
            descending: isCurrent && !isDescending ? 'true' : undefined,
            offset: undefined,
          })
        }
      >
        {SORTS[sort]}
        <span aria-hidden="true">{isCurrent ? (isDescending ? ' ↓' : ' ↑') : ''}</span>
      </button>
    </th>
  );
}

function List({
  parameters,
  move,
  selected,
}: {
  parameters: URLSearchParams;
  move: Go;
  selected: string | null;
}) {
  const get = (name: string) => parameters.get(name) ?? undefined;
  const sort = (get('sort') ?? 'key') as Sort;
  const isDescending = get('descending') === 'true';
  const offset = Number(get('offset') ?? 0);
  const { data, error, isLoading, reload } = useData<{ total: number; entries: EntryInfo[] }>(
    'entries',
    {
      prefix: get('prefix'),
      tag: get('tag'),
      text: get('text'),
      expired: get('expired'),
      sort,
      descending: isDescending,
      limit: PAGE,
      offset,
    },
  );
  if (data === undefined) return error ? <Problem error={error} retry={reload} /> : <Loading />;
  const { total, entries } = data;
  const first = total === 0 ? 0 : offset + 1;
  const pages = (
    <nav class="pages" aria-label="Pages of entries">
      <span class="number">
        {count(first)}–{count(offset + entries.length)} of {count(total)}
      </span>
      <button
        type="button"
        disabled={offset === 0}
        onClick={() => move({ offset: String(Math.max(0, offset - PAGE)) })}
      >
        Previous
      </button>
      <button
        type="button"
        disabled={offset + PAGE >= total}
        onClick={() => move({ offset: String(offset + PAGE) })}
      >
        Next
      </button>
    </nav>
  );
  return (
    <div class="list" aria-busy={isLoading}>
      <Announcement>{counted(total, 'entry', 'entries')} found</Announcement>
      {error && <Problem error={error} retry={reload} />}
      {total === 0 ? (
        <Empty>
          <p>No entry is like that.</p>
        </Empty>
      ) : (
        <>
          {pages}
          <table class="entries">
            <thead>
              <tr>
                {(Object.keys(SORTS) as Sort[]).map((each) => (
                  <Header
                    key={each}
                    sort={each}
                    current={sort}
                    isDescending={isDescending}
                    move={move}
                  />
                ))}
                <th scope="col">Tags</th>
              </tr>
            </thead>
            <tbody>
              {entries.map((entry) => (
                <tr key={entry.key} class={entry.key === selected ? 'selected' : undefined}>
                  <th scope="row">
                    <button
                      type="button"
                      class="entry"
                      aria-current={entry.key === selected ? 'true' : undefined}
                      onClick={() => move({ key: entry.key })}
                    >
                      <span class="label">{plain(entry.label) || <i>no name</i>}</span>
                      <code>{shortKey(entry.key)}</code>
                    </button>
                  </th>
                  <td class="right number">{bytes(entry.bytes)}</td>
                  <td class="right">
                    <Ago at={entry.createdAt} />
                  </td>
                  <td class="right">
                    <Expiry entry={entry} />
                  </td>
                  <td>
                    <Tags
                      tags={entry.tags}
                      onChoose={(tag) =>
                        move({ tag, text: undefined, prefix: undefined, offset: undefined })
                      }
                    />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
          {total > PAGE && pages}
        </>
      )}
    </div>
  );
}

function Detail({
  chosen,
  isWritable,
  move,
  onPurge,
}: {
  chosen: string;
  isWritable: boolean;
  move: Go;
  onPurge: () => void;
}) {
  const { data, error, reload } = useData<{ entry: Entry | null }>('entry', { key: chosen });
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => heading.current?.focus(), []);
  const entry = data?.entry;
  return (
    <section class="detail" aria-labelledby="detail-title">
      <div class="title">
        <h2 id="detail-title" tabIndex={-1} ref={heading}>
          {plain(entry?.label ?? '') || 'Entry'}
        </h2>
        <button type="button" onClick={() => move({ key: undefined })}>
          Close
        </button>
      </div>
      {error && <Problem error={error} retry={reload} />}
      {data === undefined && !error && <Loading />}
      {entry === null && <p>This entry is not there any more.</p>}
      {entry && (
        <>
          <dl class="facts">
            <dt>Key</dt>
            <dd>
              <code>{plain(entry.key)}</code>
            </dd>
            <dt>Size</dt>
            <dd class="number">{bytes(entry.bytes)}</dd>
            <dt>Stored</dt>
            <dd>
              <Ago at={entry.createdAt} /> ago
            </dd>
            <dt>Expires</dt>
            <dd>
              <Expiry entry={entry} />
            </dd>
            <dt>Tags</dt>
            <dd>
              {entry.tags.length === 0 ? (
                <span class="quiet">none</span>
              ) : (
                <Tags
                  tags={entry.tags}
                  onChoose={(tag) =>
                    move({
                      tag,
                      key: undefined,
                      text: undefined,
                      prefix: undefined,
                      offset: undefined,
                    })
                  }
                />
              )}
            </dd>
          </dl>
          {isWritable && (
            <button type="button" class="danger" onClick={onPurge}>
              Purge this entry…
            </button>
          )}
          <h3>Value</h3>
          <Value entry={entry} />
        </>
      )}
    </section>
  );
}

function Filters({
  parameters,
  tags,
  move,
}: {
  parameters: URLSearchParams;
  tags: string[];
  move: Go;
}) {
  const given = (Object.keys(SEARCHES) as Search[]).find((name) => parameters.has(name));
  const [search, setSearch] = useState<Search>(given ?? 'text');
  const wanted = given ? (parameters.get(given) ?? '') : '';
  const [text, setText] = useState(wanted);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  // Another place has asked for something: a tag in the list, or a step back.
  useEffect(() => {
    setText(wanted);
    if (given) setSearch(given);
  }, [wanted, given]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const ask = (by: Search, value: string) => {
    clearTimeout(timer.current);
    timer.current = setTimeout(
      () =>
        move({
          text: undefined,
          prefix: undefined,
          tag: undefined,
          [by]: value,
          offset: undefined,
        }),
      250,
    );
  };
  return (
    <search class="filters">
      <select
        aria-label="Search by"
        value={search}
        onChange={({ currentTarget }) => {
          setSearch(currentTarget.value as Search);
          if (text !== '') ask(currentTarget.value as Search, text);
        }}
      >
        {Object.entries(SEARCHES).map(([name, title]) => (
          <option key={name} value={name}>
            {title}
          </option>
        ))}
      </select>
      <input
        type="search"
        aria-label={`Search by ${SEARCHES[search].toLowerCase()}`}
        placeholder="Search"
        list={search === 'tag' ? 'tags' : undefined}
        value={text}
        onInput={({ currentTarget: { value } }) => {
          setText(value);
          ask(search, value);
        }}
      />
      <datalist id="tags">
        {tags.map((tag) => (
          <option key={tag} value={tag} />
        ))}
      </datalist>
      <label class="check">
        <input
          type="checkbox"
          checked={parameters.get('expired') === 'true'}
          onChange={({ currentTarget: { checked } }) =>
            move({ expired: checked ? 'true' : undefined, offset: undefined })
          }
        />
        Expired only
      </label>
    </search>
  );
}

export function Cache({
  about,
  stats,
  parameters,
}: {
  about: About;
  stats: Data<Stats>;
  parameters: URLSearchParams;
}) {
  const [purging, setPurging] = useState<Suggestion>();
  const [done, setDone] = useState('');
  const tags = useData<{ tags: { tag: string }[] }>('tags', { limit: 500 });
  const names = tags.data?.tags.map(({ tag }) => tag) ?? [];
  const chosen = parameters.get('key');
  const move: Go = (change) =>
    go(address('cache', { ...Object.fromEntries(parameters), ...change }), !('key' in change));
  const cache = stats.data?.cache;

  // The focus comes back to where it was when an entry is closed.
  const before = useRef(chosen);
  useEffect(() => {
    if (before.current !== null && chosen === null) {
      document.querySelector<HTMLElement>('.entries button.entry')?.focus({ preventScroll: true });
    }
    before.current = chosen;
  }, [chosen]);

  return (
    <>
      <div class="head">
        <h1>Cache</h1>
        {cache && (
          <p class="summary">
            <strong class="number">{count(cache.entries)}</strong>{' '}
            {cache.entries === 1 ? 'entry' : 'entries'} ·{' '}
            <span class="number">{bytes(cache.bytes)}</span> ·{' '}
            <span class="number">{count(cache.expired)}</span> expired ·{' '}
            {counted(cache.tags, 'tag')}
          </p>
        )}
      </div>
      {cache?.entries === 0 ? (
        <Empty>
          <p>Nothing is cached in this file.</p>
        </Empty>
      ) : (
        <div class={chosen === null ? 'cache' : 'cache open'}>
          <SizesAndAges />
          <div class="toolbar">
            <Filters parameters={parameters} tags={names} move={move} />
            {about.isWritable ? (
              <button
                type="button"
                onClick={() =>
                  setPurging({
                    tag: parameters.get('tag') ?? undefined,
                    prefix: parameters.get('prefix') ?? undefined,
                  })
                }
              >
                Purge…
              </button>
            ) : (
              <span class="quiet">
                Read-only. Start with <code>--write</code> to purge.
              </span>
            )}
          </div>
          <p role="status" class={done ? 'done' : 'hidden'}>
            {done}
          </p>
          <div class={chosen === null ? 'split' : 'split open'}>
            <List parameters={parameters} move={move} selected={chosen} />
            {chosen !== null && (
              <Detail
                key={chosen}
                chosen={chosen}
                isWritable={about.isWritable}
                move={move}
                onPurge={() => setPurging({ key: chosen })}
              />
            )}
          </div>
        </div>
      )}
      {purging && (
        <PurgeDialog
          suggestion={purging}
          tags={names}
          onClose={() => setPurging(undefined)}
          onPurged={(removed) => {
            setDone(`${counted(removed, 'entry', 'entries')} removed.`);
            setPurging(undefined);
            if (purging.key !== undefined) move({ key: undefined });
          }}
        />
      )}
    </>
  );
}
