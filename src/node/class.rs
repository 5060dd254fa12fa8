//! The classes of stores, as tables of native functions. `lib/classes.js` makes classes of them in each realm.

use std::marker::PhantomData;
use std::rc::Rc;

use super::arguments::Arguments;
use super::napi::function::{ARGUMENTS, Callable};
use super::napi::handle::{self, Handled};
use super::napi::js::{Js, Result, Type, Value};
use super::realm::Realm;
use super::store::Store;

/// What of a method is done in JavaScript.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Nothing: it answers a value at once. It knows no time.
    Direct,
    /// It promises: its function answers a promise, or what one is to be fulfilled with.
    Promised,
    /// It is a limiter's and promises something about a resource; see [`Arguments::limit`].
    Limited,
    /// It has one argument and promises a value stored as JSON; see [`Arguments::takes_text`].
    Parsed,
    /// It promises, and its second argument is stored as JSON; see [`Arguments::text`].
    Stringified,
}

impl Shape {
    /// Its maker in `lib/methods.js`.
    fn maker(self) -> &'static str {
        match self {
            Shape::Direct => "direct",
            Shape::Promised => "promised",
            Shape::Limited => "limited",
            Shape::Parsed => "parsed",
            Shape::Stringified => "stringified",
        }
    }
}

/// A method.
pub struct Method<S: 'static> {
    name: &'static str,
    length: u32,
    shape: Shape,
    run: fn(&S, &Arguments) -> Result<Value>,
}

impl<S: 'static> Method<S> {
    /// A method; on the `length` of its function the client decides whether to pass a priority.
    pub const fn new(
        shape: Shape,
        name: &'static str,
        length: u32,
        run: fn(&S, &Arguments) -> Result<Value>,
    ) -> Self {
        Method { name, length, shape, run }
    }
}

/// A kind of store.
pub trait Class: Sized + 'static {
    /// The class's name.
    const NAME: &'static str;
    /// Its methods, except `close` and `destroy`.
    const METHODS: &'static [Method<Self>];

    /// Makes a store. `limits` keeps the configurations of a limiter: see `lib/limits.js`.
    ///
    /// # Errors
    /// What the constructor throws.
    fn open(js: Js, realm: Rc<Realm>, options: Value, limits: Value) -> Result<Self>;

    /// What it shares with other kinds.
    fn store(&self) -> &Store;

    /// The method `close`.
    ///
    /// # Errors
    /// What its promise is rejected with.
    fn close(&self, js: Js) -> Result<Value> {
        self.store().close(js)
    }

    /// The method `destroy`.
    fn destroy(&self, js: Js) {
        self.store().destroy(js);
    }

    /// The store's object has been collected.
    fn collected(&self, js: Js) {
        self.store().collected(js, None);
    }
}

/// What stands behind a store's object.
struct Instance<S>(S);

impl<S: Class> Handled for Instance<S> {
    fn collected(self, js: Js) {
        self.0.collected(js);
    }
}

impl<S: Class> Callable for Method<S> {
    fn call(&self, js: Js, arguments: &[Value; ARGUMENTS]) -> std::result::Result<Value, Value> {
        let [handle, now, values @ ..] = arguments;
        let answer = handle::with(js, *handle, |Instance(store): &Instance<S>| {
            let takes_text = self.shape == Shape::Parsed && js.type_of(values[1]) == Type::Undefined;
            let answer = (self.run)(store, &Arguments::new(js, takes_text, *now, values));
            answer.map_err(|failure| store.store().realm().error(js, failure))
        });
        // Only the package's own JavaScript calls it, which finds the handle in a store.
        answer.unwrap_or_else(|| Err(js.undefined()))
    }
}

/// Makes a store: of a realm's handle, options, and what is to keep the configurations; answers the store's handle.
struct Open<S>(PhantomData<S>);

impl<S: Class> Callable for Open<S> {
    fn call(&self, js: Js, [realm, options, limits, ..]: &[Value; ARGUMENTS]) -> std::result::Result<Value, Value> {
        let realm = handle::with(js, *realm, Rc::<Realm>::clone).ok_or_else(|| js.undefined())?;
        let opened = S::open(js, Rc::clone(&realm), *options, *limits);
        let handle = opened.and_then(|store| handle::create(js, Instance(store)));
        handle.map_err(|failure| realm.error(js, failure))
    }
}

/// What ends any store.
struct Ends<S>(PhantomData<S>);

impl<S: Class> Ends<S> {
    const METHODS: &'static [Method<S>] = &[
        Method::new(Shape::Promised, "close", 0, |store, call| store.close(call.js)),
        Method::new(Shape::Direct, "destroy", 0, |store, call| {
            store.destroy(call.js);
            Ok(call.js.undefined())
        }),
    ];
}

/// What a class is made of in each realm: `{ name, open, methods: [{ name, length, maker, run }] }`.
pub fn table<S: Class>(js: Js) -> Result<Value> {
    let methods = js.array()?;
    for (index, method) in (0..).zip(S::METHODS.iter().chain(Ends::<S>::METHODS)) {
        let object = js.object()?;
        js.set(object, "name", js.string(method.name)?)?;
        js.set(object, "length", js.number(f64::from(method.length)))?;
        js.set(object, "maker", js.string(method.shape.maker())?)?;
        js.set(object, "run", js.function(method.name, method)?)?;
        js.set_element(methods, index, object)?;
    }
    let class = js.object()?;
    js.set(class, "name", js.string(S::NAME)?)?;
    js.set(class, "open", js.function("open", &Open::<S>(PhantomData))?)?;
    js.set(class, "methods", methods)?;
    Ok(class)
}
