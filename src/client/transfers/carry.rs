//! The task that carries all transfers of a process: chooses which go on, waits between tries,
//! tells the front end.

use std::sync::Arc;
use std::time::Duration;

use quinn::Connection;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::limits::CHUNKS_AT_ONCE;
use crate::net::Env;
use crate::wire::Code;

use super::super::api::{Direction, Event, LocalId, TransferFailure};
use super::super::core::{Core, SharedCore};
use super::super::files::{FileRow, FileState};
use super::super::run::Link;
use super::super::session::{BlobAsk, BlobReply, Request};
use super::super::store::StoreError;
use super::cache;
use super::carried::{Back, Leg, Stage};
use super::down::down;
use super::job::{End, FILE_THREADS, Job, ask_about};
use super::progress::Progress;
use super::spool::Spools;
use super::up::up;

/// What the tasks of a carrier tell it.
enum News {
    /// A try of the file of that line ended.
    Ended { id: LocalId, number: u64, end: Result<(), End> },
    /// The home was told what it may forget; or not, and is told later.
    Told { later: bool },
}

/// Carries the transfers of a client until it no longer runs.
pub(crate) async fn carry(
    env: Env,
    core: SharedCore,
    link: Arc<Link>,
    requests: mpsc::WeakSender<Request>,
) {
    let (news, heard) = mpsc::channel(NEWS_MAX);
    let spools = Spools::new(core.lock().spool_folder());
    let streams = Arc::new(Semaphore::new(CHUNKS_AT_ONCE));
    let threads = Arc::new(Semaphore::new(FILE_THREADS));
    let conn = link.conn();
    let over = link.over().clone();
    let mut carrier = Carrier {
        env,
        core,
        requests,
        spools,
        streams,
        threads,
        conn,
        over: over.clone(),
        news,
        last_leg: 0,
        is_telling: false,
        tell_at: None,
    };
    tokio::select! {
        biased;
        () = over.cancelled() => {}
        () = carrier.run(heard) => {}
    }
    carrier.core.lock().files.carried.legs.clear();
}

struct Carrier {
    env: Env,
    core: SharedCore,
    requests: mpsc::WeakSender<Request>,
    spools: Spools,
    streams: Arc<Semaphore>,
    threads: Arc<Semaphore>,
    conn: watch::Receiver<Option<Connection>>,
    over: CancellationToken,
    news: mpsc::Sender<News>,
    last_leg: u64,
    is_telling: bool,
    /// When the home is told again, after it did not answer.
    tell_at: Option<Instant>,
}

impl Carrier {
    async fn run(&mut self, mut heard: mpsc::Receiver<News>) {
        let bell = Arc::clone(&self.core.lock().files.bell);
        self.bound_cache().await;
        let mut next = self.look_and_tell();
        loop {
            let tick = self.tell_progress();
            tokio::select! {
                biased;
                Some(news) = heard.recv() => self.hear(news).await,
                Ok(()) = self.conn.changed() => self.session_changed(),
                () = bell.notified() => {}
                () = sleep_until_some(next) => {}
                () = sleep_until_some(tick) => continue,
            }
            next = self.look_and_tell();
        }
    }

    /// Another session: everything at once, whatever it waited for.
    fn session_changed(&mut self) {
        let is_new = self.conn.borrow_and_update().is_some();
        let mut core = self.core.lock();
        for leg in core.files.carried.legs.values_mut().filter(|leg| !leg.is_running()) {
            leg.in_vain = 0;
            leg.wait(None, Duration::ZERO);
        }
        core.files.carried.touch();
        if is_new {
            self.tell_at = None;
        }
    }

    fn look_and_tell(&mut self) -> Option<Instant> {
        self.tell_drops();
        self.look().unwrap_or_else(|error| {
            tracing::warn!(%error, "the files cannot be looked at");
            Some(Instant::now() + PAUSE_MAX)
        })
    }

    /// Starts what can be. Returns when to look again.
    fn look(&mut self) -> Result<Option<Instant>, StoreError> {
        let conn = self.conn.borrow().clone();
        let now = Instant::now();
        let shared = self.core.clone();
        let mut core = shared.lock();
        let due = due_now(&mut core, now)?;
        for row in due {
            let direction = match core.files.carried.backs.contains_key(&row.id) {
                true => Direction::Down,
                false => row.direction,
            };
            let Some(conn) = conn.clone() else { break };
            // What the home forgets first makes room for what comes.
            if direction == Direction::Up && self.is_telling {
                continue;
            }
            if core.files.carried.running(direction) < at_once(direction) {
                self.start(&mut core, row, direction, conn);
            }
        }
        let legs = core.files.carried.legs.values();
        let next = legs.filter_map(|leg| match leg.stage {
            Stage::Running(_) => None,
            Stage::Waiting { until, .. } => conn.is_some().then_some(until).filter(|at| *at > now),
        });
        let tell_at = self.tell_at.filter(|_| conn.is_some());
        Ok(next.chain(tell_at).min())
    }

