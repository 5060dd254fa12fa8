//! Changes of a database's bytes, most of them where a page says what it is and where others are.

use std::fs;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use arbitrary::{Arbitrary, Result, Unstructured};

use super::bases::{BASES, Files, directory, with_suffix};
use super::numbers::list;
use comic_vine_sqlite_store::core::options::JournalMode;

#[derive(Debug)]
pub struct FilePlan {
    base: usize,
    is_wal: bool,
    /// Whether the checksums of the log and of the journal are those of the changed bytes.
    is_summed: bool,
    patches: Vec<Patch>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Part {
    Database,
    Log,
    Journal,
}

#[derive(Debug)]
enum Patch {
    Bytes {
        part: Part,
        page: usize,
        at: usize,
        bytes: Vec<u8>,
    },
    /// The number of another page, where a page has such numbers.
    Pointer {
        part: Part,
        page: usize,
        at: usize,
        to: u8,
    },
    /// A page in the place of another.
    Copy {
        part: Part,
        from: usize,
        to: usize,
    },
    Cut {
        part: Part,
        pages: usize,
        more: usize,
    },
    Append {
        part: Part,
        bytes: Vec<u8>,
    },
}

impl<'a> Arbitrary<'a> for FilePlan {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        Ok(FilePlan {
            base: input.choose_index(BASES.len())?,
            is_wal: bool::arbitrary(input)?,
            is_summed: bool::arbitrary(input)?,
            patches: list(input, 0..=12)?,
        })
    }
}

impl<'a> Arbitrary<'a> for Patch {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let kind = input.int_in_range(0..=6)?;
        // Mostly the database.
        let part = if bool::arbitrary(input)? { Part::Database } else { Part::arbitrary(input)? };
        let page = usize::from(u8::arbitrary(input)?);
        Ok(match kind {
            0..=2 => {
                let length = input.int_in_range(1..=16)?;
                let at = offset(input)?;
                Patch::Bytes { part, page, at, bytes: input.bytes(length.min(input.len()))?.to_vec() }
            }
            3 => Patch::Pointer { part, page, at: offset(input)?, to: u8::arbitrary(input)? },
            4 => Patch::Copy { part, from: page, to: usize::from(u8::arbitrary(input)?) },
            5 => Patch::Cut { part, pages: page, more: usize::from(u8::arbitrary(input)?) },
            _ => {
                let length = input.int_in_range(1..=64)?;
                Patch::Append { part, bytes: input.bytes(length.min(input.len()))?.to_vec() }
            }
        })
    }
}

/// Within a page: most of what matters is at its beginning.
fn offset(input: &mut Unstructured<'_>) -> Result<usize> {
    let at = usize::from(u16::arbitrary(input)?);
    Ok(if at % 4 == 3 { at / 4 } else { at / 4 % 128 })
}

/// The header of a log, and that of each of its frames (sqlite.org/fileformat.html#the_write_ahead_log).
const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// Where a journal's pages begin, as it is written here: after a sector.
const JOURNAL_HEADER: usize = 512;

impl FilePlan {
    pub fn journal_mode(&self) -> JournalMode {
        if self.is_wal { JournalMode::Wal } else { JournalMode::Delete }
    }

    /// Writes the files; answers where the database is.
    pub fn write(&self) -> PathBuf {
        let mut files = BASES[self.base].clone();
        self.patches.iter().for_each(|patch| patch.apply(&mut files));
        if self.is_summed {
            sum_log(&mut files.log);
            sum_journal(&mut files.journal, files.page_size);
        }
        // Tests run on several threads.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = directory().join(format!("fuzz-{}-{number}.db", process::id()));
        fs::write(&path, &files.database).unwrap();
        for (suffix, bytes) in [("-wal", &files.log), ("-journal", &files.journal)] {
            if !bytes.is_empty() {
                fs::write(with_suffix(&path, suffix), bytes).unwrap();
            }
        }
        path
    }
}

impl Part {
    fn bytes(self, files: &mut Files) -> &mut Vec<u8> {
        match self {
            Part::Database => &mut files.database,
            Part::Log => &mut files.log,
            Part::Journal => &mut files.journal,
        }
    }

