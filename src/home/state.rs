//! The home as a state machine: a batch of requests becomes one transaction and a list of answers.
//!
//! Plain and synchronous; no lock, no await. When it runs, and on what, is `writer`'s business.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rusqlite::Connection;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{error, warn};

use super::HomeConfig;
use super::cache::{Flush, Logs};
use super::edges::{Attachments, Edges, Generation};
use super::file::{self, Database};
use super::joining::Joins;
use super::live::{EdgeNumber, Live, Place};
use super::mode::Mode;
use super::refusal::{Fault, No, Refusal, Severity};
use super::request::{Call, Caller, HomeFailure, HomeRequest, Output, StoredVerifier};
use super::{logs, reap, sql};
use crate::limits::Limits;
use crate::net::Env;
use crate::net::env::Bug;
use crate::placement::{slot_of_log, slot_of_user};
use crate::types::{BlobId, ClusterId, LogName, MapVersion, Seq, ServerId, SlotId, UserName};
use crate::wire::Code;
use crate::wire::client::server_frame::Body;

/// When a sender may try again after the disk was full.
const STORAGE_FULL_RETRY_MS: u64 = 10_000;

/// A day that does not come.
const ALWAYS: u64 = u32::MAX as u64;

/// A call as the writer gets it.
pub(super) struct Job {
    pub(super) edge: ServerId,
    pub(super) generation: Generation,
    pub(super) call: Call,
    /// When it was queued.
    pub(super) since: Instant,
    /// Who gets the answer in place of the edge.
    pub(super) answer: Option<oneshot::Sender<Body>>,
}

impl Job {
    /// A call that came now, to be answered to its edge.
    pub(super) fn new(edge: &ServerId, generation: Generation, call: Call) -> Self {
        Self { edge: edge.clone(), generation, call, since: Instant::now(), answer: None }
    }
}

/// Who asks, and where the answer goes.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) place: Place,
    pub(super) from: &'a Caller,
    pub(super) rid: u64,
    /// Since when the request has been here.
    pub(super) since: Instant,
    /// The number of the job in its batch, if not the edge gets the answer.
    pub(super) aside: Option<usize>,
}

/// An entry of the current batch.
pub(super) struct Fresh {
    pub(super) seq: Seq,
    pub(super) what: Pushed,
    /// When its request was queued.
    pub(super) since: Instant,
}

/// What an entry brings.
#[derive(Clone)]
pub(super) enum Pushed {
    /// A message, or a void: an encoded envelope.
    Envelope(Bytes),
    /// A change of a group: its number in the chain, and the encoded `SignedOperation`.
    Operation(u64, Bytes),
}

/// What became of a COMMIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Committed {
    Yes,
    /// The disk is full; everything is rolled back.
    Full,
}

/// All that a home is.
pub(super) struct Home {
    pub(super) env: Env,
    pub(super) cluster: ClusterId,
    pub(super) map_version: MapVersion,
    pub(super) limits: std::sync::Arc<Limits>,
    slots: Vec<SlotId>,
    pub(super) database: Database,
    pub(super) logs: Logs,
    pub(super) live: Live,
    pub(super) edges: Edges,
    /// Who is about to join a group.
    pub(super) joins: Joins,
    pub(super) mode: Mode,
    /// Answers of this batch; nobody sees them before the COMMIT.
    pub(super) out: Vec<(Place, Output)>,
    /// Answers to jobs of this batch, by their number, that are not for edges.
    pub(super) aside: Vec<(usize, Body)>,
    /// Entries of this batch, by log.
    pub(super) fresh: BTreeMap<LogName, Vec<Fresh>>,
    /// Logs in which a cursor moved or an Open began in this batch.
    pub(super) moved: BTreeSet<LogName>,
    /// Logs with entries that every reader has passed, and about how many those are.
    pub(super) reapable: BTreeSet<LogName>,
    pub(super) passed: u64,
    /// Some group may get entries that are too old.
    pub(super) has_days: bool,
    /// The day, counted from 1970, up to which what is too old was looked for.
    pub(super) looked_day: u64,
    /// When the next account is to be deleted, or earlier.
    pub(super) next_deletion_ms: Option<u64>,
    /// Gone accounts may have left logs.
    pub(super) gone_left: bool,
    /// Bytes of all blobs and uploads; `None`: to be counted again.
    pub(super) blob_bytes: Option<u64>,
    /// When the next upload or blob goes, or earlier.
    pub(super) next_blob_ms: Option<u64>,
    /// Blobs without a row, whose files are to be removed.
    pub(super) gone_blobs: Vec<(UserName, BlobId)>,
    /// Such files are being removed: more have to wait.
    pub(super) sweeping: bool,
    /// Edges for which a wake-up is due when there is room again.
    pub(super) wake: Vec<EdgeNumber>,
}

