//! What can go wrong, as values with names. The binding's last step makes a JavaScript error of one.

use std::fmt;

/// The four kinds of store, as far as messages and tables differ, and a part of one's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreKind {
    /// The response cache.
    Cache,
    /// What the cache has for tags: made when an entry is first given one.
    CacheTags,
    /// What the cache has for bounds: made when a store is first given some.
    CacheBounds,
    /// What all stores on a server share beside their own tables.
    Server,
    /// The request deduplication.
    Dedupe,
    /// The sliding-window rate limiter.
    RateLimit,
    /// The adaptive rate limiter.
    Adaptive,
}

/// Why a call or a constructor failed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// An option or argument is not what it has to be: a `TypeError` that names it.
    Argument {
        /// Its name, as the user wrote it.
        name: String,
        /// What was expected.
        expected: &'static str,
        /// What came.
        received: String,
    },
    /// The directory of the database file does not exist: a `TypeError`, as in 0.2.0.
    MissingDirectory(String),
    /// Two options contradict each other.
    Contradiction(&'static str),
    /// Another copy of this package has the file open in this process.
    OpenInOtherCopy {
        /// The file.
        path: String,
        /// Where the addon of this copy is.
        own: String,
        /// Where that of the other is.
        other: String,
    },
    /// The call came after `close()` or `destroy()`.
    Destroyed(StoreKind),
    /// A value has no JSON form; the text says why.
    Unserializable {
        /// What was to be serialized: `value` or `result`.
        what: &'static str,
        /// The reason, as JavaScript gave it.
        reason: String,
    },
    /// The job that a waiter waited for failed elsewhere, with an error of this message and, if it is known, name.
    JobFailed { message: String, name: Option<String> },
    /// SQLite refused.
    Sqlite {
        /// The extended result code (sqlite.org/rescode.html).
        code: i32,
        /// SQLite's message.
        message: String,
    },
    /// A server, or the client that speaks to it, refused.
    Remote {
        /// The code it gave, if any.
        code: Option<String>,
        /// What it said.
        message: String,
    },
    /// A server has not answered in time.
    Timeout {
        /// How long it was waited for, in ms.
        after: f64,
        /// Whether what was called may have taken effect, or may yet.
        outcome_unknown: bool,
        /// Why it was not, as far as it is known.
        reason: Option<String>,
    },
    /// The work must not run on the JavaScript thread, and the system refused another one.
    NoThread,
    /// What was asked for cannot be done there.
    Refused { code: &'static str, message: String },
    /// A fault of this package.
    Internal(String),
}

/// Whether an error was for want of a lock.
pub trait IsBusy {
    /// Whether another connection held the lock, so that trying again may help.
    fn is_busy(&self) -> bool;
}

impl IsBusy for Error {
    fn is_busy(&self) -> bool {
        match self {
            Error::Sqlite { code, .. } => code & 0xff == 5,
            Error::Remote { code: Some(code), .. } => code.starts_with("SQLITE_BUSY"),
            _ => false,
        }
    }
}

/// `SQLITE_INTERRUPT`.
const INTERRUPT: i32 = 9;

impl Error {
    /// Whether a write found no room: on the volume, or in a file that may not grow further.
    pub fn is_full(&self) -> bool {
        /// `SQLITE_IOERR_WRITE`, and `SQLITE_IOERR_SHMSIZE` of a log's index.
        const FILE_REFUSED: [i32; 2] = [778, 4874];
        matches!(self, Error::Sqlite { code, .. } if code & 0xff == 13 || FILE_REFUSED.contains(code))
    }

    /// SQLite stopped a statement.
    #[cold]
    pub fn interrupt() -> Self {
        let message = "The call was stopped, since it took more steps or memory than the stores allow. A trigger or view in \
                       the database may run without end";
        Error::Sqlite { code: INTERRUPT, message: message.to_owned() }
    }

    /// A value's text could be stored, and never read.
    #[cold]
    pub fn too_big(bytes: usize, most: usize) -> Self {
        /// `SQLITE_TOOBIG`.
        const CODE: i32 = 18;
        let message =
            format!("The value is too large: its JSON text has {bytes} bytes, and at most {most} can be read back");
        Error::Sqlite { code: CODE, message }
    }

    /// What was read of the database cannot be, as SQLite says it.
    #[cold]
    pub fn corrupt() -> Self {
        /// `SQLITE_CORRUPT`.
        const CODE: i32 = 11;
        Error::Sqlite { code: CODE, message: "database disk image is malformed".to_owned() }
    }

    /// The database has something else where a store's table belongs.
    #[cold]
    pub fn not_a_table(name: &str) -> Self {
        /// `SQLITE_ERROR`.
        const CODE: i32 = 1;
        Error::Sqlite {
            code: CODE,
            message: format!(
                "The store needs a table {name}, and the database has a view of that name, or a virtual table"
            ),
        }
    }

    /// Whether it is the store that failed: the database, its medium, or its server. Not whoever called it.
    pub fn is_of_store(&self) -> bool {
        match self {
            Error::MissingDirectory(_)
            | Error::OpenInOtherCopy { .. }
            | Error::Sqlite { .. }
            | Error::Remote { .. }
            | Error::Timeout { .. }
            | Error::NoThread
            | Error::Internal(_) => true,
            Error::Argument { .. }
            | Error::Contradiction(_)
            | Error::Destroyed(_)
            | Error::Unserializable { .. }
            | Error::Refused { .. }
            | Error::JobFailed { .. } => false,
        }
    }

    /// Whether SQLite stopped a statement.
    pub fn is_interrupt(&self) -> bool {
        matches!(self, Error::Sqlite { code: INTERRUPT, .. })
    }

    /// An argument that is not what it has to be.
    #[cold]
    pub fn argument(name: impl Into<String>, expected: &'static str, received: impl Into<String>) -> Self {
        Error::Argument { name: name.into(), expected, received: received.into() }
    }

    /// Code of ours panicked.
    #[cold]
    pub fn panic() -> Self {
        Error::Internal("a panic".to_owned())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Argument { name, expected, received } => {
                write!(formatter, "{name} must be {expected}, got {received}")
            }
            Error::MissingDirectory(directory) => {
                write!(formatter, "Cannot open database because the directory does not exist: '{directory}'")
            }
            Error::OpenInOtherCopy { path, own, other } => write!(
                formatter,
                "'{path}' is open in this process through another copy of @comic-vine/sqlite-store, '{other}'; this one is \
                 '{own}'. Two copies on one file can corrupt it: install one version, or have each copy use a file of its own"
            ),
            Error::Contradiction(message) => formatter.write_str(message),
            Error::Refused { message, .. } => formatter.write_str(message),
            Error::Destroyed(kind) => {
                let store = match kind {
                    StoreKind::Cache
                    | StoreKind::CacheTags
                    | StoreKind::CacheBounds
                    | StoreKind::Server => "Cache",
                    StoreKind::Dedupe => "Dedupe",
                    StoreKind::RateLimit | StoreKind::Adaptive => "Rate limit",
                };
                write!(formatter, "{store} store has been destroyed")
            }
            Error::Unserializable { what, reason } => {
                write!(formatter, "Failed to serialize {what}: {reason}")
            }
            Error::JobFailed { message, .. } | Error::Sqlite { message, .. } | Error::Remote { message, .. } => {
                formatter.write_str(message)
            }
            Error::Timeout { after, outcome_unknown, reason } => {
                write!(formatter, "The server has not answered within {after} ms")?;
                if *outcome_unknown {
                    formatter.write_str("; the call may have taken effect, or may yet")?;
                }
                reason.iter().try_for_each(|reason| write!(formatter, ": {reason}"))
            }
            Error::NoThread => formatter.write_str(
                "The system refused a thread for what must not run on the JavaScript thread; the call can be made again",
            ),
            Error::Internal(message) => write!(formatter, "internal error of @comic-vine/sqlite-store: {message}"),
        }
    }
}

impl std::error::Error for Error {}

/// The result of anything that can fail here.
pub type Result<T, E = Error> = std::result::Result<T, E>;
