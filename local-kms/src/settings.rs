//! `server.json`: what `init` needs to print while a server holds the state. It contains no secret.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::account::Account;
use crate::durable_file;

const FILE: &str = "server.json";
/// Beside moto (5000) and the port 4566 of other AWS emulators.
pub(crate) const DEFAULT_LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 4599));

#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    #[serde(flatten)]
    pub(crate) account: Account,
    pub(crate) listen: SocketAddr,
}

impl Settings {
    /// `None` if there is no such file.
    pub(crate) fn read(dir: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(dir.join(FILE)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn write(&self, dir: &Path) -> io::Result<()> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        durable_file::replace(&dir.join(FILE), &json)
    }
}
