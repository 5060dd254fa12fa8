//! A connection that the user handed in. Its file is never opened here: two copies of SQLite in one process on one
//! file break its locks (sqlite.org/howtocorrupt.html, 2.2.1). All SQL goes through the connection's own methods,
//! on the JavaScript thread, so the user's pragmas, key and open transaction are what they are. Known by behaviour:
//! `prepare(sql)` answering an object with `run`, `get` and `all`, and `exec(sql)`.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::ffi::CStr;
use std::rc::{Rc, Weak};

use super::environment::{Continuation, Environment, Queue};
use super::js::{Failure, Js, Reference, Result, Type, Value};
use crate::core::codec;
use crate::core::error::{Error, Result as CoreResult, StoreKind};
use crate::core::plan::{Operation, Outcome, PlanRows, Step, StepRows, Weight};
use crate::core::schema::{self, SchemaConnection, Statement};
use crate::core::value::Value as SqlValue;
use crate::sqlite::watch::Signal as Notice;

/// The names of columns, in order.
const COLUMNS: [&CStr; 9] = [c"c0", c"c1", c"c2", c"c3", c"c4", c"c5", c"c6", c"c7", c"c8"];

/// How a driver takes the values of parameters.
#[derive(Clone, Copy, PartialEq)]
enum Binding {
    /// As one array: better-sqlite3 and what follows it. The one form in which libsql takes a lone `Buffer`.
    Array,
    /// One by one: node:sqlite, which takes an array for names.
    Spread,
}

struct Prepared {
    statement: Reference,
    /// Its method that runs it: `run`, `get` or `all`.
    method: Reference,
    /// Which of the operation's values stands for each `?`.
    parameters: Vec<usize>,
}

struct Queued {
    operation: Operation,
    continuation: Option<Continuation>,
}

/// A connection, shared by all stores that were given it.
pub struct Given {
    js: Js,
    connection: Reference,
    binding: Cell<Binding>,
    statements: RefCell<HashMap<Statement, Prepared>>,
    queue: RefCell<VecDeque<Queued>>,
    /// The stores whose waiters look again when a deduplicated request may have changed.
    watchers: RefCell<Vec<usize>>,
    version: RefCell<Option<Vec<SqlValue>>>,
}

thread_local! {
    /// The connections that stores of this thread were given.
    static ALL: RefCell<Vec<Weak<Given>>> = const { RefCell::new(Vec::new()) };
}

/// Whether a value is an open connection, as far as can be told.
pub fn is_connection(js: Js, value: Value) -> bool {
    js.is_object(value)
        && [c"prepare", c"exec"]
            .iter()
            .all(|name| js.get(value, name).is_ok_and(|method| js.type_of(method) == Type::Function))
}

impl Given {
    /// The shared state of a connection, and a store's tables in it.
    pub fn open(js: Js, connection: Value, kind: StoreKind) -> Result<Rc<Self>> {
        let known =
            ALL.with_borrow(|all| all.iter().filter_map(Weak::upgrade).find(|given| given.is(js, connection)));
        let given = match known {
            Some(given) => given,
            None => {
                let given = Rc::new(Given {
                    js,
                    connection: js.refer(connection, true)?,
                    binding: Cell::new(Binding::Array),
                    statements: RefCell::default(),
                    queue: RefCell::default(),
                    watchers: RefCell::default(),
                    version: RefCell::new(None),
                });
                given.find_binding()?;
                ALL.with_borrow_mut(|all| {
                    all.retain(|given| given.strong_count() > 0);
                    all.push(Rc::downgrade(&given));
                });
                given
            }
        };
        given.prepare_store(kind)?;
        Ok(given)
    }

    /// Whether this is the connection given.
    pub fn is(&self, js: Js, connection: Value) -> bool {
        js.deref(&self.connection).is_some_and(|own| js.strict_equals(own, connection))
    }

    fn connection(&self) -> Result<Value> {
        let connection = self.js.deref(&self.connection);
        connection.ok_or_else(|| Error::Internal("the connection is gone".to_owned()).into())
    }

    /// Calls a method of an object.
    fn invoke(&self, object: Value, method: &CStr, arguments: &[Value]) -> Result<Value> {
        self.js.call(object, self.js.get(object, method)?, arguments)
    }

