//! Logs: Open, Append and Cursor, as `docs/PROTOCOL.md` tells them.
//!
//! Pushing entries is `push`'s business. Who wrote an envelope is vouched for by the edge that
//! holds the session, and checked by every reader; here only the header must fit the session.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::accounts::is_active;
use super::cache::Log;
use super::live::{OpenLog, Reader};
use super::producer::Appended;
use super::refusal::{No, Refusal};
use super::sql::{self, logs::NewEntry};
use super::state::{Asker, Fresh, Home, Mode};
use crate::crypto::{EnvelopeError, HeaderInfo, Kind, parse_header};
use crate::limits::Limits;
use crate::net::env::Bug;
use crate::ops::meters::Stage;
use crate::types::{LogEpoch, LogId, LogName, N, Seq, UserName};
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

/// A request to open a log.
pub(super) struct Open<'a> {
    pub(super) log: &'a LogName,
    pub(super) open_id: u32,
    pub(super) epoch: LogEpoch,
    pub(super) cursor: Seq,
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
        let owner = open.log.owner().ok_or(Code::NoSuchGroup)?;
        self.own(owner)?;
        if owner == user {
            self.session(asker)?;
        }
        let place = asker.place;
        if self.live.open_count(place) >= OPENS_PER_SESSION_MAX
            && self.live.open_log(owner, place).is_none()
        {
            return Err(Refusal::later(Code::Busy, OPENS_RETRY_MS).into());
        }
        let conn = &self.database.conn;
        let device = asker.from.device;
        let log = self.logs.get(conn, owner)?.ok_or(Code::NoSuchUser)?;
        let reader = if owner == user {
            // What a device without the keys passes would be lost to the one that has them.
            if !is_active(conn, log.id, device)? {
                let why = "this device is not active in the account's bundle";
                return Err(Refusal::because(Code::Forbidden, why).into());
            }
            if log.reader != Some(device) {
                log.start_reader(conn, owner, device)?;
            }
            Some(start_reader(log, open))
        } else {
            None
        };
        let delivered = log.delivered(conn, user, device)?;
        let last = log.producer(conn, user, device)?.map_or(N(0), |producer| producer.last);
        let opened = wire::Opened {
            log: open.log.to_string(),
            open_id: open.open_id,
            epoch: log.epoch.0,
            first_seq: log.first.0,
            head_seq: log.head.0,
            last_n: last.0,
            delivered_n: delivered.0,
            online: self.live.is_online(owner) && !log.blocked.contains(user),
        };
        if reader.is_some() {
            self.passed += log.passed();
            self.reapable.insert(owner.clone());
            self.logs.touch(owner);
        }
        let (open_id, author) = (open.open_id, user.clone());
        let (told, told_online) = (delivered, opened.online);
        let open = OpenLog { open_id, author, device, told, told_online, reader };
        self.live.begin_open(owner.clone(), place, open);
        self.moved.insert(owner.clone());
        Ok(Body::Opened(opened))
    }

    /// The order of these checks is part of the contract: epoch, already stored, gap, permission,
    /// quota, insert.
    pub(super) fn append(&mut self, asker: Asker<'_>, append: &Append<'_>) -> Result<Body, No> {
        let user = Self::user(asker)?;
        let owner = append.log.owner().ok_or(Code::NoSuchGroup)?;
        self.own(owner)?;
        let header = fitting_header(asker, user, owner, append)?;
        let conn = &self.database.conn;
        let log = self.logs.get(conn, owner)?.ok_or(Code::NoSuchUser)?;
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
        if header.kind == Kind::Message && log.blocked.contains(user) {
            return Err(Code::Blocked.into());
        }
        let new_peer_ms = match producer {
            Some(_) => None,
            None if user == owner || sql::logs::has_written(conn, log.id, user)? => None,
            None => {
                let now_ms = self.env.unix_ms();
                check_new_peers(conn, user, now_ms, self.limits.new_peers_per_hour)?;
                Some(now_ms)
            }
        };
        check_quota(log, user, header.kind, append.envelope.len() as u64, &self.limits)?;
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
        self.logs.touch(owner);
        let (seq, envelope) = (stored.seq, append.envelope.clone());
        let entry = Fresh { seq, envelope, since: asker.since };
        self.fresh.entry(owner.clone()).or_default().push(entry);
        Ok(appended(append, header.upto, Some(stored)))
    }

    /// Takes note of what is safe at the reader. What does not fit is ignored: there is no answer.
    pub(super) fn move_cursor(
        &mut self,
        asker: Asker<'_>,
        log: &LogName,
        open_id: u32,
        epoch: LogEpoch,
        upto: Seq,
    ) -> Result<(), No> {
        let user = self.session(asker)?;
        let Some(owner) = log.owner().filter(|owner| *owner == user) else { return Ok(()) };
        let conn = &self.database.conn;
        let Some(log) = self.logs.get(conn, owner)? else { return Ok(()) };
        let Some(open) = self.live.open_mut(owner, asker.place) else { return Ok(()) };
        let current = open.open_id == open_id && log.reader == Some(open.device);
        let Some(reader) = open.reader.as_mut().filter(|_| current) else { return Ok(()) };
        if epoch != log.epoch || upto > log.head || upto <= reader.cursor {
            return Ok(());
        }
        reader.cursor = upto;
        reader.pushed = reader.pushed.max(upto);
        if let Some((_, since)) = reader.timed.take_if(|(seq, _)| *seq <= upto) {
            self.env.meters().delivered(Stage::Acknowledged, since.elapsed());
        }
        if self.mode != Mode::Frozen && upto > log.cursor {
            self.passed += upto.0 - log.cursor.0;
            log.pass(upto);
            self.reapable.insert(owner.clone());
            self.logs.touch(owner);
        }
        self.moved.insert(owner.clone());
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
    owner: &UserName,
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
    let fits = header.author == *user
        && header.device == asker.from.device
        && matches!(&header.log, LogId::Inbox(named) if named == owner);
    if !fits {
        let why = "the header does not fit the session";
        return Err(Refusal::because(Code::Malformed, why).into());
    }
    Ok(header)
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

/// Only what the reader has not passed counts. A void takes no room meant for messages, but as many
/// of them as messages are enough for anybody.
fn check_quota(
    log: &Log,
    author: &UserName,
    kind: Kind,
    bytes: u64,
    limits: &Limits,
) -> Result<(), No> {
    let (all, own) = log.loads(author);
    let full = match kind {
        Kind::Message => {
            all.messages >= limits.inbox_entries_max
                || all.bytes.saturating_add(bytes) > limits.inbox_bytes_max
                || own.messages >= limits.inbox_author_entries_max
                || own.bytes.saturating_add(bytes) > limits.inbox_author_bytes_max
        }
        Kind::Void => {
            all.voids >= limits.inbox_entries_max || own.voids >= limits.inbox_author_entries_max
        }
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
    let entry = NewEntry {
        log: log.id,
        seq,
        producer,
        n: header.n,
        kind: header.kind,
        sha256: &sha256,
        envelope,
    };
    sql::logs::insert_entry(conn, &entry)?;
    log.add_entry(&header.author, header.device, append, header.kind, envelope.len() as u64);
    Ok(append)
}
