// What several screens show.

import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import type { Failure } from './server.ts';
import { useClock } from './server.ts';
import { countdown, dateOf, span } from './words.ts';

/** Counts down to a moment. */
export function Countdown({ to }: { to: number }) {
  return <span class="number">{countdown(to - useClock())}</span>;
}

/** How long ago. */
export function Ago({ at }: { at: number }) {
  const text = span(useClock() - at);
  return (
    <time class="number" dateTime={new Date(at).toISOString()} title={dateOf(at)}>
      {text}
    </time>
  );
}

export function Problem({ error, retry }: { error: Failure; retry?: () => void }) {
  return (
    <div class="problem" role="alert">
      <p>{error.message}</p>
      {retry && (
        <button type="button" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}

export const Loading = () => <p class="quiet">Reading…</p>;

/** What there is when there is nothing. */
export const Empty = ({ children }: { children: ComponentChildren }) => (
  <div class="empty">{children}</div>
);

/** A question that is to be answered before anything else. */
export function Dialog({
  title,
  onClose,
  children,
}: {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
}) {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    element.current?.showModal();
  }, []);
  return (
    <dialog ref={element} aria-labelledby="dialog-title" onClose={onClose}>
      <h2 id="dialog-title">{title}</h2>
      {children}
    </dialog>
  );
}

/** Says to a screen reader what has come of something. */
export const Announcement = ({ children }: { children: ComponentChildren }) => (
  <p class="hidden" role="status">
    {children}
  </p>
);