    fn exec(&self, sql: &str) -> Result<()> {
        self.invoke(self.connection()?, c"exec", &[self.js.string(sql)?]).map(drop)
    }

    /// Tries which form of parameters the driver understands; refuses what is no synchronous driver.
    fn find_binding(&self) -> Result<()> {
        let js = self.js;
        let sql = js.string("SELECT ? AS c0, ? AS c1")?;
        let statement = self.invoke(self.connection()?, c"prepare", &[sql])?;
        let is_statement = js.is_object(statement)
            && [c"run", c"get", c"all"]
                .iter()
                .all(|name| js.get(statement, name).is_ok_and(|method| js.type_of(method) == Type::Function));
        let values = [SqlValue::from("one"), SqlValue::from("two")];
        for binding in [Binding::Array, Binding::Spread] {
            self.binding.set(binding);
            let row = || self.get_row(statement, &self.arguments(&values, &[0, 1])?, 2);
            if is_statement && row().is_ok_and(|row| row.is_none_or(|row| row == values)) {
                return Ok(());
            }
        }
        let expected = "a file path, ':memory:', or an open connection whose statements answer at once";
        Err(Error::argument("database", expected, "an object whose statements do not").into())
    }

    fn arguments(&self, values: &[SqlValue], parameters: &[usize]) -> Result<Vec<Value>> {
        let js = self.js;
        let values = parameters.iter().map(|index| match &values[*index] {
            SqlValue::Null => Ok(js.null()),
            SqlValue::Integer(integer) => Ok(js.number(*integer as f64)),
            SqlValue::Real(real) => Ok(js.number(*real)),
            SqlValue::Text(text) => js.string(text),
            SqlValue::Blob(bytes) => js.buffer(bytes),
            SqlValue::Json(text) => js.buffer(&codec::encode(text)),
        });
        if self.binding.get() == Binding::Spread {
            return values.collect();
        }
        let array = js.internal_array()?;
        for (index, value) in (0..).zip(values) {
            js.set_element(array, index, value?)?;
        }
        Ok(vec![array])
    }

    fn read_row(&self, row: Value, columns: usize) -> Result<Vec<SqlValue>> {
        let js = self.js;
        // Arrays where the user asked the driver for them.
        let is_array = js.is_array(row);
        (0..columns)
            .zip(COLUMNS)
            .map(|(index, name)| {
                let value = if is_array { js.element(row, index as u32) } else { js.get(row, name) };
                Ok(js.to_sql(value?))
            })
            .collect()
    }

    fn get_row(&self, statement: Value, arguments: &[Value], columns: usize) -> Result<Option<Vec<SqlValue>>> {
        let row = self.invoke(statement, c"get", arguments)?;
        self.read_optional_row(row, columns)
    }

    /// Drivers answer `undefined` or `null` where there is no row.
    fn read_optional_row(&self, row: Value, columns: usize) -> Result<Option<Vec<SqlValue>>> {
        if self.js.is_object(row) { self.read_row(row, columns).map(Some) } else { Ok(None) }
    }

    fn read_rows(&self, rows: Value, columns: usize) -> Result<Vec<Vec<SqlValue>>> {
        if !self.js.is_object(rows) {
            return Ok(Vec::new());
        }
        let count = self.js.array_length(rows)?;
        (0..count).map(|index| self.read_row(self.js.element(rows, index)?, columns)).collect()
    }

    fn run_step(&self, step: &Step) -> Result<StepRows> {
        let js = self.js;
        let columns = step.statement.columns();
        if !self.statements.borrow().contains_key(&step.statement) {
            let (sql, parameters) = anonymous_parameters(step.statement.sql());
            let statement = self.invoke(self.connection()?, c"prepare", &[js.string(&sql)?])?;
            let method = match columns {
                0 => c"run",
                _ if step.statement.has_many_rows() => c"all",
                _ => c"get",
            };
            let method = js.refer(js.get(statement, method)?, true)?;
            let prepared = Prepared { statement: js.refer(statement, true)?, method, parameters };
            self.statements.borrow_mut().insert(step.statement, prepared);
        }
        let (statement, method, arguments) = {
            let statements = self.statements.borrow();
            let gone = || Failure::from(Error::Internal("a statement is gone".to_owned()));
            let prepared = statements.get(&step.statement).ok_or_else(gone)?;
            let statement = js.deref(&prepared.statement).ok_or_else(gone)?;
            let method = js.deref(&prepared.method).ok_or_else(gone)?;
            (statement, method, self.arguments(&step.values, &prepared.parameters)?)
        };
        let answer = js.call(statement, method, &arguments)?;
        if columns == 0 {
            let changes = if js.is_object(answer) { js.to_sql(js.get(answer, c"changes")?).number() } else { None };
            return Ok(StepRows { rows: Vec::new(), changes: changes.unwrap_or(0.0) as u64 });
        }
        let rows = if step.statement.has_many_rows() {
            self.read_rows(answer, columns)?
        } else {
            self.read_optional_row(answer, columns)?.into_iter().collect()
        };
        Ok(StepRows { rows, changes: 0 })
    }

