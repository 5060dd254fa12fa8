//! The user's own connection, passed as `database`. Its file is never opened here: two copies of SQLite in one process on one
//! file break its locks (sqlite.org/howtocorrupt.html, 2.2.1). All SQL goes through the connection's own methods,
//! on the JavaScript thread, so the user's pragmas, key and open transaction are what they are. What drivers do
//! differently is evened out in `lib/driver.js`.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use smallvec::{SmallVec, smallvec};

use super::environment::{AnswerHandler, Environment, FlushTarget};
use super::napi::env::{Env, Failure, Reference, Result, Value};
use super::realm::Realm;
use crate::core::codec;
use crate::core::error::{Error, Result as CoreResult, StoreKind};
use crate::core::operation::{Answer, BoundStatement, Changed, Operation, Results, Rows, StatementResult, Target};
use crate::core::schema::{self, SchemaConnection};
use crate::core::statements::Statement;
use crate::core::value::Value as SqlValue;
use crate::engine::batch::Progress;
use crate::engine::call::{AtOnce, Call, run_at_once};
use crate::engine::executor::{Executor, Refusal, Transaction, TransactionResult};
use crate::engine::grouping::{alone, group, ungroup};
use crate::engine::parameters::anonymous_parameters;
use crate::engine::scheduler::Scheduler;
use crate::sqlite::backup::Draft;
use crate::sqlite::clock::now;
use crate::sqlite::connection::check_room;
use crate::sqlite::watch::WatchEvent;

/// How many statements are handed over at a time.
const STATEMENTS_AT_ONCE: usize = 100;

/// What `lib/driver.js` makes of a connection: an object, and those of its functions that every call uses.
struct Driver {
    object: Reference,
    run_one: Reference,
    run_all: Reference,
    is_in_transaction: Reference,
}

/// A connection, shared by all stores that were given it.
pub struct UserConnection {
    env: Env,
    connection: Reference,
    driver: Driver,
    /// Whether text in BLOB columns can be read as text, which drivers are quicker with.
    is_utf8: Cell<bool>,
    /// Which statements the driver has prepared.
    prepared: RefCell<[bool; Statement::ALL.len()]>,
    scheduler: RefCell<Scheduler<AnswerHandler, Failure>>,
    /// The stores whose tables belong to it.
    kinds: RefCell<Vec<StoreKind>>,
    /// Whether entries of the cache are counted, as far as is known.
    counts_entries: Arc<AtomicBool>,
    /// The stores whose waiters poll when a deduplicated request may have changed.
    change_listeners: RefCell<Vec<usize>>,
    version: RefCell<Vec<SqlValue>>,
    has_version_statement: Cell<bool>,
}

thread_local! {
    /// The connections that stores of this thread were given.
    static ALL: RefCell<Vec<Weak<UserConnection>>> = const { RefCell::new(Vec::new()) };
}

impl UserConnection {
    /// The shared state of a connection, and a store's tables in it.
    ///
    /// # Errors
    /// [`Error::Argument`] if it is no connection whose statements answer at once; what its driver throws.
    pub fn open(env: Env, connection: Value, kind: StoreKind, realm: &Realm) -> Result<Rc<Self>> {
        let known =
            ALL.with_borrow(|all| all.iter().filter_map(Weak::upgrade).find(|open| open.is(env, connection)));
        let connection = match known {
            Some(connection) => connection,
            None => {
                let connection = Rc::new(Self::new(env, connection, realm)?);
                ALL.with_borrow_mut(|all| {
                    all.retain(|connection| connection.strong_count() > 0);
                    all.push(Rc::downgrade(&connection));
                });
                connection
            }
        };
        connection.add_kind(kind)?;
        Ok(connection)
    }

