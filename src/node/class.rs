//! The classes of stores, as tables of native functions. `lib/classes.js` makes classes of them in each realm.

use std::marker::PhantomData;
use std::rc::Rc;

use super::arguments::Arguments;
use super::metrics::Counted;
use super::napi::env::{Env, Failure, Persistent, Result, Type, Value};
use super::napi::function::{ARGUMENTS, Callable, Returned};
use super::napi::handle::{self, Handled};
use super::options::OptionsReader;
use super::realm::Realm;
use super::store::Store;
use super::whole;
use crate::core::error::{Error, Result as CoreResult};

/// What of a method is done in JavaScript.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum MethodKind {
    /// Nothing: it answers a value at once. It knows no time.
    Direct,
    /// It promises: its function answers a promise, or what one is to be fulfilled with.
    Promised,
    /// It promises, and may be ended early: its second argument is the call's number, if it may be, and the third whether that
    /// is to be ended.
    Waiting,
    /// It is a limiter's and promises something about a resource; see [`Arguments::limit`].
    Limited,
    /// The same, and whoever is answered `false` may book a slot; see [`Arguments::caller`].
    Asking,
    /// The same, and answers how long to wait, for a slot that is booked if it may.
    Booking,
    /// The same, and it may wait in a line; see [`Arguments::gives_back`].
    Acquiring,
    /// It is a limiter's, promises, and records a request, which may have been booked.
    Recording,
    /// It promises, and those who wait in a line try again.
    Changing,
    /// It promises, and its rejection counts as handled.
    Handled,
    /// It promises a page of a list; JavaScript goes through them. See [`options::entries`](super::options::entries).
    Pages,
    /// It answers counts at once, to which JavaScript adds its own.
    Counts,
    /// It has one argument and promises a value stored as JSON; see [`Arguments::takes_text`].
    Parsed,
    /// It promises, and its second argument is stored as JSON; see [`Arguments::text`].
    Stringified,
}

impl MethodKind {
    /// Its wrapper in `lib/methods.js`.
    fn wrapper(self) -> &'static str {
        match self {
            MethodKind::Direct => "direct",
            MethodKind::Promised => "promised",
            MethodKind::Waiting => "waiting",
            MethodKind::Limited => "limited",
            MethodKind::Asking => "asking",
            MethodKind::Booking => "booking",
            MethodKind::Acquiring => "acquiring",
            MethodKind::Recording => "recording",
            MethodKind::Changing => "changing",
            MethodKind::Handled => "handled",
            MethodKind::Pages => "pages",
            MethodKind::Counts => "counts",
            MethodKind::Parsed => "parsed",
            MethodKind::Stringified => "stringified",
        }
    }
}

pub struct Method<S: 'static> {
    name: &'static str,
    length: u32,
    kind: MethodKind,
    counted: Counted,
    run: fn(&S, &Arguments) -> Result<Value>,
}

impl<S: 'static> Method<S> {
    /// A method; on the `length` of its function the client decides whether to pass a priority.
    pub const fn new(
        kind: MethodKind,
        name: &'static str,
        length: u32,
        run: fn(&S, &Arguments) -> Result<Value>,
    ) -> Self {
        Self::counting(Counted::Failures, kind, name, length, run)
    }

    /// The same, and what its calls come to is counted.
    pub const fn counting(
        counted: Counted,
        kind: MethodKind,
        name: &'static str,
        length: u32,
        run: fn(&S, &Arguments) -> Result<Value>,
    ) -> Self {
        Method { name, length, kind, counted, run }
    }
}

