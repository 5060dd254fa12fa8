//! Faults of the operating system, for tests (the feature `faults`; no published binary has it): a VFS between the
//! store's own and the system's. While a plan is [armed](arm) for a database, calls to the system about its files fail
//! as the plan has it: before they have any effect, half-way, or after they have taken effect, with the codes that
//! SQLite's VFS for Unix answers.
//!
//! - What a caller cannot undo is not left half done: a lock that is not given back would keep everybody out for ever,
//!   so unlocking takes effect and then fails, and a lock on the shared memory is refused or held.
//! - No power fails here. While a plan is armed, nothing is flushed to the disk for real.
//! - Temporary files without a name belong to no database, and never fail.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt;
use std::mem::size_of;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, ThreadId};

use parking_lot::Mutex;

use once_cell::sync::Lazy;
use rusqlite::ffi;

use super::super::os::vfs::register_copy;
use super::shim::{ShimFile, fetch, method, methods, open_wrapped, shim, unfetch};

/// The VFS's name.
const NAME: &CStr = c"comic-vine-faults";

/// A call to the system that may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// A file is opened.
    Open,
    /// A file is removed.
    Delete,
    /// Bytes are read.
    Read,
    /// Bytes are written.
    Write,
    /// A file is cut.
    Truncate,
    /// A file is flushed.
    Sync,
    /// The database is locked.
    Lock,
    /// The database is unlocked.
    Unlock,
    /// Shared memory is mapped.
    ShmMap,
    /// A lock on shared memory is taken.
    ShmLock,
    /// A lock on shared memory is given back.
    ShmUnlock,
}

impl Method {
    /// All of them.
    pub const ALL: [Method; 11] = [
        Method::Open,
        Method::Delete,
        Method::Read,
        Method::Write,
        Method::Truncate,
        Method::Sync,
        Method::Lock,
        Method::Unlock,
        Method::ShmMap,
        Method::ShmLock,
        Method::ShmUnlock,
    ];

    /// In which ways it may fail.
    pub const fn manners(self) -> &'static [Manner] {
        match self {
            Method::Write => &[Manner::Before, Manner::HalfWay, Manner::After],
            Method::Sync | Method::ShmLock => &[Manner::Before],
            Method::Unlock | Method::ShmUnlock => &[Manner::After],
            _ => &[Manner::Before, Manner::After],
        }
    }

    /// The codes that it may fail with.
    const fn codes(self) -> &'static [c_int] {
        match self {
            Method::Open => &[ffi::SQLITE_CANTOPEN],
            Method::Delete => &[ffi::SQLITE_IOERR_DELETE],
            Method::Read => &[ffi::SQLITE_IOERR_READ],
            Method::Write => &[ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_FULL],
            Method::Truncate => &[ffi::SQLITE_IOERR_TRUNCATE],
            Method::Sync => &[ffi::SQLITE_IOERR_FSYNC],
            Method::Lock => &[ffi::SQLITE_BUSY, ffi::SQLITE_BUSY, ffi::SQLITE_IOERR_LOCK],
            Method::Unlock => &[ffi::SQLITE_IOERR_UNLOCK],
            Method::ShmMap => &[ffi::SQLITE_IOERR_SHMMAP, ffi::SQLITE_IOERR_SHMSIZE],
            Method::ShmLock | Method::ShmUnlock => &[ffi::SQLITE_BUSY],
        }
    }

    /// Whether it is called much more often than others.
    const fn is_frequent(self) -> bool {
        matches!(self, Method::Read | Method::Lock | Method::Unlock | Method::ShmLock | Method::ShmUnlock)
    }
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Manner {
    /// Before it has any effect.
    Before,
    /// A part of the bytes is written.
    HalfWay,
    /// After it has taken effect.
    After,
}

/// A file of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// The database itself.
    Database,
    /// The write-ahead log.
    Log,
    /// The rollback journal.
    Journal,
}

impl FileKind {
    /// From a file's name: what it is, and the name of the database.
    fn of(name: &str) -> (FileKind, &str) {
        if let Some(database) = name.strip_suffix("-wal") {
            (FileKind::Log, database)
        } else if let Some(database) = name.strip_suffix("-journal") {
            (FileKind::Journal, database)
        } else {
            (FileKind::Database, name)
        }
    }
}

