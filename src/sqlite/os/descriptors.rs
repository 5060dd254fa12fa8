//! The files that the process has open.

use std::fs;

use file_id::{FileId, get_file_id};

/// Whether the process has a descriptor of a file. On Linux only; elsewhere it cannot be told.
pub fn has_descriptor(file: &FileId) -> bool {
    let Ok(descriptors) = fs::read_dir("/proc/self/fd") else { return false };
    descriptors.flatten().any(|descriptor| get_file_id(descriptor.path()).is_ok_and(|open| open == *file))
}