    /// Makes the tables of a store, or a part of them, where they are missing.
    pub fn add_kind(&self, kind: StoreKind) -> Result<()> {
        self.prepare_store(kind)?;
        let mut setup = SchemaSetup { connection: self, failure: None };
        let counts = kind == StoreKind::CacheBounds
            || (kind == StoreKind::Cache
                && schema::has_totals(&mut setup)
                    .map_err(|error| setup.failure.unwrap_or(Failure::Error(error)))?);
        if counts {
            self.counts_entries.store(true, Ordering::Relaxed);
        }
        self.note_kind(kind);
        Ok(())
    }

    fn note_kind(&self, kind: StoreKind) {
        let mut kinds = self.kinds.borrow_mut();
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }

    /// Whether entries of the cache are counted, as far as is known.
    pub fn counts_entries(&self) -> &Arc<AtomicBool> {
        &self.counts_entries
    }

    fn new(env: Env, connection: Value, realm: &Realm) -> Result<Self> {
        let driver = realm.driver(env, connection)?;
        if !env.is_object(driver) {
            let expected = "a file path, ':memory:', or an open connection whose statements answer at once";
            let answers_later = env.as_boolean(driver) == Some(true);
            let received = if answers_later {
                "one whose statements answer promises"
            } else {
                "an object whose statements do not"
            };
            return Err(Error::argument("database", expected, received).into());
        }
        let create_reference = |value| env.create_reference(value, true);
        let connection = UserConnection {
            env,
            connection: create_reference(connection)?,
            driver: Driver {
                object: create_reference(driver)?,
                run_one: create_reference(env.get(driver, c"runOne")?)?,
                run_all: create_reference(env.get(driver, c"runAll")?)?,
                is_in_transaction: create_reference(env.get(driver, c"isInTransaction")?)?,
            },
            is_utf8: Cell::new(false),
            prepared: RefCell::new([false; Statement::ALL.len()]),
            scheduler: RefCell::default(),
            kinds: RefCell::default(),
            counts_entries: Arc::default(),
            change_listeners: RefCell::default(),
            version: RefCell::default(),
            has_version_statement: Cell::new(false),
        };
        let encoding = connection.query("SELECT encoding AS c0 FROM pragma_encoding", 1)?;
        connection.is_utf8.set(encoding == [[SqlValue::from("UTF-8")]]);
        Ok(connection)
    }

    /// Whether this is the connection given.
    pub fn is(&self, env: Env, connection: Value) -> bool {
        env.reference_value(&self.connection).is_some_and(|own| env.strict_equals(own, connection))
    }

    fn reference_value(&self, reference: &Reference) -> Result<Value> {
        self.env
            .reference_value(reference)
            .ok_or_else(|| Error::Internal("the connection is gone".to_owned()).into())
    }

    /// Calls one of the driver's functions.
    fn call(&self, function: &Reference, arguments: &[Value]) -> Result<Value> {
        // `this` is unused.
        let function = self.reference_value(function)?;
        self.env.call(function, function, arguments)
    }

    /// Calls one of the driver's functions by name.
    fn invoke(&self, name: &CStr, arguments: &[Value]) -> Result<Value> {
        let driver = self.reference_value(&self.driver.object)?;
        self.env.call(driver, self.env.get(driver, name)?, arguments)
    }

    fn exec(&self, sql: &str) -> Result<()> {
        self.invoke(c"exec", &[self.env.string(sql)?]).map(drop)
    }

    fn query(&self, sql: &str, columns: usize) -> Result<Vec<Vec<SqlValue>>> {
        let rows = self.invoke(c"query", &[self.env.string(sql)?, self.env.number(columns as f64)])?;
        self.read_rows(rows, columns)
    }

    /// Copies the database to a file, on this thread.
    ///
    /// # Errors
    /// What the driver throws or the system refuses; while the user holds a transaction open.
    pub fn back_up(&self, target: &Path) -> Result<()> {
        self.refuse_in_transaction("backup()")?;
        let draft = Draft::new(target)?;
        let path = draft.path().to_string_lossy().replace('\'', "''");
        self.exec(&format!("VACUUM INTO '{path}'"))?;
        Ok(draft.publish()?)
    }

