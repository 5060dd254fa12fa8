//! The second connection to a file in WAL mode, which only reads: readers wait for nobody there.

use super::connection::{Connection, Location};
use super::os::sidecars::DatabaseFiles;

/// Reads beside a connection that is busy.
#[derive(Default)]
pub struct Reader {
    /// The file and its log as the other connection has them. Without a log nobody reads beside it.
    files: Option<DatabaseFiles>,
    /// Opened when first needed.
    connection: Option<Connection>,
}

impl Reader {
    /// From now on it reads what this connection has open.
    pub fn follow(&mut self, connection: &Connection) {
        self.files = connection.files().cloned();
    }

    /// Reads. `None` if it cannot, for whatever reason: the other connection says why.
    pub fn read<T, E>(&mut self, location: &Location, read: impl FnOnce(&Connection) -> Result<T, E>) -> Option<T> {
        let files = self.files.as_ref()?;
        if self.connection.is_none() && files.are_unchanged() {
            let opened = Connection::open_reader(location).ok();
            // Otherwise it may have another file's log.
            self.connection = opened.filter(|_| files.are_unchanged());
        }
        let read = read(self.connection.as_ref()?).ok();
        if read.is_none() {
            self.connection = None;
        }
        read
    }
}
