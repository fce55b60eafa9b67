//! The durable state of one server: accounts, logs and sessions of its slots, in one SQLite file.
//!
//! All that changes durable state is a [`HomeRequest`], applied one after the other by one writer
//! inside one transaction, in plain synchronous Rust; the fsync is shared by all that wait, and no
//! answer leaves before the COMMIT has returned. Deliberately knows nothing of connections and
//! frames' bytes (an edge's business), of passwords (hashes only) and of what messages say: it
//! reads the header of an envelope and never opens one.

mod accounts;
mod answers;
pub mod blobs;
mod cache;
mod daily;
mod edges;
mod farewell;
mod file;
mod group_log;
mod groups;
mod inspect;
mod joining;
mod live;
mod logs;
mod members;
mod meter;
mod mode;
mod presence;
mod producer;
mod push;
mod reap;
mod refusal;
mod request;
mod sessions;
mod sql;
mod state;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot, watch};

use self::blobs::Blobs;
use self::state::{Home, Job};
use self::writer::{Item, Shared, Writer};
use crate::limits::{Limits, WRITER_QUEUE_MAX};
use crate::net::Env;
use crate::placement::PlacementMap;
use crate::types::{ClusterId, ServerId, SlotId, UserName};
use crate::wire::client::server_frame::Body;