    /// Rebuilds the database, on this thread; answers how many bytes are free then.
    ///
    /// # Errors
    /// As [`back_up`](Self::back_up), and if there is no room.
    pub fn vacuum(&self) -> Result<f64> {
        self.refuse_in_transaction("vacuum()")?;
        let first = |sql: &str| -> Result<Option<SqlValue>> {
            Ok(self.query(sql, 1)?.into_iter().next().and_then(|row| row.into_iter().next()))
        };
        let number = |sql: &str| Ok::<f64, Failure>(first(sql)?.and_then(|value| value.number()).unwrap_or(0.0));
        const PAGES: &str = "SELECT page_count AS c0 FROM pragma_page_count";
        let page_size = number("SELECT page_size AS c0 FROM pragma_page_size")?;
        let pages = number(PAGES)?;
        let free = number("SELECT freelist_count AS c0 FROM pragma_freelist_count")?;
        let file = first("SELECT file AS c0 FROM pragma_database_list WHERE name = 'main'")?;
        let used = ((pages - free) * page_size).max(0.0) as u64;
        if let Some(file) = file.as_ref().and_then(SqlValue::text).filter(|file| !file.is_empty()) {
            check_room(Path::new(file), used)?;
        }
        self.exec("VACUUM")?;
        Ok((pages - number(PAGES)?).max(0.0) * page_size)
    }

    fn refuse_in_transaction(&self, method: &str) -> Result<()> {
        if !self.is_in_transaction() {
            return Ok(());
        }
        let message = format!("{method} must not be called while a transaction is open on the connection");
        Err(Error::Refused { code: "SQLITE_STORE_IN_TRANSACTION", message }.into())
    }

    fn argument(&self, value: &SqlValue) -> Result<Value> {
        match value {
            // The driver makes bytes of it.
            SqlValue::Json(text) => self.env.string(&String::from_utf8_lossy(&codec::encode(text))),
            value => self.env.parameter(value),
        }
    }

    fn read_row(&self, row: Value, columns: usize) -> Result<Vec<SqlValue>> {
        (0..columns).map(|index| Ok(self.env.to_sql(self.env.element(row, index as u32)?))).collect()
    }

    fn read_rows<R: FromIterator<Vec<SqlValue>>>(&self, rows: Value, columns: usize) -> Result<R> {
        let count = self.env.array_length(rows)?;
        (0..count).map(|index| self.read_row(self.env.element(rows, index)?, columns)).collect()
    }

    /// What the driver answered for a statement.
    fn read_answer(&self, statement: Statement, answer: Value) -> Result<StatementResult> {
        let env = self.env;
        let columns = statement.columns();
        if columns == 0 {
            let changes = env.as_number(answer).unwrap_or(0.0) as u64;
            return Ok(StatementResult { changes, ..StatementResult::default() });
        }
        let rows = if statement.has_many_rows() {
            self.read_rows(answer, columns)?
        } else if env.is_object(answer) {
            smallvec![self.read_row(answer, columns)?]
        } else {
            Rows::new()
        };
        Ok(StatementResult { rows, ..StatementResult::default() })
    }

    fn prepare(&self, statement: Statement, values: &[&SqlValue]) -> Result<()> {
        let is_json = |index: usize| matches!(values.get(index), Some(SqlValue::Json(_)));
        // A driver is quicker with text than with bytes.
        let (sql, blob) = if self.is_utf8.get() {
            let spelling = |index| if is_json(index) { "CAST(? AS BLOB)" } else { "?" };
            (anonymous_parameters(&with_json_as_text(statement), spelling), None)
        } else {
            (anonymous_parameters(statement.sql(), |_| "?"), (0..values.len()).find(|index| is_json(*index)))
        };
        let shape = Shape {
            columns: statement.columns(),
            has_many_rows: statement.has_many_rows(),
            values: values.len(),
            blob,
            later_table: statement.may_lack_table().then_some(schema::LATER_TABLE),
        };
        self.prepare_as(statement as usize, sql, shape)?;
        self.prepared.borrow_mut()[statement as usize] = true;
        Ok(())
    }

