//! What stands between this machine and a cluster, asked without signing in: for `doctor`.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::time::Instant;

use crate::net::Env;
use crate::types::{ClusterId, ServerId, UserName};

use super::account::{Cluster, Where};
use super::connection::{DialError, Dialer, Unread, resolve};
use super::store::{meta, meta_text, meta_u64};

/// What the network answered.
#[derive(Debug)]
pub struct Probe {
    /// Where the balancer's name leads; `None`: nowhere.
    pub balancer: Option<SocketAddr>,
    /// How long the balancer took to answer, or why it did not.
    pub answer: Result<Duration, Problem>,
    /// The servers that it offered, each with the time until it agreed to talk.
    pub servers: Vec<Server>,
}

/// One server that the balancer offered.
#[derive(Debug)]
pub struct Server {
    /// Which.
    pub server: ServerId,
    /// Where.
    pub addr: SocketAddr,
    /// What came of it.
    pub found: Result<Found, Problem>,
}

/// A server that talks to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// From the first packet to its agreement.
    pub took: Duration,
    /// Until when its certificate is valid, which was checked against the pinned authority.
    pub valid_until_unix_ms: u64,
    /// Largest packet that is known to pass.
    pub mtu: u16,
}

/// Why there was no answer that helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// None at all in time.
    Silence,
    /// Another cluster answers there; its fingerprint.
    WrongCluster(String),
    /// A typed answer.
    Refused(crate::wire::Code),
}

impl From<DialError> for Problem {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Unreachable => Self::Silence,
            DialError::WrongCluster { got } => Self::WrongCluster(got.to_string()),
            DialError::Refused(refused) => Self::Refused(refused.code),
        }
    }
}

/// Asks the balancer, and each server that it offers, each for `patience` at most.
pub async fn probe(env: &Env, cluster: &Cluster, user: &UserName, patience: Duration) -> Probe {
    let mut dialer = Dialer::new(env, cluster.id, &cluster.at);
    let balancer = resolve(&cluster.at).await;
    let began = Instant::now();
    let asked = dialer.ask(user, patience).await;
    let took = began.elapsed();
    let (answer, edges) = match asked {
        Ok(edges) => (Ok(took), edges),
        Err(error) => (Err(error.into()), Vec::new()),
    };
    let mut servers = Vec::new();
    for edge in edges {
        let began = Instant::now();
        let found = match dialer.dial(&edge, patience).await {
            Ok(wire) => {
                let until = crate::net::presented_expiry_unix_ms(&wire.conn);
                let found = Found {
                    took: began.elapsed(),
                    valid_until_unix_ms: until.unwrap_or(0),
                    mtu: wire.conn.stats().path.current_mtu,
                };
                wire.close(Unread::Nothing).await;
                Ok(found)
            }
            Err(error) => Err(error.into()),
        };
        servers.push(Server { server: edge.server, addr: edge.addr, found });
    }
    dialer.close().await;
    Probe { balancer, answer, servers }
}

/// Whether a profile's database is whole; takes as long as reading all of it.
///
/// # Errors
/// What is wrong with it.
pub fn check_database(folder: &Path) -> Result<(), String> {
    let path = folder.join("profile.sqlite");
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let found: String = Connection::open_with_flags(path, flags)
        .and_then(|db| db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)))
        .map_err(|error| error.to_string())?;
    if found == "ok" { Ok(()) } else { Err(found) }
}

/// The cluster that a profile belongs to, though another process has it open.
pub fn cluster_of(folder: &Path) -> Option<Cluster> {
    let path = folder.join("profile.sqlite");
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).ok()?;
    let id = meta(&db, "cluster").ok().flatten();
    let id = id.and_then(|id| ClusterId::from_bytes(&id))?;
    let host = meta_text(&db, "host").ok().flatten()?;
    let port = u16::try_from(meta_u64(&db, "port").ok()?).ok()?;
    Some(Cluster { at: Where { host, port }, id })
}
