//! Logs: Open, Append and Cursor, as `docs/PROTOCOL.md` tells them.
//!
//! Pushing entries is `push`'s business. Who wrote an envelope is vouched for by the edge that
//! holds the session, and checked by every reader; here only the header must fit the session.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::accounts::is_active;
use super::cache::Log;
use super::live::{OpenLog, Reader};
use super::mode::Mode;
use super::producer::Appended;
use super::reap::day_of;
use super::refusal::{No, Refusal};
use super::sql::logs::{EntryKind, NewEntry};
use super::state::{Asker, Fresh, Home, Pushed};
use super::{groups, sql};
use crate::crypto::{EnvelopeError, HeaderInfo, Kind, parse_header};
use crate::limits::Limits;
use crate::net::env::Bug;
use crate::ops::meters::Stage;
use crate::types::{DeviceId, LogEpoch, LogId, LogName, N, Seq, UserName};
use crate::wire::Code;
use crate::wire::client::{self as wire, server_frame::Body};

/// Logs of one home that a connection may have open: more than anybody has conversations.
const OPENS_PER_SESSION_MAX: usize = 4_096;
/// When a connection with too many may try again.
const OPENS_RETRY_MS: u64 = 60_000;
/// When a sender may ask again whether the reader has read.
const MAILBOX_RETRY_MS: u64 = 30_000;
/// The window of the quota of new peers.
const HOUR_MS: u64 = 3600 * 1000;

/// What a device without the account's keys is told.
pub(super) const NOT_ACTIVE: &str = "this device is not active in the account's bundle";

/// A request to open a log.
pub(super) struct Open<'a> {
    pub(super) log: &'a LogName,
    pub(super) open_id: u32,
    pub(super) epoch: LogEpoch,
    pub(super) cursor: Seq,
    /// Of a group: only to write.
    pub(super) write_only: bool,
}

/// A request to append to one.
pub(super) struct Append<'a> {
    pub(super) log: &'a LogName,
    pub(super) open_id: u32,
    pub(super) epoch: LogEpoch,
    pub(super) envelope: &'a Bytes,
}

/// The first number an envelope covers; 0 when it cannot be read.
pub(super) fn first_number(envelope: &[u8]) -> N {
    parse_header(envelope).map_or(N(0), |header| header.n)
}

impl Home {
    pub(super) fn open_log(&mut self, asker: Asker<'_>, open: &Open<'_>) -> Result<Body, No> {
        let user = Self::user(asker)?;
        self.own_log(open.log)?;
        let place = asker.place;
        if self.live.open_count(place) >= OPENS_PER_SESSION_MAX
            && self.live.open_log(open.log, place).is_none()
        {
            return Err(Refusal::later(Code::Busy, OPENS_RETRY_MS).into());
        }
        match open.log {
            LogName::Inbox(owner) => self.open_inbox(asker, user, owner, open),
            LogName::Group(_) => self.attach_to_group(asker, user, open),
        }
    }

    fn open_inbox(
        &mut self,
        asker: Asker<'_>,
        user: &UserName,
        owner: &UserName,
        open: &Open<'_>,
    ) -> Result<Body, No> {
        if owner == user {
            self.session(asker)?;
        }
        let name = open.log;
        let conn = &self.database.conn;
        let device = asker.from.device;
        let log = self.logs.get(conn, name)?.ok_or(Code::NoSuchUser)?;
        let reader = if owner == user {
            // What a device without the keys passes would be lost to the one that has them.
            if !is_active(conn, log.id, device)? {
                return Err(Refusal::because(Code::Forbidden, NOT_ACTIVE).into());
            }
            if log.reader != Some(device) {
                log.start_reader(conn, owner, device)?;
            }
            Some(start_reader(log, open))
        } else {
            None
        };
        let online = self.live.is_online(owner) && !log.blocked.contains(user);
        let opened = wire::Opened { online, ..opened(conn, log, user, device, open)? };
        if reader.is_some() {
            self.passed += log.passed();
            self.reapable.insert(name.clone());
            self.logs.touch(name);
        }
        self.begin_open(asker, user, open, &opened, reader);
        self.moved.insert(name.clone());
        Ok(Body::Opened(opened))
    }

