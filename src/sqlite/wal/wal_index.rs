//! Reading, without a lock and without a call to SQLite, which state a database in WAL mode is in: from the header of
//! the WAL-index, the memory that all connections to the file share (sqlite.org/walformat.html, 2.1). Every commit of
//! whatever connection writes a new header; it is how SQLite itself sees that something has changed.

use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use rusqlite::{Connection, ffi};

use super::main_file;
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

/// The header of the WAL-index that a connection has mapped. Must not be used once the connection is closed.
#[derive(Debug)]
pub struct WalIndex {
    header: *const AtomicU32,
}

// SAFETY: only reads, atomically, from memory that belongs to the connection and not to a thread.
unsafe impl Send for WalIndex {}

impl WalIndex {
    /// Finds the header. `None` where the connection has no shared WAL-index: another journal mode, not yet used, or a
    /// file system without shared memory.
    ///
    /// # Safety
    /// Must not be used after `connection` was closed or its journal mode changed, either of which unmaps the memory.
    pub unsafe fn of(connection: &Connection) -> Option<Self> {
        let file = main_file(connection)?;
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
        (!header.is_null() && header.is_aligned()).then_some(WalIndex { header })
    }

    /// Whether all frames of the log, if there are any, have been checkpointed.
    pub fn is_checkpointed(&self) -> bool {
        self.word(CHECKPOINTED) == self.word(FRAMES)
    }

    fn word(&self, index: usize) -> u32 {
        // SAFETY: the block is larger than what is read of it, aligned, and mapped (see `of`). Other processes write the
        // words whole.
        unsafe { &*self.header.add(index) }.load(Ordering::Relaxed)
    }

    /// The state that the last commit left. One that is under way may or may not show.
    pub fn state(&self) -> State {
        let mut words = [0; WORDS];
        for (index, word) in words.iter_mut().enumerate() {
            *word = self.word(index);
        }
        fence(Ordering::Acquire);
        State(words)
    }
}