/// A kind of store.
pub trait Class: Sized + 'static {
    /// The class's name.
    const NAME: &'static str;
    /// Its methods, except those of [any store](SharedMethods).
    const METHODS: &'static [Method<Self>];

    /// Makes a store. `limits` keeps the configurations of a limiter: see `lib/limits.js`.
    ///
    /// # Errors
    /// What the constructor throws.
    fn open(env: Env, realm: Rc<Realm>, options: Value, limits: Value) -> Result<Self>;

    /// What it shares with other kinds.
    fn store(&self) -> &Store;

    /// The method `close`.
    ///
    /// # Errors
    /// What its promise is rejected with.
    fn close(&self, env: Env) -> Result<Value> {
        self.store().close(env)
    }

    /// The method `destroy`.
    fn destroy(&self, env: Env) {
        self.store().destroy(env);
    }

    /// The store's object has been collected.
    fn collected(&self, env: Env) {
        self.store().collected(env, None);
    }
}

/// What stands behind a store's object.
struct Instance<S>(S);

impl<S: Class> Handled for Instance<S> {
    fn collected(self, env: Env) {
        self.0.collected(env);
    }
}

impl<S: Class> Callable for Method<S> {
    /// `last` is an object in which it is noted what becomes of the call.
    fn call(&self, env: Env, arguments: &[Value; ARGUMENTS], last: Option<Value>) -> Returned {
        let [handle, now, values @ ..] = arguments;
        let note = last.filter(|last| env.type_of(*last) == Type::Object);
        let answer = handle::with(env, *handle, |Instance(store): &Instance<S>| {
            let shared = store.store();
            let answer = if self.is_put_off(shared) {
                self.put_off(env, shared, arguments, note)
            } else {
                let takes_text = self.kind == MethodKind::Parsed && env.type_of(values[1]) == Type::Undefined;
                let counted = self.counted(env, values);
                let call = Arguments::new(env, counted, takes_text, *now, shared.ahead_ms(), values, note);
                (self.run)(store, &call)
            };
            answer.map_err(|failure| shared.realm().error(env, failure))
        });
        // Only the package's own JavaScript calls it, which finds the handle in a store.
        answer.unwrap_or_else(|| Err(env.undefined()))
    }
}

/// What ends a store: done whatever comes of what it waits for.
const CLOSE: &str = "close";
const DESTROY: &str = "destroy";

impl<S: Class> Method<S> {
    /// What is counted of a call. Of one that makes several attempts, JavaScript counts what they come to.
    fn counted(&self, env: Env, values: &[Value]) -> Counted {
        let is_attempt = self.kind == MethodKind::Acquiring && env.as_boolean(values[5]) == Some(false);
        if is_attempt { Counted::Failures } else { self.counted }
    }

    /// Whether the store's connection is not ready for a call.
    #[inline(always)]
    fn is_put_off(&self, store: &Store) -> bool {
        let is_last = self.name == DESTROY;
        let is_direct = matches!(self.kind, MethodKind::Direct | MethodKind::Counts);
        store.is_remote() && (!is_direct || is_last) && store.puts_off(is_last)
    }

    /// Puts a call off; answers the promise of what it answers then. Apart, so that other calls do not pay for it.
    #[cold]
    #[inline(never)]
    fn put_off(
        &self,
        env: Env,
        store: &Store,
        arguments: &[Value; ARGUMENTS],
        note: Option<Value>,
    ) -> Result<Value> {
        let is_last = self.name == DESTROY;
        let kept = keep(env, arguments)?;
        let note = note.map(|note| env.keep(note)).transpose()?;
        let (run, ends) = (self.run, is_last || self.name == CLOSE);
        let counted = self.counted(env, &arguments[2..]);
        let make = move |env: Env, ready: CoreResult<()>| -> Result<Value> {
            let [handle, now, values @ ..] = take(env, kept)?;
            let note = note.and_then(|note| env.take(note));
            let answer = handle::with(env, handle, |Instance(store): &Instance<S>| {
                let call = Arguments::new(env, counted, false, now, store.store().ahead_ms(), &values, note);
                match ready {
                    Err(error) if !ends => {
                        let failure = error.into();
                        store.store().metrics().failed(env, call.note(), &failure, true);
                        Err(failure)
                    }
                    _ => run(store, &call),
                }
            });
            answer.unwrap_or_else(|| Err(Error::Internal("the store is gone".to_owned()).into()))
        };
        store.put_off(env, is_last, Box::new(make))
    }
}