    pub(super) fn begin_open(
        &mut self,
        asker: Asker<'_>,
        user: &UserName,
        open: &Open<'_>,
        opened: &wire::Opened,
        reader: Option<Reader>,
    ) {
        let open_log = OpenLog {
            open_id: open.open_id,
            author: user.clone(),
            device: asker.from.device,
            session_epoch: asker.from.session_epoch,
            told: N(opened.delivered_n),
            told_online: opened.online,
            reader,
        };
        self.live.begin_open(open.log.clone(), asker.place, open_log);
    }

    /// The order of these checks is part of the contract: epoch, already stored, gap, permission,
    /// quota, insert.
    pub(super) fn append(&mut self, asker: Asker<'_>, append: &Append<'_>) -> Result<Body, No> {
        let user = Self::user(asker)?;
        let name = append.log;
        self.own_log(name)?;
        let header = fitting_header(asker, user, append)?;
        let conn = &self.database.conn;
        let log = self.logs.get(conn, name)?.ok_or(no_such(name))?;
        if append.epoch != log.epoch {
            return Err(Code::Reopen.into());
        }
        let producer = log.producer(conn, user, header.device)?;
        let last = producer.as_ref().map_or(N(0), |producer| producer.last);
        if let Some(producer) = &producer
            && header.upto <= last
        {
            let stored = producer.stored(header.upto);
            return Ok(appended(append, header.upto, stored));
        }
        let expected = N(last.0.saturating_add(1));
        let leaves_gap = header.n > expected && !self.env.has_bug(Bug::NoGapCheck);
        if header.n <= last || leaves_gap {
            return Err(Refusal { expected, ..Refusal::new(Code::Gap) }.into());
        }
        let producer = producer.map(|producer| producer.id);
        if let Some(group) = &log.group {
            groups::check_append(&self.env, group, user, &header)?;
        }
        if header.kind == Kind::Message && log.blocked.contains(user) {
            return Err(Code::Blocked.into());
        }
        let new_peer_ms = match producer {
            Some(_) => None,
            None if log.group.is_some() || name.owner() == Some(user) => None,
            None if sql::logs::has_written(conn, log.id, user)? => None,
            None => {
                let now_ms = self.env.unix_ms();
                check_new_peers(conn, user, now_ms, self.limits.new_peers_per_hour)?;
                Some(now_ms)
            }
        };
        let quota = Quota::of(log, &self.limits);
        check_quota(log, user, header.kind, append.envelope.len() as u64, quota)?;
        log.begin_day(conn, day_of(self.env.unix_ms()))?;
        let id = match producer {
            Some(id) => id,
            None => {
                let device = header.device;
                let id = sql::logs::insert_producer(conn, log.id, user, device, new_peer_ms)?;
                log.add_producer(user, device, id);
                id
            }
        };
        let stored = insert(conn, log, id, &header, append.envelope)?;
        self.logs.touch(name);
        let (seq, what) = (stored.seq, Pushed::Envelope(append.envelope.clone()));
        let entry = Fresh { seq, what, since: asker.since };
        self.fresh.entry(name.clone()).or_default().push(entry);
        Ok(appended(append, header.upto, Some(stored)))
    }