    fn prepare_as(&self, number: usize, (sql, parameters): (String, Vec<usize>), shape: Shape) -> Result<()> {
        let Shape { columns, has_many_rows, values, blob, later_table } = shape;
        let env = self.env;
        let order = env.array()?;
        for (index, parameter) in (0..).zip(parameters) {
            env.set_element(order, index, env.number(parameter as f64))?;
        }
        let arguments = [
            env.number(number as f64),
            env.string(&sql)?,
            env.number(columns as f64),
            env.boolean(has_many_rows),
            env.number(values as f64),
            order,
            env.number(blob.map_or(-1.0, |index| index as f64)),
            later_table.map_or_else(|| Ok(env.undefined()), |table| env.string(table))?,
        ];
        self.invoke(c"prepare", &arguments).map(drop)
    }

    /// Adds a statement and its values to the arguments of a call.
    fn push_arguments<'values>(
        &self,
        statement: Statement,
        values: impl Iterator<Item = &'values SqlValue> + Clone,
        arguments: &mut impl Extend<Value>,
    ) -> Result<()> {
        if !self.prepared.borrow()[statement as usize] {
            self.prepare(statement, &values.clone().collect::<Vec<_>>())?;
        }
        arguments.extend([self.env.number(f64::from(statement as u32))]);
        for value in values {
            arguments.extend([self.argument(value)?]);
        }
        Ok(())
    }

    fn run_statement(&self, bound: &BoundStatement) -> Result<StatementResult> {
        let mut arguments = SmallVec::<[Value; 10]>::new();
        self.push_arguments(bound.statement, bound.values.iter(), &mut arguments)?;
        self.read_answer(bound.statement, self.call(&self.driver.run_one, &arguments)?)
    }

    /// Runs lists of statements in a transaction that is open.
    fn run_all(&self, lists: &[&[BoundStatement]]) -> Result<Vec<Results>> {
        // Text that is bound as a BLOB can be so in one place of a statement only.
        let groups = if self.is_utf8.get() { group(lists) } else { alone(lists).collect() };
        let mut rows = Vec::with_capacity(groups.len());
        let mut arguments = Vec::new();
        for chunk in groups.chunks(STATEMENTS_AT_ONCE) {
            arguments.clear();
            for group in chunk {
                self.push_arguments(group.statement, group.values(), &mut arguments)?;
            }
            let answers = self.call(&self.driver.run_all, &arguments)?;
            for (index, group) in (0..).zip(chunk) {
                rows.push(self.read_answer(group.statement, self.env.element(answers, index)?)?);
            }
        }
        Ok(ungroup(lists, &groups, rows))
    }

    /// Whether the user holds a transaction open, as far as the driver says.
    fn is_in_transaction(&self) -> bool {
        let answer = self.call(&self.driver.is_in_transaction, &[]);
        answer.is_ok_and(|answer| self.env.as_boolean(answer) == Some(true))
    }

    /// Runs `work` atomically: in a transaction of its own or, within the user's, under a savepoint.
    fn atomically<T>(&self, work: impl FnOnce() -> Result<T>) -> std::result::Result<T, Refusal<Failure>> {
        let is_transaction =
            self.invoke(c"begin", &[]).map_err(|failure| self.refused(failure, Refusal::Unclear))?;
        let end = |keep| self.invoke(c"end", &[is_transaction, self.env.boolean(keep)]);
        let result = match work() {
            Ok(value) => end(true).map(|_| value).map_err(|failure| self.refused(failure, Refusal::Unclear)),
            Err(failure) => Err(self.refused(failure, Refusal::Undone)),
        };
        if result.is_err() {
            // Some failures have rolled back already.
            let _ = end(false);
        }
        result
    }

    /// Runs `work`, which only reads, on one state of the database.
    fn on_one_state<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let is_transaction = self.invoke(c"beginRead", &[])?;
        let result = work();
        if self.env.as_boolean(is_transaction) == Some(true) {
            self.invoke(c"end", &[is_transaction, self.env.boolean(true)])?;
        }
        result
    }

    /// A refusal for want of a lock, which left nothing, or another. The driver has waited for the lock.
    fn refused(&self, failure: Failure, other: fn(Failure) -> Refusal<Failure>) -> Refusal<Failure> {
        if self.is_busy(&failure) { Refusal::Busy(failure) } else { other(failure) }
    }

    fn transact(&self, transaction: &Transaction<'_>) -> TransactionResult<Failure> {
        match transaction.lists {
            // A single statement is a transaction by itself.
            [list] if list.len() < 2 => {
                let rows: Result<Results> = list.iter().map(|bound| self.run_statement(bound)).collect();
                rows.map(|rows| vec![rows]).map_err(|failure| self.refused(failure, Refusal::Unclear))
            }
            lists if transaction.writes => self.atomically(|| self.run_all(lists)),
            lists => {
                self.on_one_state(|| self.run_all(lists)).map_err(|failure| self.refused(failure, Refusal::Undone))
            }
        }
    }

    /// Runs a transaction; once more, if a table of a store's was missing that could be made anew.
    fn transact_mending(&self, transaction: &Transaction<'_>) -> TransactionResult<Failure> {
        let result = self.transact(transaction);
        match &result {
            Err(Refusal::Undone(failure) | Refusal::Unclear(failure))
                if self.make_missing(failure).unwrap_or(false) =>
            {
                self.transact(transaction)
            }
            _ => result,
        }
    }

    /// Makes the tables that something was refused for want of; answers whether it has.
    fn make_missing(&self, failure: &Failure) -> Result<bool> {
        if let Some(kind) = self.needed_table(failure) {
            if self.prepare_store(kind).is_ok() {
                return Ok(true);
            }
            // The table that it is about is missing, too.
            self.note_kind(kind);
        }
        let is_missing = self.message(failure).is_some_and(|message| schema::is_missing(&message));
        if is_missing { self.make_tables() } else { Ok(false) }
    }

    /// The tables, not made with a store's, that something was refused for want of.
    fn needed_table(&self, failure: &Failure) -> Option<StoreKind> {
        schema::made_when_needed(&self.message(failure)?)
    }

    fn message(&self, failure: &Failure) -> Option<String> {
        let Failure::Thrown(thrown) = failure else { return None };
        self.env.get(*thrown, c"message").ok().and_then(|message| self.env.as_string(message))
    }

    /// Makes the tables of all stores, where they are missing, in a transaction of its own; answers whether it has: not
    /// within the user's.
    fn make_tables(&self) -> Result<bool> {
        if self.is_in_transaction() {
            return Ok(false);
        }
        // A driver may not have told.
        let is_transaction = self.invoke(c"begin", &[])?;
        let is_own = self.env.as_boolean(is_transaction) == Some(true);
        let mut setup = SchemaSetup { connection: self, failure: None };
        let made = is_own && self.kinds.borrow().iter().all(|kind| schema::create(&mut setup, *kind).is_ok());
        let end = |keep| self.invoke(c"end", &[is_transaction, self.env.boolean(keep)]);
        end(made).inspect_err(|_| drop(end(false)))?;
        Ok(made)
    }

    fn prepare_store(&self, kind: StoreKind) -> Result<()> {
        let mut setup = SchemaSetup { connection: self, failure: None };
        let done = schema::is_complete(&mut setup, kind).and_then(|complete| {
            if complete {
                return Ok(());
            }
            let mut inner = SchemaSetup { connection: self, failure: None };
            match self.atomically(|| schema::create(&mut inner, kind).map_err(Failure::from)) {
                Ok(()) => Ok(()),
                Err(refusal) => {
                    setup.failure = inner.failure.or(Some(refusal.into_error()));
                    Err(Error::Internal("the store's tables cannot be made".to_owned()))
                }
            }
        });
        done.map_err(|error| setup.failure.unwrap_or(Failure::Error(error)))
    }

    /// Submits a call: a read is carried out at once if that keeps the order, all else is queued. Answers what it
    /// came to, or nothing if it is queued; `handler` is asked for only then. What is called within a
    /// transaction of the user's is carried out at once too, to be part of it.
    pub fn submit(
        self: &Rc<Self>,
        environment: &Environment,
        operation: Operation,
        handler: impl FnOnce() -> AnswerHandler,
    ) -> Option<Result<Answer>> {
        let run = |operation: &Operation| {
            let may_run = operation.may_overtake
                || (operation.read_only && operation.statements.iter().all(|bound| self.may_read(bound.target())));
            if !may_run {
                return None;
            }
            let rows = self.transact_mending(&Transaction { lists: &[&operation.statements], writes: false });
            Some(rows.map(|mut rows| rows.pop().unwrap_or_default()).map_err(Refusal::into_error))
        };
        match run_at_once(operation, now, run) {
            AtOnce::Answered(answer, next) => {
                if let Some(next) = next.filter(|next| !self.scheduler.borrow().already_tidies(next)) {
                    self.enqueue(next, None);
                }
                Some(answer)
            }
            AtOnce::Queue(operation) => {
                self.enqueue(operation, Some(handler()));
                if self.is_in_transaction() {
                    self.drain(environment);
                }
                None
            }
        }
    }

    /// Carries out what is queued, to the end of long clean-ups.
    pub fn drain(self: &Rc<Self>, environment: &Environment) {
        while self.needs_flush() {
            self.flush(self.env, environment);
        }
    }

    /// Puts an operation at the end of the queue, for the next flush.
    pub fn enqueue(&self, operation: Operation, handler: Option<AnswerHandler>) {
        let call = Call { operation, reply: handler, made_at: now(), deadline: None };
        self.scheduler.borrow_mut().submit(call);
    }

    /// Whether a read of this target waits for nothing that was called before it.
    pub fn may_read(&self, target: Target<'_>) -> bool {
        self.scheduler.borrow().may_read(target)
    }

    /// Whether something is queued that is not being carried out.
    pub fn needs_flush(&self) -> bool {
        self.scheduler.borrow().is_ready()
    }

    /// Carries out what is queued, as one transaction. Long clean-ups go on in later turns of the event loop.
    pub fn flush(self: &Rc<Self>, env: Env, environment: &Environment) {
        loop {
            let batch = self.scheduler.borrow_mut().next_batch(usize::MAX, usize::MAX);
            let Some(mut batch) = batch else { return };
            // The driver has waited for the lock as long as it is told to; not once more for each.
            if let Progress::Busy(failure) = batch.run(&mut &**self, now()) {
                batch.refuse(&failure);
            }
            let mut completed = batch.complete(now());
            let has_rest = self.scheduler.borrow_mut().end(batch, &mut completed);
            for (handler, answer) in completed.answers {
                handler(env, answer);
            }
            if let Some(changed) = &completed.changed {
                self.wake(environment, changed);
            }
            if has_rest {
                environment.flush_next_turn(&Rest(Rc::clone(self)));
                return;
            }
        }
    }

    fn is_busy(&self, failure: &Failure) -> bool {
        let Failure::Thrown(thrown) = failure else { return false };
        let code = self.env.get(*thrown, c"code").ok().and_then(|code| self.env.as_string(code));
        code.is_some_and(|code| code.starts_with("SQLITE_BUSY"))
    }

    /// Has a store's waiters poll when another store on this connection changes something.
    pub fn add_change_listener(&self, store: usize) {
        self.change_listeners.borrow_mut().push(store);
    }

    /// See [`add_change_listener`](Self::add_change_listener).
    pub fn remove_change_listener(&self, store: usize) {
        self.change_listeners.borrow_mut().retain(|other| *other != store);
    }

    fn wake(&self, environment: &Environment, changed: &Changed) {
        for store in self.change_listeners.borrow().iter() {
            environment.mailbox().notify(*store, WatchEvent::Changed(changed.clone()));
        }
    }

    /// Whether the database may have changed since this was last asked.
    pub fn has_changed(&self) -> bool {
        match self.read_version() {
            Ok(version) => self.version.replace(version.clone()) != version,
            Err(_) => false,
        }
    }

    fn read_version(&self) -> Result<Vec<SqlValue>> {
        // The counter leaves out what this connection changed, which the application may have done itself.
        const SQL: &str = "SELECT (SELECT data_version FROM pragma_data_version()) AS c0, total_changes() AS c1";
        const COLUMNS: usize = 2;
        // Known to the driver by the number after the last of the stores' own.
        let number = Statement::ALL.len();
        if !self.has_version_statement.get() {
            let shape = Shape { columns: COLUMNS, ..Shape::default() };
            self.prepare_as(number, (SQL.to_owned(), Vec::new()), shape)?;
            self.has_version_statement.set(true);
        }
        let row = self.call(&self.driver.run_one, &[self.env.number(number as f64)])?;
        if self.env.is_object(row) { self.read_row(row, COLUMNS) } else { Ok(Vec::new()) }
    }
}

