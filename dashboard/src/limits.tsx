// The first screen: what is left of each limit, and who has used it.

import type { Limit, Stats } from './answers.ts';
import { Ago, Countdown, Empty, Loading, Problem } from './parts.tsx';
import { type Data, useClock, useData } from './server.ts';
import { Timeline } from './timeline.tsx';
import { count, counted, plain, windowName } from './words.ts';

/** When an answer about the limits is out of date: something that was waited for has come. */
const dueAt = ({ now, limits }: { now: number; limits: Limit[] }) =>
  Math.min(
    ...limits
      .flatMap(({ nextFreeAt, cooldownUntil, changesAt }) => [nextFreeAt, cooldownUntil, changesAt])
      .filter((at) => at !== null && at > now)
      .map(Number),
  );

function Next({ limit: { nextFreeAt, cooldownUntil } }: { limit: Limit }) {
  const now = useClock();
  if (cooldownUntil !== null && cooldownUntil > now) {
    return (
      <p class="next wait">
        Cooldown, over in <Countdown to={cooldownUntil} />
      </p>
    );
  }
  if (nextFreeAt > now) {
    return (
      <p class="next wait">
        Next free in <Countdown to={nextFreeAt} />
      </p>
    );
  }
  return <p class="next free">Free now</p>;
}

/** How much of a share is used, on the scale of the limit. */
function Share({
  name,
  kind,
  used,
  share,
  limit,
  note,
}: {
  name: string;
  kind: 'user' | 'background';
  used: number;
  share: number;
  limit: number;
  note?: string;
}) {
  const part = (value: number) => `${Math.min(100, (value / Math.max(1, limit)) * 100)}%`;
  return (
    <div class={`share ${kind}`}>
      <span class="name">{name}</span>
      {/* biome-ignore lint/a11y/useSemanticElements: a <meter> shows one thing, and this the share as well */}
      <div
        class="bar"
        role="meter"
        aria-label={`${name}: requests used of their share`}
        aria-valuemin={0}
        aria-valuemax={Math.max(share, used)}
        aria-valuenow={used}
        aria-valuetext={`${count(used)} of ${count(share)}`}
      >
        <div class="extent" style={{ width: part(share) }} />
        <div class="used" style={{ width: part(used) }} />
      </div>
      <span class="of number">
        {count(used)} <span class="quiet">of {count(share)}</span>
      </span>
      {note && <span class="badge warning">{note}</span>}
    </div>
  );
}

const SOURCES = {
  file: '',
  arguments: 'Limit as given on the command line',
  default: 'The file does not say its limits: 200 an hour is assumed',
};

function Resource({ limit, now }: { limit: Limit; now: number }) {
  const { resource, users, background, reason, reserved, minIntervalMs, shared } = limit;
  const id = `${limit.kind}-${encodeURIComponent(resource)}`;
  const notes = [
    reserved > 0 && `${counted(reserved, 'slot')} reserved`,
    minIntervalMs > 0 && `at least ${count(minIntervalMs)} ms between two requests`,
    shared &&
      `all resources together: ${count(shared.limit ?? Number.POSITIVE_INFINITY)} per ${windowName(shared.windowMs)}`,
    SOURCES[limit.settingsFrom],
  ].filter(Boolean);
  return (
    <section class="resource" aria-labelledby={id}>
      <div class="left">
        <h2 id={id}>{plain(resource)}</h2>
        {limit.limit === null ? (
          <p class="remaining">No limit</p>
        ) : (
          <p class={limit.remaining === 0 ? 'remaining none' : 'remaining'}>
            <strong class="number">{count(limit.remaining ?? 0)}</strong> of{' '}
            <span class="number">{count(limit.limit)}</span> left
          </p>
        )}
        <Next limit={limit} />
        <p class="quiet">
          {limit.limit === null ? counted(limit.used, 'request') : count(limit.limit)} per{' '}
          {windowName(limit.windowMs)}
          {limit.kind === 'adaptive' ? ', shared by activity' : ''}
        </p>
      </div>
      <div class="right">
        <Timeline limit={limit} now={now} />
        {limit.limit !== null && (
          <div class="shares">
            {users && background ? (
              <>
                <Share name="Users" kind="user" {...users} limit={limit.limit} />
                <Share
                  name="Background"
                  kind="background"
                  {...background}
                  limit={limit.limit}
                  note={background.isPaused ? 'paused' : undefined}
                />
              </>
            ) : (
              <Share
                name="Used"
                kind="user"
                used={limit.used}
                share={limit.limit}
                limit={limit.limit}
              />
            )}
          </div>
        )}
        {reason && <p class="reason">{reason}</p>}
        {notes.length > 0 && <p class="quiet">{notes.join(' · ')}</p>}
      </div>
    </section>
  );
}

export function Limits({ stats }: { stats: Data<Stats> }) {
  const { data, error, reload } = useData<{ now: number; limits: Limit[] }>(
    'limits',
    {},
    { dueAt },
  );
  if (data === undefined) return error ? <Problem error={error} retry={reload} /> : <Loading />;
  const { limits, now } = data;
  const cooldowns = stats.data?.cooldowns ?? 0;
  return (
    <>
      <h1>Limits</h1>
      {error && <Problem error={error} retry={reload} />}
      {limits.length === 0 ? (
        <Empty>
          <p>No requests are recorded in this file.</p>
          <p class="quiet">They appear here as soon as a limiter records one.</p>
        </Empty>
      ) : (
        limits.map((limit) => (
          <Resource key={`${limit.kind} ${limit.resource}`} limit={limit} now={now} />
        ))
      )}
      <p class="quiet foot">
        As of <Ago at={now} /> ago
        {cooldowns > 0 && ` · ${counted(cooldowns, 'cooldown')} in the file`}
      </p>
    </>
  );
}