    fn run(&self, steps: &[Step]) -> Result<PlanRows> {
        steps.iter().map(|step| self.run_step(step)).collect()
    }

    /// Fails with the driver's own message if the user has closed the connection. Some drivers' statements go on
    /// working then, and some abort the process when asked anything else.
    fn check_open(&self) -> Result<()> {
        let js = self.js;
        let connection = self.connection()?;
        for name in [c"open", c"isOpen"] {
            match js.as_boolean(js.get(connection, name)?) {
                Some(true) => return Ok(()),
                Some(false) => {
                    self.invoke(connection, c"prepare", &[js.string("SELECT 1")?])?;
                    return Err(Error::Internal("the connection is closed".to_owned()).into());
                }
                None => {}
            }
        }
        // A driver without either says so here.
        self.in_transaction().map(drop)
    }

    /// Whether the user holds a transaction open; `None` if the driver does not say.
    fn in_transaction(&self) -> Result<Option<bool>> {
        let connection = self.connection()?;
        for name in [c"inTransaction", c"isTransaction"] {
            if let Some(is_open) = self.js.as_boolean(self.js.get(connection, name)?) {
                return Ok(Some(is_open));
            }
        }
        Ok(None)
    }

    /// Begins a transaction; answers whether it did, that is, whether there was none.
    fn begin(&self) -> Result<bool> {
        match self.in_transaction()? {
            Some(true) => Ok(false),
            Some(false) => self.exec("BEGIN IMMEDIATE").map(|()| true),
            None => match self.exec("BEGIN IMMEDIATE") {
                Ok(()) => Ok(true),
                Err(Failure::Thrown(thrown))
                    if self.js.display(thrown).is_some_and(|text| text.contains("within a transaction")) =>
                {
                    Ok(false)
                }
                Err(failure) => Err(failure),
            },
        }
    }

