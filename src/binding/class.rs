//! Defining a class of stores, for one realm, from a table of its methods.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::rc::Rc;

use napi::sys;

use super::js::{Failure, Js, Result, Value};
use super::realm::Realm;
use crate::core::error::Error;

/// The most parameters a method has.
const PARAMETERS: usize = 3;

/// A call on a method: `undefined` stands for arguments that were not given.
pub struct Arguments {
    /// Access to JavaScript.
    pub js: Js,
    values: [Value; PARAMETERS],
}

impl Arguments {
    /// The argument at a position.
    pub fn get(&self, index: usize) -> Value {
        self.values[index]
    }
}

/// A method: its name, its `length`, and what it does. It answers a value and never throws.
pub struct Method<S: 'static> {
    /// The name.
    pub name: &'static str,
    /// The `length` of the function, on which the client decides whether to pass a priority.
    pub length: u32,
    /// What it does.
    pub run: fn(&S, &Arguments) -> Value,
}

/// A kind of store.
pub trait Class: Sized + 'static {
    /// The class's name.
    const NAME: &'static str;
    /// Its methods.
    const METHODS: &'static [Method<Self>];

    /// Makes a store.
    ///
    /// # Errors
    /// What the constructor throws.
    fn construct(js: Js, options: Value, realm: Rc<Realm>) -> Result<Self>;

    /// The realm of a store.
    fn realm(&self) -> &Realm;

    /// The store's object has been collected.
    fn collected(&self, js: Js);
}

