//! Other copies of this package in the process, as when two versions are installed. Each has a SQLite of its own, and on
//! Linux and macOS locks belong to the process: two of them on one file drop each other's (sqlite.org/howtocorrupt.html, 2.2.1).
//! So each copy says which files it uses, and refuses those that another uses.

#![cfg_attr(not(any(target_os = "linux", target_os = "macos")), allow(dead_code, reason = "nobody asks elsewhere"))]

use std::path::{Path, PathBuf};

use file_id::FileId;
use parking_lot::Mutex;

/// A file that this copy uses.
struct Used {
    claim: usize,
    path: PathBuf,
    /// `None` until it exists.
    id: Option<FileId>,
}

impl Used {
    /// Whether it is the file that another copy asks about. A name counts until both know the file.
    fn is(&self, path: &Path, id: Option<FileId>) -> bool {
        if self.id.is_some() && id.is_some() { self.id == id } else { self.path == path }
    }
}

/// The claims that were made, and the files that are used.
static USED: Mutex<(usize, Vec<Used>)> = Mutex::new((0, Vec::new()));

/// The use of a file, for other copies to see.
#[derive(Debug)]
pub struct Claim(usize);

/// Two copies: this one, and one that uses the file.
#[derive(Debug)]
pub struct Copies {
    pub own: PathBuf,
    pub other: PathBuf,
}

impl Claim {
    /// Claims a file, which does not exist yet if it has no id.
    ///
    /// # Errors
    /// Another copy uses it.
    pub fn new(path: &Path, id: Option<FileId>) -> Result<Self, Copies> {
        let claim = {
            let mut used = USED.lock();
            used.0 += 1;
            let claim = used.0;
            used.1.push(Used { claim, path: path.to_owned(), id });
            Claim(claim)
        };
        // Only now: of two copies that claim it at the same moment, at least one sees the other.
        match images::user_of(path, id) {
            Some(copies) => Err(copies),
            None => Ok(claim),
        }
    }

    /// The file has been made, or another opened by its name.
    pub fn renew(&self, id: Option<FileId>) {
        USED.lock().1.iter_mut().filter(|used| used.claim == self.0).for_each(|used| used.id = id);
    }

    /// The file has been closed.
    pub fn release(&self) {
        USED.lock().1.retain(|used| used.claim != self.0);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
mod images {
    use std::ffi::{CStr, CString, OsStr, c_char, c_void};
    use std::os::unix::ffi::OsStrExt;
    use std::path::{Path, PathBuf};
    #[cfg(target_os = "linux")]
    use std::ptr;

    use file_id::FileId;

    use super::{Copies, USED};

    /// Every copy has this function, of whatever version: neither its name nor its parameters may change.
    type Uses = unsafe extern "C" fn(*const u8, usize, bool, u64, u64) -> bool;
    const NAME: &CStr = c"comic_vine_sqlite_store_uses";

    /// Whether this copy uses a file: its path and, if it exists, its device and inode.
    ///
    /// # Safety
    /// The path has that many bytes.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn comic_vine_sqlite_store_uses(
        path: *const u8,
        length: usize,
        exists: bool,
        device: u64,
        inode: u64,
    ) -> bool {
        // SAFETY: by contract.
        let path = Path::new(OsStr::from_bytes(unsafe { std::slice::from_raw_parts(path, length) }));
        let id = exists.then(|| FileId::new_inode(device, inode));
        USED.lock().1.iter().any(|used| used.is(path, id))
    }

    /// The copy that uses a file, beside this one.
    pub fn user_of(path: &Path, id: Option<FileId>) -> Option<Copies> {
        let (device, inode) = match id {
            Some(FileId::Inode { device_id, inode_number }) => (device_id, inode_number),
            _ => (0, 0),
        };
        let bytes = path.as_os_str().as_bytes();
        let other = names().into_iter().find(|name| {
            let uses = |uses: Uses| {
                // SAFETY: a copy's function by its contract; the image stays while it is called.
                unsafe { uses(bytes.as_ptr(), bytes.len(), id.is_some(), device, inode) }
            };
            with_function(name, uses).unwrap_or(false)
        })?;
        Some(Copies { own: own_path(), other: PathBuf::from(OsStr::from_bytes(other.to_bytes())) })
    }

    /// Calls the function of a copy that is loaded, if the image is another one.
    fn with_function<T>(image: &CStr, call: impl FnOnce(Uses) -> T) -> Option<T> {
        // SAFETY: both names end in NUL. Nothing is loaded: what is there is held until `dlclose`.
        unsafe {
            let handle = libc::dlopen(image.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
            if handle.is_null() {
                return None;
            }
            let function = libc::dlsym(handle, NAME.as_ptr());
            let is_other = !function.is_null() && function != own();
            // SAFETY: what has this name has this type.
            let answer = is_other.then(|| call(std::mem::transmute::<*mut c_void, Uses>(function)));
            libc::dlclose(handle);
            answer
        }
    }

    fn own() -> *mut c_void {
        comic_vine_sqlite_store_uses as *mut c_void
    }

    fn own_path() -> PathBuf {
        // SAFETY: all zeros is a valid `Dl_info`; the call writes to it, and its names live as long as the image.
        unsafe {
            let mut info: libc::Dl_info = std::mem::zeroed();
            let found = libc::dladdr(own(), &raw mut info) != 0 && !info.dli_fname.is_null();
            if found {
                PathBuf::from(OsStr::from_bytes(CStr::from_ptr(info.dli_fname).to_bytes()))
            } else {
                PathBuf::new()
            }
        }
    }

    /// # Safety
    /// The name is null or ends in NUL.
    unsafe fn add(names: &mut Vec<CString>, name: *const c_char) {
        if !name.is_null() {
            // SAFETY: by contract.
            names.push(unsafe { CStr::from_ptr(name) }.to_owned());
        }
    }

    /// The names of the images that the process has loaded.
    #[cfg(target_os = "linux")]
    fn names() -> Vec<CString> {
        unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, _size: usize, names: *mut c_void) -> i32 {
            // SAFETY: `names` put the list there; `info` is valid within this call.
            unsafe { add(&mut *names.cast::<Vec<CString>>(), (*info).dlpi_name) };
            0
        }
        let mut names = Vec::new();
        // SAFETY: `visit` gets the list, which lives through the call.
        unsafe { libc::dl_iterate_phdr(Some(visit), ptr::from_mut(&mut names).cast()) };
        // Without a name: the program.
        names.retain(|name: &CString| !name.is_empty());
        names
    }

    /// The names of the images that the process has loaded.
    #[cfg(target_os = "macos")]
    fn names() -> Vec<CString> {
        unsafe extern "C" {
            fn _dyld_image_count() -> u32;
            fn _dyld_get_image_name(index: u32) -> *const c_char;
        }
        let mut names = Vec::new();
        // SAFETY: an index past the end gives null.
        unsafe { (0.._dyld_image_count()).for_each(|index| add(&mut names, _dyld_get_image_name(index))) };
        names
    }
}

/// Elsewhere locks belong to whoever has opened the file.
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
mod images {
    use std::path::Path;

    use file_id::FileId;

    use super::Copies;

    pub fn user_of(_path: &Path, _id: Option<FileId>) -> Option<Copies> {
        None
    }
}