impl Home {
    pub(super) fn new(env: &Env, config: HomeConfig, database: Database) -> Result<Self, Fault> {
        let slots = file::own_slots(&database.conn)?;
        let reapable = reap::logs_to_reap(&database.conn)?;
        let next_deletion_ms = sql::accounts::next_deletion_ms(&database.conn)?;
        let has_days = !sql::groups::with_days_before(&database.conn, ALWAYS)?.is_empty();
        let next_blob_ms = sql::blobs::next_due_ms(&database.conn)?;
        let gone_left = !sql::logs::gone_logs(&database.conn, 1)?.is_empty();
        Ok(Self {
            env: env.clone(),
            cluster: config.cluster,
            map_version: config.map.map_version(),
            limits: config.limits,
            slots,
            database,
            logs: Logs::default(),
            live: Live::default(),
            edges: Edges::default(),
            joins: Joins::default(),
            mode: Mode::Normal,
            out: Vec::new(),
            aside: Vec::new(),
            fresh: BTreeMap::new(),
            moved: BTreeSet::new(),
            passed: if reapable.is_empty() { 0 } else { reap::REAP_ENTRIES_MIN },
            reapable,
            has_days,
            looked_day: 0,
            next_deletion_ms,
            gone_left,
            blob_bytes: None,
            next_blob_ms,
            gone_blobs: Vec::new(),
            sweeping: false,
            wake: Vec::new(),
        })
    }

    pub(super) fn conn(&self) -> &Connection {
        &self.database.conn
    }

    /// Picks up new links, and ends what broken or replaced ones had.
    pub(super) fn meet_edges(&mut self, attachments: &Attachments) {
        for arrival in attachments.take_arrivals() {
            let edge = self.edges.arrive(arrival);
            self.end_edge(edge);
        }
        for edge in self.edges.take_broken() {
            self.end_edge(edge);
        }
        // Nothing of this belongs to a transaction.
        self.live.commit();
    }

    fn end_edge(&mut self, edge: EdgeNumber) {
        self.live.end_edge(edge);
        self.joins.forget_edge(edge);
    }

