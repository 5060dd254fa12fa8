//! The closed set of statements: the text of each, what its rows have, and what it touches.

use super::error::StoreKind;

/// The most rows one step of housekeeping finds or removes; the statements have it in their texts.
pub const STEP_ROWS: u64 = 500;

/// How many resources [`Statement::RateResourcesFrom`] answers at a time.
pub const PAGE_RESOURCES: usize = 200;

/// How many rows the statements insert that insert many.
pub const ROWS_AT_ONCE: usize = 20;

/// So many rows of parameters.
macro_rules! rows {
    ($row:literal) => {
        rows!($row, $row, $row, $row, $row)
    };
    ($($row:literal),*) => {
        concat!($($row, ", "),*, $($row, ", "),*, $($row, ", "),*, rows!(last $($row),*))
    };
    (last $first:literal $(, $row:literal)*) => {
        concat!($first $(, ", ", $row)*)
    };
}

/// Stores entries, of so many rows of parameters.
macro_rules! cache_set {
    ($($rows:tt)*) => {
        concat!(
            "INSERT INTO cache (hash, value, expires_at, created_at) VALUES ",
            $($rows)*,
            " ON CONFLICT (hash) DO UPDATE SET
              value = excluded.value, expires_at = excluded.expires_at, created_at = excluded.created_at"
        )
    };
}

/// Of an entry: that it has an expiry at all. There is none at 0, as other programs write it, nor after the last `Date`.
macro_rules! expires {
    () => {
        "expires_at <> 0 AND expires_at <= 8640000000000000"
    };
}

/// What stands in `cache_use` instead of a time while an entry is being evicted: within one transaction.
macro_rules! marked {
    () => {
        "-9000000000000000000"
    };
}

/// From here on, past all times, `used_at` is none: see [`Statement::CacheRenewTotals`].
macro_rules! no_time {
    () => {
        "8700000000000000"
    };
}

/// A time, by fractions later than what has been noted of the same ms: as many fit in as a double tells apart.
macro_rules! last_in_ms {
    ($at:literal) => {
        concat!(
            "MAX(",
            $at,
            ", COALESCE((SELECT MAX(used_at) FROM cache_use WHERE used_at < ",
            $at,
            " + 1), ",
            marked!(),
            ") + 0.000244140625)"
        )
    };
}

/// When an entry was created, if that is a time.
macro_rules! creation {
    () => {
        concat!(
            "CASE WHEN typeof(created_at) IN ('integer', 'real') AND abs(created_at) < ",
            no_time!(),
            " THEN created_at ELSE 0 END"
        )
    };
}

/// Takes the entries that a query finds out of the totals: to be run before they are removed.
macro_rules! uncount {
    ($($found:expr),*) => {
        concat!(
            "UPDATE cache_totals SET entries = entries - (SELECT COUNT(1) FROM ", $($found),*, "),
              bytes = bytes - (SELECT SUM(length(value)) FROM ", $($found),*, ")
            WHERE id = 1 AND EXISTS (SELECT 1 FROM ", $($found),*, ")"
        )
    };
}

/// The entries that are marked to be evicted.
macro_rules! marked_entries {
    () => {
        concat!("cache_use u CROSS JOIN cache c ON c.hash = u.hash WHERE u.used_at = ", marked!())
    };
}

/// How many entries are gone through at a time.
macro_rules! page_entries {
    () => {
        "100"
    };
}

/// The same.
pub const PAGE_ENTRIES: usize = 100;

/// The entries that a list has: its page.
macro_rules! listed {
    () => {
        "SELECT rowid AS key, created_at AS newest FROM cache
          WHERE typeof(expires_at) IN ('integer', 'real') AND (expires_at > ?1 OR expires_at = 0)
          ORDER BY created_at DESC, hash LIMIT ?2 OFFSET ?3"
    };
}

/// What is read of a job.
macro_rules! job_columns {
    () => {
        "j.job_id AS c0, j.status AS c1, j.result AS c2, j.error AS c3, j.created_at AS c4, j.updated_at AS c5"
    };
}

/// Claims a hash unless a query finds a job that forbids it, or a claim is there that has not run out.
macro_rules! claim {
    ($forbidding:literal) => {
        concat!(
            "INSERT INTO dedupe_leases (hash, owner, job_id, expires_at) SELECT ?1, ?2, NULL, ?3 WHERE NOT EXISTS ",
            $forbidding,
            " ON CONFLICT (hash) DO UPDATE SET owner = excluded.owner, job_id = NULL, expires_at = excluded.expires_at
              WHERE dedupe_leases.job_id IS NOT NULL OR dedupe_leases.expires_at <= ?4
            RETURNING 1 AS c0"
        )
    };
}

/// Whether a reservation is a booking: its owner is a store, a blank, and a ticket of a number, `@`, and when it was made (see
/// [`bookings`](super::bookings)). It is of a slot at a time that may be yet to come.
macro_rules! is_booking {
    () => {
        "instr(owner, '@') > 0"
    };
}

/// Whether it was made by a clock that is ahead of now (`?2`), so that its time is wrong.
macro_rules! is_wrong_booking {
    () => {
        concat!("(", is_booking!(), " AND CAST(substr(owner, instr(owner, '@') + 1) AS REAL) > ?2 + 1000)")
    };
}