pub use file::{CreateError, OpenError, create};
pub use inspect::{Inspection, inspect};
pub use meter::Reading;
pub use request::{
    Call, Caller, HomeFailure, HomeGone, HomeRequest, HomeStats, Output, StoredVerifier, Takeover,
    Target, Visibility,
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

/// The way to a home. Cheap to clone; the home ends when the last clone is gone, as if the process
/// had been killed: what was answered is on disk, what was not may be lost.
#[derive(Clone)]
pub struct HomeHandle {
    queue: mpsc::Sender<Item>,
    shared: Arc<Shared>,
    failure: watch::Receiver<Option<HomeFailure>>,
    database: Arc<Path>,
    slots: Arc<[SlotId]>,
    blobs: Blobs,
}

impl HomeHandle {
    /// Checks the database and starts the writer: a thread in life, a task in the simulator.
    ///
    /// Blocks for as long as the check of the file takes. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong; the file is left as it was.
    pub fn open(env: &Env, config: HomeConfig) -> Result<Self, OpenError> {
        let path: Arc<Path> = config.database.as_path().into();
        let database = file::open(env, &config)?;
        let home = Home::new(env, config, database).map_err(|fault| file::misread(&path, fault))?;
        let (queue, waiting) = mpsc::channel(WRITER_QUEUE_MAX);
        let (tell, failure) = watch::channel(None);
        let shared = Arc::new(Shared::default());
        let waker = queue.downgrade();
        let (slots, blobs) = (home.slots().into(), Blobs::beside(env, &path));
        let rows = home.blob_rows().map_err(|fault| file::misread(&path, fault))?;
        blobs.tidy(rows).map_err(|cause| OpenError::Io(path.to_path_buf(), cause))?;
        Writer::new(env, home, blobs.clone(), Arc::clone(&shared), waiting, waker, tell)
            .start()
            .map_err(|cause| OpenError::Io(path.to_path_buf(), cause))?;
        Ok(Self { queue, shared, failure, database: path, slots, blobs })
    }

    /// The blobs of this home: their chunks come and go past the writer.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Makes `edge` known and returns what the home sends it: answers, pushes, replaced sessions.
    ///
    /// Attaching again ends the earlier attachment: its receiver ends, its sessions and opens are
    /// forgotten, and its calls that still wait are dropped. The receiver also ends when the edge
    /// lets [`EDGE_OUTPUTS_MAX`](crate::limits::EDGE_OUTPUTS_MAX) outputs pile up, or when the home
    /// is gone; the edge then attaches again and has its clients open their logs again.
    pub fn attach(&self, edge: ServerId) -> mpsc::Receiver<Output> {
        let receiver = self.shared.attachments.attach(edge);
        // Ends the earlier receiver soon; if the queue is full, the writer is about to look anyway.
        let _ = self.queue.try_send(Item::Attached);
        receiver
    }

    /// Queues one request; those of one edge are applied in the order they were queued. Waits while
    /// [`WRITER_QUEUE_MAX`] wait. The answer comes to the edge's receiver; the call of an edge that
    /// is not attached is dropped.
    ///
    /// # Errors
    /// [`HomeGone`] after a stop or a failure.
    pub async fn call(&self, edge: &ServerId, call: Call) -> Result<(), HomeGone> {
        let Some(generation) = self.shared.attachments.generation(edge) else {
            return if self.queue.is_closed() { Err(HomeGone) } else { Ok(()) };
        };
        let job = Job::new(edge, generation, call);
        self.queue.send(Item::Call(job)).await.map_err(|_| HomeGone)
    }

    /// As [`Self::call`] for what may be lost: never waits, and dropped while much else waits.
    pub fn offer(&self, edge: &ServerId, call: Call) {
        if self.queue.capacity() < self.queue.max_capacity() / 2 {
            return;
        }
        if let Some(generation) = self.shared.attachments.generation(edge) {
            let job = Job::new(edge, generation, call);
            let _ = self.queue.try_send(Item::Call(job));
        }
    }

    /// As [`Self::call`], with the answer for whoever calls and not for the edge. `None`: the edge
    /// is not attached (any more).
    ///
    /// # Errors
    /// [`HomeGone`] after a stop or a failure.
    async fn ask(&self, edge: &ServerId, call: Call) -> Result<Option<Body>, HomeGone> {
        let Some(generation) = self.shared.attachments.generation(edge) else { return Ok(None) };
        let (answer, answered) = oneshot::channel();
        let job = Job { answer: Some(answer), ..Job::new(edge, generation, call) };
        self.queue.send(Item::Call(job)).await.map_err(|_| HomeGone)?;
        match answered.await {
            Ok(body) => Ok(Some(body)),
            Err(_) if self.queue.is_closed() => Err(HomeGone),
            Err(_) => Ok(None),
        }
    }

    /// The login verifier of an account of this home; `None` when there is none.
    ///
    /// # Errors
    /// [`HomeGone`] after a stop or a failure.
    pub async fn verifier(&self, user: &UserName) -> Result<Option<StoredVerifier>, HomeGone> {
        let (answer, answered) = oneshot::channel();
        let item = Item::Verifier(user.clone(), answer);
        self.queue.send(item).await.map_err(|_| HomeGone)?;
        answered.await.map_err(|_| HomeGone)
    }

    /// Messages stored here that their reader has not taken yet. Whoever gets an answer knows that
    /// the writer works.
    ///
    /// # Errors
    /// [`HomeGone`] after a stop or a failure.
    pub async fn unread(&self) -> Result<u64, HomeGone> {
        let (answer, answered) = oneshot::channel();
        self.queue.send(Item::Unread(answer)).await.map_err(|_| HomeGone)?;
        answered.await.map_err(|_| HomeGone)
    }

    /// Puts other quotas into force, for what is queued from now on.
    pub async fn set_limits(&self, limits: Limits) {
        // One that stopped needs none.
        let _ = self.queue.send(Item::Limits(Box::new(limits))).await;
    }

    /// How the home is doing. Looks at the size of two files.
    pub fn stats(&self) -> HomeStats {
        let waiting = self.queue.max_capacity() - self.queue.capacity();
        let mut log = self.database.as_os_str().to_owned();
        log.push("-wal");
        let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        HomeStats {
            sessions: self.shared.sessions.load(Ordering::Relaxed),
            queue: waiting as u64,
            database_bytes: bytes(&self.database) + bytes(Path::new(&log)),
            blob_bytes: self.shared.blob_bytes.load(Ordering::Relaxed),
        }
    }

    /// What was stored and how long it took, since the start.
    pub fn reading(&self) -> Reading {
        self.shared.meter.reading()
    }

    /// Finishes what waits, checkpoints, closes the file. Later calls get [`HomeGone`].
    pub async fn stop(&self) {
        let (answer, answered) = oneshot::channel();
        if self.queue.send(Item::Stop(answer)).await.is_ok() {
            // An error: it ended otherwise, and is gone just the same.
            let _ = answered.await;
        }
    }

    /// Waits until the home fails; after an orderly stop, for ever.
    pub async fn failed(&self) -> HomeFailure {
        let mut failure = self.failure.clone();
        match failure.wait_for(Option::is_some).await.map(|found| found.clone()) {
            Ok(Some(failure)) => failure,
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Ends the home as kill -9 would, and waits until it is gone.
    #[cfg(test)]
    async fn kill(self) {
        self.shared.killed.store(true, Ordering::Release);
        let _ = self.queue.try_send(Item::Attached);
        self.queue.closed().await;
    }

    /// Runs SQL on the writer's connection.
    #[cfg(test)]
    async fn tamper(&self, sql: &'static str) {
        let (done, waiting) = oneshot::channel();
        assert!(self.queue.send(Item::Tamper(sql, done)).await.is_ok());
        waiting.await.unwrap();
    }
}