/// Which calls fail.
#[derive(Clone, Copy, Debug)]
pub enum Plan {
    /// None.
    Nothing,
    /// Any, at random. A third of the methods, by the seed, never fail, so that frequent faults do not hide rare ones;
    /// one that fails may go on failing for a while.
    Random {
        /// What all chance is made of.
        seed: u64,
        /// One call in so many fails; of methods that are called often, one in eight times as many.
        one_in: u32,
        /// So many faults, and no more.
        at_most: u32,
    },
    /// One call.
    Nth {
        /// Of this method,
        method: Method,
        /// on this kind of file, or any,
        file: Option<FileKind>,
        /// the nth, from 1,
        nth: u64,
        /// in this way.
        manner: Manner,
    },
    /// Writes to a log or a journal past so many bytes: the volume has no room for them.
    Room(i64),
}

/// A fault that struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which method failed,
    pub method: Method,
    /// on which file,
    pub file: FileKind,
    /// in which way,
    pub manner: Manner,
    /// and which call since the plan was armed, of those it could have been, from 1.
    pub call: u64,
    code: c_int,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { method, file, manner, call, code } = self;
        write!(formatter, "{method:?} of {file:?} {manner:?}, call {call}, code {code}")
    }
}

/// Numbers that a seed decides (SplitMix64).
#[derive(Clone, Copy, Debug)]
pub struct Random(u64);

impl Random {
    /// All that comes is decided by the seed.
    pub const fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next number.
    pub const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to a bound, which is left out; 0 if that is 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        match self.number().checked_rem(bound) {
            Some(number) => number,
            None => 0,
        }
    }

    /// True one time in so many.
    pub const fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    /// One of a list that is not empty.
    pub fn of<'list, T>(&mut self, list: &'list [T]) -> &'list T {
        &list[self.below(list.len() as u64) as usize]
    }
}

/// A plan that is armed, and what has come of it.
struct Armed {
    /// Tells it from one that was armed later.
    number: u64,
    plan: Plan,
    random: Random,
    is_on: bool,
    hides_failed_writes: bool,
    /// Calls so far, by method.
    calls: [u64; Method::ALL.len()],
    /// A method that goes on failing, and how many times more.
    streak: (Option<Method>, u64),
    struck: Vec<Fault>,
    /// Which threads have waited for files to be flushed.
    flushing: Vec<ThreadId>,
}

impl Armed {
    fn new(plan: Plan) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let seed = if let Plan::Random { seed, .. } = plan { seed } else { 0 };
        Armed {
            number: COUNT.fetch_add(1, Ordering::Relaxed),
            plan,
            random: Random::new(seed),
            is_on: true,
            hides_failed_writes: false,
            calls: [0; Method::ALL.len()],
            streak: (None, 0),
            struck: Vec::new(),
            flushing: Vec::new(),
        }
    }

    /// The fault that strikes a call, if one does.
    fn strike(&mut self, method: Method, file: FileKind) -> Option<Fault> {
        if !self.is_on {
            return None;
        }
        if method == Method::Sync {
            self.flushing.push(thread::current().id());
        }
        let counts = match self.plan {
            Plan::Nothing | Plan::Random { .. } | Plan::Room(_) => true,
            Plan::Nth { method: planned, file: of, .. } => planned == method && of.is_none_or(|of| of == file),
        };
        let calls = &mut self.calls[method as usize];
        *calls += u64::from(counts);
        let call = *calls;
        let manner = match self.plan {
            Plan::Nth { nth, manner, .. } if counts && nth == call => manner,
            Plan::Nothing | Plan::Nth { .. } | Plan::Room(_) => return None,
            Plan::Random { seed, one_in, at_most } => self.chance(method, seed, one_in, at_most)?,
        };
        let code = *self.random.of(method.codes());
        let fault = Fault { method, file, manner, call, code };
        self.struck.push(fault);
        Some(fault)
    }

    /// The fault that strikes a write that ends so many bytes into a file.
    fn strike_write(&mut self, file: FileKind, end: i64) -> Option<Fault> {
        match self.plan {
            Plan::Room(bytes) if self.is_on && file != FileKind::Database && end > bytes => {
                let call = self.struck.len() as u64 + 1;
                let (method, manner, code) = (Method::Write, Manner::Before, ffi::SQLITE_FULL);
                let fault = Fault { method, file, manner, call, code };
                self.struck.push(fault);
                Some(fault)
            }
            _ => self.strike(Method::Write, file),
        }
    }

    fn chance(&mut self, method: Method, seed: u64, one_in: u32, at_most: u32) -> Option<Manner> {
        let never_fails = Random::new(seed ^ (method as u64 + 1).wrapping_mul(0xff51_afd7_ed55_8ccd)).one_in(3);
        if never_fails || self.struck.len() >= at_most as usize {
            return None;
        }
        let may_continue = self.streak.0 == Some(method) && self.streak.1 > 0;
        let rarity = u64::from(one_in) * if method.is_frequent() { 8 } else { 1 };
        if may_continue {
            self.streak.1 -= 1;
        } else if !self.random.one_in(rarity) {
            return None;
        } else if self.random.one_in(4) {
            self.streak = (Some(method), 1 + self.random.below(6));
        }
        Some(*self.random.of(method.manners()))
    }
}

