//! A clock that goes by how often it is looked at, not by how fast the machine is: each look takes 10 µs. What is done
//! after a time, or within one, is then done after as many calls on any machine, also where a tool slows it down.
//!
//! Loaded before the C library, whose functions these stand in for. Written without Rust's own library, so that it needs
//! nothing but `rustc`.

#![no_std]

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicI64, Ordering};

const LOOK_NS: i64 = 10_000;
const SECOND_NS: i64 = 1_000_000_000;

/// When the clock of the calendar starts: in 2027.
const REALTIME_NS: i64 = 1_800_000_000 * SECOND_NS;

/// Far ahead of the system's, to which waits with a timeout go by: they end when they are woken.
const MONOTONIC_NS: i64 = 100_000_000 * SECOND_NS;

const CLOCK_REALTIME: i32 = 0;
const CLOCK_REALTIME_COARSE: i32 = 5;

static PASSED_NS: AtomicI64 = AtomicI64::new(0);

fn look() -> i64 {
    PASSED_NS.fetch_add(LOOK_NS, Ordering::Relaxed)
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: i32, time: *mut [i64; 2]) -> i32 {
    let is_calendar = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
    let now = look() + if is_calendar { REALTIME_NS } else { MONOTONIC_NS };
    // SAFETY: by the caller's promise.
    unsafe { *time = [now / SECOND_NS, now % SECOND_NS] };
    0
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gettimeofday(time: *mut [i64; 2], _zone: *mut u8) -> i32 {
    let now = look() + REALTIME_NS;
    // SAFETY: by the caller's promise.
    unsafe { *time = [now / SECOND_NS, now % SECOND_NS / 1_000] };
    0
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    loop {}
}
