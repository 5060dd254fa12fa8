// A value as a tree. Only what is opened is drawn, and of that a hundred at a time, so that its size does not matter.

import { useMemo, useState } from 'preact/hooks';
import type { Entry } from './answers.ts';
import { count, counted, plain } from './words.ts';

/** How many members are drawn at a time. */
const STEP = 100;

/** How much of a text is shown at first, and then at a time. */
const TEXT_START = 300;
const TEXT_STEP = 20_000;

/** So many levels are indented: a screen is not wider. */
const LEVELS = 12;

function Text({ value, quoted }: { value: string; quoted?: boolean }) {
  const [shown, setShown] = useState(TEXT_START);
  const quote = quoted ? '"' : '';
  const isWhole = value.length <= shown;
  return (
    <span class="text">
      {quote}
      {plain(value.slice(0, shown))}
      {isWhole ? quote : '…'}
      {!isWhole && (
        <button type="button" class="more" onClick={() => setShown(shown + TEXT_STEP)}>
          more of {counted(value.length, 'character')}
        </button>
      )}
    </span>
  );
}

function Scalar({ value }: { value: unknown }) {
  if (typeof value === 'string') return <Text value={value} quoted />;
  return <span class={value === null ? 'null' : typeof value}>{String(value)}</span>;
}

const isContainer = (value: unknown): value is object =>
  typeof value === 'object' && value !== null;

/** The names of an object's members; of a list, how many there are. */
const namesOf = (value: object) => (Array.isArray(value) ? value.length : Object.keys(value));

function Members({ value, level }: { value: object; level: number }) {
  const [shown, setShown] = useState(STEP);
  const names = useMemo(() => namesOf(value), [value]);
  const total = typeof names === 'number' ? names : names.length;
  const drawn = Math.min(total, shown);
  return (
    <ul class={level < LEVELS ? 'members' : 'members deep'}>
      {Array.from({ length: drawn }, (_, index) => {
        const name = typeof names === 'number' ? String(index) : names[index];
        return (
          <li key={name}>
            <Node name={name} value={(value as Record<string, unknown>)[name]} level={level + 1} />
          </li>
        );
      })}
      {drawn < total && (
        <li>
          <button type="button" class="more" onClick={() => setShown(shown + STEP)}>
            {count(Math.min(STEP, total - drawn))} more of {count(total)}
          </button>
        </li>
      )}
    </ul>
  );
}

function Node({ name, value, level }: { name?: string; value: unknown; level: number }) {
  const [isOpen, setOpen] = useState(level === 0);
  const label = name === undefined ? 'value' : plain(name.slice(0, 200));
  if (!isContainer(value)) {
    return (
      <span class="leaf">
        {name !== undefined && <span class="key">{label}: </span>}
        <Scalar value={value} />
      </span>
    );
  }
  const names = namesOf(value);
  const total = typeof names === 'number' ? names : names.length;
  const size = Array.isArray(value) ? counted(total, 'item') : counted(total, 'member');
  return (
    <>
      <button
        type="button"
        class="node"
        aria-expanded={isOpen}
        disabled={total === 0}
        onClick={() => setOpen(!isOpen)}
      >
        <span class="key">{label}</span>{' '}
        <span class="size">{Array.isArray(value) ? `[${size}]` : `{${size}}`}</span>
      </button>
      {isOpen && total > 0 && <Members value={value} level={level} />}
    </>
  );
}

export function Value({ entry: { text, problem, isCut } }: { entry: Entry }) {
  const parsed = useMemo(() => {
    if (problem !== null || isCut) return undefined;
    try {
      return { value: JSON.parse(text) };
    } catch {
      // Not everything that is stored is JSON: undefined is a word of its own.
      return undefined;
    }
  }, [text, problem, isCut]);
  if (parsed) {
    return (
      <div class="value">
        <Node value={parsed.value} level={0} />
      </div>
    );
  }
  return (
    <>
      {problem !== null && <p class="problem">The value does not parse: {plain(problem)}</p>}
      {isCut && <p class="quiet">The value is too long for a tree: this is its beginning.</p>}
      <div class="value">
        <Text value={text} />
      </div>
    </>
  );
}
