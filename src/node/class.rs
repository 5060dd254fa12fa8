//! Defining a class of stores, for one realm, from a table of its methods.

use std::any::TypeId;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::rc::Rc;

use hashlink::DefaultHashBuilder;
use napi::sys;

use super::js::{Failure, Js, Result, Type, Value};
use super::realm::{self, Realm};
use crate::core::error::Error;
use crate::core::value::Millis;

/// How many arguments a method's native function is given, beside the store's handle and the time.
const ARGUMENTS: usize = 5;

/// A call on a method, as `lib/methods.js` passes it on: `undefined` stands for arguments that were not given.
pub struct Arguments {
    /// Access to JavaScript.
    pub js: Js,
    /// Whether a JSON text may be answered as text, to be parsed there.
    pub takes_text: bool,
    now: Value,
    values: [Value; ARGUMENTS],
}

impl Arguments {
    /// The argument at a position.
    pub fn get(&self, index: usize) -> Value {
        self.values[index]
    }

    /// The time of the call, of a method that promises.
    ///
    /// # Errors
    /// [`Error::Argument`] if it is no finite number.
    pub fn now(&self) -> Result<Millis> {
        realm::time(self.js, self.now)
    }

    /// The `limit` and `windowMs` of the resource, of a [`limited`](Shape::Limited) method, and what has them.
    pub fn limit(&self) -> [Value; 3] {
        let [.., limit, window_ms, config] = self.values;
        [limit, window_ms, config]
    }

    /// The JSON text of the second argument, of a [`stringified`](Shape::Stringified) method; `undefined` if there is
    /// none.
    pub fn text(&self) -> Value {
        self.values[3]
    }
}

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
    fn maker(self) -> &'static CStr {
        match self {
            Shape::Direct => c"direct",
            Shape::Promised => c"promised",
            Shape::Limited => c"limited",
            Shape::Parsed => c"parsed",
            Shape::Stringified => c"stringified",
        }
    }
}

/// A method. Its function never throws.
pub struct Method<S: 'static> {
    name: &'static str,
    length: u32,
    shape: Shape,
    run: fn(&S, &Arguments) -> Value,
}

impl<S: 'static> Method<S> {
    /// A method; on the `length` of its function the client decides whether to pass a priority.
    pub const fn new(shape: Shape, name: &'static str, length: u32, run: fn(&S, &Arguments) -> Value) -> Self {
        Method { name, length, shape, run }
    }
}

/// A kind of store.
pub trait Class: Sized + 'static {
    /// The class's name.
    const NAME: &'static str;
    /// What its methods have to be called on, in words.
    const EXPECTED: &'static str;
    /// Its methods.
    const METHODS: &'static [Method<Self>];

    /// Makes a store.
    ///
    /// # Errors
    /// What the constructor throws.
    fn construct(js: Js, options: Value, realm: Rc<Realm>) -> Result<Self>;

    /// What has the configurations of a limiter.
    fn limits(&self, _js: Js) -> Option<Value> {
        None
    }

    /// The store's object has been collected.
    fn collected(&self, js: Js);
}

thread_local! {
    /// The stores whose handles live, by address, with their type. An `External` with one of these addresses is a
    /// store's handle: this is what makes it safe to call methods on whatever receiver.
    static LIVE: RefCell<HashMap<usize, TypeId, DefaultHashBuilder>> = RefCell::default();
}

/// What a method's function carries.
struct Bound<S: 'static> {
    realm: Rc<Realm>,
    method: &'static Method<S>,
}