/// A database, by its path.
#[derive(Default)]
struct Site(Mutex<Option<Armed>>);

static SITES: Lazy<Mutex<HashMap<PathBuf, Weak<Site>>>> = Lazy::new(Mutex::default);

impl Site {
    fn of(path: &Path) -> Arc<Site> {
        let mut sites = SITES.lock();
        if let Some(site) = sites.get(path).and_then(Weak::upgrade) {
            return site;
        }
        sites.retain(|_, site| site.strong_count() > 0);
        let site = Arc::default();
        sites.insert(path.to_owned(), Arc::downgrade(&site));
        site
    }

    /// Of a name as SQLite gives it.
    ///
    /// # Safety
    /// It must be null, or a string that lives through the call.
    unsafe fn find(name: *const c_char) -> Option<(Arc<Site>, FileKind)> {
        if name.is_null() {
            return None;
        }
        // SAFETY: by the caller's promise.
        let name = unsafe { CStr::from_ptr(name) }.to_str().ok()?;
        let (kind, database) = FileKind::of(name);
        Some((Site::of(Path::new(database)), kind))
    }

    fn is_armed(&self) -> bool {
        self.0.lock().is_some()
    }

    fn strike(&self, method: Method, file: FileKind) -> Option<Fault> {
        self.0.lock().as_mut()?.strike(method, file)
    }
}

/// Faults that are armed for a database, until this is dropped.
#[must_use = "the faults end when it is dropped"]
pub struct Faults {
    site: Arc<Site>,
    number: u64,
}

/// Arms a plan for the database at `path`, whether it is open already or not, in place of one that was armed before.
pub fn arm(path: &Path, plan: Plan) -> Faults {
    let resolved = path.parent().and_then(|directory| directory.canonicalize().ok()).zip(path.file_name());
    let path = resolved.map_or_else(|| path.to_owned(), |(directory, name)| directory.join(name));
    let (site, armed) = (Site::of(&path), Armed::new(plan));
    let number = armed.number;
    *site.0.lock() = Some(armed);
    Faults { site, number }
}

impl Faults {
    fn with<T: Default>(&self, look: impl FnOnce(&mut Armed) -> T) -> T {
        self.site.0.lock().as_mut().filter(|armed| armed.number == self.number).map(look).unwrap_or_default()
    }

    /// No more faults, or again.
    pub fn switch(&self, on: bool) {
        self.with(|armed| armed.is_on = on);
    }

    /// Has writes of the log that fail reported as done from now on. It shows that a test would find such a mistake.
    pub fn hide_failed_writes(&self) {
        self.with(|armed| armed.hides_failed_writes = true);
    }

    /// What has struck so far.
    pub fn struck(&self) -> Vec<Fault> {
        self.with(|armed| armed.struck.clone())
    }

    /// Which threads have flushed a file, once for each time, while faults were on.
    pub fn flushing_threads(&self) -> Vec<ThreadId> {
        self.with(|armed| armed.flushing.clone())
    }

    /// How many calls of a method there have been while faults were on.
    pub fn calls(&self, method: Method) -> u64 {
        self.with(|armed| armed.calls[method as usize])
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.site.0.lock().take_if(|armed| armed.number == self.number);
    }
}