    /// Runs `work` atomically: in a transaction of its own or, within the user's, under a savepoint.
    fn atomically<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let began = self.begin()?;
        if !began {
            self.exec("SAVEPOINT sqlite_store")?;
        }
        let worked = work();
        let (keep, undo) = if began {
            ("COMMIT", "ROLLBACK")
        } else {
            ("RELEASE sqlite_store", "ROLLBACK TO sqlite_store; RELEASE sqlite_store")
        };
        let result = worked.and_then(|value| self.exec(keep).map(|()| value));
        if result.is_err() {
            // Some failures have rolled back already.
            let _ = self.exec(undo);
        }
        result
    }

    fn prepare_store(&self, kind: StoreKind) -> Result<()> {
        let mut setup = Setup { given: self, failure: None };
        let done = schema::is_complete(&mut setup, kind).and_then(|complete| {
            if complete {
                return Ok(());
            }
            let mut inner = Setup { given: self, failure: None };
            match self.atomically(|| schema::create(&mut inner, kind).map_err(Failure::from)) {
                Ok(()) => Ok(()),
                Err(failure) => {
                    setup.failure = inner.failure.or(Some(failure));
                    Err(Error::Internal("the store's tables cannot be made".to_owned()))
                }
            }
        });
        done.map_err(|error| setup.failure.unwrap_or(Failure::Error(error)))
    }

    /// Hands in a call: a read is carried out at once if that keeps the order, all else is queued. Answers what it
    /// came to, or nothing if it is queued; `continuation` is asked for only then. What is called within a
    /// transaction of the user's is carried out at once too, to be part of it.
    pub fn submit(
        self: &Rc<Self>,
        environment: &Environment,
        mut operation: Operation,
        continuation: impl FnOnce() -> Continuation,
    ) -> Option<Result<crate::core::plan::Answer>> {
        while operation.read_only && self.queue.borrow().is_empty() {
            if let Err(failure) = self.check_open() {
                return Some(Err(failure));
            }
            match self.run(&operation.steps).map(operation.outcome) {
                Ok(Outcome::Answer(answer)) => return Some(Ok(answer)),
                Ok(Outcome::AnswerThen(answer, next)) => {
                    self.enqueue(next, None);
                    return Some(Ok(answer));
                }
                Ok(Outcome::Continue(next)) => operation = next,
                Err(failure) => return Some(Err(failure)),
            }
        }
        self.enqueue(operation, Some(continuation()));
        if self.check_open().is_ok() && matches!(self.in_transaction(), Ok(Some(true))) {
            self.drain(environment);
        }
        None
    }

    /// Carries out what is queued, to the end of long clean-ups.
    pub fn drain(self: &Rc<Self>, environment: &Environment) {
        while self.needs_flush() {
            self.flush(self.js, environment);
        }
    }

    /// Puts an operation at the end of the queue, for the next flush.
    pub fn enqueue(&self, operation: Operation, continuation: Option<Continuation>) {
        self.queue.borrow_mut().push_back(Queued { operation, continuation });
    }

    /// Whether something is queued.
    pub fn needs_flush(&self) -> bool {
        !self.queue.borrow().is_empty()
    }

    /// Carries out what is queued, as one transaction. Long clean-ups go on in later turns of the event loop.
    pub fn flush(self: &Rc<Self>, js: Js, environment: &Environment) {
        loop {
            let batch: Vec<Queued> = {
                let mut queue = self.queue.borrow_mut();
                // Up to one that may go on: what it goes on with comes before later calls.
                let last = queue.iter().position(|queued| queued.operation.goes_on);
                let length = last.map_or(queue.len(), |last| last + 1);
                queue.drain(..length).collect()
            };
            if batch.is_empty() {
                return;
            }
            let finished = self.run_batch(batch);
            let mut has_rest = false;
            let mut wakes = false;
            for (Queued { operation, continuation }, rows) in finished {
                wakes |= operation.wakes_waiters && rows.is_ok();
                let in_place = operation.goes_on;
                let answer = match rows.map(operation.outcome) {
                    Ok(Outcome::Answer(answer)) => Ok(answer),
                    Ok(Outcome::AnswerThen(answer, next)) if in_place => {
                        let queued = Queued { operation: next, continuation: None };
                        self.queue.borrow_mut().push_front(queued);
                        Ok(answer)
                    }
                    Ok(Outcome::AnswerThen(answer, next)) => {
                        self.enqueue(next, None);
                        Ok(answer)
                    }
                    Ok(Outcome::Continue(next)) if in_place => {
                        self.queue.borrow_mut().push_front(Queued { operation: next, continuation });
                        continue;
                    }
                    Ok(Outcome::Continue(next)) => {
                        has_rest |= next.weight == Weight::Heavy;
                        self.enqueue(next, continuation);
                        continue;
                    }
                    Err(failure) => Err(failure),
                };
                if let Some(continuation) = continuation {
                    continuation(js, answer);
                }
            }
            if wakes {
                self.wake(environment);
            }
            if has_rest {
                environment.flush_next_turn(Rest(Rc::clone(self)));
                return;
            }
        }
    }

    /// One transaction if that works; if one operation fails, each in a transaction of its own.
    fn run_batch(&self, batch: Vec<Queued>) -> Vec<(Queued, Result<PlanRows>)> {
        if let Err(failure) = self.check_open() {
            return refuse(batch, failure);
        }
        let writes = batch.iter().any(|queued| !queued.operation.read_only);
        if batch.len() > 1 && writes {
            let mut began = false;
            let all = self.atomically(|| {
                began = true;
                batch.iter().map(|queued| self.run(&queued.operation.steps)).collect::<Result<Vec<PlanRows>>>()
            });
            match all {
                Ok(all) => return batch.into_iter().zip(all.into_iter().map(Ok)).collect(),
                // The driver has waited for the lock as long as it is told to; not once more for each.
                Err(failure) if !began || self.is_busy(&failure) => return refuse(batch, failure),
                Err(_) => {}
            }
        }
        batch
            .into_iter()
            .map(|queued| {
                let Operation { steps, read_only, .. } = &queued.operation;
                let rows = if *read_only || steps.len() < 2 {
                    self.run(steps)
                } else {
                    self.atomically(|| self.run(steps))
                };
                (queued, rows)
            })
            .collect()
    }

    fn is_busy(&self, failure: &Failure) -> bool {
        let Failure::Thrown(thrown) = failure else { return false };
        let code = self.js.get(*thrown, c"code").ok().and_then(|code| self.js.as_string(code));
        code.is_some_and(|code| code.starts_with("SQLITE_BUSY"))
    }

    /// Has a store's waiters look again when another store on this connection changes something.
    pub fn add_watcher(&self, member: usize) {
        self.watchers.borrow_mut().push(member);
    }

    /// See [`add_watcher`](Self::add_watcher).
    pub fn remove_watcher(&self, member: usize) {
        self.watchers.borrow_mut().retain(|other| *other != member);
    }

    fn wake(&self, environment: &Environment) {
        for member in self.watchers.borrow().iter() {
            environment.mailbox().notify(*member, Notice::Changed);
        }
    }

    /// Whether the database may have changed since this was last asked.
    pub fn has_changed(&self) -> bool {
        let js = self.js;
        // The counter leaves out what this connection changed, which the application may have done itself.
        let sql = "SELECT (SELECT data_version FROM pragma_data_version()) AS c0, total_changes() AS c1";
        let version = || -> Result<Option<Vec<SqlValue>>> {
            self.check_open()?;
            let statement = self.invoke(self.connection()?, c"prepare", &[js.string(sql)?])?;
            self.get_row(statement, &[], 2)
        };
        match version() {
            Ok(version) => self.version.replace(version.clone()) != version,
            Err(_) => false,
        }
    }
}

