import { SQLiteCacheStore } from '@comic-vine/sqlite-store';
import { createElement as element } from 'react';

export const dynamic = 'force-dynamic';

const store = new SQLiteCacheStore({ database: process.env.DATABASE });

export default async function Page() {
  const visits = ((await store.get('visits')) ?? 0) + 1;
  await store.set('visits', visits, 60);
  return element('p', null, `visits: ${visits}`);
}
