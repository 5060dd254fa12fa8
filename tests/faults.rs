//! Faults of the operating system. Stores of every kind are called at random while, by a seed, calls to the system
//! fail: before they have any effect, half-way, or after they have taken effect. A model beside them keeps what each
//! call may have come to. What was acknowledged is there, once; what was refused is there once or not at all; every
//! call is answered; and once the faults end, calls work again and the file is sound.
//!
//! `FAULT_SEEDS` says how many seeds; `FAULT_SEED` is one alone, with its trace. A seed decides the calls and, as far as
//! threads let it, the faults.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test helpers")]

mod common;
#[path = "faults/model.rs"]
mod model;
#[path = "faults/run.rs"]
mod run;

use std::collections::BTreeMap;
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use comic_vine_sqlite_store::core::adaptive;
use comic_vine_sqlite_store::core::error::StoreKind;
use comic_vine_sqlite_store::core::operation::Operation;
use comic_vine_sqlite_store::core::options::{
    AdaptiveConfig, DatabaseOptions, JournalMode, ResourceConfigs, SharedLimits, Synchronous,
};
use comic_vine_sqlite_store::core::{bounds, cache};
use comic_vine_sqlite_store::sqlite::faults::{Manner, Method, Plan, Random};
use rusqlite::Connection as Plain;

use common::{Divisions, TempFile};
use model::{Act, KEYS, Resource};
use run::{HUNG, Mistake, Run, Tally};

const SEEDS: u64 = 2_000;

/// Carries out a seed. Answers what came of it, or the violation and the trace.
fn try_seed(seed: u64, mistake: Option<Mistake>) -> Result<Tally, String> {
    let mut run = Run::new(TempFile::new(), Random::new(seed), mistake);
    let outcome = catch_unwind(AssertUnwindSafe(|| run.carry_out(seed))).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().cloned();
        Err(message.unwrap_or_else(|| "a panic".to_owned()))
    });
    run.switch(false);
    for fault in run.struck() {
        let kind = format!("{:?} {:?}", fault.method, fault.manner);
        *run.tally.struck.entry(kind).or_default() += 1;
    }
    if env::var_os("FAULT_SEED").is_some() {
        println!("{}", run.trace.join("\n"));
    }
    match outcome {
        Ok(()) => Ok(run.tally),
        Err(violation) => {
            run.note("the end".to_owned());
            Err(format!("{}\nFAULT_SEED={seed}: {violation}", run.trace.join("\n")))
        }
    }
}

fn number_from(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|number| number.parse().unwrap())
}

#[test]
fn keep_what_was_acknowledged() {
    let alone = number_from("FAULT_SEED");
    let (first, count) = alone.map_or((1, number_from("FAULT_SEEDS").unwrap_or(SEEDS)), |seed| (seed, 1));
    let (next, tally, failures) = (AtomicU64::new(first), Mutex::new(Tally::default()), Mutex::new(Vec::new()));
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..count.min(8) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    match try_seed(seed, None) {
                        Ok(found) => tally.lock().unwrap().add(found),
                        Err(failure) => failures.lock().unwrap().push((seed, failure)),
                    }
                }
            });
        }
    });
    tally.lock().unwrap().print(count);
    println!("in {:.1} s", started.elapsed().as_secs_f64());
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    for (_, failure) in failures.iter().take(5) {
        println!("{failure}\n");
    }
    let seeds: Vec<u64> = failures.iter().map(|(seed, _)| *seed).collect();
    assert!(failures.is_empty(), "violations with the seeds {seeds:?}");
}

/// Asserts that a mistake is found, in these words; prints the first seed that finds it so.
fn assert_found(mistake: Mistake, words: &str) {
    let violation = |seed| Some(try_seed(seed, Some(mistake)).err()?.lines().last()?.to_owned());
    let found = (1..=300).filter_map(violation).find(|violation| violation.contains(words));
    println!("{mistake:?} is found by {:.300}", found.expect("the mistake is not found"));
}

#[test]
fn a_failed_write_that_is_reported_as_done_is_found() {
    assert_found(Mistake::HiddenWrite, "can only be");
}

#[test]
fn a_refused_request_that_is_recorded_again_is_found() {
    assert_found(Mistake::RunAgain, "is there twice");
}

