//! Stamps that lie later than now: their clock was ahead, or has been set back since. Taken as they are, a request would
//! count, or somebody wait, for as long as the clock was off.
//!
//! Clocks of one machine differ by no more than [`TOLERANCE_MS`]: a stamp later by less is read as now. One that is later by more is
//! wrong; the first call that meets it corrects it to now, after which it counts for its own span.

use super::value::Millis;

/// How much later than now a stamp may be.
pub const TOLERANCE_MS: Millis = 1_000.0;

/// Whether a clock has been set back, given its time and that of one that is never set, now and before.
pub fn was_set_back(before: (Millis, Millis), now: (Millis, Millis)) -> bool {
    (before.0 - before.1) - (now.0 - now.1) > TOLERANCE_MS
}

/// The latest stamp that may be right, for a call made at `now` which has waited for its turn for so many ms: others have
/// made theirs meanwhile.
pub fn latest(now: Millis, waited: Millis) -> Millis {
    now + waited + TOLERANCE_MS
}
