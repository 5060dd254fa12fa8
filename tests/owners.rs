//! Processes that are gone are told from those that are there (Linux).
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::process::{Command, Stdio};

use comic_vine_sqlite_store::core::dedupe::owner::{Sight, are_neighbours, has_ended};
use comic_vine_sqlite_store::sqlite::os::processes::{look, this};

#[test]
fn a_process_is_there_until_it_ends_whether_its_parent_looks_or_not() {
    let mut child = Command::new("sleep").arg("1000").stdout(Stdio::null()).spawn().unwrap();
    let Sight::Present { start, has_ended: false } = look(child.id()) else { panic!("{:?}", look(child.id())) };
    let own: Vec<&str> = this().unwrap().split(' ').collect();
    let owner = format!("child {} {} {} {start}", own[0], own[1], child.id());
    assert!(are_neighbours(&format!("uuid {}", this().unwrap()), &owner));
    assert!(!has_ended(&owner, look));

    child.kill().unwrap();
    while look(child.id()) == (Sight::Present { start, has_ended: false }) {
        std::thread::yield_now();
    }
    assert_eq!(look(child.id()), Sight::Present { start, has_ended: true }, "a zombie");
    assert!(has_ended(&owner, look));
    child.wait().unwrap();
    assert!(has_ended(&owner, look));
}

#[test]
fn this_process_is_there() {
    let this: Vec<&str> = this().unwrap().split(' ').collect();
    assert_eq!(this[2], std::process::id().to_string());
    let start = this[3].parse().unwrap();
    assert_eq!(look(std::process::id()), Sight::Present { start, has_ended: false });
    assert_eq!(look(u32::MAX), Sight::Hidden);
    assert_eq!(look(i32::MAX as u32), Sight::Absent);
}