#[test]
fn a_call_that_is_acknowledged_before_it_is_committed_is_found() {
    assert_found(Mistake::EarlyAnswer, "can only be");
}

/// Writes in the mode that options ask for, one after the other, after each of which somebody else may checkpoint the log.
/// Answers on which threads files were flushed.
fn flushing_threads(journal_mode: JournalMode, synchronous: Synchronous, checkpoints: bool) -> Vec<ThreadId> {
    let mut run = Run::new(TempFile::new(), Random::new(0), None);
    run.kinds = vec![StoreKind::Cache, StoreKind::RateLimit];
    run.options = DatabaseOptions { journal_mode: Some(journal_mode), synchronous, ..DatabaseOptions::default() };
    run.busy_timeout = Duration::from_secs(3);
    let path = run.file.path().to_owned();
    run.open().unwrap();
    run.arm(Plan::Nothing, &path);
    // Its locks and ours are told apart: it is the same SQLite.
    let other = Plain::open(&path).unwrap();
    for round in 0..20 {
        if checkpoints {
            other.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
        }
        run.call(
            StoreKind::Cache,
            Act::Set { key: round % KEYS, value: round as u64, length: 100, expired: false },
        );
        run.call(StoreKind::RateLimit, Act::Record { resource: Resource::Wide });
        run.flush();
        run.settle().unwrap();
    }
    let threads = run.faults.as_ref().unwrap().flushing_threads();
    drop(other);
    run.close().unwrap();
    threads
}

#[test]
fn no_write_has_its_caller_wait_for_a_flush() {
    for (journal_mode, synchronous, checkpoints) in [
        (JournalMode::Wal, Synchronous::Normal, true),
        (JournalMode::Wal, Synchronous::Full, false),
        (JournalMode::Delete, Synchronous::Normal, false),
        (JournalMode::Delete, Synchronous::Full, false),
    ] {
        let threads = flushing_threads(journal_mode, synchronous, checkpoints);
        println!("{journal_mode:?} {synchronous:?}: {} flushes", threads.len());
        assert!(threads.len() >= 20, "{journal_mode:?} {synchronous:?}: {} flushes", threads.len());
        assert!(!threads.contains(&thread::current().id()), "{journal_mode:?} {synchronous:?}");
    }
    // Nothing is flushed where nobody asks for it, so that commits are made at once.
    assert_eq!(flushing_threads(JournalMode::Wal, Synchronous::Normal, false), []);
}

/// When a call to the system fails in a sweep.
#[derive(Clone, Copy, Debug, PartialEq)]
enum During {
    Commit,
    Close,
}

/// One commit of far more than what is gathered of a log, in a file with some content, in which one call to the system
/// fails. Answers whether one did.
fn commit(journal_mode: JournalMode, during: During, plan: Plan) -> Result<bool, String> {
    let mut run = Run::new(TempFile::new(), Random::new(0), None);
    run.kinds = vec![StoreKind::Cache, StoreKind::RateLimit];
    run.options = DatabaseOptions { journal_mode: Some(journal_mode), ..DatabaseOptions::default() };
    run.busy_timeout = Duration::from_secs(3);
    run.note(format!("{journal_mode:?} {during:?} {plan:?}"));
    let path = run.file.path().to_owned();
    run.arm(Plan::Nothing, &path);
    let carried_out = commit_in(&mut run, during, plan, &path);
    carried_out.map_err(|violation| format!("{}\n{violation}", run.trace.join("\n")))
}

fn commit_in(run: &mut Run, during: During, plan: Plan, path: &Path) -> Result<bool, String> {
    let batch = |run: &mut Run| {
        for (key, length) in [(0, 50_000), (1, 120_000), (2, 20_000)] {
            let value = run.calls.len() as u64;
            run.call(StoreKind::Cache, Act::Set { key, value, length, expired: false });
        }
        for _ in 0..5 {
            run.call(StoreKind::RateLimit, Act::Record { resource: Resource::Wide });
        }
        run.call(StoreKind::Cache, Act::Delete { key: 3 });
        run.flush();
        run.settle()
    };
    run.open()?;
    for key in [1, 3, 4] {
        let value = run.calls.len() as u64;
        run.call(StoreKind::Cache, Act::Set { key, value, length: 30_000, expired: false });
        run.call(StoreKind::RateLimit, Act::Acquire { resource: Resource::Narrow });
        run.flush();
        run.settle()?;
    }
    if during == During::Commit {
        run.arm(plan, path);
    }
    batch(run)?;
    if during == During::Commit {
        run.switch(false);
        let refused = run.tally.refused;
        // The same once more.
        batch(run)?;
        run.works()?;
        run.leaves_no_lock()?;
        if run.tally.refused > refused {
            return Err("calls are still refused".to_owned());
        }
    } else {
        run.arm(plan, path);
    }
    run.close()?;
    run.switch(false);
    run.check()?;
    Ok(!run.struck().is_empty())
}

