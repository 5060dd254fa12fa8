//! Reading, without a lock and without a call to SQLite, which state a database in WAL mode is in: from the header of
//! the WAL-index, the memory that all connections to the file share (sqlite.org/walformat.html, 2.1). Every commit of
//! whatever connection writes a new header; it is how SQLite itself sees that something has changed.

use std::ops::Deref;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use rusqlite::{Connection, ffi};

use super::super::os::budget::Meter;
use super::shim::main_file;
use super::wal_file::FRAME_HEADER_BYTES;

/// The words of the header's first copy: the format's version, unused, a counter of commits, the page size, the number
/// of frames and of pages, checksums and salts. The second copy is written before it, so once a commit has come to its
/// end, the first one is new.
const WORDS: usize = 12;

/// Which of them counts commits, which has the page size in its last two bytes, and which counts frames.
const COMMITS: usize = 2;
const PAGE_SIZE: usize = 3;
const FRAMES: usize = 4;

/// Where the number of frames that have been checkpointed is: after both copies of the header.
const CHECKPOINTED: usize = 2 * WORDS;

/// The size of a block of the WAL-index, in which it is mapped.
const BLOCK_BYTES: i32 = 32_768;

/// Which state a database is in: equal only if nothing was committed in between.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State([u32; WORDS]);

impl State {
    /// Whether exactly one commit came after `earlier`.
    pub fn follows(&self, earlier: &State) -> bool {
        self.0[COMMITS] == earlier.0[COMMITS].wrapping_add(1)
    }

    /// How much of the log is in use.
    pub fn log_bytes(&self) -> u64 {
        let [.., high, low] = self.0[PAGE_SIZE].to_ne_bytes();
        let page_size = u64::from(u16::from_ne_bytes([high, low]));
        // A page of 64 KiB is written as 1.
        let page_bytes = if page_size == 1 { 65_536 } else { page_size };
        u64::from(self.0[FRAMES]) * (FRAME_HEADER_BYTES as u64 + page_bytes)
    }
}

/// A connection, and the header of the WAL-index that it has mapped. Its journal mode is set by
/// [`set_journal_mode`](Self::set_journal_mode) alone: another mode unmaps the memory.
pub struct WalConnection {
    sqlite: Connection,
    /// Dropped after it.
    meter: Meter,
    /// Mapped as long as the connection is open and in WAL mode.
    header: Option<*const AtomicU32>,
}

// SAFETY: what `header` points to is only read, atomically, and belongs to the connection and not to a thread.
unsafe impl Send for WalConnection {}

impl Deref for WalConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.sqlite
    }
}

impl From<Connection> for WalConnection {
    fn from(sqlite: Connection) -> Self {
        // SAFETY: the fields are dropped in their order.
        let meter = unsafe { Meter::of(&sqlite) };
        WalConnection { sqlite, meter, header: None }
    }
}

impl WalConnection {
    /// What its statements may take.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Sets the journal mode; answers the one it has then.
    pub fn set_journal_mode(&mut self, mode: &str) -> rusqlite::Result<String> {
        self.header = None;
        self.sqlite.query_row(&format!("PRAGMA journal_mode = {mode}"), [], |row| row.get(0))
    }

    /// Finds the header, once the connection has read in WAL mode. There is none in another journal mode, or on a file system
    /// without shared memory.
    pub fn find_header(&mut self) {
        self.header = self.mapped_header();
    }

    /// Whether the header has been found.
    pub fn has_header(&self) -> bool {
        self.header.is_some()
    }

    fn mapped_header(&self) -> Option<*const AtomicU32> {
        let file = main_file(&self.sqlite)?;
        let mut block: *mut std::ffi::c_void = ptr::null_mut();
        // SAFETY: the file is open; the call writes the pointer given. The block has been mapped by the connection
        // itself when it first read in WAL mode, so that this answers the mapping it uses, and makes none: it stays
        // mapped until the connection closes or leaves WAL mode.
        unsafe {
            let methods = file.as_ref().pMethods.as_ref()?;
            let map = methods.xShmMap.filter(|_| methods.iVersion >= 2)?;
            if map(file.as_ptr(), 0, BLOCK_BYTES, 0, &mut block) != ffi::SQLITE_OK {
                return None;
            }
        }
        let header = block.cast::<AtomicU32>().cast_const();
        (!header.is_null() && header.is_aligned()).then_some(header)
    }

    /// Whether all frames of the log, if there are any, have been checkpointed. Not known to be without a header.
    pub fn is_checkpointed(&self) -> bool {
        self.word(FRAMES).is_some_and(|frames| self.word(CHECKPOINTED) == Some(frames))
    }

    /// The state that the last commit left. One that is under way may or may not show. `None` without a header.
    pub fn state(&self) -> Option<State> {
        let mut words = [0; WORDS];
        for (index, word) in words.iter_mut().enumerate() {
            *word = self.word(index)?;
        }
        fence(Ordering::Acquire);
        Some(State(words))
    }

    fn word(&self, index: usize) -> Option<u32> {
        let header = self.header?;
        // SAFETY: mapped, and aligned: see `mapped_header`; the block is larger than what is read of it. Other processes write
        // the words whole.
        Some(unsafe { &*header.add(index) }.load(Ordering::Relaxed))
    }
}
