//! Having an environment's thread do something, from whichever thread; and what it does when it ends.

use std::ffi::c_void;
use std::panic::catch_unwind;
use std::ptr;

use napi_sys as sys;
use parking_lot::Mutex;

use super::js::{Js, Result, Value};

/// Makes a function run on the environment's thread, once for every time it is raised or less often. It does not keep the
/// process alive unless [told to](Self::keep_alive).
pub struct Signal(Mutex<Option<ThreadSafe>>);

/// A thread-safe function without a JavaScript function.
#[derive(Clone, Copy)]
struct ThreadSafe(sys::napi_threadsafe_function);

// SAFETY: Node-API allows `napi_call_threadsafe_function` from any thread, which is all that other threads do with it; the
// mutex around it keeps them from doing so once the environment has begun to end.
unsafe impl Send for ThreadSafe {}

impl Signal {
    /// A signal that makes a function run. `resource` is what stands for it with `node:async_hooks`.
    pub fn new(js: Js, resource: Value, on_signal: fn(Js)) -> Result<Self> {
        let mut function = ptr::null_mut();
        let name = js.string("@comic-vine/sqlite-store")?;
        let none = ptr::null_mut();
        // SAFETY: no JavaScript function; both values come from this callback, and the context is what `run` expects.
        let made = unsafe {
            sys::napi_create_threadsafe_function(
                js.raw(),
                ptr::null_mut(),
                resource.raw(),
                name.raw(),
                0,
                1,
                none,
                None,
                on_signal as *mut c_void,
                Some(run),
                &mut function,
            )
        };
        js.check(made)?;
        let signal = Signal(Mutex::new(Some(ThreadSafe(function))));
        signal.keep_alive(js, false)?;
        Ok(signal)
    }

    /// Has the function run.
    pub fn raise(&self) {
        if let Some(ThreadSafe(function)) = *self.0.lock() {
            let mode = sys::ThreadsafeFunctionCallMode::nonblocking;
            // SAFETY: the function is valid while it is in `self`: see `end`. It refuses only while the environment ends,
            // when nobody waits for it.
            let _ = unsafe { sys::napi_call_threadsafe_function(function, ptr::null_mut(), mode) };
        }
    }

    /// Whether it keeps the process alive from now on.
    pub fn keep_alive(&self, js: Js, keeps: bool) -> Result<()> {
        let Some(ThreadSafe(function)) = *self.0.lock() else { return Ok(()) };
        // SAFETY: on the environment's thread, where a `Js` exists, while the function is valid.
        js.check(unsafe {
            if keeps {
                sys::napi_ref_threadsafe_function(js.raw(), function)
            } else {
                sys::napi_unref_threadsafe_function(js.raw(), function)
            }
        })
    }

    /// Has nothing run any more. Waits for a thread that raises it this moment.
    pub fn end(&self) {
        *self.0.lock() = None;
    }
}

unsafe extern "C" fn run(env: sys::napi_env, _function: sys::napi_value, context: *mut c_void, _data: *mut c_void) {
    // A signal that comes while the environment ends has none.
    if !env.is_null() {
        // SAFETY: `new` put a function there; on the environment's thread.
        let (on_signal, js) = unsafe { (std::mem::transmute::<*mut c_void, fn(Js)>(context), Js::new(env)) };
        let _ = catch_unwind(move || on_signal(js));
    }
}

/// Has a function run when the environment ends, while the signals that were made before still can be raised: what was
/// made last ends first.
pub fn at_end(js: Js, on_end: fn()) -> Result<()> {
    // SAFETY: the argument is what `end` expects.
    js.check(unsafe { sys::napi_add_env_cleanup_hook(js.raw(), Some(end), on_end as *mut c_void) })
}

unsafe extern "C" fn end(on_end: *mut c_void) {
    // SAFETY: `at_end` put a function there.
    let on_end = unsafe { std::mem::transmute::<*mut c_void, fn()>(on_end) };
    let _ = catch_unwind(on_end);
}