/// Has each call to the system fail, in each way, one at a time. Answers how many did.
fn sweep(journal_mode: JournalMode, during: During) -> BTreeMap<String, usize> {
    let mut swept = BTreeMap::new();
    for method in Method::ALL {
        for manner in method.manners() {
            let nth_fails = |nth: &u64| {
                let plan = Plan::Nth { method, file: None, nth: *nth, manner: *manner };
                commit(journal_mode, during, plan).unwrap_or_else(|violation| panic!("{violation}"))
            };
            let count = (1..).take_while(nth_fails).count();
            if count > 0 {
                swept.insert(format!("{method:?} {manner:?}"), count);
            }
        }
    }
    println!("{journal_mode:?}, {during:?}: {swept:?}");
    swept
}

fn assert_writes(swept: &BTreeMap<String, usize>, least: usize) {
    for manner in [Manner::Before, Manner::HalfWay, Manner::After] {
        let writes = swept[&format!("Write {manner:?}")];
        assert!(writes >= least, "{writes} writes of a commit of 190 KB");
    }
}

#[test]
fn a_large_commit_to_a_log_may_fail_at_every_call() {
    assert_writes(&sweep(JournalMode::Wal, During::Commit), 3);
}

#[test]
fn a_large_commit_with_a_rollback_journal_may_fail_at_every_call() {
    assert_writes(&sweep(JournalMode::Delete, During::Commit), 50);
}

#[test]
fn closing_may_fail_at_every_call() {
    assert_writes(&sweep(JournalMode::Wal, During::Close), 50);
    sweep(JournalMode::Delete, During::Close);
}

/// Opens a cache with bounds in a new file, in which one call to the system fails, and stores something. Answers whether one did.
fn open_bounded(journal_mode: JournalMode, plan: Plan) -> bool {
    let mut run = Run::new(TempFile::new(), Random::new(0), None);
    run.kinds = vec![StoreKind::Cache];
    (run.counts, run.bounds) = (true, None);
    run.options = DatabaseOptions { journal_mode: Some(journal_mode), ..DatabaseOptions::default() };
    run.busy_timeout = Duration::from_secs(3);
    let path = run.file.path().to_owned();
    run.arm(plan, &path);
    run.open().unwrap();
    run.call(StoreKind::Cache, Act::Set { key: 0, value: 0, length: 100, expired: false });
    run.flush();
    run.switch(false);
    run.settle().unwrap();
    run.works().unwrap();
    let struck = run.struck();
    run.close().unwrap();
    run.check().unwrap();
    let lacks_table = run.trace.iter().find(|line| line.contains("no such table"));
    assert_eq!(lacks_table, None, "{journal_mode:?} {plan:?}: {}", run.trace.join("\n"));
    !struck.is_empty()
}

#[test]
fn opening_a_cache_with_bounds_may_fail_at_every_call() {
    for journal_mode in [JournalMode::Wal, JournalMode::Delete] {
        let mut swept = BTreeMap::new();
        for method in Method::ALL {
            for manner in method.manners() {
                let nth_fails = |nth: &u64| {
                    open_bounded(journal_mode, Plan::Nth { method, file: None, nth: *nth, manner: *manner })
                };
                swept.insert(format!("{method:?} {manner:?}"), (1..).take_while(nth_fails).count());
            }
        }
        println!("{journal_mode:?}: {swept:?}");
        assert!(swept["Lock Before"] >= 4, "{swept:?}");
    }
}