/// An open file.
#[repr(C)]
struct Faulty {
    base: ffi::sqlite3_file,
    /// `None` for a temporary file.
    site: Option<Arc<Site>>,
    kind: FileKind,
}

// SAFETY: begins with `base`, and both sets of methods are for it.
unsafe impl ShimFile for Faulty {
    fn wrap(system: &ffi::sqlite3_io_methods) -> Self {
        let has_all = system.iVersion >= METHODS.iVersion && system.xShmMap.is_some() && system.xFetch.is_some();
        let methods = if has_all { &raw const METHODS } else { &raw const PLAIN_METHODS };
        Faulty { base: ffi::sqlite3_file { pMethods: methods }, site: None, kind: FileKind::Database }
    }
}

static PLAIN_METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xLock: Some(take_lock),
    xUnlock: Some(unlock),
    ..methods::<Faulty>()
};

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 3,
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: Some(fetch::<Faulty>),
    xUnfetch: Some(unfetch::<Faulty>),
    ..PLAIN_METHODS
};

impl Faulty {
    fn strike(&self, method: Method) -> Option<Fault> {
        self.site.as_ref()?.strike(method, self.kind)
    }

    fn is_armed(&self) -> bool {
        self.site.as_ref().is_some_and(|site| site.is_armed())
    }

    fn hides_failed_writes(&self) -> bool {
        let hides = |site: &Arc<Site>| site.0.lock().as_ref().is_some_and(|armed| armed.hides_failed_writes);
        self.kind == FileKind::Log && self.site.as_ref().is_some_and(hides)
    }

    /// Carries out what a method does on the system's file, unless a fault strikes before.
    fn carry_out(&mut self, method: Method, whole: impl FnOnce(*mut ffi::sqlite3_file) -> c_int) -> c_int {
        match self.strike(method) {
            None => whole(self.system()),
            Some(Fault { manner: Manner::After, code, .. }) => {
                whole(self.system());
                code
            }
            Some(fault) => fault.code,
        }
    }

    /// # Safety
    /// `data` must have `size` bytes.
    unsafe fn write(&mut self, data: *const c_void, size: c_int, offset: i64) -> c_int {
        let end = offset + i64::from(size);
        let fault = self.site.as_ref().and_then(|site| site.0.lock().as_mut()?.strike_write(self.kind, end));
        let written = match fault {
            Some(Fault { manner: Manner::Before, .. }) => 0,
            Some(Fault { manner: Manner::HalfWay, call, .. }) => {
                Random::new(call ^ offset as u64).below(size as u64) as c_int
            }
            _ => size,
        };
        let mut done = ffi::SQLITE_OK;
        if written > 0 {
            let system = self.system();
            // SAFETY: an open file of the system's VFS; no more bytes are written than there are.
            done = unsafe { method(system, |methods| methods.xWrite)(system, data, written, offset) };
        }
        match fault {
            Some(_) if self.hides_failed_writes() => ffi::SQLITE_OK,
            Some(fault) => fault.code,
            None => done,
        }
    }
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, into: *mut c_void, size: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite calls the methods of an open file, from one thread at a time; what it passes is passed on.
    unsafe {
        shim::<Faulty>(file)
            .carry_out(Method::Read, |system| method(system, |methods| methods.xRead)(system, into, size, offset))
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, data: *const c_void, size: c_int, offset: i64) -> c_int {
    // SAFETY: as in `read`; `data` has `size` bytes.
    unsafe { shim::<Faulty>(file).write(data, size, offset) }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: as in `read`.
    unsafe {
        shim::<Faulty>(file)
            .carry_out(Method::Truncate, |system| method(system, |methods| methods.xTruncate)(system, size))
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: as in `read`.
    unsafe {
        let file = shim::<Faulty>(file);
        let is_armed = file.is_armed();
        file.carry_out(Method::Sync, |system| {
            if is_armed { ffi::SQLITE_OK } else { method(system, |methods| methods.xSync)(system, flags) }
        })
    }
}

unsafe extern "C" fn take_lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: as in `read`.
    unsafe {
        shim::<Faulty>(file)
            .carry_out(Method::Lock, |system| method(system, |methods| methods.xLock)(system, level))
    }
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: as in `read`.
    unsafe {
        shim::<Faulty>(file)
            .carry_out(Method::Unlock, |system| method(system, |methods| methods.xUnlock)(system, level))
    }
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    block: c_int,
    size: c_int,
    extend: c_int,
    mapped: *mut *mut c_void,
) -> c_int {
    // SAFETY: as in `read`; `mapped` can be written.
    unsafe {
        let done = shim::<Faulty>(file).carry_out(Method::ShmMap, |system| {
            method(system, |methods| methods.xShmMap)(system, block, size, extend, mapped)
        });
        if done != ffi::SQLITE_OK {
            *mapped = ptr::null_mut();
        }
        done
    }
}

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, first: c_int, count: c_int, flags: c_int) -> c_int {
    let kind = if flags & ffi::SQLITE_SHM_LOCK != 0 { Method::ShmLock } else { Method::ShmUnlock };
    // SAFETY: as in `read`; SQLite locks only where the system's file has shared memory.
    unsafe {
        shim::<Faulty>(file)
            .carry_out(kind, |system| method(system, |methods| methods.xShmLock)(system, first, count, flags))
    }
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: as in `shm_lock`.
    unsafe {
        let system = shim::<Faulty>(file).system();
        method(system, |methods| methods.xShmBarrier)(system);
    }
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, delete: c_int) -> c_int {
    // SAFETY: as in `shm_lock`.
    unsafe {
        let system = shim::<Faulty>(file).system();
        method(system, |methods| methods.xShmUnmap)(system, delete)
    }
}

