//! The durable state of one server: accounts, logs and sessions of its slots, in one SQLite file.
//!
//! All that changes durable state is a [`HomeRequest`], applied one after the other by one writer
//! inside one transaction, in plain synchronous Rust; the fsync is shared by all that wait, and no
//! answer leaves before the COMMIT has returned. Deliberately knows nothing of connections and
//! frames' bytes (an edge's business), of passwords (hashes only) and of what messages say: it
//! reads the header of an envelope and never opens one.

mod request;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::limits::{EDGE_OUTPUTS_MAX, Limits};
use crate::net::Env;
use crate::placement::PlacementMap;
use crate::types::{ClusterId, ServerId, SlotId, UserName};

pub use request::{
    Call, Caller, HomeFailure, HomeGone, HomeRequest, HomeStats, Output, StoredVerifier, Takeover,
    Target,
};

/// What a home needs to know to open its database.
#[derive(Clone, Debug)]
pub struct HomeConfig {
    /// The file made by [`create`].
    pub database: PathBuf,
    /// Whose home it is.
    pub server: ServerId,
    /// Of which cluster.
    pub cluster: ClusterId,
    /// The database must own exactly the slots that the map gives this server.
    pub map: Arc<PlacementMap>,
    /// Quotas.
    pub limits: Arc<Limits>,
}

/// Why a database could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// There is one already; a database is never made twice.
    #[error("{0} exists already")]
    Exists(PathBuf),
    /// The folder cannot be written.
    #[error("cannot write {0}")]
    Io(PathBuf, #[source] std::io::Error),
    /// SQLite refused.
    #[error("cannot make a database at {0}")]
    Sqlite(PathBuf, #[source] rusqlite::Error),
}

/// Why a database cannot be served. It is never repaired, replaced or deleted.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No such file.
    #[error("there is no database at {0}")]
    Missing(PathBuf),
    /// Another process serves it.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    /// Not a FastChat server database.
    #[error("{0} is not a database of this program")]
    NotOurs(PathBuf),
    /// The file is damaged.
    #[error("{path} is damaged: {detail}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What the check found.
        detail: String,
    },
    /// Made by a newer version of the program.
    #[error("{path} has version {got}, this program knows up to {known}")]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        got: u32,
        /// The highest version known here.
        known: u32,
    },
    /// A migration in the file is not the one of that number known here.
    #[error("migration {version} of {path} is another than the one known here")]
    Migration {
        /// Which file.
        path: PathBuf,
        /// The migration.
        version: u32,
    },
    /// It belongs to another cluster.
    #[error("{path} belongs to cluster {got}, expected {expected}")]
    OtherCluster {
        /// Which file.
        path: PathBuf,
        /// Its cluster.
        got: ClusterId,
        /// Ours.
        expected: ClusterId,
    },
    /// It belongs to another server.
    #[error("{path} belongs to server {got}, expected {expected}")]
    OtherServer {
        /// Which file.
        path: PathBuf,
        /// Its server.
        got: String,
        /// Us.
        expected: ServerId,
    },
    /// The slots it owns are not those the placement map gives this server.
    #[error(
        "{path} owns other slots than the placement map says: {missing} missing, {extra} extra"
    )]
    OtherSlots {
        /// Which file.
        path: PathBuf,
        /// Slots of the map that the database does not own.
        missing: usize,
        /// Slots the database owns and the map gives to another server.
        extra: usize,
    },
    /// The file cannot be read or written.
    #[error("cannot open {0}")]
    Io(PathBuf, #[source] std::io::Error),
    /// SQLite refused.
    #[error("cannot open {0}")]
    Sqlite(PathBuf, #[source] rusqlite::Error),
}

/// Makes the database of one server: the only place where one comes into being.
///
/// Atomic: the file appears under its name complete and on disk, or not at all.
///
/// # Errors
/// [`CreateError`]; an existing file is left alone.
pub fn create(
    _env: &Env,
    path: &Path,
    _server: &ServerId,
    _cluster: &ClusterId,
    _slots: &[SlotId],
) -> Result<(), CreateError> {
    Err(CreateError::Exists(path.to_owned()))
}

/// The way to a home. Cheap to clone; the home ends when the last clone is gone.
#[derive(Clone)]
pub struct HomeHandle {
    #[expect(dead_code, reason = "skeleton")]
    database: PathBuf,
}

impl HomeHandle {
    /// Checks the database and starts the writer: a thread in life, a task in the simulator.
    ///
    /// Blocks for as long as the check of the file takes. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong; the file is left as it was.
    pub fn open(_env: &Env, config: HomeConfig) -> Result<Self, OpenError> {
        Err(OpenError::Missing(config.database))
    }

    /// Makes `edge` known and returns what the home sends it: answers, pushes, replaced sessions.
    ///
    /// Attaching again ends the earlier attachment: its receiver ends, its sessions and opens are
    /// forgotten, and its calls that still wait are dropped. The receiver also ends when the edge
    /// let [`EDGE_OUTPUTS_MAX`] outputs pile up, or the home stopped; the edge then attaches again
    /// and tells its clients to open their logs again.
    pub fn attach(&self, _edge: ServerId) -> mpsc::Receiver<Output> {
        mpsc::channel(EDGE_OUTPUTS_MAX).1
    }

    /// Queues one request; calls of one edge are applied in the order they were queued. Waits while
    /// the queue is full. The answer comes to the edge's receiver; the call of an edge that is not
    /// attached is dropped.
    ///
    /// # Errors
    /// [`HomeGone`] after a stop or a failure.
    pub async fn call(&self, _edge: &ServerId, _call: Call) -> Result<(), HomeGone> {
        Err(HomeGone)
    }

    /// The login verifier of an account of this home; `None` when there is none.
    ///
    /// # Errors
    /// [`HomeGone`] after a stop or a failure.
    pub async fn verifier(&self, _user: &UserName) -> Result<Option<StoredVerifier>, HomeGone> {
        Err(HomeGone)
    }

    /// How the home is doing.
    pub fn stats(&self) -> HomeStats {
        HomeStats::default()
    }

    /// Finishes what waits, checkpoints, closes the file. Later calls get [`HomeGone`].
    pub async fn stop(&self) {}

    /// Waits until the home fails; after an orderly stop, for ever.
    pub async fn failed(&self) -> HomeFailure {
        std::future::pending().await
    }
}