    /// Where a page begins, of so many bytes in all, and how long it is with its header.
    fn page(self, page: usize, page_size: usize, length: usize) -> (usize, usize) {
        let (first, size) = match self {
            Part::Database => (0, page_size),
            Part::Log => (LOG_HEADER, FRAME_HEADER + page_size),
            Part::Journal => (JOURNAL_HEADER, 4 + page_size + 4),
        };
        let pages = length.saturating_sub(first) / size;
        // One more stands for the header.
        match page % (pages + 1) {
            0 if first > 0 => (0, first),
            page => (first + page.saturating_sub(usize::from(first > 0)) * size, size),
        }
    }
}

impl Patch {
    fn apply(&self, files: &mut Files) {
        let page_size = files.page_size;
        match self {
            Patch::Bytes { part, page, at, bytes } => {
                let whole = part.bytes(files);
                let (start, size) = part.page(*page, page_size, whole.len());
                overwrite(whole, start + at % size, bytes);
            }
            Patch::Pointer { part, page, at, to } => {
                let whole = part.bytes(files);
                let (start, size) = part.page(*page, page_size, whole.len());
                overwrite(whole, start + at % size, &u32::from(*to).to_be_bytes());
            }
            Patch::Copy { part, from, to } => {
                let whole = part.bytes(files);
                let ((from, size), (to, _)) =
                    (part.page(*from, page_size, whole.len()), part.page(*to, page_size, whole.len()));
                let copied = whole.get(from..from + size).unwrap_or_default().to_vec();
                overwrite(whole, to, &copied);
            }
            Patch::Cut { part, pages, more } => part.bytes(files).truncate(pages * page_size + more),
            Patch::Append { part, bytes } => part.bytes(files).extend(bytes),
        }
    }
}

fn overwrite(whole: &mut [u8], at: usize, bytes: &[u8]) {
    for (old, new) in whole.iter_mut().skip(at).zip(bytes) {
        *old = *new;
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Makes the checksums of a log right (sqlite.org/fileformat.html#checksum_algorithm), and the salts of its frames those of
/// its header.
fn sum_log(log: &mut [u8]) {
    let (Some(magic), Some(page_size)) = (word(log, 0), word(log, 8)) else { return };
    let is_big = magic & 1 == 1;
    let add = |sums: (u32, u32), bytes: &[u8]| {
        bytes.chunks_exact(8).fold(sums, |(one, two), pair| {
            let read = |at: usize| {
                let bytes = [pair[at], pair[at + 1], pair[at + 2], pair[at + 3]];
                if is_big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
            };
            let one = one.wrapping_add(read(0)).wrapping_add(two);
            (one, two.wrapping_add(read(4)).wrapping_add(one))
        })
    };
    let write = |bytes: &mut [u8], (one, two): (u32, u32)| {
        bytes[..4].copy_from_slice(&one.to_be_bytes());
        bytes[4..8].copy_from_slice(&two.to_be_bytes());
    };
    if log.len() < LOG_HEADER || !(512..=65_536).contains(&page_size) {
        return;
    }
    let mut sums = add((0, 0), &log[..24]);
    write(&mut log[24..32], sums);
    let (header, frames) = log.split_at_mut(LOG_HEADER);
    for frame in frames.chunks_exact_mut(FRAME_HEADER + page_size as usize) {
        frame[8..16].copy_from_slice(&header[16..24]);
        sums = add(add(sums, &frame[..8]), &frame[FRAME_HEADER..]);
        write(&mut frame[16..24], sums);
    }
}

/// Makes the checksums of a journal's pages right (sqlite.org/fileformat.html#the_rollback_journal).
fn sum_journal(journal: &mut [u8], page_size: usize) {
    let Some(nonce) = word(journal, 12) else { return };
    let pages = journal.get_mut(JOURNAL_HEADER..).unwrap_or_default();
    for record in pages.chunks_exact_mut(4 + page_size + 4) {
        let (content, sum) = record[4..].split_at_mut(page_size);
        let mut total = nonce;
        let mut at = page_size;
        while at > 200 {
            at -= 200;
            total = total.wrapping_add(u32::from(content[at]));
        }
        sum.copy_from_slice(&total.to_be_bytes());
    }
}