/// Keeps the arguments of a call.
fn keep(env: Env, arguments: &[Value; ARGUMENTS]) -> Result<Persistent> {
    let list = env.array()?;
    for (index, argument) in (0..).zip(arguments) {
        env.set_element(list, index, *argument)?;
    }
    env.keep(list)
}

fn take(env: Env, kept: Persistent) -> Result<[Value; ARGUMENTS]> {
    let list = env.take(kept).ok_or_else(|| Error::Internal("the arguments are gone".to_owned()))?;
    let mut arguments = [env.undefined(); ARGUMENTS];
    for (index, argument) in (0..).zip(&mut arguments) {
        *argument = env.element(list, index)?;
    }
    Ok(arguments)
}

/// Makes a store: of a realm's handle, options, and what is to keep the configurations; answers the store's handle.
struct Open<S>(PhantomData<S>);

impl<S: Class> Callable for Open<S> {
    fn call(&self, env: Env, [realm, options, limits, ..]: &[Value; ARGUMENTS], _: Option<Value>) -> Returned {
        let realm = handle::with(env, *realm, Rc::<Realm>::clone).ok_or_else(|| env.undefined())?;
        let open = || {
            let ignores_errors = OptionsReader::of_options(env, *options)?.ignores_errors()?;
            env.set(*limits, "ignoresErrors", env.boolean(ignores_errors))?;
            handle::create(env, Instance(S::open(env, Rc::clone(&realm), *options, *limits)?))
        };
        open().map_err(|failure| {
            // What is thrown here is the driver's, as far as can be told.
            let is_of_store = match &failure {
                Failure::Error(error) => error.is_of_store(),
                Failure::Thrown(_) => true,
            };
            // One that cannot be set leaves the failure to the caller.
            let _ = env.set(*limits, "isBroken", env.boolean(is_of_store));
            realm.error(env, failure)
        })
    }
}

/// The methods of any store.
struct SharedMethods<S>(PhantomData<S>);

impl<S: Class> SharedMethods<S> {
    const METHODS: &'static [Method<S>] = &[
        Method::new(MethodKind::Counts, "getMetrics", 0, |store, call| store.store().get_metrics(call.env)),
        Method::new(MethodKind::Promised, "backup", 1, |store, call| whole::back_up(store.store(), call)),
        Method::new(MethodKind::Promised, "vacuum", 0, |store, call| whole::vacuum(store.store(), call)),
        Method::new(MethodKind::Changing, CLOSE, 0, |store, call| store.close(call.env)),
        Method::new(MethodKind::Direct, DESTROY, 0, |store, call| {
            store.destroy(call.env);
            Ok(call.env.undefined())
        }),
    ];
}

/// What a class is made of in each realm: `{ name, open, methods: [{ name, length, wrapper, run }] }`.
pub fn table<S: Class>(env: Env) -> Result<Value> {
    let methods = env.array()?;
    for (index, method) in (0..).zip(S::METHODS.iter().chain(SharedMethods::<S>::METHODS)) {
        let object = env.object()?;
        env.set(object, "name", env.string(method.name)?)?;
        env.set(object, "length", env.number(f64::from(method.length)))?;
        env.set(object, "wrapper", env.string(method.kind.wrapper())?)?;
        env.set(object, "run", env.function(method.name, method)?)?;
        env.set_element(methods, index, object)?;
    }
    let class = env.object()?;
    env.set(class, "name", env.string(S::NAME)?)?;
    env.set(class, "open", env.function("open", &Open::<S>(PhantomData))?)?;
    env.set(class, "methods", methods)?;
    Ok(class)
}
