//! What the fuzz targets have found does not come back. Each input that found something lies in `fuzz/findings`, in the folder
//! of its target; what a target does with an input is in `fuzz/src/lib.rs`. Random inputs show that the targets run.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;
#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

use common::random;

fn replay(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/findings").join(name);
    // Git keeps no empty folder.
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        target(&fs::read(&path).unwrap());
    }
}

#[test]
fn values() {
    replay("values", targets::values);
}

#[test]
fn options() {
    replay("options", targets::options);
}

#[test]
fn files() {
    replay("files", targets::files);
}

proptest! {
    #![proptest_config(random(60))]

    #[test]
    fn random_values(input in vec(any::<u8>(), 0..600)) {
        targets::values(&input);
    }

    #[test]
    fn random_options(input in vec(any::<u8>(), 0..600)) {
        targets::options(&input);
    }

    #[test]
    fn random_files(input in vec(any::<u8>(), 0..600)) {
        targets::files(&input);
    }
}