unsafe extern "C" fn open(
    _faults: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: what SQLite passes is passed on, to the VFS that this one was made of; `file` has room for a file of both.
    unsafe {
        let system = ffi::sqlite3_vfs_find(ptr::null());
        let Some(open) = (*system).xOpen else { return ffi::SQLITE_CANTOPEN };
        let found = Site::find(name);
        let fault = found.as_ref().and_then(|(site, kind)| site.strike(Method::Open, *kind));
        if let Some(fault) = fault
            && fault.manner != Manner::After
        {
            (*file).pMethods = ptr::null();
            return fault.code;
        }
        let (site, kind) = found.unzip();
        let opened = open_wrapped::<Faulty>(
            file,
            |inner| open(system, name, inner, flags, out_flags),
            |faulty| (faulty.site, faulty.kind) = (site, kind.unwrap_or(FileKind::Database)),
        );
        if opened == ffi::SQLITE_OK
            && let Some(fault) = fault
        {
            let close = method(file, |methods| methods.xClose);
            close(file);
            (*file).pMethods = ptr::null();
            return fault.code;
        }
        opened
    }
}

unsafe extern "C" fn delete(_faults: *mut ffi::sqlite3_vfs, name: *const c_char, sync_directory: c_int) -> c_int {
    // SAFETY: what SQLite passes is passed on, to the VFS that this one was made of.
    unsafe {
        let system = ffi::sqlite3_vfs_find(ptr::null());
        let Some(delete) = (*system).xDelete else { return ffi::SQLITE_IOERR_DELETE };
        let found = Site::find(name);
        let sync_directory =
            if found.as_ref().is_some_and(|(site, _)| site.is_armed()) { 0 } else { sync_directory };
        match found.and_then(|(site, kind)| site.strike(Method::Delete, kind)) {
            None => delete(system, name, sync_directory),
            Some(Fault { manner: Manner::After, code, .. }) => {
                delete(system, name, sync_directory);
                code
            }
            Some(fault) => fault.code,
        }
    }
}

/// The VFS. `None` where it could not be registered.
pub(super) fn vfs() -> Option<*mut ffi::sqlite3_vfs> {
    static REGISTERED: Lazy<bool> = Lazy::new(register);
    // SAFETY: finds a VFS that is never unregistered.
    let find = || unsafe { ffi::sqlite3_vfs_find(NAME.as_ptr()) };
    REGISTERED.then(find).filter(|vfs| !vfs.is_null())
}

fn register() -> bool {
    // SAFETY: as for the layer above.
    unsafe {
        register_copy(ffi::sqlite3_vfs_find(ptr::null()), NAME, |vfs| {
            vfs.szOsFile += size_of::<Faulty>() as c_int;
            vfs.xOpen = Some(open);
            vfs.xDelete = Some(delete);
        })
    }
}
