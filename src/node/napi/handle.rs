//! Handles: JavaScript values that stand for native ones, and keep them until they are collected.

use std::any::TypeId;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use foldhash::fast::RandomState;
use napi_sys as sys;

use super::env::{Env, Result, Value};

/// What a handle stands for.
pub trait Handled: Sized + 'static {
    /// The handle has been collected, or the environment has ended.
    fn collected(self, env: Env);
}

thread_local! {
    /// What has a handle, by address, with its type. An `External` with one of these addresses is such a handle, whoever
    /// passes it.
    static LIVE: RefCell<HashMap<usize, TypeId, RandomState>> = RefCell::default();
}

/// Makes a handle.
pub fn create<T: Handled>(env: Env, value: T) -> Result<Value> {
    let value = Box::into_raw(Box::new(value));
    let mut handle = ptr::null_mut();
    // SAFETY: the handle takes the box over; `free` gets it back when the handle is collected or the environment ends.
    let status = unsafe {
        sys::napi_create_external(env.raw(), value.cast(), Some(free::<T>), ptr::null_mut(), &mut handle)
    };
    if let Err(failure) = env.check(status) {
        // SAFETY: nobody took it.
        unsafe { Box::from_raw(value) }.collected(env);
        return Err(failure);
    }
    LIVE.with_borrow_mut(|live| live.insert(value.addr(), TypeId::of::<T>()));
    // SAFETY: made in this callback.
    Ok(unsafe { Value::from_raw(handle) })
}

/// Does something with what a handle stands for; `None` if the value is no handle of a `T`.
pub fn with<T: Handled, R>(env: Env, handle: Value, act: impl FnOnce(&T) -> R) -> Option<R> {
    let mut address = ptr::null_mut();
    // SAFETY: `handle` comes from this callback; what is no `External` is refused.
    let status = unsafe { sys::napi_get_value_external(env.raw(), handle.raw(), &mut address) };
    let is_live = status == sys::Status::napi_ok
        && LIVE.with_borrow(|live| live.get(&address.addr()) == Some(&TypeId::of::<T>()));
    // SAFETY: at an address in `LIVE` there is a `T` until its handle is collected, and the handle, a value of the running
    // callback, lives through that.
    is_live.then(|| act(unsafe { &*address.cast::<T>() }))
}

unsafe extern "C" fn free<T: Handled>(raw_env: sys::napi_env, data: *mut c_void, _hint: *mut c_void) {
    let _ = LIVE.try_with(|live| live.borrow_mut().remove(&data.addr()));
    // SAFETY: made by `create`, and its handle is gone; finalizers run on the environment's thread.
    let (value, env) = unsafe { (Box::from_raw(data.cast::<T>()), Env::new(raw_env)) };
    let _ = catch_unwind(AssertUnwindSafe(|| value.collected(env)));
}