/// Defines a class for a realm.
pub fn define<S: Class>(js: Js, realm: &Rc<Realm>) -> Result<Value> {
    let data = Box::into_raw(Box::new(Rc::clone(realm)));
    let mut class = ptr::null_mut();
    // SAFETY: the name lives through the call; `data` is what `call_constructor::<S>` expects.
    let status = unsafe {
        sys::napi_define_class(
            js.raw(),
            S::NAME.as_ptr().cast(),
            S::NAME.len() as isize,
            Some(call_constructor::<S>),
            data.cast(),
            0,
            ptr::null(),
            &mut class,
        )
    };
    if status != sys::Status::napi_ok {
        // SAFETY: made above, and given to nobody.
        drop(unsafe { Box::from_raw(data) });
        return Err(Error::Internal(format!("the class {} cannot be defined", S::NAME)).into());
    }
    // SAFETY: the class is the only user of `data`, which is freed when the class is collected.
    unsafe {
        let free: sys::napi_finalize = Some(free::<Rc<Realm>>);
        sys::napi_add_finalizer(js.raw(), class, data.cast(), free, ptr::null_mut(), ptr::null_mut())
    };
    // SAFETY: made in this callback.
    let class = unsafe { Value::from_raw(class) };
    let prototype = js.get(class, c"prototype")?;
    for method in S::METHODS {
        let bound = Box::into_raw(Box::new(Bound::<S> { realm: Rc::clone(realm), method }));
        // SAFETY: `bound` is what `call_method::<S>` expects; the function is its only user, and it is freed when
        // the function is collected.
        let native = unsafe {
            let native = js.function(Some(call_method::<S>), bound.cast(), method.name)?;
            let free: sys::napi_finalize = Some(free::<Bound<S>>);
            sys::napi_add_finalizer(js.raw(), native.raw(), bound.cast(), free, ptr::null_mut(), ptr::null_mut());
            native
        };
        let function = realm.method(js, method.shape.maker(), native)?;
        js.define_hidden(function, js.string("name")?, js.string(method.name)?)?;
        js.define_hidden(function, js.string("length")?, js.number(f64::from(method.length)))?;
        js.define_hidden(prototype, js.string(method.name)?, function)?;
    }
    Ok(class)
}

/// # Safety
/// `data` must be a `Box<T>` that nobody uses any more.
unsafe extern "C" fn free<T>(_env: sys::napi_env, data: *mut c_void, _hint: *mut c_void) {
    // SAFETY: by the caller's promise.
    drop(unsafe { Box::from_raw(data.cast::<T>()) });
}

/// The store in a handle.
fn store_in<S: Class>(js: Js, handle: Value) -> Option<&'static S> {
    let mut address = ptr::null_mut();
    // SAFETY: `handle` comes from this callback; what is no `External` is refused.
    let status = unsafe { sys::napi_get_value_external(js.raw(), handle.raw(), &mut address) };
    let is_store = status == sys::Status::napi_ok
        && LIVE.with_borrow(|live| live.get(&address.addr()) == Some(&TypeId::of::<S>()));
    // SAFETY: at an address in `LIVE` there is an `S` until its handle is collected, and the handle, which is an
    // argument of the running call, lives through the call.
    if is_store { unsafe { address.cast::<S>().as_ref() } } else { None }
}

/// What Node-API knows of a callback: the receiver, the first arguments, and the data.
struct Callback<const N: usize> {
    this: Value,
    values: [Value; N],
    data: *mut c_void,
}

/// # Safety
/// `env` and `info` must be those of the running callback.
unsafe fn read_callback<const N: usize>(env: sys::napi_env, info: sys::napi_callback_info) -> Callback<N> {
    let mut values = [ptr::null_mut(); N];
    let (mut count, mut this, mut data) = (N, ptr::null_mut(), ptr::null_mut());
    // SAFETY: by the caller's promise; room for `N` values, missing ones are filled with `undefined`.
    unsafe {
        sys::napi_get_cb_info(env, info, &mut count, values.as_mut_ptr(), &mut this, &mut data);
        Callback { this: Value::from_raw(this), values: values.map(|value| Value::from_raw(value)), data }
    }
}