/// Defines a class for a realm.
pub fn define<S: Class>(js: Js, realm: &Rc<Realm>) -> Result<Value> {
    let mut properties = Vec::with_capacity(S::METHODS.len());
    for method in S::METHODS {
        properties.push(sys::napi_property_descriptor {
            utf8name: ptr::null(),
            name: js.string(method.name)?.raw(),
            method: Some(call_method::<S>),
            getter: None,
            setter: None,
            value: ptr::null_mut(),
            attributes: sys::PropertyAttributes::writable | sys::PropertyAttributes::configurable,
            data: ptr::from_ref(method).cast_mut().cast(),
        });
    }
    let data = Box::into_raw(Box::new(Rc::clone(realm)));
    let mut class = ptr::null_mut();
    // SAFETY: the name and the descriptors live through the call; each descriptor's data is a `Method<S>` that
    // lives for ever, as `call_method::<S>` expects; `data` is what `call_constructor::<S>` expects.
    let status = unsafe {
        sys::napi_define_class(
            js.raw(),
            S::NAME.as_ptr().cast(),
            S::NAME.len() as isize,
            Some(call_constructor::<S>),
            data.cast(),
            properties.len(),
            properties.as_ptr(),
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
        sys::napi_add_finalizer(js.raw(), class, data.cast(), Some(free_realm), ptr::null_mut(), ptr::null_mut())
    };
    // SAFETY: made in this callback.
    let class = unsafe { Value::from_raw(class) };
    let prototype = js.get(class, c"prototype")?;
    for method in S::METHODS {
        let name = js.string(method.name)?;
        let mut function = ptr::null_mut();
        // SAFETY: both come from this callback.
        unsafe { sys::napi_get_property(js.raw(), prototype.raw(), name.raw(), &mut function) };
        let length = sys::napi_property_descriptor {
            utf8name: c"length".as_ptr(),
            name: ptr::null_mut(),
            method: None,
            getter: None,
            setter: None,
            value: js.number(f64::from(method.length)).raw(),
            attributes: sys::PropertyAttributes::configurable,
            data: ptr::null_mut(),
        };
        // SAFETY: as above; one descriptor.
        unsafe { sys::napi_define_properties(js.raw(), function, 1, &length) };
    }
    Ok(class)
}

unsafe extern "C" fn free_realm(_env: sys::napi_env, data: *mut c_void, _hint: *mut c_void) {
    // SAFETY: made by `define`, and the class that used it is gone.
    drop(unsafe { Box::from_raw(data.cast::<Rc<Realm>>()) });
}

/// What Node-API knows of a callback: the receiver, the first arguments, and the data.
struct Callback {
    this: sys::napi_value,
    arguments: Arguments,
    data: *mut c_void,
}

/// # Safety
/// `env` and `info` must be those of the running callback.
unsafe fn read_callback(env: sys::napi_env, info: sys::napi_callback_info) -> Callback {
    let mut values = [ptr::null_mut(); PARAMETERS];
    let (mut count, mut this, mut data) = (PARAMETERS, ptr::null_mut(), ptr::null_mut());
    // SAFETY: by the caller's promise; room for `PARAMETERS` values, missing ones are filled with `undefined`.
    unsafe {
        sys::napi_get_cb_info(env, info, &mut count, values.as_mut_ptr(), &mut this, &mut data);
        let values = values.map(|value| Value::from_raw(value));
        Callback { this, arguments: Arguments { js: Js::new(env), values }, data }
    }
}

unsafe extern "C" fn call_method<S: Class>(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: this callback's own.
    let Callback { this, arguments, data } = unsafe { read_callback(env, info) };
    let mut store = ptr::null_mut();
    // SAFETY: V8 lets only objects made by this class's constructor through to its methods; that constructor wraps
    // an `S` or throws. The object, and so the `S`, lives through the call.
    let store = unsafe {
        sys::napi_unwrap(env, this, &mut store);
        store.cast::<S>().as_ref()
    };
    let Some(store) = store else {
        return ptr::null_mut();
    };
    // SAFETY: `define` put a `Method<S>` there.
    let method = unsafe { &*data.cast::<Method<S>>() };
    let answer = catch_unwind(AssertUnwindSafe(|| (method.run)(store, &arguments)));
    let answer = answer.unwrap_or_else(|_| {
        let panic = Error::Internal(format!("a panic in {}.{}", S::NAME, method.name));
        store.realm().settled(arguments.js, Err(panic.into()))
    });
    answer.raw()
}

unsafe extern "C" fn call_constructor<S: Class>(
    env: sys::napi_env,
    info: sys::napi_callback_info,
) -> sys::napi_value {
    // SAFETY: this callback's own; `define` put an `Rc<Realm>` there, which lives as long as the class.
    let (Callback { this, arguments, .. }, realm) = unsafe {
        let callback = read_callback(env, info);
        let realm = Rc::clone(&*callback.data.cast::<Rc<Realm>>());
        (callback, realm)
    };
    let js = arguments.js;
    let mut new_target = ptr::null_mut();
    // SAFETY: this callback's own.
    unsafe { sys::napi_get_new_target(env, info, &mut new_target) };
    if new_target.is_null() {
        js.throw(realm.error(js, Error::NotConstructed(S::NAME).into()));
        return ptr::null_mut();
    }
    let made = catch_unwind(AssertUnwindSafe(|| S::construct(js, arguments.get(0), Rc::clone(&realm))));
    let failure = match made {
        Ok(Ok(store)) => {
            let store = Box::into_raw(Box::new(store));
            // SAFETY: the object takes the box over; `free_store` gets it back when the object is collected or the
            // environment ends.
            let status = unsafe {
                sys::napi_wrap(env, this, store.cast(), Some(free_store::<S>), ptr::null_mut(), ptr::null_mut())
            };
            if status == sys::Status::napi_ok {
                return this;
            }
            // SAFETY: nobody took it.
            drop(unsafe { Box::from_raw(store) });
            Error::Internal("the store's object cannot be used".to_owned()).into()
        }
        Ok(Err(failure)) => failure,
        Err(_) => Failure::Error(Error::Internal(format!("a panic in new {}", S::NAME))),
    };
    js.throw(realm.error(js, failure));
    ptr::null_mut()
}

unsafe extern "C" fn free_store<S: Class>(env: sys::napi_env, data: *mut c_void, _hint: *mut c_void) {
    // SAFETY: made by `call_constructor`; the object is gone.
    let store = unsafe { Box::from_raw(data.cast::<S>()) };
    // SAFETY: finalizers run on the environment's thread.
    let js = unsafe { Js::new(env) };
    let _ = catch_unwind(AssertUnwindSafe(|| store.collected(js)));
}
