//! When the home's work runs, and on what: a thread of its own in life, a task in the simulator.
//!
//! Takes everything that waits, makes it one transaction, and only then lets anybody know. A lone
//! request commits at once; a crowd shares the fsync.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::error;

use super::blobs::Blobs;
use super::edges::Attachments;
use super::farewell::NextLook;
use super::live::EdgeNumber;
use super::meter::Meter;
use super::request::{HomeFailure, HomeRequest, StoredVerifier};
use super::state::{Committed, Home, Job};
use crate::limits::{Limits, PRESENCE_PAUSE, WRITER_BATCH_MAX};
use crate::net::Env;
use crate::net::env::Bug;
use crate::ops::meters::StoreOp;
use crate::types::{BlobId, UserName};

/// How long an edge gets to take outputs before readers behind it are tried again.
const ROOM_PAUSE: Duration = Duration::from_millis(5);
/// How long the next part of what gone accounts left waits.
const GONE_PAUSE: Duration = Duration::from_millis(20);
/// Longest sleep until a deletion that is due later: clocks are set, computers sleep.
const LOOK_PAUSE_MAX: Duration = Duration::from_secs(3600);

/// What waits for the writer.
pub(super) enum Item {
    Call(Job),
    Verifier(UserName, oneshot::Sender<Option<StoredVerifier>>),
    /// Somebody wants to know whether the writer still works, and how much lies here unread.
    Unread(oneshot::Sender<u64>),
    /// Other quotas.
    Limits(Box<Limits>),
    /// An edge attached.
    Attached,
    /// An edge that had no room may have some.
    Room(EdgeNumber),
    /// Some who came or went can be told of now.
    Presence,
    /// Deleted accounts and blobs whose time has come have to be looked after.
    Deletions,
    /// Somebody wants to know whether a blob has a row.
    HasBlob(UserName, BlobId, oneshot::Sender<bool>),
    /// The files of the last blobs that went are removed.
    Swept,
    /// Finish what came before, close the file, answer.
    Stop(oneshot::Sender<()>),
    /// A test changes the database behind the home's back.
    #[cfg(test)]
    Tamper(&'static str, oneshot::Sender<()>),
}

/// What handles and writer share.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) attachments: Attachments,
    pub(super) sessions: AtomicU64,
    pub(super) blob_bytes: AtomicU64,
    pub(super) meter: Meter,
    /// Set by tests: stop as if the process were killed.
    pub(super) killed: AtomicBool,
}

/// Why the writer ended.
enum End {
    /// All handles are gone, or a test killed it.
    Dropped,
    Stopped(oneshot::Sender<()>),
    Failed(HomeFailure),
}

impl From<HomeFailure> for End {
    fn from(failure: HomeFailure) -> Self {
        Self::Failed(failure)
    }
}

/// The one who changes the database.
pub(super) struct Writer {
    home: Home,
    queue: mpsc::Receiver<Item>,
    /// To wake itself. Weak: the writer ends when the handles are gone.
    waker: mpsc::WeakSender<Item>,
    env: Env,
    tell: Tell,
    /// News of presence wait for their pause.
    presence_timer: bool,
    /// For when, in tokio's time, deleted accounts are to be looked after.
    look_timer: Option<Instant>,
    blobs: Blobs,
}

/// Lets everybody know that the writer ended, however it ended.
struct Tell {
    shared: Arc<Shared>,
    failure: watch::Sender<Option<HomeFailure>>,
}

impl Drop for Tell {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.failure.send_replace(Some(HomeFailure::Panicked));
        }
        self.shared.attachments.close();
    }
}

impl Writer {
    pub(super) fn new(
        env: &Env,
        home: Home,
        blobs: Blobs,
        shared: Arc<Shared>,
        queue: mpsc::Receiver<Item>,
        waker: mpsc::WeakSender<Item>,
        failure: watch::Sender<Option<HomeFailure>>,
    ) -> Self {
        let tell = Tell { shared, failure };
        Self {
            home,
            queue,
            waker,
            env: env.clone(),
            tell,
            presence_timer: false,
            look_timer: None,
            blobs,
        }
    }

    /// Starts the thread, or the task.
    ///
    /// # Errors
    /// The operating system has no thread left.
    pub(super) fn start(self) -> std::io::Result<()> {
        if self.env.is_simulated() {
            let env = self.env.clone();
            drop(env.spawn(self.run_task()));
            return Ok(());
        }
        let runtime = Handle::current();
        let thread = std::thread::Builder::new().name("home-writer".to_owned());
        thread.spawn(move || self.run_thread(&runtime)).map(drop)
    }