/// What `lib/driver.js` is told of a statement.
#[derive(Default)]
struct Shape {
    /// How many columns its rows have.
    columns: usize,
    has_many_rows: bool,
    /// How many values it is given.
    values: usize,
    /// Which of them is bound as a BLOB.
    blob: Option<usize>,
    /// A table that may not be there yet.
    later_table: Option<&'static str>,
}

/// What is left of a long clean-up.
#[derive(Clone)]
struct Rest(Rc<UserConnection>);

impl FlushTarget for Rest {
    fn address(&self) -> usize {
        Rc::as_ptr(&self.0).addr()
    }

    fn flush(&self, env: Env, environment: &Environment) {
        self.0.flush(env, environment);
    }

    fn drain(&self, _env: Env, environment: &Environment) {
        self.0.drain(environment);
    }
}

impl Drop for UserConnection {
    fn drop(&mut self) {
        if Environment::has_ended() {
            return;
        }
        let Driver { object, run_one, run_all, is_in_transaction } = &mut self.driver;
        for reference in [&mut self.connection, object, run_one, run_all, is_in_transaction] {
            self.env.drop_reference(std::mem::replace(reference, Reference::NONE));
        }
    }
}

impl Executor for &UserConnection {
    type Error = Failure;

    fn run(&mut self, transaction: Transaction<'_>) -> Option<TransactionResult<Failure>> {
        let result = catch_unwind(AssertUnwindSafe(|| self.transact_mending(&transaction)));
        Some(result.unwrap_or_else(|_| Err(Refusal::Unclear(Error::panic().into()))))
    }
}

