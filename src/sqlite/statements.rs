//! A connection of SQLite's with the statements prepared on it. They stay prepared, and each is found by its number:
//! looking one up by its text takes a good part of the time of a short one.

use std::cell::RefCell;

use rusqlite::{Connection, PrepFlags, Statement as Prepared, StatementStatus};
use self_cell::self_cell;

use crate::core::error::Result;
use crate::core::schema::Statement;

/// What is run beside the stores' own statements.
#[derive(Clone, Copy, Debug)]
pub enum Control {
    /// Begin a transaction.
    Begin,
    /// Begin one, and take the write lock.
    BeginImmediate,
    /// Keep what it has done.
    Commit,
    /// Undo what it has done.
    Rollback,
    /// See [`Connection::data_version`](super::connection::Connection::data_version).
    DataVersion,
}

impl Control {
    const COUNT: usize = 5;

    const fn sql(self) -> &'static str {
        match self {
            Control::Begin => "BEGIN",
            Control::BeginImmediate => "BEGIN IMMEDIATE",
            Control::Commit => "COMMIT",
            Control::Rollback => "ROLLBACK",
            Control::DataVersion => "PRAGMA data_version",
        }
    }
}

const COUNT: usize = Statement::ALL.len() + Control::COUNT;

type All<'connection> = [RefCell<Option<Prepared<'connection>>>; COUNT];

self_cell!(
    struct Inner {
        owner: Connection,
        #[not_covariant]
        dependent: All,
    }
);

/// See the module's description.
pub struct Statements(Inner);

// SAFETY: a connection may go from thread to thread. Its statements, which refer to it, go with it: they are reachable
// through it alone, by whoever has it.
#[allow(unsafe_code)]
unsafe impl Send for Statements {}

impl Statements {
    /// Takes a connection over.
    pub fn new(connection: Connection) -> Self {
        Statements(Inner::new(connection, |_| std::array::from_fn(|_| RefCell::default())))
    }

    /// The connection.
    pub fn connection(&self) -> &Connection {
        self.0.borrow_owner()
    }

    /// Uses one of the stores' statements, which is prepared if it was not yet.
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn with<T>(&self, statement: Statement, work: impl FnOnce(&mut Prepared<'_>) -> Result<T>) -> Result<T> {
        self.with_number(statement as usize, statement.sql(), work)
    }

    /// As [`with`](Self::with).
    ///
    /// # Errors
    /// What SQLite refuses.
    pub fn with_control<T>(
        &self,
        control: Control,
        work: impl FnOnce(&mut Prepared<'_>) -> Result<T>,
    ) -> Result<T> {
        self.with_number(Statement::ALL.len() + control as usize, control.sql(), work)
    }

    /// How often SQLite has prepared them anew (sqlite.org/c3ref/c_stmtstatus_counter.html).
    pub fn preparations_anew(&self) -> i32 {
        let count = |place: &RefCell<Option<Prepared<'_>>>| {
            place.borrow().as_ref().map_or(0, |prepared| prepared.get_status(StatementStatus::RePrepare))
        };
        self.0.with_dependent(|_, all| all.iter().map(count).sum())
    }

    fn with_number<T>(
        &self,
        number: usize,
        sql: &str,
        work: impl FnOnce(&mut Prepared<'_>) -> Result<T>,
    ) -> Result<T> {
        self.0.with_dependent(|connection, all| {
            let mut place = all[number].borrow_mut();
            match place.as_mut() {
                Some(prepared) => work(prepared),
                None => {
                    let prepared = connection.prepare_with_flags(sql, PrepFlags::SQLITE_PREPARE_PERSISTENT)?;
                    work(place.insert(prepared))
                }
            }
        })
    }
}
