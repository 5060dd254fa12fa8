//! How much work a statement may be, and how much memory its changes may take: past that SQLite stops it.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr;

use rusqlite::{Connection, ffi};

/// After how many steps of SQLite's virtual machine it is looked how many are left.
const PERIOD: c_int = 1_000;

/// What one statement may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Steps of SQLite's virtual machine. A row that is looked at takes about four, one that is written about thirty.
    steps: u64,
    /// Bytes by which the pages in memory may grow: those that a transaction changes are kept there until it ends.
    bytes: c_int,
}

impl Budget {
    /// Of a statement that is to be short: half a second, five million requests in a window.
    pub const BOUNDED: Budget = Budget { steps: 20_000_000, bytes: 128 << 20 };
    /// Of one that may go through a table, or stores a large value: five seconds, fifty million rows.
    pub const UNBOUNDED: Budget = Budget { steps: 200_000_000, bytes: 3 << 29 };

    /// Of the indexes that are built in a file of so many bytes, which fires no triggers: at most hundreds of millions of rows,
    /// all in memory. A row takes about sixty steps for five indexes, and is not in the file with less than twelve bytes: what
    /// takes more goes in circles.
    pub fn of_schema(bytes_in_file: u64) -> Budget {
        const MOST: u64 = 20_000_000_000;
        let steps = bytes_in_file.saturating_mul(16).saturating_add(1_000_000).min(MOST);
        Budget { steps, bytes: c_int::MAX }
    }
}

/// Stops the statements of a connection that take more than they may.
pub struct Meter(Box<State>);

struct State {
    database: *mut ffi::sqlite3,
    budget: Cell<Budget>,
    steps_left: Cell<u64>,
    /// How much memory the pages took when it was first looked.
    first_bytes: Cell<Option<c_int>>,
    has_stopped: Cell<bool>,
}

// SAFETY: the pointer is the connection's, which is used by one thread at a time, and the meter with it.
unsafe impl Send for Meter {}

impl Meter {
    /// Of a connection.
    ///
    /// # Safety
    /// The connection must be dropped first.
    pub unsafe fn of(connection: &Connection) -> Self {
        let budget = Budget::BOUNDED;
        // SAFETY: the handle is open.
        let database = unsafe { connection.handle() };
        let state = Box::new(State {
            database,
            budget: Cell::new(budget),
            steps_left: Cell::new(budget.steps),
            first_bytes: Cell::new(None),
            has_stopped: Cell::new(false),
        });
        let context = ptr::from_ref(&*state).cast_mut().cast::<c_void>();
        // SAFETY: the state has a place of its own, and lives as long as the connection, by the caller's promise.
        unsafe { ffi::sqlite3_progress_handler(database, PERIOD, Some(look), context) };
        Meter(state)
    }

    /// What each statement may take from now on. Answers what it might before.
    pub fn set(&self, budget: Budget) -> Budget {
        let before = self.0.budget.replace(budget);
        self.begin();
        before
    }

    /// A statement begins.
    pub fn begin(&self) {
        self.0.steps_left.set(self.0.budget.get().steps);
        self.0.first_bytes.set(None);
    }

    /// Whether it has ever stopped one.
    pub fn has_stopped(&self) -> bool {
        self.0.has_stopped.get()
    }
}

unsafe extern "C" fn look(context: *mut c_void) -> c_int {
    // SAFETY: the state that `Meter::of` gave; SQLite calls it on the thread that runs a statement.
    let state = unsafe { &*context.cast::<State>() };
    let budget = state.budget.get();
    let left = state.steps_left.get().checked_sub(PERIOD as u64);
    let bytes = cached_bytes(state.database);
    let first = state.first_bytes.get().unwrap_or(bytes);
    state.first_bytes.set(Some(first));
    let is_over = left.is_none() || bytes.saturating_sub(first) > budget.bytes;
    // What SQLite does to end the statement is to get to its own end.
    state.steps_left.set(left.filter(|_| !is_over).unwrap_or(budget.steps));
    if is_over {
        state.has_stopped.set(true);
    }
    c_int::from(is_over)
}

fn cached_bytes(database: *mut ffi::sqlite3) -> c_int {
    let (mut now, mut highest) = (0, 0);
    // SAFETY: the handle is open while it runs a statement; the call writes what it is given.
    unsafe { ffi::sqlite3_db_status(database, ffi::SQLITE_DBSTATUS_CACHE_USED, &raw mut now, &raw mut highest, 0) };
    now
}
