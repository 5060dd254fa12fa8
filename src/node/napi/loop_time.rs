//! The time from which the event loop counts timers: that of the last time it looked. A timer set for so many ms fires earlier,
//! by as long as this is ago.

use std::ptr;
use std::sync::OnceLock;

use libloading::Library;
use napi_sys as sys;

use super::env::{Env, Result, Type};

type UpdateTime = unsafe extern "C" fn(*mut sys::uv_loop_s);

/// `uv_update_time` (docs.libuv.org/en/v1.x/loop.html), if this program has it: not all that have Node-API are built on libuv.
fn update_time() -> Option<UpdateTime> {
    static FUNCTION: OnceLock<Option<UpdateTime>> = OnceLock::new();
    *FUNCTION.get_or_init(|| {
        // SAFETY: the program itself, which is loaded, and the function with its type in libuv's header.
        unsafe {
            #[cfg(unix)]
            let program: Library = libloading::os::unix::Library::this().into();
            #[cfg(windows)]
            let program: Library = libloading::os::windows::Library::this().ok()?.into();
            program.get::<UpdateTime>(c"uv_update_time").ok().map(|function| *function)
        }
    })
}

/// Whether this is Node: others have functions of libuv's names that end the process.
fn is_node(env: Env) -> Result<bool> {
    let versions = env.get(env.get(env.global(), c"process")?, c"versions")?;
    for other in [c"bun", c"deno"] {
        if env.type_of(env.get(versions, other)?) != Type::Undefined {
            return Ok(false);
        }
    }
    Ok(env.type_of(env.get(versions, c"uv")?) == Type::String)
}

/// Has the event loop look at the time, so that no timer set from now on fires early.
pub fn update(env: Env) {
    if !is_node(env).unwrap_or(false) {
        return;
    }
    let Some(update_time) = update_time() else { return };
    let mut event_loop = ptr::null_mut();
    // SAFETY: the call only writes the pointer; the loop is this thread's, on which a callback is running.
    unsafe {
        if sys::napi_get_uv_event_loop(env.raw(), &mut event_loop) == sys::Status::napi_ok && !event_loop.is_null()
        {
            update_time(event_loop);
        }
    }
}
