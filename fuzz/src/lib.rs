//! What the fuzz targets do with an input. `tests/fuzz_findings.rs` includes this file, too, and replays with it the inputs
//! that have found something.
//!
//! Any input is taken: it is read as numbers, texts, rows and calls until it ends, and nothing stands for what is missing.
//! Whatever it is, each call is answered, or refused with an error that says why; nothing panics, and nothing goes on for
//! ever.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is a finding")]

mod bases;
mod calls;
mod numbers;
mod patches;
mod rows;
mod session;

use arbitrary::{Arbitrary, Unstructured};

use calls::Plan;
use patches::FilePlan;
use rows::{RowPlan, Script};
use session::Session;

/// Rows with anything in their columns, and calls that read them.
pub fn values(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let (Ok(rows), Ok(plan)) = (RowPlan::arbitrary(&mut input), Plan::arbitrary(&mut input)) else { return };
    let kinds = plan.kinds();
    Session::in_memory(&kinds, &rows.script(&kinds)).carry_out(&plan);
}

/// Options and arguments at the ends of what is accepted.
pub fn options(input: &[u8]) {
    let Ok(plan) = Plan::arbitrary(&mut Unstructured::new(input)) else { return };
    Session::in_memory(&plan.kinds(), &Script::default()).carry_out(&plan);
}

/// A database file of ours or of 0.2.0's, and what lies beside it, with changed bytes.
pub fn files(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let (Ok(files), Ok(plan)) = (FilePlan::arbitrary(&mut input), Plan::arbitrary(&mut input)) else { return };
    session::on_files(&files, &plan);
}
