//! The write lock that a connection keeps between transactions: only while no other process has the file open.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::env;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use comic_vine_sqlite_store::core::cache;
use comic_vine_sqlite_store::sqlite::connection::Connection;
use common::{TempFile, open_cache as open};
use rusqlite::Connection as Plain;

const FILE: &str = "FILE_OF_OTHER_PROCESS";
/// Before what the other process says: the test harness writes to the same place.
const ANSWER: &str = "answer: ";

/// Another process, which does to the file what it is told, with its own SQLite.
struct Other {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Other {
    fn start(path: &Path) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "other_process", "--ignored", "--nocapture"])
            .env(FILE, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Other { child, input, output: BufReader::new(output).lines() }
    }

    fn tell(&mut self, command: &str) -> String {
        writeln!(self.input, "{command}").unwrap();
        let answer =
            |line: std::io::Result<String>| line.unwrap().split_once(ANSWER).map(|(_, answer)| answer.to_owned());
        self.output.find_map(answer).unwrap()
    }

    fn end(self) {
        let Other { mut child, input, output } = self;
        drop(input);
        assert_eq!(output.filter(|line| line.as_ref().is_ok_and(|line| line.contains(ANSWER))).count(), 0);
        assert!(child.wait().unwrap().success());
    }
}

/// Not a test: what [`Other`] starts.
#[test]
#[ignore = "run by the tests, in a process of its own"]
fn other_process() {
    let path = env::var(FILE).unwrap();
    let mut connection = None;
    for command in std::io::stdin().lines() {
        let open = connection.get_or_insert_with(|| {
            let connection = Plain::open(&path).unwrap();
            connection.busy_timeout(Duration::ZERO).unwrap();
            connection
        });
        let answer = match command.unwrap().as_str() {
            "read" => {
                open.query_row("SELECT COUNT(*) FROM cache", [], |row| row.get::<_, i64>(0)).unwrap().to_string()
            }
            "write" => match open.execute_batch("BEGIN IMMEDIATE; DELETE FROM cache; COMMIT") {
                Ok(()) => "written".to_owned(),
                Err(error) => error.sqlite_error_code().map_or("failed", |_| "refused").to_owned(),
            },
            _ => {
                connection = None;
                "closed".to_owned()
            }
        };
        println!("{ANSWER}{answer}");
    }
}

fn set(connection: &Connection, hash: &str) {
    connection.transact(true, &[&cache::set(hash, "1", 60.0, 0.0).steps]).unwrap();
}

#[test]
fn is_kept_until_it_is_given_back() {
    let file = TempFile::new();
    let own = open(file.path());
    own.keep_write_lock_if_alone();
    set(&own, "one");
    let mut other = Other::start(file.path());
    assert_eq!(other.tell("read"), "1", "what is committed is seen");
    assert_eq!(other.tell("write"), "refused");
    set(&own, "two");
    assert_eq!((other.tell("read"), other.tell("write")), ("2".to_owned(), "refused".to_owned()));
    own.give_back_locks();
    assert_eq!(other.tell("write"), "written");
    assert_eq!(other.tell("read"), "0");
    set(&own, "three");
    assert_eq!((other.tell("read"), other.tell("write")), ("1".to_owned(), "written".to_owned()));
    other.end();
}

#[test]
fn is_not_kept_while_another_process_has_the_file_open() {
    let file = TempFile::new();
    let own = open(file.path());
    let mut other = Other::start(file.path());
    assert_eq!(other.tell("read"), "0");
    own.keep_write_lock_if_alone();
    set(&own, "one");
    assert_eq!(other.tell("write"), "written");
    own.give_back_locks();

    assert_eq!(other.tell("close"), "closed");
    own.keep_write_lock_if_alone();
    set(&own, "two");
    assert_eq!(other.tell("write"), "refused");
    own.give_back_locks();
    assert_eq!(other.tell("write"), "written");
    other.end();
}

#[test]
fn is_free_once_the_connection_is_closed() {
    let file = TempFile::new();
    let own = open(file.path());
    own.keep_write_lock_if_alone();
    set(&own, "one");
    drop(own);
    let mut other = Other::start(file.path());
    assert_eq!((other.tell("write"), other.tell("read")), ("written".to_owned(), "0".to_owned()));
    other.end();
}