#[test]
fn a_cache_with_bounds_can_be_opened_while_others_write() {
    let mut run = Run::new(TempFile::new(), Random::new(0), None);
    run.kinds = vec![StoreKind::Cache];
    (run.counts, run.bounds) = (true, None);
    run.busy_timeout = HUNG;
    let other = Plain::open(run.file.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE; CREATE TABLE others (x)").unwrap();
    run.open().unwrap();
    run.call(StoreKind::Cache, Act::Set { key: 0, value: 0, length: 100, expired: false });
    run.flush();
    other.execute_batch("COMMIT").unwrap();
    run.settle().unwrap();
    assert_eq!(run.tally.refused, 0, "{}", run.trace.join("\n"));
    run.close().unwrap();
    run.check().unwrap();
}

/// A clean-up by a store on a volume whose logs and journals have room for so many bytes; answers whether that was enough.
/// `setup` is run before it, `sums` are what must be equal after it.
fn clean_up_with_room(
    bytes: i64,
    journal_mode: JournalMode,
    kind: StoreKind,
    setup: &str,
    sums: [&str; 2],
    cleanup: fn() -> Operation,
) -> bool {
    let mut run = Run::new(TempFile::new(), Random::new(0), None);
    run.kinds = vec![kind];
    (run.counts, run.bounds) = (kind == StoreKind::Cache, None);
    run.options = DatabaseOptions { journal_mode: Some(journal_mode), ..DatabaseOptions::default() };
    let path = run.file.path().to_owned();
    run.open().unwrap();
    let other = Plain::open(&path).unwrap();
    let numbers = "CREATE TEMP TABLE numbers AS
        WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 200) SELECT n FROM c";
    other.execute_batch(&format!("{numbers}; {setup}")).unwrap();
    run.arm(Plan::Room(bytes), &path);
    let cleaned = run.carry_out_alone(cleanup());
    run.switch(false);
    let [found, expected] = sums.map(|sql| other.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap());
    assert_eq!(found, expected, "{kind:?} {journal_mode:?}, room for {bytes} bytes: {cleaned:?}");
    drop(other);
    run.close().unwrap();
    cleaned.is_ok()
}

/// From no room to enough; answers with how much room a clean-up failed.
fn clean_ups_with_little_room(
    kind: StoreKind,
    setup: &str,
    sums: [&str; 2],
    cleanup: fn() -> Operation,
) -> Vec<(JournalMode, i64)> {
    let rooms = |journal_mode| (1..).map(move |pages| (journal_mode, pages * 4_200));
    let fails = |(journal_mode, bytes): &(JournalMode, i64)| {
        !clean_up_with_room(*bytes, *journal_mode, kind, setup, sums, cleanup)
    };
    [JournalMode::Wal, JournalMode::Delete].into_iter().flat_map(|mode| rooms(mode).take_while(fails)).collect()
}

#[test]
fn what_is_counted_is_right_however_little_room_a_clean_up_has() {
    // Of several pages each, so that there may be room for the count and not for the removal.
    let failed = clean_ups_with_little_room(
        StoreKind::Cache,
        "INSERT INTO cache (hash, value, expires_at, created_at)
           SELECT 'key-' || n, zeroblob(30000), 1, 1 FROM numbers WHERE n <= 3;
         INSERT OR REPLACE INTO cache_totals (id, entries, bytes) VALUES (1, 3, 90000)",
        ["SELECT entries FROM cache_totals", "SELECT COUNT(*) FROM cache"],
        || bounds::counted(cache::cleanup(1e6)),
    );
    assert!(failed.len() >= 4, "{failed:?}");
    let failed = clean_ups_with_little_room(
        StoreKind::Adaptive,
        "INSERT INTO adaptive_state (resource, last_user_at, activations)
           SELECT printf('%0500d', n), 1, 1 FROM numbers",
        [
            "SELECT COALESCE((SELECT SUM(value) FROM adaptive_totals), 0)
               + COALESCE((SELECT SUM(activations) FROM adaptive_state), 0)",
            "SELECT 200",
        ],
        || {
            adaptive::cleanup(adaptive::CallOnAll {
                configs: ResourceConfigs {
                    default: Resource::Wide.limit(),
                    named: Vec::new(),
                    shared: SharedLimits::NONE,
                },
                config: AdaptiveConfig::default(),
                divisions: Divisions::default(),
                now: 2e12,
            })
        },
    );
    assert!(failed.len() >= 4, "{failed:?}");
}