    /// Applies a batch in one transaction and leaves that open. On a fault everything is undone and
    /// done again: without the one that caused it, or in a lesser mode.
    pub(super) fn apply_all(&mut self, batch: &[Job]) -> Result<(), HomeFailure> {
        let mut failed = BTreeSet::new();
        'again: loop {
            self.execute("BEGIN IMMEDIATE").map_err(Fault::fatal)?;
            for (index, job) in batch.iter().enumerate() {
                let Some(place) = self.place_of(job) else { continue };
                let Call { from, rid, request: _ } = &job.call;
                let aside = job.answer.is_some().then_some(index);
                let asker = Asker { place, from, rid: *rid, since: job.since, aside };
                if failed.contains(&index) {
                    let refusal = Refusal::because(Code::Internal, "see the server's log");
                    self.refuse(asker, &job.call.request, &refusal);
                    continue;
                }
                if let Err(fault) = self.apply(asker, &job.call.request) {
                    self.undo(fault, Some((index, &mut failed)))?;
                    continue 'again;
                }
            }
            let flush = if self.env.has_bug(Bug::DedupInAnotherTransaction) {
                Flush::LogsOnly
            } else {
                Flush::All
            };
            match self.logs.flush(&self.database.conn, flush) {
                Ok(()) => return Ok(()),
                Err(fault) => self.undo(fault, None)?,
            }
        }
    }

    /// Commits what [`Self::apply_all`] began. After `Full`, apply again.
    pub(super) fn commit(&mut self) -> Result<Committed, HomeFailure> {
        match self.execute("COMMIT") {
            Ok(()) => {
                self.live.commit();
                self.joins.commit();
                self.mode = Mode::Normal;
                Ok(Committed::Yes)
            }
            Err(fault) => match self.undo(fault, None) {
                Ok(()) => Ok(Committed::Full),
                Err(failure) => Err(failure),
            },
        }
    }

    /// Half of a planted bug: the producers in a transaction of their own.
    pub(super) fn commit_producers(&mut self) -> Result<(), HomeFailure> {
        self.execute("BEGIN IMMEDIATE").map_err(Fault::fatal)?;
        self.logs.flush(&self.database.conn, Flush::All).map_err(Fault::fatal)?;
        self.execute("COMMIT").map_err(Fault::fatal)
    }

    pub(super) fn verifier(&self, user: &UserName) -> Result<Option<StoredVerifier>, HomeFailure> {
        let row = sql::accounts::verifier(self.conn(), user);
        let row = row.map_err(|error| Fault::from(error).fatal())?;
        Ok(row.map(|(hash, bundle)| StoredVerifier { hash, bundle: bundle.into() }))
    }

    /// Messages that their reader has not taken yet.
    pub(super) fn unread(&self) -> Result<u64, HomeFailure> {
        sql::logs::unread(self.conn()).map_err(|error| Fault::from(error).fatal())
    }

    pub(super) fn execute(&self, sql: &'static str) -> Result<(), Fault> {
        self.conn().prepare_cached(sql)?.execute([]).map(drop).map_err(Fault::from)
    }

    fn place_of(&self, job: &Job) -> Option<Place> {
        let edge = self.edges.current(&job.edge, job.generation)?;
        Some(Place { edge, sid: job.call.from.sid })
    }

    /// Rolls back and decides how to go on.
    fn undo(
        &mut self,
        fault: Fault,
        suspect: Option<(usize, &mut BTreeSet<usize>)>,
    ) -> Result<(), HomeFailure> {
        self.rollback()?;
        let text = format!("{fault:?}");
        match (fault.severity(), suspect) {
            (Severity::Full, _) if self.mode == Mode::Frozen => Err(HomeFailure::Storage(text)),
            (Severity::Full, _) => {
                self.mode = self.mode.next();
                warn!(mode = ?self.mode, "the disk is full: nothing of this batch is acknowledged");
                Ok(())
            }
            (Severity::Operation, Some((index, failed))) => {
                error!(cause = %text, "an operation failed");
                failed.insert(index);
                Ok(())
            }
            (Severity::Operation, None) => Err(HomeFailure::Storage(text)),
            (Severity::Fatal(failure), _) => Err(failure),
        }
    }

    pub(super) fn rollback(&mut self) -> Result<(), HomeFailure> {
        // SQLite rolls back by itself after some faults.
        if !self.conn().is_autocommit() {
            self.execute("ROLLBACK").map_err(Fault::fatal)?;
        }
        self.logs.clear();
        self.live.rollback();
        self.joins.rollback();
        self.out.clear();
        self.aside.clear();
        self.blob_bytes = None;
        self.fresh.clear();
        self.moved.clear();
        Ok(())
    }

    fn apply(&mut self, asker: Asker<'_>, request: &HomeRequest) -> Result<(), Fault> {
        if !self.mode.allows(request) {
            let refusal = Refusal::later(Code::StorageFull, STORAGE_FULL_RETRY_MS);
            self.refuse(asker, request, &refusal);
            return Ok(());
        }
        match self.dispatch(asker, request) {
            Ok(Some(body)) => {
                self.answer(asker, request, body);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(No::Refused(refusal)) => {
                self.refuse(asker, request, &refusal);
                Ok(())
            }
            Err(No::Fault(fault)) => Err(fault),
        }
    }

    fn dispatch(&mut self, asker: Asker<'_>, request: &HomeRequest) -> Result<Option<Body>, No> {
        match request {
            HomeRequest::LookUp { user } => self.look_up(user).map(Some),
            HomeRequest::SignUp { user, verifier, bundle, device, visibility } => {
                self.sign_up(asker, user, verifier, bundle, *device, *visibility).map(Some)
            }
            HomeRequest::Login { user, device, takeover, visibility } => {
                self.login(asker, user, *device, *takeover, *visibility).map(Some)
            }
            HomeRequest::Resume { user, device, count, signature, visibility } => {
                self.resume(asker, user, *device, *count, signature, *visibility).map(Some)
            }
            HomeRequest::Logout => self.logout(asker).map(Some),
            HomeRequest::PutBundle { bundle } => self.put_bundle(asker, bundle).map(Some),
            HomeRequest::ChangePassword { proven, verifier } => {
                self.change_password(asker, proven, verifier).map(Some)
            }
            HomeRequest::DeleteAccount { proven } => self.delete_account(asker, proven).map(Some),
            HomeRequest::SetPresence { visibility } => {
                self.set_presence(asker, *visibility).map(Some)
            }
            HomeRequest::Typing { to } => {
                self.typing(asker, to)?;
                Ok(None)
            }
            HomeRequest::Who { all } => self.who(asker, *all).map(Some),
            HomeRequest::Block { user, blocked } => self.block(asker, user, *blocked).map(Some),
            HomeRequest::TypingIn { group } => {
                self.typing_in(asker, group)?;
                Ok(None)
            }
            HomeRequest::Change { group, operation } => {
                self.change_group(asker, group, operation).map(Some)
            }
            HomeRequest::GetRoster { group, after } => {
                self.get_roster(asker, group, *after).map(Some)
            }
            HomeRequest::JoinAsk { group } => self.join_ask(asker, group).map(Some),
            HomeRequest::JoinProof { group, invite, signature } => {
                self.join_proof(asker, group, invite, signature).map(Some)
            }
            HomeRequest::Open { log, open_id, epoch, cursor, write_only } => {
                let (open_id, epoch, cursor) = (*open_id, *epoch, *cursor);
                let open = logs::Open { log, open_id, epoch, cursor, write_only: *write_only };
                self.open_log(asker, &open).map(Some)
            }
            HomeRequest::Append { log, open_id, epoch, envelope } => {
                let append = logs::Append { log, open_id: *open_id, epoch: *epoch, envelope };
                self.append(asker, &append).map(Some)
            }
            HomeRequest::Cursor { log, open_id, epoch, upto } => {
                self.move_cursor(asker, log, *open_id, *epoch, *upto)?;
                Ok(None)
            }
            HomeRequest::BeginBlob { id, bytes, lies_whole } => {
                self.begin_blob(asker, id, *bytes, *lies_whole).map(Some)
            }
            HomeRequest::CommitBlob { id, is_safe } => {
                self.commit_blob(asker, id, *is_safe).map(Some)
            }
            HomeRequest::DropBlob { id } => self.drop_blob(asker, id).map(Some),
            HomeRequest::Detach => {
                self.joins.forget(asker.place);
                self.live.end_place(asker.place);
                Ok(None)
            }
        }
    }

    /// The caller's name, if somebody is logged in there.
    pub(super) fn user<'a>(asker: Asker<'a>) -> Result<&'a UserName, No> {
        asker.from.user.as_ref().ok_or_else(|| Code::BadState.into())
    }

    /// Refuses what another home owns; by the slots of the database, not by the map.
    pub(super) fn own(&self, user: &UserName) -> Result<(), No> {
        if self.owns(user) { Ok(()) } else { Err(Code::WrongHome.into()) }
    }

    /// The same for a log.
    pub(super) fn own_log(&self, log: &LogName) -> Result<(), No> {
        let owned = self.slots.binary_search(&slot_of_log(log)).is_ok();
        if owned { Ok(()) } else { Err(Code::WrongHome.into()) }
    }

    /// The slots of the database, in order.
    pub(super) fn slots(&self) -> &[SlotId] {
        &self.slots
    }

    pub(super) fn owns(&self, user: &UserName) -> bool {
        self.slots.binary_search(&slot_of_user(user)).is_ok()
    }
}