    /// Takes note of what is safe at the reader. What does not fit is ignored: there is no answer.
    pub(super) fn move_cursor(
        &mut self,
        asker: Asker<'_>,
        name: &LogName,
        open_id: u32,
        epoch: LogEpoch,
        upto: Seq,
    ) -> Result<(), No> {
        let user = match name {
            LogName::Inbox(_) => self.session(asker)?,
            LogName::Group(_) => Self::user(asker)?,
        };
        if name.owner().is_some_and(|owner| owner != user) {
            return Ok(());
        }
        let conn = &self.database.conn;
        let Some(log) = self.logs.get(conn, name)? else { return Ok(()) };
        let Some(open) = self.live.open_mut(name, asker.place) else { return Ok(()) };
        let is_theirs = match &log.group {
            None => log.reader == Some(open.device),
            // Who is no member any more has no device here, and may still read up to the end.
            Some(group) => group.device(user).is_none_or(|device| device == open.device),
        };
        let current = open.open_id == open_id && open.author == *user && is_theirs;
        let Some(reader) = open.reader.as_mut().filter(|_| current) else { return Ok(()) };
        if epoch != log.epoch || upto > log.head || upto <= reader.cursor {
            return Ok(());
        }
        reader.cursor = upto;
        reader.pushed = reader.pushed.max(upto);
        if let Some((_, since)) = reader.timed.take_if(|(seq, _)| *seq <= upto) {
            self.env.meters().delivered(Stage::Acknowledged, since.elapsed());
        }
        let wants_more = reader.pushed < log.head;
        let before = log.cursor;
        if self.mode != Mode::Frozen {
            match name {
                LogName::Inbox(_) => log.pass(upto),
                LogName::Group(_) => log.member_passes(user, upto),
            }
        }
        let (passed, is_group) = (log.cursor.0 - before.0, log.group.is_some());
        self.logs.touch(name);
        if passed > 0 {
            self.passed += passed;
            self.reapable.insert(name.clone());
        }
        if passed > 0 || !is_group {
            self.moved.insert(name.clone());
        } else if wants_more {
            // In a group authors hear of the slowest only, not once for every member.
            self.live.queue_reader(name, asker.place);
        }
        Ok(())
    }
}

/// Where the push to a reader begins: behind what it holds, as far as that is still kept.
fn start_reader(log: &mut Log, open: &Open<'_>) -> Reader {
    let held = if open.epoch == log.epoch { open.cursor } else { Seq(0) };
    // More than there is cannot have come from here.
    if held <= log.head {
        log.pass(held);
    }
    let pushed = held.min(log.head).max(Seq(log.first.0.saturating_sub(1)));
    Reader { cursor: pushed, pushed, queued: false, timed: None }
}

fn fitting_header(
    asker: Asker<'_>,
    user: &UserName,
    append: &Append<'_>,
) -> Result<HeaderInfo, No> {
    let header = parse_header(append.envelope).map_err(|error| match error {
        EnvelopeError::TooLarge { .. } => Refusal::new(Code::FrameTooLarge),
        EnvelopeError::Malformed(why) => Refusal::because(Code::Malformed, why),
        EnvelopeError::UnknownSuite(_)
        | EnvelopeError::WrongAuthor
        | EnvelopeError::UnknownDevice(_)
        | EnvelopeError::BadSignature
        | EnvelopeError::WrongKey
        | EnvelopeError::Undecryptable
        | EnvelopeError::BadBinding(_) => Refusal::new(Code::Malformed),
    })?;
    let log_fits = match (&header.log, append.log) {
        (LogId::Inbox(named), LogName::Inbox(owner)) => named == owner,
        // Which group it is for is looked at where the group is known.
        (LogId::Group(_), LogName::Group(_)) => true,
        (LogId::Inbox(_), LogName::Group(_)) | (LogId::Group(_), LogName::Inbox(_)) => false,
    };
    let fits = header.author == *user && header.device == asker.from.device && log_fits;
    if !fits {
        let why = "the header does not fit the session";
        return Err(Refusal::because(Code::Malformed, why).into());
    }
    Ok(header)
}

/// What is said of a log that is not there.
fn no_such(log: &LogName) -> Code {
    match log {
        LogName::Inbox(_) => Code::NoSuchUser,
        LogName::Group(_) => Code::NoSuchGroup,
    }
}

/// The answer to an Open, as the author finds the log.
pub(super) fn opened(
    conn: &rusqlite::Connection,
    log: &mut Log,
    user: &UserName,
    device: DeviceId,
    open: &Open<'_>,
) -> Result<wire::Opened, No> {
    let delivered = log.delivered(conn, user, device)?;
    let last = log.producer(conn, user, device)?.map_or(N(0), |producer| producer.last);
    Ok(wire::Opened {
        log: open.log.to_string(),
        open_id: open.open_id,
        epoch: log.epoch.0,
        first_seq: log.first.0,
        head_seq: log.head.0,
        last_n: last.0,
        delivered_n: delivered.0,
        online: false,
    })
}