/// What is left of a long clean-up.
struct Rest(Rc<Given>);

impl Queue for Rest {
    fn address(&self) -> usize {
        Rc::as_ptr(&self.0).addr()
    }

    fn flush(&self, js: Js, environment: &Environment) {
        self.0.flush(js, environment);
    }

    fn drain(&self, _js: Js, environment: &Environment) {
        self.0.drain(environment);
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        if Environment::has_ended() {
            return;
        }
        let connection = std::mem::replace(&mut self.connection, Reference::NONE);
        self.js.drop_reference(connection);
        for (_, prepared) in self.statements.get_mut().drain() {
            self.js.drop_reference(prepared.statement);
            self.js.drop_reference(prepared.method);
        }
    }
}

/// The connection as the schema needs it. What JavaScript threw is kept aside: the schema passes on errors of ours.
struct Setup<'a> {
    given: &'a Given,
    failure: Option<Failure>,
}

impl Setup<'_> {
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

impl SchemaConnection for Setup<'_> {
    fn execute_script(&mut self, sql: &str) -> CoreResult<()> {
        let done = self.given.exec(sql);
        self.keep(done)
    }

    fn query(&mut self, sql: &str) -> CoreResult<Vec<Vec<SqlValue>>> {
        let given = self.given;
        let rows = (|| {
            let statement = given.invoke(given.connection()?, c"prepare", &[given.js.string(sql)?])?;
            given.read_rows(given.invoke(statement, c"all", &[])?, 1)
        })();
        self.keep(rows)
    }
}

/// The same failure for every operation.
fn refuse(batch: Vec<Queued>, failure: Failure) -> Vec<(Queued, Result<PlanRows>)> {
    let again = |failure: &Failure| match failure {
        Failure::Error(error) => Failure::Error(error.clone()),
        Failure::Thrown(thrown) => Failure::Thrown(*thrown),
    };
    batch.into_iter().map(|queued| (queued, Err(again(&failure)))).collect()
}

/// Rewrites `?1`, `?2`, … as `?`, which every driver binds by position; answers which value stands for each.
fn anonymous_parameters(sql: &str) -> (String, Vec<usize>) {
    let mut parts = sql.split('?');
    let mut text = parts.next().unwrap_or_default().to_owned();
    let mut parameters = Vec::new();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        parameters.push(number.parse::<usize>().map_or(0, |number| number.saturating_sub(1)));
        text.push('?');
        text.push_str(rest);
    }
    (text, parameters)
}
