//! Having an environment's thread do something, from whichever thread; and what it does when it ends.

use std::ffi::c_void;
use std::panic::catch_unwind;
use std::ptr;

use napi_sys as sys;
use parking_lot::Mutex;

use super::env::{Env, Result, Value};

/// Makes a function run on the environment's thread, once for every time it is woken or less often. It does not keep the
/// process alive unless [told to](Self::keep_alive).
pub struct WakeHandle(Mutex<Option<ThreadSafe>>);

/// A thread-safe function without a JavaScript function.
#[derive(Clone, Copy)]
struct ThreadSafe(sys::napi_threadsafe_function);

// SAFETY: Node-API allows `napi_call_threadsafe_function` from any thread, which is all that other threads do with it; the
// mutex around it keeps them from doing so once the environment has begun to end.
unsafe impl Send for ThreadSafe {}

impl WakeHandle {
    /// A handle that makes a function run. `resource` is what stands for it with `node:async_hooks`.
    pub fn new(env: Env, resource: Value, on_wake: fn(Env)) -> Result<Self> {
        let mut function = ptr::null_mut();
        let name = env.string("@comic-vine/sqlite-store")?;
        let none = ptr::null_mut();
        // SAFETY: no JavaScript function; both values come from this callback, and the context is what `run` expects.
        let made = unsafe {
            sys::napi_create_threadsafe_function(
                env.raw(),
                ptr::null_mut(),
                resource.raw(),
                name.raw(),
                0,
                1,
                none,
                None,
                on_wake as *mut c_void,
                Some(run),
                &mut function,
            )
        };
        env.check(made)?;
        let handle = WakeHandle(Mutex::new(Some(ThreadSafe(function))));
        handle.keep_alive(env, false)?;
        Ok(handle)
    }

    /// Has the function run.
    pub fn wake(&self) {
        if let Some(ThreadSafe(function)) = *self.0.lock() {
            let mode = sys::ThreadsafeFunctionCallMode::nonblocking;
            // SAFETY: the function is valid while it is in `self`: see `end`. It refuses only while the environment ends,
            // when nobody waits for it.
            let _ = unsafe { sys::napi_call_threadsafe_function(function, ptr::null_mut(), mode) };
        }
    }

    /// Whether it keeps the process alive from now on.
    pub fn keep_alive(&self, env: Env, keeps: bool) -> Result<()> {
        let Some(ThreadSafe(function)) = *self.0.lock() else { return Ok(()) };
        // SAFETY: on the environment's thread, where an `Env` exists, while the function is valid.
        env.check(unsafe {
            if keeps {
                sys::napi_ref_threadsafe_function(env.raw(), function)
            } else {
                sys::napi_unref_threadsafe_function(env.raw(), function)
            }
        })
    }

    /// Has nothing run any more. Waits for a thread that wakes it this moment.
    pub fn end(&self) {
        *self.0.lock() = None;
    }
}

unsafe extern "C" fn run(
    raw_env: sys::napi_env,
    _function: sys::napi_value,
    context: *mut c_void,
    _data: *mut c_void,
) {
    // A wake-up that comes while the environment ends has none.
    if !raw_env.is_null() {
        // SAFETY: `new` put a function there; on the environment's thread.
        let (on_wake, env) = unsafe { (std::mem::transmute::<*mut c_void, fn(Env)>(context), Env::new(raw_env)) };
        let _ = catch_unwind(move || on_wake(env));
    }
}

/// Has a function run when the environment ends, while the wake handles that were made before still work: what was
/// made last ends first.
pub fn at_end(env: Env, on_end: fn()) -> Result<()> {
    // SAFETY: the argument is what `end` expects.
    env.check(unsafe { sys::napi_add_env_cleanup_hook(env.raw(), Some(end), on_end as *mut c_void) })
}

unsafe extern "C" fn end(on_end: *mut c_void) {
    // SAFETY: `at_end` put a function there.
    let on_end = unsafe { std::mem::transmute::<*mut c_void, fn()>(on_end) };
    let _ = catch_unwind(on_end);
}