    fn run_thread(mut self, runtime: &Handle) {
        // Wakers are spawned from here.
        let _entered = runtime.enter();
        self.look_later();
        let end = loop {
            let mut items = Vec::new();
            if self.home.has_pages() {
                self.take_waiting(&mut items);
            } else if self.queue.blocking_recv_many(&mut items, WRITER_BATCH_MAX) == 0 {
                break End::Dropped;
            }
            if let Err(end) = self.do_batch(items) {
                break end;
            }
        };
        self.finish(end);
    }

    fn do_batch(&mut self, items: Vec<Item>) -> Result<(), End> {
        let batch = self.sort(items)?;
        if !batch.jobs.is_empty() {
            let began = Instant::now();
            loop {
                self.home.apply_all(&batch.jobs)?;
                match self.home.commit()? {
                    Committed::Yes => break,
                    Committed::Full => {}
                }
            }
            self.env.meters().stored(StoreOp::Commit, began.elapsed());
        }
        self.after_commit(batch)
    }

    /// As [`Self::run_thread`], with the moments at which the simulator's crash can strike: it ends
    /// this task at an await, and what was not committed or not answered by then is lost.
    async fn run_task(mut self) {
        self.look_later();
        let end = loop {
            let mut items = Vec::new();
            if self.home.has_pages() {
                tokio::task::yield_now().await;
                self.take_waiting(&mut items);
            } else if self.queue.recv_many(&mut items, WRITER_BATCH_MAX).await == 0 {
                break End::Dropped;
            }
            if let Err(end) = self.do_batch_in_steps(items).await {
                break end;
            }
        };
        self.finish(end);
    }

    async fn do_batch_in_steps(&mut self, items: Vec<Item>) -> Result<(), End> {
        let batch = self.sort(items)?;
        if !batch.jobs.is_empty() {
            self.env.disk_pause().await;
            loop {
                self.home.apply_all(&batch.jobs)?;
                if self.env.has_bug(Bug::AckBeforeCommit) {
                    self.home.publish()?;
                    self.env.disk_pause().await;
                }
                match self.home.commit()? {
                    Committed::Yes => break,
                    Committed::Full => {}
                }
            }
            self.env.disk_pause().await;
            if self.env.has_bug(Bug::DedupInAnotherTransaction) {
                self.home.commit_producers()?;
                self.env.disk_pause().await;
            }
        }
        self.after_commit(batch)
    }

    fn take_waiting(&mut self, items: &mut Vec<Item>) {
        while items.len() < WRITER_BATCH_MAX
            && let Ok(item) = self.queue.try_recv()
        {
            items.push(item);
        }
    }

    fn sort(&mut self, items: Vec<Item>) -> Result<Batch, End> {
        if self.tell.shared.killed.load(Ordering::Acquire) {
            return Err(End::Dropped);
        }
        // Before anything else of now: nobody finds an account whose time has come.
        self.home.bury_due()?;
        self.home.look_for_old()?;
        self.home.meet_edges(&self.tell.shared.attachments);
        let mut batch = Batch::default();
        for item in items {
            match item {
                Item::Call(job) => batch.jobs.push(job),
                Item::Verifier(user, answer) => batch.verifiers.push((user, answer)),
                Item::Unread(answer) => batch.unread.push(answer),
                Item::Limits(limits) => self.home.limits = Arc::from(limits),
                Item::Attached => {}
                Item::Room(edge) => self.home.resume_edge(edge),
                Item::Presence => {
                    self.presence_timer = false;
                    batch.presence = true;
                }
                Item::Deletions => self.look_timer = None,
                Item::HasBlob(user, id, answer) => batch.has_blob.push((user, id, answer)),
                Item::Swept => self.home.sweeping = false,
                #[cfg(test)]
                Item::Tamper(sql, done) => {
                    self.home.conn().execute_batch(sql).unwrap();
                    done.send(()).unwrap();
                }
                Item::Stop(answer) => {
                    batch.stop = Some(answer);
                    break;
                }
            }
        }
        Ok(batch)
    }