/// The latest stamp of a resource's requests and reservations, given its name `of`, the `start` of the window and `now`. A
/// reservation that does not say when it was made is taken for as long as the window. Bookings are no stamps.
macro_rules! latest_stamp {
    () => {
        concat!(
            "MAX(COALESCE((SELECT MAX(timestamp) FROM rate_limits WHERE resource = of), 0),
            COALESCE((SELECT MAX(COALESCE(reserved_at, expires_at - (now - start)))
              FROM rate_limit_reservations WHERE resource = of AND NOT ",
            is_booking!(),
            "), 0))"
        )
    };
}

/// When a reservation expires, given the window's length (`?4`) and now (`?5`): one that begins later than now, after its own
/// length from now.
macro_rules! reservation_expiry {
    () => {
        "expires_at - MAX(0, COALESCE(reserved_at, expires_at - ?4) - ?5)"
    };
}

/// Whether a resource (`?1`) has a free slot: of so many (`?4`) in the window from a time (`?3`) until now (`?2`).
macro_rules! has_slot {
    () => {
        "(SELECT COUNT(*) FROM rate_limits WHERE resource = ?1 AND timestamp >= ?3)
            + (SELECT COUNT(*) FROM rate_limit_reservations WHERE resource = ?1 AND expires_at > ?2) < ?4"
    };
}

/// Whether a class of requests (`?5`) has one in its share (`?6`), too.
macro_rules! class_has_slot {
    () => {
        concat!(
            has_slot!(),
            "
          AND (SELECT COUNT(*) FROM rate_limits WHERE resource = ?1 AND priority = ?5 AND timestamp >= ?3)
            + (SELECT COUNT(*) FROM rate_limit_reservations
                WHERE resource = ?1 AND priority = ?5 AND expires_at > ?2) < ?6"
        )
    };
}

/// Before any time there is.
macro_rules! never {
    () => {
        "-9e15"
    };
}

/// When the slot of a reservation was taken, or is to be: one of a clock that is ahead counts as now (`?2`).
macro_rules! reserved_for {
    () => {
        concat!("CASE WHEN ", is_booking!(), " THEN reserved_at ELSE MIN(COALESCE(reserved_at, ?2), ?2) END")
    };
}

/// When the last slot was taken, or is to be, of those with a condition. An expired reservation still says when.
macro_rules! latest_slot {
    ($condition:literal) => {
        concat!(
            "MAX(COALESCE((SELECT MIN(MAX(timestamp), ?2) FROM rate_limits WHERE ",
            $condition,
            "), ",
            never!(),
            "),
            COALESCE((SELECT MAX(",
            reserved_for!(),
            ") FROM rate_limit_reservations
              WHERE reserved_at IS NOT NULL AND NOT ",
            is_wrong_booking!(),
            " AND ",
            $condition,
            "), ",
            never!(),
            "))"
        )
    };
}

/// When so many requests and reservations of those with a condition, counted from the last, have left the window.
macro_rules! nth_newest_slot_leaves {
    ($condition:literal, $start:literal, $offset:literal, $window:literal) => {
        concat!(
            "COALESCE((SELECT at FROM (
              SELECT MIN(timestamp, ?2) AS at FROM rate_limits WHERE ",
            $condition,
            " AND timestamp >= ",
            $start,
            "
              UNION ALL SELECT ",
            reserved_for!(),
            " FROM rate_limit_reservations WHERE ",
            $condition,
            " AND expires_at > ?2 AND NOT ",
            is_wrong_booking!(),
            ")
            ORDER BY at DESC LIMIT 1 OFFSET ",
            $offset,
            ") + ",
            $window,
            " + 1, ",
            never!(),
            ")"
        )
    };
}

/// Whether a slot is free now (`?2`), by what limits a resource (`?1`) beside its window. Parameters: interval; window start,
/// limit and interval of all resources together; whether cooldowns count.
macro_rules! is_free_beyond {
    ($interval:literal, $start:literal, $limit:literal, $shared_interval:literal, $honours:literal) => {
        concat!(
            "
          AND (",
            $interval,
            " = 0 OR ",
            latest_slot!("resource = ?1"),
            " <= ?2 - ",
            $interval,
            ")
          AND (",
            $shared_interval,
            " = 0 OR ",
            latest_slot!("1"),
            " <= ?2 - ",
            $shared_interval,
            ")
          AND CASE WHEN ",
            $limit,
            " < 9e999 THEN (SELECT COUNT(*) FROM rate_limits WHERE timestamp >= ",
            $start,
            ")
            + (SELECT COUNT(*) FROM rate_limit_reservations WHERE expires_at > ?2) < ",
            $limit,
            " ELSE 1 END
          AND (",
            $honours,
            " = 0 OR NOT EXISTS (SELECT 1 FROM server_cooldowns WHERE cooldown_until > ?2))"
        )
    };
}

/// The first free slot after all that are taken. Parameters: resource, now, window start, limit, interval; window start,
/// limit and interval of all resources together; whether cooldowns count, the length of both windows, and which of their
/// slots, counted from the last, has to leave.
macro_rules! next_slot {
    () => {
        concat!(
            "?2, ",
            latest_slot!("resource = ?1"),
            " + ?5,
            CASE WHEN ?4 < 9e999 THEN ",
            nth_newest_slot_leaves!("resource = ?1", "?3", "?12", "?10"),
            " ELSE ",
            never!(),
            " END,
            CASE WHEN ?8 > 0 OR ?7 < 9e999 THEN ",
            latest_slot!("1"),
            " + ?8 ELSE ",
            never!(),
            " END,
            CASE WHEN ?7 < 9e999 THEN ",
            nth_newest_slot_leaves!("1", "?6", "?13", "?11"),
            " ELSE ",
            never!(),
            " END,
            CASE WHEN ?9 THEN COALESCE((SELECT MAX(cooldown_until) FROM server_cooldowns), ",
            never!(),
            ")
              ELSE ",
            never!(),
            " END"
        )
    };
}

/// Whether the owner (`?14`) of a booking has none.
macro_rules! has_not_booked {
    () => {
        "NOT EXISTS (SELECT 1 FROM rate_limit_reservations WHERE owner = ?14 AND expires_at > ?2)"
    };
}

/// The reservation that a request is recorded in: the one booked by ticket (`?4`), or else the oldest that the store (`?3`) has
/// made for the resource (`?1`) until now (`?2`), and the class (`?5`).
macro_rules! taken {
    () => {
        "(SELECT id FROM rate_limit_reservations
            WHERE (owner = ?4 OR (resource = ?1 AND priority IS ?5 AND (owner = ?3 OR (owner > ?3 || ' ' AND owner < ?3 || '!'))))
              AND COALESCE(reserved_at, 0) <= ?2
            ORDER BY owner = ?4 DESC, owner = ?3 DESC, expires_at LIMIT 1)"
    };
}

/// Which rows of `adaptive_state` between two names (`?1`, `?2`) are of resources that nobody has used since a time (`?3`).
macro_rules! unused_resources {
    () => {
        "resource >= ?1 AND resource <= ?2
          AND COALESCE(last_user_at < ?3, 1) AND COALESCE(last_background_at < ?3, 1)
          AND NOT EXISTS (SELECT 1 FROM rate_limits r WHERE r.resource = adaptive_state.resource)
          AND NOT EXISTS (SELECT 1 FROM rate_limit_reservations r WHERE r.resource = adaptive_state.resource)"
    };
}

impl Statement {
    /// Whether to run it twice does more, or answers something else, than to run it once: what is sent to a server again has to
    /// be known there. Those that answer rows answer one if they did something.
    pub const fn counts_each_time(self) -> bool {
        use Statement as S;
        matches!(
            self,
            S::RateRecord
                | S::RateRecordMany
                | S::RateRecordReserved
                | S::RateReleaseReserved
                | S::RateRelease
                | S::RateReturn
                | S::RateAcquire
                | S::RateAcquireSpaced
                | S::RateReserve
                | S::RateReserveSpaced
                | S::RateTakeBooking
                | S::AdaptiveRecord
                | S::AdaptiveRecordMany
                | S::AdaptiveRecordReserved
                | S::AdaptiveReturn
                | S::AdaptiveAcquire
                | S::AdaptiveAcquireSpaced
                | S::AdaptiveReserve
                | S::AdaptiveReserveSpaced
                | S::DedupeClaim
                | S::DedupeClaimNew
        )
    }

    /// Which of its columns is a value of the user's, of whatever size.
    pub const fn value_column(self) -> Option<usize> {
        match self {
            Statement::CacheGet => Some(0),
            Statement::DedupeJob | Statement::DedupePoll => Some(2),
            _ => None,
        }
    }

    /// The statement that does what [`ROWS_AT_ONCE`] of this one do, given the values of all of them in order: one
    /// that inserts a row.
    pub const fn many(self) -> Option<Statement> {
        match self {
            Statement::CacheSet => Some(Statement::CacheSetMany),
            Statement::RateRecord => Some(Statement::RateRecordMany),
            Statement::AdaptiveRecord => Some(Statement::AdaptiveRecordMany),
            _ => None,
        }
    }
}

/// A store's tables, as one.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Table {
    /// The cache's.
    Cache,
    /// The deduplication's: jobs, leases and claims.
    Jobs,
    /// The rate limiters': requests, reservations, and what the adaptive one keeps.
    Requests,
    /// What the rate limiters write down, and do not read.
    Settings,
    /// What stores on a server share.
    Hosts,
}

impl Table {
    /// How many there are.
    pub const COUNT: usize = 5;

    /// That of a kind of store.
    pub fn of(kind: StoreKind) -> Self {
        match kind {
            StoreKind::Cache | StoreKind::CacheTags | StoreKind::CacheBounds => Table::Cache,
            StoreKind::Dedupe => Table::Jobs,
            StoreKind::RateLimit | StoreKind::Adaptive => Table::Requests,
            StoreKind::Server => Table::Hosts,
        }
    }
}

/// What a statement does to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It reads.
    Reads,
    /// It writes what reads answer.
    Writes,
    /// It finds or removes what no longer counts, or prolongs what counts: reads of a key answer the same before and after.
    /// Those of the whole table may count what is there.
    Tidies,
}

/// What a statement touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    pub table: Table,
    /// What it does to it.
    pub effect: Effect,
    /// Which of its values is the key of all that it touches; without one, it touches the whole table.
    pub key: Option<usize>,
}

macro_rules! statements {
    (@key all) => { None };
    (@key $index:literal) => { Some($index) };
    ($($(#[$doc:meta])* $name:ident($columns:literal, $table:ident $effect:ident $key:tt) = $sql:expr;)*) => {
        /// The closed set of statements. No other SQL reads or writes a store's rows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Statement {
            $($(#[$doc])* $name,)*
        }

        impl Statement {
            /// Every statement.
            pub const ALL: &'static [Statement] = &[$(Statement::$name,)*];

            /// The statement's text, with parameters `?1`, `?2`, … or, each used once and in order, `?`.
            pub const fn sql(self) -> &'static str {
                match self {
                    $(Statement::$name => $sql,)*
                }
            }

            /// How many columns its rows have, named `c0`, `c1`, …; 0 if it answers none.
            pub const fn columns(self) -> usize {
                match self {
                    $(Statement::$name => $columns,)*
                }
            }

            /// What it touches.
            pub const fn access(self) -> Access {
                match self {
                    $(Statement::$name => Access {
                        table: Table::$table,
                        effect: Effect::$effect,
                        key: statements!(@key $key),
                    },)*
                }
            }

            /// Whether it may answer more than one row.
            pub const fn has_many_rows(self) -> bool {
                matches!(
                    self,
                    Statement::RateResources
                        | Statement::RateResourcesFrom
                        | Statement::RateOldest
                        | Statement::CooldownAll
                        | Statement::CacheExpired
                        | Statement::CacheLaterAfter
                        | Statement::CacheFrom
                        | Statement::CacheTagged
                        | Statement::CacheTagsFrom
                        | Statement::CacheList
                        | Statement::CacheListTags
                        | Statement::CacheEntriesFrom
                        | Statement::CacheEntriesFromTags
                        | Statement::CacheEntriesTagged
                        | Statement::CacheEntriesTaggedTags
                        | Statement::CacheDanglingAfter
                        | Statement::CacheMarked
                        | Statement::CacheUnlistedFrom
                        | Statement::CacheDanglingUseFrom
                        | Statement::DedupePollAll
                        | Statement::DedupeFrom
                        | Statement::DedupeList
                        | Statement::DedupeExpired
                        | Statement::DedupeEnded
                        | Statement::DedupeLater
                )
            }

            /// Which of its values says how many rows it removes at most.
            pub const fn row_limit(self) -> Option<usize> {
                if matches!(self, Statement::RateDeleteBefore) { Some(2) } else { None }
            }

            /// Whether the statement that follows it has to be in the same transaction: the first counts, or marks, what the
            /// second removes.
            pub const fn goes_with_next(self) -> bool {
                matches!(
                    self,
                    Statement::CacheUncountStale
                        | Statement::CacheUncountLater
                        | Statement::CacheUncountExpired
                        | Statement::CacheCorrectTotals
                        | Statement::CacheMarkExpired
                        | Statement::CacheMarkOldest
                        | Statement::CacheUncountMarked
                        | Statement::CacheMarked
                        | Statement::CacheDeleteMarked
                        | Statement::CacheUntagMarked
                        | Statement::AdaptiveKeepTotals
                )
            }

            /// Whether its table may not be there, since it is made when first needed: it finds nothing then.
            pub const fn may_lack_table(self) -> bool {
                matches!(
                    self,
                    Statement::CacheUntag
                        | Statement::CacheUntagAbsent
                        | Statement::CacheUntagMarked
                        | Statement::CacheClearTags
                        | Statement::CacheLastTag
                        | Statement::CacheTagsFrom
                        | Statement::CacheListTags
                        | Statement::CacheEntriesFromTags
                        | Statement::CacheEntriesTagged
                        | Statement::CacheEntriesTaggedTags
                        | Statement::CacheDanglingAfter
                )
            }

            /// Whether it removes rows.
            pub fn removes(self) -> bool {
                self.sql().starts_with("DELETE")
            }
        }
    };
}

statements! {
    /// One entry. Parameters: hash.
    CacheGet(2, Cache Reads 0) = "SELECT value AS c0, expires_at AS c1 FROM cache WHERE hash = ?1";
    /// Store an entry. Parameters: hash, value, expires_at, created_at.
    CacheSet(0, Cache Writes 0) = cache_set!("(?, ?, ?, ?)");
    /// Store entries. Parameters: those of [`CacheSet`](Statement::CacheSet), of each.
    CacheSetMany(0, Cache Writes all) = cache_set!(rows!("(?, ?, ?, ?)"));
    /// Remove an entry. Parameters: hash.
    CacheDelete(0, Cache Writes 0) = "DELETE FROM cache WHERE hash = ?1";
    /// Remove an entry that has not been replaced since it was read. Parameters: hash, expires_at.
    CacheDeleteStale(0, Cache Tidies 0) = "DELETE FROM cache WHERE hash = ?1 AND expires_at = ?2";
    /// Remove every entry.
    CacheClear(0, Cache Writes all) = "DELETE FROM cache";
    /// The next entries from a hash on, in the order of their bytes, and their sizes. Parameters: hash.
    CacheFrom(2, Cache Reads all) = "SELECT hash AS c0, length(value) AS c1 FROM cache WHERE hash >= ?1
        ORDER BY hash LIMIT 500";
    /// The hashes of the next tags, from a hash on. Parameters: hash.
    CacheTagsFrom(1, Cache Reads all) =
        "SELECT hash AS c0 FROM cache_tags WHERE hash >= ?1 ORDER BY hash LIMIT 500";
    /// Give an entry a tag. Parameters: hash, tag.
    CacheTag(0, Cache Writes 0) = "INSERT OR IGNORE INTO cache_tags (hash, tag) VALUES (?1, ?2)";
    /// Take all tags from an entry. Parameters: hash.
    CacheUntag(0, Cache Writes 0) = "DELETE FROM cache_tags WHERE hash = ?1";
    /// The same, if the entry is gone. Parameters: hash.
    CacheUntagAbsent(0, Cache Tidies 0) = "DELETE FROM cache_tags
        WHERE hash = ?1 AND NOT EXISTS (SELECT 1 FROM cache WHERE hash = ?1)";
    /// Take all tags from all entries.
    CacheClearTags(0, Cache Writes all) = "DELETE FROM cache_tags";
    /// The last of what says which entry has which tag.
    CacheLastTag(1, Cache Reads all) = "SELECT MAX(rowid) AS c0 FROM cache_tags";
    /// Some entries with a tag, after a key and up to one: the key, the hash, the size, and how many tags the entry has.
    /// Parameters: tag, the keys.
    CacheTagged(4, Cache Reads all) = "SELECT t.rowid AS c0, t.hash AS c1, length(c.value) AS c2,
          (SELECT COUNT(*) FROM cache_tags o WHERE o.hash = t.hash) AS c3
        FROM cache_tags t LEFT JOIN cache c ON c.hash = t.hash
        WHERE t.tag = ?1 AND t.rowid > ?2 AND t.rowid <= ?3 ORDER BY t.rowid LIMIT 500";
    /// Remove an entry if it has a tag; answers when it expires if it did. Parameters: hash, tag.
    CacheDeleteTagged(1, Cache Writes 0) = "DELETE FROM cache
        WHERE hash = ?1 AND EXISTS (SELECT 1 FROM cache_tags t WHERE t.tag = ?2 AND t.hash = ?1)
        RETURNING expires_at AS c0";
    /// Some of the entries that have not expired, the newest first: hash, expiry, creation, size. Parameters: now, how many at
    /// most, how many before them.
    CacheList(4, Cache Reads all) = concat!("WITH page AS MATERIALIZED (", listed!(), ")
        SELECT hash AS c0, expires_at AS c1, created_at AS c2, length(CAST(value AS BLOB)) AS c3
        FROM page CROSS JOIN cache ON cache.rowid = page.key ORDER BY newest DESC, hash");
    /// Their tags, each with the hash. Parameters: those of [`CacheList`](Statement::CacheList).
    CacheListTags(2, Cache Reads all) = concat!("WITH page AS MATERIALIZED (", listed!(), ")
        SELECT t.hash AS c0, t.tag AS c1 FROM page CROSS JOIN cache c ON c.rowid = page.key
        CROSS JOIN cache_tags t ON t.hash = c.hash ORDER BY newest DESC, c.hash, t.tag");
    /// The next entries, from a hash on. Parameters: hash.
    CacheEntriesFrom(4, Cache Reads all) = concat!("SELECT hash AS c0, expires_at AS c1, created_at AS c2,
          length(CAST(value AS BLOB)) AS c3
        FROM cache WHERE hash >= ?1 ORDER BY hash LIMIT ", page_entries!());
    /// Their tags, each with the hash. Parameters: as above.
    CacheEntriesFromTags(2, Cache Reads all) = concat!("SELECT t.hash AS c0, t.tag AS c1
        FROM (SELECT hash FROM cache WHERE hash >= ?1 ORDER BY hash LIMIT ", page_entries!(), ") page
        CROSS JOIN cache_tags t ON t.hash = page.hash ORDER BY t.hash, t.tag");
    /// The next entries that have a tag, from a hash on. Parameters: hash, tag.
    CacheEntriesTagged(4, Cache Reads all) = concat!("SELECT c.hash AS c0, c.expires_at AS c1, c.created_at AS c2,
          length(CAST(c.value AS BLOB)) AS c3
        FROM cache_tags t CROSS JOIN cache c ON c.hash = t.hash
        WHERE t.tag = ?2 AND t.hash >= ?1 ORDER BY t.hash LIMIT ", page_entries!());
    /// Their tags, each with the hash. Parameters: as above.
    CacheEntriesTaggedTags(2, Cache Reads all) = concat!("SELECT o.hash AS c0, o.tag AS c1
        FROM (SELECT t.hash FROM cache_tags t CROSS JOIN cache c ON c.hash = t.hash
          WHERE t.tag = ?2 AND t.hash >= ?1 ORDER BY t.hash LIMIT ", page_entries!(), ") page
        CROSS JOIN cache_tags o ON o.hash = page.hash ORDER BY o.hash, o.tag");
    /// Entries, expired entries, size of the database. Parameters: now. `COUNT(*)` of a whole table would go through it as one
    /// step of SQLite's, however long that takes.
    CacheStats(4, Cache Reads all) = "SELECT
          (SELECT COUNT(1) FROM cache) AS c0,
          (SELECT COUNT(*) FROM cache WHERE expires_at < ?1 AND expires_at <> 0) AS c1,
          (SELECT page_count FROM pragma_page_count()) AS c2,
          (SELECT page_size FROM pragma_page_size()) AS c3";
    /// Of the next entries, after one: the keys, sizes and times of those that were created later than a time and expire; and,
    /// without a time, the last key of all. Parameters: the key, that time.
    CacheLaterAfter(3, Cache Tidies all) = concat!(
        "WITH page AS (SELECT rowid AS key, length(value) AS bytes, created_at, expires_at
          FROM cache WHERE rowid > ?1 ORDER BY rowid LIMIT 500)
        SELECT key AS c0, bytes AS c1, created_at AS c2 FROM page
          WHERE created_at > ?2 AND ", expires!(), "
        UNION ALL SELECT MAX(key), NULL, NULL FROM page");
    /// Remove one of them, unless it has been replaced. Parameters: key, time.
    CacheRemoveLater(0, Cache Tidies all) =
        concat!("DELETE FROM cache WHERE rowid = ?1 AND created_at = ?2 AND ", expires!());
    /// The keys and sizes of some of the expired entries. Parameters: now.
    CacheExpired(2, Cache Tidies all) = "SELECT rowid AS c0, length(value) AS c1 FROM cache WHERE expires_at < MIN(?1, 0)
        UNION ALL SELECT rowid, length(value) FROM cache WHERE expires_at > 0 AND expires_at < ?1 LIMIT 500";
    /// Remove one of them, unless it has been replaced. Parameters: key, now.
    CacheRemoveExpired(0, Cache Tidies all) = "DELETE FROM cache WHERE rowid = ?1 AND expires_at < ?2 AND expires_at <> 0";
    /// Of the next tags, after one: the keys of those whose entry is gone, and, without the hash, the last key of all.
    /// Parameters: the key.
    CacheDanglingAfter(2, Cache Tidies all) = "WITH page AS (SELECT rowid AS key, hash FROM cache_tags
          WHERE rowid > ?1 ORDER BY rowid LIMIT 500)
        SELECT key AS c0, hash AS c1 FROM page WHERE NOT EXISTS (SELECT 1 FROM cache c WHERE c.hash = page.hash)
        UNION ALL SELECT MAX(key), NULL FROM page";

    /// Count an entry that is going to be stored, in place of the one there is. Parameters: hash, how many bytes.
    CacheCountSet(0, Cache Tidies 0) = "UPDATE cache_totals
        SET entries = entries + NOT EXISTS (SELECT 1 FROM cache WHERE hash = ?1),
          bytes = bytes + ?2 - COALESCE((SELECT length(value) FROM cache WHERE hash = ?1), 0)
        WHERE id = 1";
    /// Take an entry out of the totals that is going to be removed by [`CacheDelete`](Statement::CacheDelete). Parameters: its.
    CacheUncount(0, Cache Tidies 0) = uncount!("cache WHERE hash = ?1");
    /// The same for [`CacheDeleteStale`](Statement::CacheDeleteStale).
    CacheUncountStale(0, Cache Tidies 0) = uncount!("cache WHERE hash = ?1 AND expires_at = ?2");
    /// The same for [`CacheDeleteTagged`](Statement::CacheDeleteTagged).
    CacheUncountTagged(0, Cache Tidies 0) =
        uncount!("cache WHERE hash = ?1 AND EXISTS (SELECT 1 FROM cache_tags t WHERE t.tag = ?2 AND t.hash = ?1)");
    /// The same for [`CacheRemoveLater`](Statement::CacheRemoveLater).
    CacheUncountLater(0, Cache Tidies all) = uncount!("cache WHERE rowid = ?1 AND created_at = ?2 AND ", expires!());
    /// The same for [`CacheRemoveExpired`](Statement::CacheRemoveExpired).
    CacheUncountExpired(0, Cache Tidies all) = uncount!("cache WHERE rowid = ?1 AND expires_at < ?2 AND expires_at <> 0");
    /// Count no entry: all have been removed.
    CacheUncountAll(0, Cache Tidies all) = "UPDATE cache_totals SET entries = 0, bytes = 0 WHERE id = 1";
    /// The totals.
    CacheTotals(2, Cache Tidies all) = "SELECT entries AS c0, bytes AS c1 FROM cache_totals WHERE id = 1";
    /// What there is, what the totals say, and which version of them that is; all on one state of the database.
    CacheRecount(5, Cache Tidies all) = "SELECT c.entries AS c0, c.bytes AS c1, t.entries AS c2, t.bytes AS c3, v.used_at AS c4
        FROM (SELECT COUNT(1) AS entries, COALESCE(SUM(length(value)), 0) AS bytes FROM cache) AS c
        LEFT JOIN cache_totals t ON t.id = 1 LEFT JOIN cache_use v ON v.hash = x''";
    /// Add to the totals what they lack, if they have not been corrected meanwhile. Parameters: entries, bytes, the version.
    CacheCorrectTotals(0, Cache Tidies all) = "INSERT INTO cache_totals (id, entries, bytes)
        SELECT 1, ?1, ?2 WHERE (SELECT used_at FROM cache_use WHERE hash = x'') IS ?3
        ON CONFLICT (id) DO UPDATE SET entries = entries + excluded.entries, bytes = bytes + excluded.bytes";
    /// Make another version of the totals: what was counted before does not correct them. It stands under a hash that no entry
    /// has, as a number that is no time.
    CacheRenewTotals(0, Cache Tidies all) = concat!("INSERT INTO cache_use (hash, used_at)
        VALUES (x'', ", no_time!(), " + (random() & 1099511627775))
        ON CONFLICT (hash) DO UPDATE SET used_at = excluded.used_at");
    /// Note that an entry was stored, after all that happened in the same ms. Parameters: hash, now.
    CacheUse(0, Cache Tidies 0) = concat!("INSERT INTO cache_use (hash, used_at) VALUES (?1, ", last_in_ms!("MIN(MAX(?2, -8640000000000000), 8640000000000000)"), ")
        ON CONFLICT (hash) DO UPDATE SET used_at = excluded.used_at");
    /// Note when entries were used, each after all that happened in the same ms. Parameters: a JSON array of hashes and times.
    CacheUsed(0, Cache Tidies all) = concat!("INSERT INTO cache_use (hash, used_at)
        SELECT c.hash, ", last_in_ms!("MIN(MAX(json_extract(used.value, '$[1]'), -8640000000000000), 8640000000000000)"), " FROM json_each(?1) used
        CROSS JOIN cache c ON c.hash = json_extract(used.value, '$[0]') WHERE 1
        ON CONFLICT (hash) DO UPDATE SET used_at = MAX(used_at, excluded.used_at)");
    /// Note when an entry was created, unless a later use is noted. Parameters: hash.
    CacheAdopt(0, Cache Tidies 0) = concat!("INSERT INTO cache_use (hash, used_at)
        SELECT hash, ", creation!(), " FROM cache WHERE hash = ?1
        ON CONFLICT (hash) DO UPDATE SET used_at = MAX(used_at, excluded.used_at)");
    /// Forget when an entry was used, if it is gone. Parameters: hash.
    CacheUnuseAbsent(0, Cache Tidies 0) = "DELETE FROM cache_use
        WHERE hash = ?1 AND NOT EXISTS (SELECT 1 FROM cache WHERE hash = ?1)";
    /// Forget when entries were used.
    CacheUnuseAll(0, Cache Tidies all) = "DELETE FROM cache_use";
    /// Of the next entries, from a hash on: those of which nothing is noted or, if that is asked for, which were created later than
    /// what is noted; and the last hash of all. Parameters: hash, whether the latter is asked for.
    CacheUnlistedFrom(2, Cache Tidies all) = concat!("WITH page AS (
          SELECT hash, rowid AS key FROM cache WHERE hash >= ?1 ORDER BY hash LIMIT 500)
        SELECT page.hash AS c0, 1 AS c1 FROM page LEFT JOIN cache_use u ON u.hash = page.hash
          WHERE u.hash IS NULL OR (?2 AND (SELECT ", creation!(), " FROM cache WHERE rowid = page.key) > u.used_at)
        UNION ALL SELECT MAX(hash), NULL FROM page");
    /// Of the next that are known to have been used, from a hash on: those that are gone; and the last hash of all.
    /// Parameters: hash.
    CacheDanglingUseFrom(2, Cache Tidies all) = "WITH page AS (
          SELECT hash FROM cache_use WHERE hash >= ?1 AND hash <> x'' ORDER BY hash LIMIT 500)
        SELECT hash AS c0, 1 AS c1 FROM page WHERE NOT EXISTS (SELECT 1 FROM cache c WHERE c.hash = page.hash)
        UNION ALL SELECT MAX(hash), NULL FROM page";
    /// Mark what has expired, if the totals are above the bounds. Parameters: bounds of entries and bytes, a hash to be kept, now,
    /// how many at most.
    CacheMarkExpired(0, Cache Tidies all) = concat!("INSERT INTO cache_use (hash, used_at)
        SELECT hash, ", marked!(), " FROM cache
          WHERE (SELECT entries > ?1 OR bytes > ?2 FROM cache_totals WHERE id = 1)
            AND expires_at > 0 AND expires_at < ?4 AND hash IS NOT ?3 ORDER BY expires_at LIMIT ?5
        ON CONFLICT (hash) DO UPDATE SET used_at = excluded.used_at");
    /// Mark what was not used for longest, as long as the totals without what is marked are above the bounds. One that was
    /// stored again by a version that notes no use is noted instead. Parameters: bounds of entries and bytes, a hash to be kept, how
    /// many marked ones forbid it, how many rows and bytes at most.
    CacheMarkOldest(0, Cache Tidies all) = concat!("INSERT INTO cache_use (hash, used_at)
        WITH RECURSIVE oldest(hash, at, becomes, size, counts, entries, bytes, rows, freed) AS (
          SELECT '', ", marked!(), ", NULL, 0, 0, entries - ?1 - (SELECT COUNT(1) FROM ", marked_entries!(), "),
              bytes - ?2 - (SELECT COALESCE(SUM(length(value)), 0) FROM ", marked_entries!(), "), 0, 0
            FROM cache_totals WHERE id = 1 AND (entries > ?1 OR bytes > ?2)
              AND (SELECT COUNT(1) FROM ", marked_entries!(), ") < ?4
          UNION ALL
          SELECT u.hash, u.used_at,
              CASE WHEN u.hash IS ?3 THEN NULL WHEN ", creation!(), " > u.used_at THEN ", creation!(), "
                ELSE ", marked!(), " END,
              COALESCE(length(c.value), 0),
              c.hash IS NOT NULL AND u.hash IS NOT ?3 AND NOT ", creation!(), " > u.used_at,
              o.entries - o.counts, o.bytes - o.counts * o.size, o.rows + 1, o.freed + o.counts * o.size
            FROM oldest o CROSS JOIN cache_use u ON u.hash = COALESCE(
              (SELECT MIN(n.hash) FROM cache_use n WHERE n.used_at = o.at AND n.hash > o.hash AND o.rows > 0),
              (SELECT n.hash FROM cache_use n WHERE n.used_at > o.at AND n.used_at < ", no_time!(), "
                ORDER BY n.used_at, n.hash LIMIT 1))
            LEFT JOIN cache c ON c.hash = u.hash
            WHERE (o.entries - o.counts > 0 OR o.bytes - o.counts * o.size > 0)
              AND o.rows < ?5 AND o.freed + o.counts * o.size < ?6)
        SELECT hash, becomes FROM oldest WHERE becomes IS NOT NULL
        ON CONFLICT (hash) DO UPDATE SET used_at = excluded.used_at");
    /// Take what is marked out of the totals.
    CacheUncountMarked(0, Cache Tidies all) = uncount!(marked_entries!());
    /// The hashes that are marked.
    CacheMarked(1, Cache Tidies all) = concat!("SELECT hash AS c0 FROM cache_use WHERE used_at = ", marked!());
    /// Remove the entries that are marked, which [`CacheMarked`](Statement::CacheMarked) has answered before.
    CacheDeleteMarked(0, Cache Tidies all) = concat!("DELETE FROM cache
        WHERE hash IN (SELECT hash FROM cache_use WHERE used_at = ", marked!(), ")");
    /// Take all tags from them.
    CacheUntagMarked(0, Cache Tidies all) = concat!("DELETE FROM cache_tags
        WHERE hash IN (SELECT hash FROM cache_use WHERE used_at = ", marked!(), ")");
    /// Forget when they were used.
    CacheUnuseMarked(0, Cache Tidies all) = concat!("DELETE FROM cache_use WHERE used_at = ", marked!());
    /// Whether entries are counted.
    CacheIsCounted(1, Cache Tidies all) =
        "SELECT 1 AS c0 FROM sqlite_schema WHERE type = 'table' AND name = 'cache_totals' AND rootpage > 1";

    /// A job with the expiry of its lease. Parameters: hash.
    DedupeJob(7, Jobs Reads 0) = concat!("SELECT ", job_columns!(), ",
          (SELECT l.expires_at FROM dedupe_leases l WHERE l.hash = j.hash AND l.job_id = j.job_id) AS c6
        FROM dedupe_jobs j WHERE j.hash = ?1");
    /// The same, the expiry of a claim that has not become a job, whose the lease or claim is, and the name of the job's error;
    /// no row if there is neither. Parameters: hash.
    DedupePoll(10, Jobs Reads 0) = concat!("SELECT ", job_columns!(), ",
          CASE WHEN l.job_id = j.job_id THEN l.expires_at END AS c6,
          CASE WHEN l.job_id IS NULL THEN l.expires_at END AS c7, l.owner AS c8, j.error_name AS c9
        FROM (SELECT 1) LEFT JOIN dedupe_jobs j ON j.hash = ?1 LEFT JOIN dedupe_leases l ON l.hash = ?1
        WHERE j.hash IS NOT NULL OR l.hash IS NOT NULL");
    /// The same of several hashes, without what jobs came to, with the hash's number. Parameters: the hashes, a JSON array.
    DedupePollAll(10, Jobs Reads all) = "SELECT
          j.job_id AS c0, j.status AS c1, NULL AS c2, NULL AS c3, j.created_at AS c4, j.updated_at AS c5,
          CASE WHEN l.job_id = j.job_id THEN l.expires_at END AS c6,
          CASE WHEN l.job_id IS NULL THEN l.expires_at END AS c7, l.owner AS c8, asked.key AS c9
        FROM json_each(?1) asked
        LEFT JOIN dedupe_jobs j ON j.hash = asked.value LEFT JOIN dedupe_leases l ON l.hash = asked.value";
    /// A job's id, when it was created and last changed, and the expiry of its hash's lease. Parameters: hash.
    DedupeJobId(4, Jobs Reads 0) = "SELECT job_id AS c0, created_at AS c1, updated_at AS c2,
          (SELECT expires_at FROM dedupe_leases WHERE hash = ?1) AS c3 FROM dedupe_jobs WHERE hash = ?1";
    /// Correct the times of a pending job to now, if one is later than a time. Parameters: hash, now, that time.
    DedupeCorrectPending(0, Jobs Tidies 0) = "UPDATE dedupe_jobs
        SET created_at = MIN(created_at, ?2), updated_at = MIN(updated_at, ?2)
        WHERE hash = ?1 AND status = 'pending' AND (created_at > ?3 OR updated_at > ?3)";
    /// Remove a job that has ended and was created or ended later than a time. Parameters: hash, that time.
    DedupeRemoveLater(0, Jobs Writes 0) = "DELETE FROM dedupe_jobs
        WHERE hash = ?1 AND status <> 'pending' AND (created_at > ?2 OR updated_at > ?2)";
    /// Correct the lease or claim of a hash, if it expires later than a time. Parameters: hash, when it is to expire, that time.
    DedupeCorrectLease(0, Jobs Tidies 0) =
        "UPDATE dedupe_leases SET expires_at = ?2 WHERE hash = ?1 AND expires_at > ?3";
    /// End a pending job whose owner has let its lease run out. Parameters: hash, message, now, system time.
    DedupeAbandon(0, Jobs Writes 0) = "UPDATE dedupe_jobs SET status = 'failed', error = ?2, updated_at = ?3
        WHERE hash = ?1 AND status = 'pending' AND EXISTS (SELECT 1 FROM dedupe_leases l
          WHERE l.hash = ?1 AND l.job_id = dedupe_jobs.job_id AND l.expires_at <= ?4)";
    /// Claim a hash that has neither a live job, a served result nor a claim; answers a row if it did.
    /// Parameters: those of [`DedupeClaimNew`](Statement::DedupeClaimNew), now, job timeout, result TTL.
    DedupeClaim(1, Jobs Writes 0) = claim!("(SELECT 1 FROM dedupe_jobs j WHERE j.hash = ?1 AND (
            (j.status = 'pending' AND (?6 = 0 OR ?5 - j.created_at < ?6) AND NOT EXISTS (
              SELECT 1 FROM dedupe_leases l WHERE l.hash = ?1 AND l.job_id = j.job_id AND l.expires_at <= ?4))
            OR (j.status = 'completed' AND MAX(?5 - j.updated_at, 0) < ?7)))");
    /// Claim a hash that has no job and no claim; answers a row if it did. Parameters: hash, owner, claim expiry, system
    /// time.
    DedupeClaimNew(1, Jobs Writes 0) = claim!("(SELECT 1 FROM dedupe_jobs WHERE hash = ?1)");
    /// Register a job unless a live one is pending. Parameters: hash, job id, now, job timeout, system time.
    DedupeRegister(0, Jobs Writes 0) = "INSERT INTO dedupe_jobs (hash, job_id, status, created_at, updated_at)
        VALUES (?1, ?2, 'pending', ?3, ?3)
        ON CONFLICT (hash) DO UPDATE SET job_id = excluded.job_id, status = 'pending', result = NULL, error = NULL,
            created_at = excluded.created_at, updated_at = excluded.updated_at
          WHERE dedupe_jobs.status <> 'pending'
            OR (?4 > 0 AND ?3 - dedupe_jobs.created_at >= ?4)
            OR EXISTS (SELECT 1 FROM dedupe_leases l
                 WHERE l.hash = ?1 AND l.job_id = dedupe_jobs.job_id AND l.expires_at <= ?5)";
    /// Give the job its owner's lease, in place of a claim, if it is the one registered. Parameters: hash, job id,
    /// owner, lease expiry.
    DedupeLease(0, Jobs Writes 0) = "INSERT INTO dedupe_leases (hash, owner, job_id, expires_at)
        SELECT ?1, ?3, ?2, ?4 WHERE EXISTS (SELECT 1 FROM dedupe_jobs WHERE hash = ?1 AND job_id = ?2)
        ON CONFLICT (hash) DO UPDATE SET
          owner = excluded.owner, job_id = excluded.job_id, expires_at = excluded.expires_at";
    /// Prolong the lease of a pending job or, without one, a claim that has not been given up. Parameters: hash, job id or
    /// NULL, owner, lease expiry.
    DedupeRenew(0, Jobs Tidies 0) = "UPDATE dedupe_leases SET expires_at = ?4
        WHERE hash = ?1 AND job_id IS ?2 AND owner = ?3 AND expires_at > 0 AND (?2 IS NULL
          OR EXISTS (SELECT 1 FROM dedupe_jobs WHERE hash = ?1 AND job_id = ?2 AND status = 'pending'))";
    /// End a job with a result. Parameters: hash, result, now, the job this store registered or NULL, owner.
    DedupeComplete(0, Jobs Writes 0) = "UPDATE dedupe_jobs SET status = 'completed', result = ?2, updated_at = ?3
        WHERE hash = ?1 AND status <> 'completed' AND CASE WHEN ?4 IS NOT NULL THEN job_id = ?4
          ELSE status = 'pending' OR EXISTS (SELECT 1 FROM dedupe_leases l
            WHERE l.hash = ?1 AND l.job_id = dedupe_jobs.job_id AND l.owner = ?5) END";
    /// End a job with an error. Parameters: hash, message, now, the job this store registered or NULL, owner, the error's name or
    /// NULL.
    DedupeFail(0, Jobs Writes 0) = "UPDATE dedupe_jobs SET status = 'failed', error = ?2, updated_at = ?3,
          error_name = job_id || ' ' || ?6
        WHERE hash = ?1 AND CASE WHEN ?4 IS NOT NULL THEN job_id = ?4
          ELSE status = 'pending' OR EXISTS (SELECT 1 FROM dedupe_leases l
            WHERE l.hash = ?1 AND l.job_id = dedupe_jobs.job_id AND l.owner = ?5) END";
    /// Have the lease of a job run out that has ended or is gone. The row stays with the job's, and tells whose it was.
    /// Parameters: hash.
    DedupeEndLease(0, Jobs Writes 0) = "UPDATE dedupe_leases SET expires_at = 0 WHERE hash = ?1 AND job_id IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM dedupe_jobs j
          WHERE j.hash = ?1 AND j.job_id = dedupe_leases.job_id AND j.status = 'pending')";
    /// Give up a claim. Parameters: hash, owner.
    DedupeGiveUpClaim(0, Jobs Writes 0) =
        "UPDATE dedupe_leases SET expires_at = 0 WHERE hash = ?1 AND owner = ?2 AND job_id IS NULL";
    /// Have the leases and claims of an owner run out. Parameters: owner.
    DedupeGiveUp(0, Jobs Writes all) = "UPDATE dedupe_leases SET expires_at = 0 WHERE owner = ?1 AND expires_at > 0";
    /// End a pending job that is past its time. Parameters: hash, message, now, job timeout.
    DedupeTimeOut(0, Jobs Writes 0) = "UPDATE dedupe_jobs SET status = 'failed', error = ?2, updated_at = ?3
        WHERE hash = ?1 AND status = 'pending' AND ?4 > 0 AND ?3 - created_at >= ?4";
    /// Remove a job. Parameters: hash, job id.
    DedupeDelete(0, Jobs Writes 0) = "DELETE FROM dedupe_jobs WHERE hash = ?1 AND job_id = ?2";
    /// Counts by status, and of jobs created before a time. Parameters: that time.
    DedupeStats(5, Jobs Reads all) = "SELECT COUNT(*) AS c0,
          COUNT(*) FILTER (WHERE status = 'pending') AS c1,
          COUNT(*) FILTER (WHERE status = 'completed') AS c2,
          COUNT(*) FILTER (WHERE status = 'failed') AS c3,
          COUNT(*) FILTER (WHERE created_at < ?1) AS c4
        FROM dedupe_jobs";
    /// The keys and sizes of some of the jobs created before a time. Parameters: that time.
    DedupeExpired(2, Jobs Tidies all) = "SELECT rowid AS c0, COALESCE(length(result), 0) AS c1 FROM dedupe_jobs WHERE created_at < ?1
        ORDER BY created_at LIMIT 500";
    /// Remove one of them, unless it has been replaced. Parameters: key, that time.
    DedupeRemoveExpired(0, Jobs Tidies all) = "DELETE FROM dedupe_jobs WHERE rowid = ?1 AND created_at < ?2";
    /// The keys and sizes of some of the jobs that have ended and were created later than a time. Parameters: that time.
    DedupeLater(2, Jobs Tidies all) = "SELECT rowid AS c0, COALESCE(length(result), 0) AS c1 FROM dedupe_jobs
        WHERE created_at > ?1 AND status IN ('completed', 'failed') LIMIT 500";
    /// Remove one of them, unless it has been replaced. Parameters: key, that time.
    DedupeRemoveLaterOne(0, Jobs Tidies all) = "DELETE FROM dedupe_jobs
        WHERE rowid = ?1 AND created_at > ?2 AND status IN ('completed', 'failed')";
    /// Some jobs that ended before a time, with the sizes of their results. Parameters: that time.
    DedupeEnded(2, Jobs Tidies all) = "SELECT rowid AS c0, COALESCE(length(result), 0) AS c1 FROM dedupe_jobs
        WHERE status IN ('completed', 'failed') AND updated_at < ?1 LIMIT 500";
    /// Remove one of them, unless it has been replaced. Parameters: key, that time.
    DedupeRemoveEnded(0, Jobs Tidies all) = "DELETE FROM dedupe_jobs
        WHERE rowid = ?1 AND status IN ('completed', 'failed') AND updated_at < ?2";
    /// The last of the next leases and claims, from a hash on. Parameters: hash.
    DedupeLeasesFrom(1, Jobs Tidies all) =
        "SELECT MAX(hash) AS c0 FROM (SELECT hash FROM dedupe_leases WHERE hash >= ?1 ORDER BY hash LIMIT 500)";
    /// Remove leases and claims that ran out, or expire later than a time, and whose job is gone. Parameters: first hash, last
    /// hash, system time, that time.
    DedupeCleanupLeases(0, Jobs Tidies all) = "DELETE FROM dedupe_leases
        WHERE hash >= ?1 AND hash <= ?2 AND (expires_at < ?3 OR expires_at > ?4)
        AND NOT EXISTS (SELECT 1 FROM dedupe_jobs j
          WHERE j.hash = dedupe_leases.hash AND j.job_id = dedupe_leases.job_id)";
    /// The next hashes that have a job, a lease or a claim, from one on, and the sizes of results. Parameters: hash.
    DedupeFrom(2, Jobs Reads all) = "SELECT of.hash AS c0, COALESCE(length(j.result), 0) AS c1 FROM (
          SELECT hash FROM (SELECT hash FROM dedupe_jobs WHERE hash >= ?1 ORDER BY hash LIMIT 500)
          UNION SELECT hash FROM (SELECT hash FROM dedupe_leases WHERE hash >= ?1 ORDER BY hash LIMIT 500)) of
        LEFT JOIN dedupe_jobs j ON j.hash = of.hash ORDER BY of.hash LIMIT 500";
    /// Remove whatever job there is. Parameters: hash.
    DedupeForget(0, Jobs Writes 0) = "DELETE FROM dedupe_jobs WHERE hash = ?1";
    /// Remove whatever lease or claim there is. Parameters: hash.
    DedupeForgetLease(0, Jobs Writes 0) = "DELETE FROM dedupe_leases WHERE hash = ?1";
    /// Some of the jobs, the newest first: hash, job id, status, creation, and of the job's lease, if it has one, the expiry and
    /// the owner. Parameters: how many at most, how many before them.
    DedupeList(6, Jobs Reads all) = "SELECT j.hash AS c0, j.job_id AS c1, j.status AS c2, j.created_at AS c3,
          l.expires_at AS c4, l.owner AS c5
        FROM (SELECT rowid AS key, created_at AS newest, hash AS of FROM dedupe_jobs
          ORDER BY created_at DESC, hash LIMIT ?1 OFFSET ?2) page
        CROSS JOIN dedupe_jobs j ON j.rowid = page.key
        LEFT JOIN dedupe_leases l ON l.hash = j.hash AND l.job_id = j.job_id
        ORDER BY page.newest DESC, page.of";
    /// Remove every job.
    DedupeClear(0, Jobs Writes all) = "DELETE FROM dedupe_jobs";
    /// Remove every lease and claim.
    DedupeClearLeases(0, Jobs Writes all) = "DELETE FROM dedupe_leases";

    /// Requests in a window, when the oldest of all was made, reserved slots, and the latest stamp. Parameters: resource,
    /// window start, now.
    RateUsage(4, Requests Reads 0) = concat!("SELECT
          (SELECT COUNT(*) FROM rate_limits WHERE resource = of AND timestamp >= start) AS c0,
          (SELECT MIN(timestamp) FROM rate_limits WHERE resource = of) AS c1,
          (SELECT COUNT(*) FROM rate_limit_reservations WHERE resource = of AND expires_at > now) AS c2,
          ", latest_stamp!(), " AS c3
        FROM (SELECT ?1 AS of, ?2 AS start, ?3 AS now)");
    /// The latest stamp. Parameters: resource, window start, now.
    RateLatest(1, Requests Reads 0) =
        concat!("SELECT ", latest_stamp!(), " AS c0 FROM (SELECT ?1 AS of, ?2 AS start, ?3 AS now)");
    /// The latest stamp of all resources.
    RateLatestOfAll(1, Requests Tidies all) = concat!("SELECT MAX(COALESCE((SELECT MAX(timestamp) FROM rate_limits), 0),
          COALESCE((SELECT MAX(reserved_at) FROM rate_limit_reservations WHERE NOT ", is_booking!(), "), 0)) AS c0");
    /// Correct a resource's requests later than a time to now. Parameters: resource, now, that time.
    RateCorrect(0, Requests Tidies 0) = "UPDATE rate_limits SET timestamp = ?2 WHERE id IN (
          SELECT id FROM rate_limits WHERE resource = ?1 AND timestamp > ?3 LIMIT 500)";
    /// Correct a resource's reservations that were made later than a time. Parameters: resource, now, that time, window
    /// length.
    RateCorrectReservations(0, Requests Tidies 0) = concat!("UPDATE rate_limit_reservations SET
          expires_at = CASE WHEN reserved_at IS NULL THEN ?4 ELSE expires_at - reserved_at END + ?2, reserved_at = ?2
        WHERE id IN (SELECT id FROM rate_limit_reservations
          WHERE resource = ?1 AND COALESCE(reserved_at, expires_at - ?4) > ?3 AND NOT ", is_booking!(), " LIMIT 500)");
    /// Correct requests later than a time to now. Parameters: now, that time.
    RateCorrectAll(0, Requests Tidies all) = "UPDATE rate_limits SET timestamp = ?1 WHERE id IN (
          SELECT id FROM rate_limits WHERE timestamp > ?2 LIMIT 500)";
    /// Correct reservations that were made later than a time. Parameters: now, that time.
    RateCorrectAllReservations(0, Requests Tidies all) = concat!("UPDATE rate_limit_reservations
        SET expires_at = expires_at - reserved_at + ?1, reserved_at = ?1
        WHERE id IN (SELECT id FROM rate_limit_reservations WHERE reserved_at > ?2 AND NOT ", is_booking!(), " LIMIT 500)");
    /// When the nth newest request in a window leaves it. Parameters: resource, window start, n - 1, window length, now.
    RateNthNewestExpiry(1, Requests Reads 0) = "SELECT MIN(timestamp, ?5) + ?4 AS c0 FROM rate_limits
        WHERE resource = ?1 AND timestamp >= ?2 ORDER BY timestamp DESC LIMIT 1 OFFSET ?3";
    /// The same, of requests and reserved slots. Parameters: as above.
    RateNthNewestExpiryReserved(1, Requests Reads 0) = concat!("SELECT at AS c0 FROM (
          SELECT MIN(timestamp, ?5) + ?4 AS at FROM rate_limits WHERE resource = ?1 AND timestamp >= ?2
          UNION ALL SELECT ", reservation_expiry!(), " FROM rate_limit_reservations
            WHERE resource = ?1 AND expires_at > ?5)
        ORDER BY at DESC LIMIT 1 OFFSET ?3");
    /// Record a request if a slot is free; answers a row if it did. Parameters: resource, now, window start, limit.
    RateAcquire(1, Requests Writes 0) = concat!("INSERT INTO rate_limits (resource, timestamp) SELECT ?1, ?2
        WHERE ", has_slot!(), " RETURNING 1 AS c0");
    /// The same where more limits the resource. Parameters: as above, those of [`is_free_beyond`].
    RateAcquireSpaced(1, Requests Writes all) = concat!("INSERT INTO rate_limits (resource, timestamp) SELECT ?1, ?2
        WHERE ", has_slot!(), is_free_beyond!("?5", "?6", "?7", "?8", "?9"), " RETURNING 1 AS c0");
    /// Reserve a slot if one is free; answers a row if it did. Parameters: resource, now, window start, limit, owner,
    /// until when, since when.
    RateReserve(1, Requests Writes 0) = concat!("INSERT INTO rate_limit_reservations (resource, owner, expires_at, reserved_at)
        SELECT ?1, ?5, ?6, ?7 WHERE ", has_slot!(), " RETURNING 1 AS c0");
    /// The same where more limits the resource. Parameters: as above, those of [`is_free_beyond`].
    RateReserveSpaced(1, Requests Writes all) = concat!("INSERT INTO rate_limit_reservations
          (resource, owner, expires_at, reserved_at)
        SELECT ?1, ?5, ?6, ?7
        WHERE ", has_slot!(), is_free_beyond!("?8", "?9", "?10", "?11", "?12"), " RETURNING 1 AS c0");
    /// What limits a resource beside its window: when its last slot was taken or is to be, and that of all resources; how many
    /// slots of all are taken; the last cooldown; the latest stamp of all; whether there are bookings of a wrong clock.
    /// Parameters: resource, now, interval; window start, limit and interval of all; whether cooldowns count.
    RateBeyond(6, Requests Reads all) = concat!("SELECT
          CASE WHEN ?3 > 0 THEN ", latest_slot!("resource = ?1"), " END AS c0,
          CASE WHEN ?6 > 0 THEN ", latest_slot!("1"), " END AS c1,
          CASE WHEN ?5 < 9e999 THEN (SELECT COUNT(*) FROM rate_limits WHERE timestamp >= ?4)
            + (SELECT COUNT(*) FROM rate_limit_reservations WHERE expires_at > ?2) ELSE 0 END AS c2,
          CASE WHEN ?7 THEN (SELECT MAX(cooldown_until) FROM server_cooldowns) END AS c3,
          CASE WHEN ?6 > 0 OR ?5 < 9e999 THEN MAX(
            COALESCE((SELECT MAX(timestamp) FROM rate_limits), 0),
            COALESCE((SELECT MAX(reserved_at) FROM rate_limit_reservations WHERE NOT ", is_booking!(), "), 0)) ELSE 0 END AS c4,
          EXISTS (SELECT 1 FROM rate_limit_reservations WHERE ", is_wrong_booking!(), ") AS c5");
    /// When so many slots of all resources, counted from the last, have left their window. Parameters: window start, now,
    /// n - 1, window length.
    RateNthNewestOfAll(1, Requests Reads all) =
        concat!("SELECT ", nth_newest_slot_leaves!("1", "?1", "?3", "?4"), " AS c0");
    /// Book the next slot that will be free, unless the owner has one. Parameters: those of [`next_slot`], owner, for how long
    /// it is kept.
    RateBook(0, Requests Writes all) = concat!("INSERT INTO rate_limit_reservations (resource, owner, expires_at, reserved_at)
        SELECT ?1, ?14, at + ?15, at FROM (SELECT MAX(", next_slot!(), ") AS at) WHERE ", has_not_booked!());
    /// When the slot is that an owner has booked. Parameters: owner, now.
    RateBooked(1, Requests Reads all) =
        "SELECT MIN(reserved_at) AS c0 FROM rate_limit_reservations WHERE owner = ?1 AND expires_at > ?2";
    /// Remove bookings that a clock has made which was ahead. Parameters: 0, now.
    RateDropWrongBookings(0, Requests Writes all) = concat!("DELETE FROM rate_limit_reservations WHERE ", is_wrong_booking!());
    /// Remove a resource's expired reservations that no interval needs. Parameters: resource, now, since when they are needed.
    RateExpireSpaced(0, Requests Tidies all) = "DELETE FROM rate_limit_reservations
        WHERE (resource = ?1 OR resource = x'') AND expires_at <= ?2 AND COALESCE(reserved_at, 0) <= ?3";
    /// Have a slot that was booked, and is due, be one reserved by the store; answers a row if it did. Parameters: who booked it,
    /// now, the store, until when at least.
    RateTakeBooking(1, Requests Writes all) = "UPDATE rate_limit_reservations SET owner = ?3, expires_at = MAX(expires_at, ?4)
        WHERE owner = ?1 AND reserved_at <= ?2 AND expires_at > ?2 RETURNING 1 AS c0";
    /// Record a request in the slot reserved for it, as made when that was taken; without one, as made now. Parameters: resource,
    /// now, the store, who booked or NULL, NULL.
    RateRecordReserved(0, Requests Writes all) = concat!("INSERT INTO rate_limits (resource, timestamp)
        SELECT ?1, COALESCE((SELECT reserved_at FROM rate_limit_reservations WHERE id = ", taken!(), "), ?2)");
    /// Release that slot. Parameters: as above, the class or NULL.
    RateReleaseReserved(0, Requests Writes all) = concat!("DELETE FROM rate_limit_reservations WHERE id = ", taken!());
    /// Undo the recording of a request, made at a time. Parameters: resource, that time.
    RateReturn(0, Requests Writes 0) = "DELETE FROM rate_limits WHERE id = (
          SELECT MAX(id) FROM rate_limits WHERE resource = ?1 AND timestamp = ?2)";
    /// Keep when a resource's last slot was taken, for the interval of all, when its requests are removed. Parameters: resource,
    /// since when that is needed.
    RateKeepSlot(0, Requests Writes all) = "INSERT INTO rate_limit_reservations (resource, owner, expires_at, reserved_at)
        SELECT x'', '', 0, latest FROM (SELECT MAX(timestamp) AS latest FROM rate_limits WHERE resource = ?1) WHERE latest > ?2";
    /// The same of its reservations: they are of no resource from then on. Parameters: as above.
    RateKeepReserved(0, Requests Writes all) =
        "UPDATE rate_limit_reservations SET resource = x'' WHERE resource = ?1 AND reserved_at > ?2";
    /// Release the oldest reservation of an owner. Parameters: resource, owner, priority or NULL.
    RateRelease(0, Requests Writes 0) = "DELETE FROM rate_limit_reservations WHERE id = (
          SELECT id FROM rate_limit_reservations WHERE resource = ?1 AND owner = ?2 AND priority IS ?3
          ORDER BY expires_at LIMIT 1)";
    /// Remove a resource's expired reservations. Parameters: resource, now.
    RateExpireReservations(0, Requests Tidies 0) = "DELETE FROM rate_limit_reservations WHERE resource = ?1 AND expires_at <= ?2";
    /// The last of the next reservations, after one. Parameters: its id.
    RateReservationsAfter(1, Requests Tidies all) = "SELECT MAX(id) AS c0 FROM (
          SELECT id FROM rate_limit_reservations WHERE id > ?1 ORDER BY id LIMIT 500)";
    /// Remove expired reservations that no interval needs. Parameters: the id they come after, the last one's, now, since when they
    /// are needed.
    RateExpireAllReservations(0, Requests Tidies all) = "DELETE FROM rate_limit_reservations
        WHERE id > ?1 AND id <= ?2 AND expires_at <= ?3 AND COALESCE(reserved_at, 0) <= ?4";
    /// Release all reservations of a resource. Parameters: resource.
    RateResetReservations(0, Requests Writes 0) = "DELETE FROM rate_limit_reservations WHERE resource = ?1";
    /// Release all reservations.
    RateClearReservations(0, Requests Writes all) = "DELETE FROM rate_limit_reservations";
    /// Record a request. Parameters: resource, now.
    RateRecord(0, Requests Writes 0) = "INSERT INTO rate_limits (resource, timestamp) VALUES (?, ?)";
    /// Record requests. Parameters: those of [`RateRecord`](Statement::RateRecord), of each.
    RateRecordMany(0, Requests Writes all) = concat!("INSERT INTO rate_limits (resource, timestamp) VALUES ", rows!("(?, ?)"));
    /// How many of a resource's requests were made before a time, counted up to 500. Parameters: resource, that time.
    RateCountBefore(1, Requests Tidies 0) = "SELECT COUNT(*) AS c0 FROM (
          SELECT 1 FROM rate_limits WHERE resource = ?1 AND timestamp < ?2 LIMIT 500)";
    /// Remove some of a resource's requests before a time. Parameters: resource, that time, how many at most.
    RateDeleteBefore(0, Requests Tidies 0) = "DELETE FROM rate_limits WHERE id IN (
          SELECT id FROM rate_limits WHERE resource = ?1 AND timestamp < ?2 LIMIT ?3)";
    /// Remove a resource's requests. Parameters: resource.
    RateReset(0, Requests Writes 0) = "DELETE FROM rate_limits WHERE resource = ?1";
    /// Remove every request.
    RateClear(0, Requests Writes all) = "DELETE FROM rate_limits";
    /// How many requests are stored.
    /// As in [`CacheStats`](Statement::CacheStats).
    RateTotal(1, Requests Reads all) = "SELECT COUNT(1) AS c0 FROM rate_limits";
    /// The resources that have requests.
    RateResources(1, Requests Reads all) = "SELECT DISTINCT resource AS c0 FROM rate_limits ORDER BY resource";
    /// Some of them, from a name on: each is looked up after the one before, however many requests it has. Parameters:
    /// name.
    RateResourcesFrom(1, Requests Tidies all) = "WITH RECURSIVE names(name) AS (
          SELECT MIN(resource) FROM rate_limits WHERE resource >= ?1
          UNION ALL
          SELECT (SELECT MIN(resource) FROM rate_limits WHERE resource > name) FROM names WHERE name IS NOT NULL)
        SELECT name AS c0 FROM names WHERE name IS NOT NULL LIMIT 200";

    /// The resources of the oldest requests, and when the oldest of each was made.
    RateOldest(2, Requests Tidies all) = "SELECT resource AS c0, MIN(timestamp) AS c1 FROM (
          SELECT resource, timestamp FROM rate_limits ORDER BY timestamp LIMIT 50) GROUP BY resource";

    /// Write down what limits a resource, where it differs from what is there, or that is old. Parameters: kind of limiter,
    /// resource, settings, version, now, before when it is old.
    SettingsTell(0, Settings Writes all) = "INSERT INTO store_settings (kind, resource, settings, version, written_at)
        VALUES (?1, ?2, ?3, ?4, ?5)
        ON CONFLICT (kind, resource) DO UPDATE SET
          settings = excluded.settings, version = excluded.version, written_at = excluded.written_at
        WHERE settings <> excluded.settings OR version <> excluded.version OR written_at < ?6 OR written_at > ?5";
    /// Forget some that were written down before a time. Parameters: that time.
    SettingsForget(0, Settings Writes all) = "DELETE FROM store_settings WHERE (kind, resource) IN (
          SELECT kind, resource FROM store_settings WHERE written_at < ?1 LIMIT 500)";

    /// Set a cooldown. Parameters: key, until when.
    CooldownSet(0, Requests Writes 0) = "INSERT INTO server_cooldowns (origin, cooldown_until) VALUES (?1, ?2)
        ON CONFLICT (origin) DO UPDATE SET cooldown_until = excluded.cooldown_until";
    /// Until when a cooldown lasts. Parameters: key.
    CooldownGet(1, Requests Reads 0) = "SELECT cooldown_until AS c0 FROM server_cooldowns WHERE origin = ?1";
    /// Remove a cooldown. Parameters: key.
    CooldownClear(0, Requests Writes 0) = "DELETE FROM server_cooldowns WHERE origin = ?1";
    /// Remove every cooldown.
    CooldownClearAll(0, Requests Writes all) = "DELETE FROM server_cooldowns";
    /// The cooldowns that last. Parameters: now.
    CooldownAll(2, Requests Reads all) =
        "SELECT origin AS c0, cooldown_until AS c1 FROM server_cooldowns WHERE cooldown_until > ?1 ORDER BY origin";
    /// The last of the next cooldowns, from a key on. Parameters: key.
    CooldownsFrom(1, Requests Tidies all) =
        "SELECT MAX(origin) AS c0 FROM (SELECT origin FROM server_cooldowns WHERE origin >= ?1 ORDER BY origin LIMIT 500)";
    /// Remove cooldowns that are over. Parameters: first key, last key, now.
    CooldownExpire(0, Requests Tidies all) =
        "DELETE FROM server_cooldowns WHERE origin >= ?1 AND origin <= ?2 AND cooldown_until <= ?3";

    /// Record a request with its priority. Parameters: resource, now, priority.
    AdaptiveRecord(0, Requests Writes 0) =
        "INSERT INTO rate_limits (resource, timestamp, priority) VALUES (?, ?, ?)";
    /// Record requests with their priorities. Parameters: those of [`AdaptiveRecord`](Statement::AdaptiveRecord), of
    /// each.
    AdaptiveRecordMany(0, Requests Writes all) = concat!("INSERT INTO rate_limits (resource, timestamp, priority) VALUES ", rows!("(?, ?, ?)"));
    /// User and background requests in a window, when the oldest of all was made, reserved slots of both, and the latest
    /// stamp. Parameters: resource, window start, now.
    AdaptiveUsage(6, Requests Reads 0) = concat!("SELECT
          (SELECT COUNT(*) FROM rate_limits WHERE resource = of AND priority = 'user' AND timestamp >= start) AS c0,
          (SELECT COUNT(*) FROM rate_limits
            WHERE resource = of AND priority = 'background' AND timestamp >= start) AS c1,
          (SELECT MIN(timestamp) FROM rate_limits WHERE resource = of) AS c2,
          (SELECT COUNT(*) FROM rate_limit_reservations
            WHERE resource = of AND priority = 'user' AND expires_at > now) AS c3,
          (SELECT COUNT(*) FROM rate_limit_reservations
            WHERE resource = of AND priority IS NOT 'user' AND expires_at > now) AS c4,
          ", latest_stamp!(), " AS c5
        FROM (SELECT ?1 AS of, ?2 AS start, ?3 AS now)");
    /// Record a request of a class if the class and the whole have a free slot; answers a row if it did. Parameters:
    /// resource, now, window start, limit, priority, the class's share.
    AdaptiveAcquire(1, Requests Writes 0) = concat!("INSERT INTO rate_limits (resource, timestamp, priority) SELECT ?1, ?2, ?5
        WHERE ", class_has_slot!(), " RETURNING 1 AS c0");
    /// The same where more limits the resource. Parameters: as above, those of [`is_free_beyond`].
    AdaptiveAcquireSpaced(1, Requests Writes all) = concat!("INSERT INTO rate_limits (resource, timestamp, priority)
        SELECT ?1, ?2, ?5 WHERE ", class_has_slot!(), is_free_beyond!("?7", "?8", "?9", "?10", "?11"), " RETURNING 1 AS c0");
    /// Reserve a slot for a class if the class and the whole have one; answers a row if it did. Parameters: as above,
    /// owner, until when, since when.
    AdaptiveReserve(1, Requests Writes 0) = concat!("INSERT INTO rate_limit_reservations
          (resource, priority, owner, expires_at, reserved_at)
        SELECT ?1, ?5, ?7, ?8, ?9 WHERE ", class_has_slot!(), " RETURNING 1 AS c0");
    /// The same where more limits the resource. Parameters: as above, those of [`is_free_beyond`].
    AdaptiveReserveSpaced(1, Requests Writes all) = concat!("INSERT INTO rate_limit_reservations
          (resource, priority, owner, expires_at, reserved_at)
        SELECT ?1, ?5, ?7, ?8, ?9
        WHERE ", class_has_slot!(), is_free_beyond!("?10", "?11", "?12", "?13", "?14"), " RETURNING 1 AS c0");
    /// Book the next slot of a class that will be free, unless the owner has one. Parameters: those of
    /// [`RateBook`](Statement::RateBook), the class, its share, which of its slots, counted from the last, has to leave.
    AdaptiveBook(0, Requests Writes all) = concat!("INSERT INTO rate_limit_reservations
          (resource, priority, owner, expires_at, reserved_at)
        SELECT ?1, ?16, ?14, at + ?15, at FROM (SELECT MAX(", next_slot!(), ",
            CASE WHEN ?17 < 9e999 THEN ",
            nth_newest_slot_leaves!("resource = ?1 AND priority = ?16", "?3", "?18", "?10"), " ELSE ", never!(), " END) AS at)
        WHERE ", has_not_booked!());
    /// Record a request of a class in the slot reserved for it, as made when that was taken; without one, as made now.
    /// Parameters: resource, now, the store, who booked or NULL, the class.
    AdaptiveRecordReserved(0, Requests Writes all) = concat!("INSERT INTO rate_limits (resource, timestamp, priority)
        SELECT ?1, COALESCE((SELECT reserved_at FROM rate_limit_reservations WHERE id = ", taken!(), "), ?2), ?5");
    /// Undo the recording of a request of a class, made at a time. Parameters: resource, that time, the class.
    AdaptiveReturn(0, Requests Writes 0) = "DELETE FROM rate_limits WHERE id = (
          SELECT MAX(id) FROM rate_limits WHERE resource = ?1 AND timestamp = ?2 AND priority = ?3)";
    /// A resource's recent activity: user requests after the start of the monitoring window, after the start of
    /// its last third, and in the third before; when users and background work were last active; the mode.
    /// Parameters: resource, monitoring start, last third's start, middle third's start.
    AdaptiveActivity(9, Requests Reads 0) = "SELECT
          (SELECT COUNT(*) FROM rate_limits WHERE resource = ?1 AND priority = 'user' AND timestamp > ?2) AS c0,
          (SELECT COUNT(*) FROM rate_limits WHERE resource = ?1 AND priority = 'user' AND timestamp > ?3) AS c1,
          (SELECT COUNT(*) FROM rate_limits
            WHERE resource = ?1 AND priority = 'user' AND timestamp > ?4 AND timestamp <= ?3) AS c2,
          (SELECT MAX(timestamp) FROM rate_limits WHERE resource = ?1 AND priority = 'user') AS c3,
          (SELECT MAX(timestamp) FROM rate_limits WHERE resource = ?1 AND priority = 'background') AS c4,
          s.last_user_at AS c5, s.last_background_at AS c6, s.high_activity AS c7, s.activations AS c8
        FROM (SELECT 1) LEFT JOIN adaptive_state s ON s.resource = ?1";
    /// When the nth newest request of a class in a window, or slot reserved for it, expires. Parameters:
    /// resource, window start, n - 1, window length, now, priority.
    AdaptiveNthNewestExpiry(1, Requests Reads 0) = concat!("SELECT at AS c0 FROM (
          SELECT MIN(timestamp, ?5) + ?4 AS at FROM rate_limits
            WHERE resource = ?1 AND priority = ?6 AND timestamp >= ?2
          UNION ALL SELECT ", reservation_expiry!(), " FROM rate_limit_reservations
            WHERE resource = ?1 AND priority = ?6 AND expires_at > ?5)
        ORDER BY at DESC LIMIT 1 OFFSET ?3");
    /// Keep, before old requests are deleted, when each class was last active. Parameters: resource.
    AdaptiveKeepActivity(0, Requests Tidies 0) = "INSERT INTO adaptive_state (resource, last_user_at, last_background_at)
        VALUES (?1,
          (SELECT MAX(timestamp) FROM rate_limits WHERE resource = ?1 AND priority = 'user'),
          (SELECT MAX(timestamp) FROM rate_limits WHERE resource = ?1 AND priority = 'background'))
        ON CONFLICT (resource) DO UPDATE SET
          last_user_at = COALESCE(excluded.last_user_at, last_user_at),
          last_background_at = COALESCE(excluded.last_background_at, last_background_at)";
    /// Correct when each class was last active to now, if that is kept as later. Parameters: resource, now.
    AdaptiveCorrectActivity(0, Requests Tidies 0) = "UPDATE adaptive_state SET
          last_user_at = MIN(last_user_at, ?2), last_background_at = MIN(last_background_at, ?2) WHERE resource = ?1";
    /// Enter high-activity mode, counted once however many processes see it. Parameters: resource.
    AdaptiveEnterHigh(0, Requests Writes 0) = "INSERT INTO adaptive_state (resource, high_activity, activations) VALUES (?1, 1, 1)
        ON CONFLICT (resource) DO UPDATE SET
          activations = activations + (high_activity = 0), high_activity = 1";
    /// Leave high-activity mode. Parameters: resource.
    AdaptiveLeaveHigh(0, Requests Writes 0) = "UPDATE adaptive_state SET high_activity = 0 WHERE resource = ?1";
    /// Forget what is kept of a resource. Parameters: resource.
    AdaptiveForget(0, Requests Writes 0) = "DELETE FROM adaptive_state WHERE resource = ?1";
    /// Forget what is kept of every resource.
    AdaptiveForgetAll(0, Requests Writes all) = "DELETE FROM adaptive_state";
    /// How often resources entered high-activity mode.
    AdaptiveActivations(1, Requests Reads all) = "SELECT COALESCE(SUM(activations), 0)
          + COALESCE((SELECT value FROM adaptive_totals WHERE name = 'priorityModeActivations'), 0) AS c0 FROM adaptive_state";
    /// The last of the next resources of which something is kept, from a name on. Parameters: name.
    AdaptiveResourcesFrom(1, Requests Tidies all) =
        "SELECT MAX(resource) AS c0 FROM (SELECT resource FROM adaptive_state WHERE resource >= ?1 ORDER BY resource LIMIT 500)";
    /// Add what counts of the resources that [`AdaptiveForgetUnused`](Statement::AdaptiveForgetUnused) removes to the totals.
    /// Parameters: its.
    AdaptiveKeepTotals(0, Requests Tidies all) = concat!("INSERT INTO adaptive_totals (name, value)
        SELECT 'priorityModeActivations', SUM(activations) FROM adaptive_state WHERE ", unused_resources!(), "
        GROUP BY 1 HAVING SUM(activations) > 0
        ON CONFLICT (name) DO UPDATE SET value = value + excluded.value");
    /// Forget resources that have neither requests nor reservations and were last active before a time. A read beside it may
    /// still answer by what it forgets: it waits for no clean-up. Parameters: first name, last name, that time.
    AdaptiveForgetUnused(0, Requests Tidies all) = concat!("DELETE FROM adaptive_state WHERE ", unused_resources!());
    /// Forget what counts of resources that are gone.
    AdaptiveForgetTotals(0, Requests Writes all) = "DELETE FROM adaptive_totals";

    /// Take, or keep, a lease among hosts; answers a row if it did. One that ends later than any can was made by a clock that
    /// has been set back since. Parameters: its name, the store, until when, now, the latest that one can end.
    HostLease(1, Hosts Writes 0) = "INSERT INTO host_leases (name, owner, expires_at) VALUES (?1, ?2, ?3)
        ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, expires_at = excluded.expires_at
          WHERE host_leases.owner = excluded.owner OR host_leases.expires_at <= ?4 OR host_leases.expires_at > ?5
        RETURNING 1 AS c0";
}

#[cfg(test)]
mod tests {
    use super::super::stamps::TOLERANCE_MS;
    use super::{PAGE_ENTRIES, PAGE_RESOURCES, ROWS_AT_ONCE, STEP_ROWS, Statement};

    #[test]
    fn statements_of_many_rows_take_the_values_of_as_many_of_one() {
        let parameters = |statement: Statement| statement.sql().matches('?').count();
        for statement in Statement::ALL {
            if let Some(many) = statement.many() {
                assert_eq!(parameters(many), ROWS_AT_ONCE * parameters(*statement), "{statement:?}");
            }
        }
    }

    #[test]
    fn texts_have_the_limits_that_rules_rely_on() {
        use Statement as S;
        let limited = [
            (S::CacheExpired, STEP_ROWS),
            (S::DedupeExpired, STEP_ROWS),
            (S::DedupeFrom, STEP_ROWS),
            (S::DedupeLater, STEP_ROWS),
            (S::CacheLaterAfter, STEP_ROWS),
            (S::CacheFrom, STEP_ROWS),
            (S::CacheTagged, STEP_ROWS),
            (S::CacheTagsFrom, STEP_ROWS),
            (S::CacheDanglingAfter, STEP_ROWS),
            (S::CacheUnlistedFrom, STEP_ROWS),
            (S::CacheDanglingUseFrom, STEP_ROWS),
            (S::DedupeLeasesFrom, STEP_ROWS),
            (S::AdaptiveResourcesFrom, STEP_ROWS),
            (S::CooldownsFrom, STEP_ROWS),
            (S::RateCorrectAll, STEP_ROWS),
            (S::RateCorrectAllReservations, STEP_ROWS),
            (S::RateReservationsAfter, STEP_ROWS),
            (S::RateCountBefore, STEP_ROWS),
        ];
        for (statement, rows) in limited {
            assert!(statement.sql().contains(&format!("LIMIT {rows}")), "{statement:?}");
        }
        for statement in [S::CacheEntriesFrom, S::CacheEntriesTagged] {
            assert!(statement.sql().ends_with(&format!("LIMIT {PAGE_ENTRIES}")), "{statement:?}");
        }
        assert!(S::RateResourcesFrom.sql().contains(&format!("LIMIT {PAGE_RESOURCES}")));
        assert!(S::RateDropWrongBookings.sql().contains(&format!("> ?2 + {TOLERANCE_MS})")));
    }

    #[test]
    fn rows_name_their_columns_in_order() {
        for statement in Statement::ALL {
            let sql = statement.sql();
            for column in 0..statement.columns() {
                assert_eq!(sql.matches(&format!(" AS c{column}")).count(), 1, "{statement:?}");
            }
            assert!(!sql.contains(&format!(" AS c{}", statement.columns())), "{statement:?}");
        }
    }
}