/// The answer to an append; `stored` is `None` when it is too old to be remembered.
fn appended(append: &Append<'_>, upto: N, stored: Option<Appended>) -> Body {
    let hash = stored.map_or(Bytes::new(), |stored| Bytes::copy_from_slice(&stored.hash));
    Body::Appended(wire::Appended {
        log: append.log.to_string(),
        open_id: append.open_id,
        n: upto.0,
        seq: stored.map_or(0, |stored| stored.seq.0),
        hash,
    })
}

/// Each home counts the logs of its own that an author writes to for the first time.
fn check_new_peers(
    conn: &rusqlite::Connection,
    author: &UserName,
    now_ms: u64,
    peers_max: u32,
) -> Result<(), No> {
    let since_ms = now_ms.saturating_sub(HOUR_MS);
    let (count, oldest) = sql::logs::new_peers(conn, author, since_ms)?;
    if count < u64::from(peers_max) {
        return Ok(());
    }
    let free_ms = oldest.unwrap_or(now_ms).saturating_add(HOUR_MS);
    Err(Refusal::later(Code::SlowDown, free_ms.saturating_sub(now_ms).min(HOUR_MS)).into())
}

/// How much may stand beyond the cursor.
#[derive(Clone, Copy)]
struct Quota {
    entries: u64,
    bytes: u64,
    author_entries: u64,
    author_bytes: u64,
}

impl Quota {
    fn of(log: &Log, limits: &Limits) -> Self {
        match log.group {
            None => Self {
                entries: limits.inbox_entries_max,
                bytes: limits.inbox_bytes_max,
                author_entries: limits.inbox_author_entries_max,
                author_bytes: limits.inbox_author_bytes_max,
            },
            Some(_) => Self {
                entries: limits.group_entries_max,
                bytes: limits.group_bytes_max,
                author_entries: limits.group_author_entries_max,
                author_bytes: limits.group_author_bytes_max,
            },
        }
    }
}

/// Only what the slowest reader has not passed counts. A void takes no room meant for messages, but
/// as many of them as messages are enough for anybody.
fn check_quota(
    log: &Log,
    author: &UserName,
    kind: Kind,
    bytes: u64,
    quota: Quota,
) -> Result<(), No> {
    let (all, own) = log.loads(author);
    let full = match kind {
        Kind::Message => {
            all.messages >= quota.entries
                || all.bytes.saturating_add(bytes) > quota.bytes
                || own.messages >= quota.author_entries
                || own.bytes.saturating_add(bytes) > quota.author_bytes
        }
        Kind::Void => all.voids >= quota.entries || own.voids >= quota.author_entries,
    };
    if full {
        return Err(Refusal::later(Code::MailboxFull, MAILBOX_RETRY_MS).into());
    }
    Ok(())
}

fn insert(
    conn: &rusqlite::Connection,
    log: &mut Log,
    producer: sql::ProducerId,
    header: &HeaderInfo,
    envelope: &Bytes,
) -> Result<Appended, No> {
    let sha256: [u8; 32] = Sha256::digest(envelope).into();
    let [a, b, c, d, e, f, g, h, ..] = sha256;
    let seq = Seq(log.head.0 + 1);
    let append = Appended { n: header.n, upto: header.upto, seq, hash: [a, b, c, d, e, f, g, h] };
    let kind = match header.kind {
        Kind::Message => EntryKind::Message,
        Kind::Void => EntryKind::Void,
    };
    let entry =
        NewEntry { log: log.id, seq, producer, n: header.n, kind, sha256: &sha256, envelope };
    sql::logs::insert_entry(conn, &entry)?;
    log.add_entry(&header.author, header.device, append, kind, envelope.len() as u64);
    Ok(append)
}