/// The connection as the schema needs it. What JavaScript threw is kept aside: the schema passes on errors of ours.
struct SchemaSetup<'a> {
    connection: &'a UserConnection,
    failure: Option<Failure>,
}

impl SchemaSetup<'_> {
    fn keep<T>(&mut self, result: Result<T>) -> CoreResult<T> {
        result.map_err(|failure| match failure {
            Failure::Error(error) => error,
            thrown @ Failure::Thrown(_) => {
                self.failure = Some(thrown);
                Error::Internal("the connection refused".to_owned())
            }
        })
    }
}

impl SchemaConnection for SchemaSetup<'_> {
    fn execute_script(&mut self, sql: &str) -> CoreResult<()> {
        let done = self.connection.exec(sql);
        self.keep(done)
    }

    fn query(&mut self, sql: &str) -> CoreResult<Vec<Vec<SqlValue>>> {
        let rows = self.connection.query(sql, 1);
        self.keep(rows)
    }
}

/// The statement's text, such that it answers what lies in BLOB columns as text.
fn with_json_as_text(statement: Statement) -> Cow<'static, str> {
    let sql = statement.sql();
    match statement {
        Statement::CacheGet => sql.replacen("value AS", "CAST(value AS TEXT) AS", 1).into(),
        Statement::DedupeJob | Statement::DedupePoll => {
            sql.replacen("j.result AS", "CAST(j.result AS TEXT) AS", 1).into()
        }
        _ => sql.into(),
    }
}