    /// Tells how far those are that run. Returns when to do so again.
    fn tell_progress(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut core = self.core.lock();
        let mut moved = Vec::new();
        let mut next = None;
        for (id, leg) in &mut core.files.carried.legs {
            if !leg.is_running() {
                continue;
            }
            if now >= leg.told_at + TELL_INTERVAL {
                let done = leg.progress.done();
                leg.told_at = now;
                if std::mem::replace(&mut leg.told_bytes, done) != done {
                    moved.push(*id);
                }
            }
            let again = leg.told_at + TELL_INTERVAL;
            next = Some(next.map_or(again, |at: Instant| at.min(again)));
        }
        for id in moved {
            tell(&core, id);
        }
        next
    }

    fn start(&mut self, core: &mut Core, row: FileRow, direction: Direction, conn: Connection) {
        self.last_leg += 1;
        let (id, number) = (row.id, self.last_leg);
        let before = core.files.carried.legs.remove(&id);
        let in_vain = before.as_ref().map_or(0, |leg| leg.in_vain);
        let progress = before.map_or_else(|| Arc::new(Progress::new()), |leg| leg.progress);
        let stop = CancellationToken::new();
        let leg = Leg {
            number,
            direction,
            progress: Arc::clone(&progress),
            stage: Stage::Running(stop.clone().drop_guard()),
            in_vain,
            travelled_before: progress.travelled(),
            told_bytes: progress.done(),
            told_at: Instant::now(),
        };
        core.files.carried.legs.insert(id, leg);
        tell(core, id);
        let job = Job {
            env: self.env.clone(),
            core: self.core.clone(),
            requests: self.requests.clone(),
            conn,
            spools: self.spools.clone(),
            row,
            progress,
            streams: Arc::clone(&self.streams),
            threads: Arc::clone(&self.threads),
            width: CHUNKS_AT_ONCE >> in_vain.min(8),
        };
        let (news, over) = (self.news.clone(), self.over.clone());
        self.env.spawn(async move {
            let end = tokio::select! {
                biased;
                () = over.cancelled() => return,
                () = stop.cancelled() => return,
                end = run(&job, direction) => end,
            };
            // Whoever carries it may be gone.
            let _ = news.send(News::Ended { id, number, end }).await;
        });
    }

    async fn hear(&mut self, news: News) {
        match news {
            News::Told { later } => {
                self.is_telling = false;
                self.tell_at =
                    later.then(|| Instant::now() + PAUSE_MIN + self.env.jitter(PAUSE_MAX));
            }
            News::Ended { id, number, end } => {
                let is_done = end.is_ok();
                self.env.disk_pause().await;
                let ended = self.env.in_place(|| self.ended(id, number, end));
                if let Err(error) = ended {
                    tracing::warn!(%error, "the end of a transfer cannot be stored");
                }
                if is_done {
                    self.bound_cache().await;
                }
            }
        }
    }

    fn ended(&self, id: LocalId, number: u64, end: Result<(), End>) -> Result<(), StoreError> {
        let mut core = self.core.lock();
        let Some(leg) = core.files.carried.legs.get_mut(&id).filter(|leg| leg.number == number)
        else {
            return Ok(());
        };
        let direction = leg.direction;
        if let Err(End::Again { code, after }) = end {
            // What a home forgets, or never kept, was brought in vain.
            let was_forgotten = code == Some(Code::NoSuchBlob);
            let has_moved = !was_forgotten && leg.progress.travelled() > leg.travelled_before;
            leg.in_vain = if has_moved { 0 } else { leg.in_vain.saturating_add(1) };
            let pause = PAUSE_MIN * 2u32.saturating_pow(leg.in_vain.saturating_sub(1).min(10));
            let pause = pause.min(PAUSE_MAX).max(after.min(PAUSE_MAX));
            // Not all that wait for one server at the same moment.
            leg.wait(code, pause / 2 + self.env.jitter(pause / 2));
            core.files.carried.touch();
            tell(&core, id);
            return Ok(());
        }
        core.files.carried.legs.remove(&id);
        let Some(row) = core.file(id)? else { return Ok(()) };
        if let Some(back) = core.files.carried.backs.get_mut(&id) {
            *back = match end {
                Err(End::Failed(failure, _)) => Back::Failed(failure),
                Ok(()) | Err(End::Again { .. }) => Back::Here,
            };
        } else {
            self.settled(&mut core, &row, direction, end)?;
        }
        core.files.carried.touch();
        tell(&core, id);
        Ok(())
    }

