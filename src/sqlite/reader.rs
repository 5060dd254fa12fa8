//! The second connection to a file in WAL mode, which only reads: readers wait for nobody there.

use super::connection::{Connection, Location};
use super::os::sidecars::Names;

/// Reads beside a connection that is busy.
#[derive(Default)]
pub struct Reader {
    /// The file and its log as the other connection has them. Without a log nobody reads beside it.
    names: Option<Names>,
    /// Opened when first needed.
    connection: Option<Connection>,
}

impl Reader {
    /// From now on it reads what this connection has open.
    pub fn follow(&mut self, connection: &Connection) {
        self.names = connection.names().cloned();
    }

    /// Reads. `None` if it cannot, for whatever reason: the other connection says why.
    pub fn read<T, E>(&mut self, location: &Location, read: impl FnOnce(&Connection) -> Result<T, E>) -> Option<T> {
        let names = self.names.as_ref()?;
        if self.connection.is_none() && names.are_as_before() {
            let opened = Connection::open_reader(location).ok();
            // Otherwise it may have another file's log.
            self.connection = opened.filter(|_| names.are_as_before());
        }
        let read = read(self.connection.as_ref()?).ok();
        if read.is_none() {
            self.connection = None;
        }
        read
    }
}