unsafe extern "C" fn call_method<S: Class>(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: this callback's own.
    let Callback { values: [store, now, values @ ..], data, .. } =
        unsafe { read_callback::<{ ARGUMENTS + 2 }>(env, info) };
    // SAFETY: `define` put a `Bound<S>` there, and the function that runs keeps it.
    let Bound { realm, method } = unsafe { &*data.cast::<Bound<S>>() };
    // SAFETY: within a callback of this environment.
    let js = unsafe { Js::new(env) };
    let answer = catch_unwind(AssertUnwindSafe(|| match store_in::<S>(js, store) {
        Some(store) => {
            let takes_text = method.shape == Shape::Parsed && js.type_of(values[1]) == Type::Undefined;
            (method.run)(store, &Arguments { js, takes_text, now, values })
        }
        None => {
            let error = Error::argument(format!("this of {}", method.name), S::EXPECTED, js.describe(store));
            realm.rejected(js, error.into())
        }
    }));
    let answer = answer.unwrap_or_else(|_| {
        let panic = Error::Internal(format!("a panic in {}.{}", S::NAME, method.name));
        realm.rejected(js, panic.into())
    });
    answer.raw()
}

unsafe extern "C" fn call_constructor<S: Class>(
    env: sys::napi_env,
    info: sys::napi_callback_info,
) -> sys::napi_value {
    // SAFETY: this callback's own; `define` put an `Rc<Realm>` there, which lives as long as the class.
    let (js, Callback { this, values: [options], .. }, realm) = unsafe {
        let callback = read_callback(env, info);
        let realm = Rc::clone(&*callback.data.cast::<Rc<Realm>>());
        (Js::new(env), callback, realm)
    };
    let mut new_target = ptr::null_mut();
    // SAFETY: this callback's own.
    unsafe { sys::napi_get_new_target(env, info, &mut new_target) };
    if new_target.is_null() {
        js.throw(realm.error(js, Error::NotConstructed(S::NAME).into()));
        return ptr::null_mut();
    }
    let made = catch_unwind(AssertUnwindSafe(|| S::construct(js, options, Rc::clone(&realm))));
    let failure = match made {
        Ok(Ok(store)) => {
            let limits = store.limits(js);
            let store = Box::into_raw(Box::new(store));
            let mut handle = ptr::null_mut();
            // SAFETY: the handle takes the box over; `free_store` gets it back when the handle is collected or the
            // environment ends.
            let status = unsafe {
                let free: sys::napi_finalize = Some(free_store::<S>);
                sys::napi_create_external(env, store.cast(), free, ptr::null_mut(), &mut handle)
            };
            if status == sys::Status::napi_ok {
                LIVE.with_borrow_mut(|live| live.insert(store.addr(), TypeId::of::<S>()));
                // SAFETY: made in this callback.
                match realm.attach(js, this, unsafe { Value::from_raw(handle) }, limits) {
                    Ok(()) => return this.raw(),
                    Err(failure) => failure,
                }
            } else {
                // SAFETY: nobody took it.
                drop(unsafe { Box::from_raw(store) });
                Error::Internal("the store's handle cannot be made".to_owned()).into()
            }
        }
        Ok(Err(failure)) => failure,
        Err(_) => Failure::Error(Error::Internal(format!("a panic in new {}", S::NAME))),
    };
    js.throw(realm.error(js, failure));
    ptr::null_mut()
}

unsafe extern "C" fn free_store<S: Class>(env: sys::napi_env, data: *mut c_void, _hint: *mut c_void) {
    let _ = LIVE.try_with(|live| live.borrow_mut().remove(&data.addr()));
    // SAFETY: made by `call_constructor`; the object is gone.
    let store = unsafe { Box::from_raw(data.cast::<S>()) };
    // SAFETY: finalizers run on the environment's thread.
    let js = unsafe { Js::new(env) };
    let _ = catch_unwind(AssertUnwindSafe(|| store.collected(js)));
}