    /// A transfer is over, well or not.
    fn settled(
        &self,
        core: &mut Core,
        row: &FileRow,
        direction: Direction,
        end: Result<(), End>,
    ) -> Result<(), StoreError> {
        // Taken back at the last moment: that stands.
        if row.state != FileState::GoesOn {
            return Ok(());
        }
        match (direction, end) {
            (_, Err(End::Again { .. })) => {}
            (Direction::Up, Ok(())) => {
                if core.upload_committed(row.id)?
                    && let Some(requests) = self.requests.upgrade()
                {
                    // Full: there is plenty that makes the session look.
                    let _ = requests.try_send(Request::Look);
                }
            }
            (Direction::Up, Err(End::Failed(failure, code))) => {
                core.upload_refused(row.id, failure, code)?;
            }
            (Direction::Down, Ok(())) => drop(core.set_file(row.id, FileState::Done)?),
            (Direction::Down, Err(End::Failed(failure, _))) => {
                core.set_file(row.id, FileState::Failed(failure))?;
                if failure == TransferFailure::NotTheFile {
                    core.remove_spool(&row.body.blob)?;
                }
            }
        }
        Ok(())
    }

    /// Tells the own home, once in a session and whenever there are more, what it may forget.
    fn tell_drops(&mut self) {
        let is_early = self.tell_at.is_some_and(|at| at > Instant::now());
        if self.is_telling || is_early || self.conn.borrow().is_none() {
            return;
        }
        self.tell_at = None;
        let blobs = match self.core.lock().blobs_to_drop() {
            Ok(blobs) if !blobs.is_empty() => blobs,
            Ok(_) => return,
            Err(error) => return tracing::warn!(%error, "what to forget cannot be read"),
        };
        self.is_telling = true;
        let (core, requests, news) = (self.core.clone(), self.requests.clone(), self.news.clone());
        let (env, over) = (self.env.clone(), self.over.clone());
        let telling = async move {
            let mut later = false;
            for blob in blobs {
                later =
                    !matches!(ask_about(&requests, BlobAsk::Drop(blob)).await, Ok(BlobReply::Done));
                if later {
                    break;
                }
                env.disk_pause().await;
                if let Err(error) = env.in_place(|| core.lock().blob_dropped(&blob)) {
                    tracing::warn!(%error, "a forgotten blob cannot be noted");
                    later = true;
                    break;
                }
            }
            let _ = news.send(News::Told { later }).await;
        };
        self.env.spawn(async move {
            tokio::select! {
                biased;
                () = over.cancelled() => {}
                () = telling => {}
            }
        });
    }

    /// Removes what was fetched long ago, or is too much.
    async fn bound_cache(&self) {
        if let Err(error) = cache::bound(&self.env, &self.core, &self.spools).await {
            tracing::warn!(%error, "fetched files cannot be bounded");
        }
    }
}

async fn run(job: &Job, direction: Direction) -> Result<(), End> {
    match direction {
        Direction::Up => up(job).await,
        Direction::Down => down(job).await,
    }
}

/// What may be tried now, smallest first. Forgets legs whose file no longer goes on.
fn due_now(core: &mut Core, now: Instant) -> Result<Vec<FileRow>, StoreError> {
    let mut rows = core.files_unfinished()?;
    rows.retain(|row| row.state == FileState::GoesOn);
    let wanted: Vec<LocalId> = core
        .files
        .carried
        .backs
        .iter()
        .filter(|(_, back)| **back == Back::Wanted)
        .map(|(id, _)| *id)
        .collect();
    for id in wanted {
        match core.file(id)? {
            Some(row) => rows.push(row),
            None => drop(core.files.carried.backs.remove(&id)),
        }
    }
    let resumes = core.files.policy.resumes;
    let carried = &mut core.files.carried;
    // Dropped, a leg stops.
    carried.legs.retain(|id, _| rows.iter().any(|row| row.id == *id));
    rows.retain(|row| {
        let is_ours = carried.is_ours(row.id, resumes) || carried.backs.contains_key(&row.id);
        is_ours && carried.legs.get(&row.id).is_none_or(|leg| leg.is_due(now))
    });
    rows.sort_by_key(|row| (row.body.bytes, row.id));
    Ok(rows)
}

/// Tells the front end how a transfer stands.
pub(super) fn tell(core: &Core, id: LocalId) {
    match core.file(id) {
        Ok(Some(row)) => core.emit(Event::Transfer { view: core.transfer_view(&row) }),
        Ok(None) => {}
        Err(error) => tracing::debug!(%error, "a transfer cannot be shown"),
    }
}

async fn sleep_until_some(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

const fn at_once(direction: Direction) -> usize {
    match direction {
        Direction::Up => UPLOADS_AT_ONCE,
        Direction::Down => DOWNLOADS_AT_ONCE,
    }
}

/// One of each transfer, and some that were stopped meanwhile.
const NEWS_MAX: usize = 16;
const UPLOADS_AT_ONCE: usize = 2;
const DOWNLOADS_AT_ONCE: usize = 4;
/// Between two tries that moved nothing: doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Between two reports of the progress of one transfer.
const TELL_INTERVAL: Duration = Duration::from_millis(100);