    fn after_commit(&mut self, mut batch: Batch) -> Result<(), End> {
        let stored = self.home.fresh_messages();
        self.home.publish()?;
        for (index, body) in std::mem::take(&mut self.home.aside) {
            if let Some(answer) = batch.jobs.get_mut(index).and_then(|job| job.answer.take()) {
                // Whoever asked may have gone.
                let _ = answer.send(body);
            }
        }
        self.measure(&batch.jobs, stored);
        for (user, answer) in batch.verifiers {
            // Whoever asked may have gone.
            let _ = answer.send(self.home.verifier(&user)?);
        }
        for (user, id, answer) in batch.has_blob {
            let _ = answer.send(self.home.has_blob(&user, &id)?);
        }
        for answer in batch.unread {
            let _ = answer.send(self.home.unread()?);
        }
        if let Some(answer) = batch.stop {
            return Err(End::Stopped(answer));
        }
        self.home.page_round()?;
        self.home.reap_if_due()?;
        self.home.reap_gone()?;
        self.home.reap_blobs()?;
        self.sweep_blobs();
        if batch.presence {
            self.home.tell_presence()?;
        }
        self.home.meet_edges(&self.tell.shared.attachments);
        for edge in std::mem::take(&mut self.home.wake) {
            self.wake_later(edge);
        }
        self.look_later();
        self.presence_later();
        let sessions = self.home.live.session_count() as u64;
        self.tell.shared.sessions.store(sessions, Ordering::Relaxed);
        let blob_bytes = self.home.blob_bytes()?;
        self.tell.shared.blob_bytes.store(blob_bytes, Ordering::Relaxed);
        Ok(())
    }

    fn measure(&self, answered: &[Job], stored: usize) {
        let meter = &self.tell.shared.meter;
        meter.stored(stored as u64);
        let now = Instant::now();
        for job in answered {
            if matches!(job.call.request, HomeRequest::Append { .. }) {
                meter.answered(now.saturating_duration_since(job.since));
            }
        }
    }

    fn wake_later(&self, edge: EdgeNumber) {
        self.later(ROOM_PAUSE, Item::Room(edge));
    }

    fn presence_later(&mut self) {
        if !self.presence_timer && !self.home.live.changed.is_empty() {
            self.presence_timer = true;
            self.later(PRESENCE_PAUSE, Item::Presence);
        }
    }

    fn sweep_blobs(&mut self) {
        let gone = std::mem::take(&mut self.home.gone_blobs);
        if !gone.is_empty() {
            self.home.sweeping = true;
            drop(self.env.spawn(self.blobs.clone().sweep(gone, self.waker.clone())));
        }
    }

    fn look_later(&mut self) {
        let pause = match self.home.next_look() {
            None => return,
            Some(NextLook::Soon) => GONE_PAUSE,
            Some(NextLook::At(at_ms)) => {
                Duration::from_millis(at_ms.saturating_sub(self.env.unix_ms())).min(LOOK_PAUSE_MAX)
            }
        };
        let at = Instant::now() + pause;
        if self.look_timer.is_none_or(|set| at < set) {
            self.look_timer = Some(at);
            self.later(pause, Item::Deletions);
        }
    }

    fn later(&self, pause: Duration, item: Item) {
        let waker = self.waker.clone();
        drop(self.env.spawn(async move {
            tokio::time::sleep(pause).await;
            if let Some(queue) = waker.upgrade() {
                // Gone if the home stopped meanwhile.
                let _ = queue.send(item).await;
            }
        }));
    }

    fn finish(self, end: End) {
        let Self { home, queue, tell, .. } = self;
        match end {
            // The file before the queue: whoever sees the queue closed may open the file again.
            End::Dropped => drop(home),
            End::Stopped(answer) => {
                if let Err(cause) = home.database.close() {
                    error!(%cause, "the database was not checkpointed; nothing is lost");
                }
                // Refuses what comes from here on, before the answer says that it is over.
                drop(queue);
                drop(tell);
                let _ = answer.send(());
            }
            End::Failed(failure) => {
                error!(%failure, "the home stops");
                drop(home);
                tell.failure.send_replace(Some(failure));
            }
        }
    }
}

/// Items by what is done with them. A stop is the last: what came after it is dropped.
#[derive(Default)]
struct Batch {
    jobs: Vec<Job>,
    verifiers: Vec<(UserName, oneshot::Sender<Option<StoredVerifier>>)>,
    unread: Vec<oneshot::Sender<u64>>,
    has_blob: Vec<(UserName, BlobId, oneshot::Sender<bool>)>,
    stop: Option<oneshot::Sender<()>>,
    presence: bool,
}
