//! What the caller says: where the cluster is, which identity key, what about another device.
//! No behaviour beyond reading and writing an address.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::types::ClusterId;

/// Where the balancer is, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Where {
    /// Host name or address.
    pub host: String,
    /// UDP port.
    pub port: u16,
}

impl Where {
    /// Reads `HOST:PORT`, `[v6]:PORT`.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Self::of(host, port)
    }

    /// Judges host and port written as two words.
    pub fn of(host: &str, port: &str) -> Option<Self> {
        let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let good = !bare.is_empty()
            && bare.len() <= 253
            && bare
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '_'))
            && (bare == host || bare.contains(':'));
        good.then(|| Self { host: bare.to_owned(), port })
    }
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The cluster to talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its balancer.
    pub at: Where,
    /// Its CA.
    pub id: ClusterId,
}

/// Whether a name can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameStatus {
    /// Nobody has it.
    Free,
    /// It belongs to somebody.
    Taken,
}

/// Which identity key a device new to the account uses.
#[derive(Clone, Debug)]
pub enum IdentitySource {
    /// The one in the profile folder; [`super::AccountError::NoIdentityKey`] when there is none.
    Profile,
    /// A PEM file, opened with the account's password.
    Pem(PathBuf),
    /// A file that [`crate::client::Client::export_keys`] made, opened with a passphrase of its
    /// own. What was sealed to the encryption key in it can be read as well.
    Exported {
        /// The file.
        path: PathBuf,
        /// Its passphrase.
        passphrase: Passphrase,
    },
    /// A new one: everybody who knows the user sees that the key changed.
    New,
}

/// A passphrase, which `Debug` does not show.
#[derive(Clone)]
pub struct Passphrase(pub Zeroizing<String>);

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
    }
}

/// What to do when another device is logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherDevice {
    /// Answer [`super::AccountError::AlreadyLoggedIn`].
    Ask,
    /// Replace it.
    TakeOver,
}
