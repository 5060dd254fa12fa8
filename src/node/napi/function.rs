//! Native functions that JavaScript calls.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use napi_sys as sys;

use super::env::{Env, Result, Value};
use crate::core::error::Error;

/// How many arguments a native function is given. `undefined` stands for those that are not given.
pub const ARGUMENTS: usize = 8;

/// What a native function answers, or throws.
pub type Returned = std::result::Result<Value, Value>;

/// What a native function does.
pub trait Callable: 'static {
    /// Answers a value, or throws one. `last` is the argument after the others, where one is given.
    ///
    /// # Errors
    /// What is thrown.
    fn call(&self, env: Env, arguments: &[Value; ARGUMENTS], last: Option<Value>) -> Returned;
}

impl Env {
    /// A function of the realm that loaded the binding.
    pub fn function<C: Callable>(self, name: &str, callable: &'static C) -> Result<Value> {
        let mut function = ptr::null_mut();
        let data = ptr::from_ref(callable).cast_mut().cast();
        let (start, length) = (name.as_ptr().cast(), name.len() as isize);
        // SAFETY: the name lives through the call; `data` is what `call::<C>` expects, for ever.
        let status =
            unsafe { sys::napi_create_function(self.raw(), start, length, Some(call::<C>), data, &mut function) };
        self.check(status)?;
        // SAFETY: made in this callback.
        Ok(unsafe { Value::from_raw(function) })
    }
}

unsafe extern "C" fn call<C: Callable>(raw_env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    let mut values = [ptr::null_mut(); ARGUMENTS];
    let (mut count, mut data): (_, *mut c_void) = (ARGUMENTS, ptr::null_mut());
    // SAFETY: this callback's own; room for as many values as are asked for, of which missing ones become `undefined`.
    let (env, status) = unsafe {
        let values = values.as_mut_ptr();
        (Env::new(raw_env), sys::napi_get_cb_info(raw_env, info, &mut count, values, ptr::null_mut(), &mut data))
    };
    if status != sys::Status::napi_ok {
        return ptr::null_mut();
    }
    // SAFETY: `function` put a `&'static C` there; the values are this callback's.
    let (callable, arguments) = unsafe { (&*data.cast::<C>(), values.map(|value| Value::from_raw(value))) };
    let last = if count > ARGUMENTS { last_argument(raw_env, info) } else { None };
    match catch_unwind(AssertUnwindSafe(|| callable.call(env, &arguments, last))) {
        Ok(Ok(value)) => return value.raw(),
        Ok(Err(thrown)) => env.throw(thrown),
        Err(_) => env.throw_error(&Error::panic().to_string()),
    }
    ptr::null_mut()
}

/// The argument after those that every function is given. Of few calls: so that the others do not pay for it.
#[cold]
fn last_argument(raw_env: sys::napi_env, info: sys::napi_callback_info) -> Option<Value> {
    const MORE: usize = ARGUMENTS + 1;
    let mut values = [ptr::null_mut(); MORE];
    let mut count = MORE;
    // SAFETY: this callback's own; room for as many values as are asked for.
    let status = unsafe {
        sys::napi_get_cb_info(raw_env, info, &mut count, values.as_mut_ptr(), ptr::null_mut(), ptr::null_mut())
    };
    // SAFETY: one of this callback's.
    (status == sys::Status::napi_ok).then(|| unsafe { Value::from_raw(values[ARGUMENTS]) })
}
