//! Groups: operations come in, the chain goes out, members open the log.
//!
//! The rules are `roster`'s; here they meet the order of the log, the disk and the one who asks.
//! Nobody relies on that but the group's members for quiet: clients check every operation again.

use bytes::Bytes;
use rusqlite::Connection;
use sha2::{Digest, Sha256};

use super::accounts::is_active;
use super::daily;
use super::live::{Place, Reader};
use super::logs::{NOT_ACTIVE, Open, opened};
use super::members::{Group, Sight};
use super::reap::day_of;
use super::refusal::{Fault, No, Refusal};
use super::sql;
use super::sql::groups::{self as rows, NewGroup, NewOperation};
use super::sql::logs::{EntryKind, NewEntry, insert_entry};
use super::state::{Asker, Fresh, Home, Pushed};
use crate::crypto::operation::{Change, OperationError, VerifiedOperation, verify_operation};
use crate::crypto::{HeaderInfo, Kind};
use crate::limits::{GROUPS_PER_USER_MAX, OPERATION_BYTES_MAX};
use crate::net::Env;
use crate::net::env::Bug;
use crate::roster::{Roster, RosterError};
use crate::types::{GroupName, LogEpoch, LogId, LogName, N, Seq, UserName};
use crate::wire::Code;
use crate::wire::client::{self as wire, server_frame::Body};

/// What is said of a group in which nobody can do anything any more.
const CLOSED: &str = "closed";
/// When a page of operations may be asked for again that found no room.
const PAGE_RETRY_MS: u64 = 1_000;

/// Whether a member may append this now. The order of these checks is part of the contract.
pub(super) fn check_append(
    env: &Env,
    group: &Group,
    user: &UserName,
    header: &HeaderInfo,
) -> Result<(), No> {
    if header.log != LogId::Group(group.id) {
        return Err(Refusal::because(Code::Malformed, "the header is for another group").into());
    }
    if !group.is_present(user) {
        return Err(Code::NotAMember.into());
    }
    if group.closed {
        return Err(Refusal::because(Code::NotAMember, CLOSED).into());
    }
    let takes_stale = env.has_bug(Bug::StaleEpochAccepted);
    if header.kind == Kind::Message && header.key_epoch < group.key_epoch && !takes_stale {
        return Err(Code::StaleEpoch.into());
    }
    if header.kind == Kind::Message && header.key_epoch > group.key_epoch {
        return Err(Code::RosterBehind.into());
    }
    Ok(())
}

impl Home {
    /// A member reads from their cursor on, a former one up to the end of their membership.
    pub(super) fn attach_to_group(
        &mut self,
        asker: Asker<'_>,
        user: &UserName,
        open: &Open<'_>,
    ) -> Result<Body, No> {
        let (name, device, place) = (open.log, asker.from.device, asker.place);
        if self.owns(user) {
            self.session(asker)?;
            let inbox = LogName::inbox(user.clone());
            let account = self.logs.get(&self.database.conn, &inbox)?.ok_or(Code::NoSuchUser)?.id;
            if !open.write_only && !is_active(&self.database.conn, account, device)? {
                return Err(Refusal::because(Code::Forbidden, NOT_ACTIVE).into());
            }
        }
        let conn = &self.database.conn;
        let log = self.logs.get(conn, name)?.ok_or(Code::NoSuchGroup)?;
        let group = log.group.as_ref().ok_or(Code::NoSuchGroup)?;
        let is_present = group.is_present(user);
        // More than there is cannot have come from here.
        let held = Some(open.cursor).filter(|held| open.epoch == log.epoch && *held <= log.head);
        let before_first = Seq(log.first.0.saturating_sub(1));
        let held = held.unwrap_or_default().max(before_first);
        let (pushed, stay) = group.place(user, held).ok_or(Code::NotAMember)?;
        if open.write_only {
            if !is_present {
                return Err(Code::NotAMember.into());
            }
            let answer = opened(conn, log, user, device, open)?;
            self.begin_open(asker, user, open, &answer, None);
            return Ok(Body::Opened(answer));
        }
        let earlier = readers_of(self.live.opens(name), user, place);
        if earlier.iter().any(|(_, epoch)| *epoch > asker.from.session_epoch) {
            return Err(Code::SessionReplaced.into());
        }
        let before = log.cursor;
        if is_present {
            if group.device(user) != Some(device) {
                log.start_member(conn, user, device)?;
            }
            log.member_passes(user, pushed);
        }
        let first = log.first.max(stay.since);
        let head = stay.until.unwrap_or(log.head);
        let answer = wire::Opened {
            first_seq: first.0.min(head.0 + 1),
            head_seq: head.0,
            ..opened(conn, log, user, device, open)?
        };
        if log.cursor != before {
            self.passed += log.passed();
            self.reapable.insert(name.clone());
            self.moved.insert(name.clone());
        }
        let more = pushed < log.head || log.sight(user, pushed) == Sight::Over;
        self.logs.touch(name);
        for (place, _) in earlier {
            self.live.end_open(name, place);
        }
        let reader = Reader { cursor: pushed, pushed, queued: false, timed: None };
        self.begin_open(asker, user, open, &answer, Some(reader));
        if more {
            self.live.queue_reader(name, place);
        }
        Ok(Body::Opened(answer))
    }

    /// Takes an operation that follows the newest one, or says what is stored of a repeated one.
    pub(super) fn change_group(
        &mut self,
        asker: Asker<'_>,
        group: &GroupName,
        encoded: &Bytes,
    ) -> Result<Body, No> {
        let user = Self::user(asker)?;
        let name = LogName::Group(group.clone());
        self.own_log(&name)?;
        if self.owns(user) {
            self.session(asker)?;
        }
        let operation = verify_operation(encoded, &self.cluster).map_err(unreadable)?;
        let is_create = match &operation.operation().change {
            Change::Create { name, .. } if name != group => {
                return Err(Refusal::because(Code::Malformed, "a CREATE of another name").into());
            }
            Change::Create { .. } => true,
            _ => false,
        };
        let conn = &self.database.conn;
        let Some(log) = self.logs.get(conn, &name)? else {
            if !is_create {
                return Err(Code::NoSuchGroup.into());
            }
            return self.create_group(asker, user, &name, &operation);
        };
        let members = log.group.as_ref().ok_or(Code::NoSuchGroup)?;
        if is_create && operation.group() != members.id {
            return Err(Code::NameTaken.into());
        }
        if operation.group() != members.id {
            return Err(Refusal::because(Code::Malformed, "an operation of another group").into());
        }
        let is_author = operation.operation().author == *user;
        let change = &operation.operation().change;
        let by_itself = is_author && matches!(change, Change::Join { .. } | Change::Leave);
        if !members.is_present(user) && !by_itself {
            return Err(Code::NotAMember.into());
        }
        if let Some((number, seq)) = rows::operation(conn, log.id, operation.hash())? {
            return Ok(Body::Changed(wire::Changed { number, seq: seq.0 }));
        }
        let is_join = matches!(change, Change::Join { .. });
        if is_join {
            self.joins.check_pace(user, group)?;
        }
        let mut roster = self.roster(&name)?.clone();
        let newest = roster.number();
        let applied = if self.env.has_bug(Bug::OperationWithoutCas) {
            roster.follow(&operation)
        } else {
            roster.apply(&operation)
        };
        if let Err(why) = applied {
            if is_join && why == RosterError::NoSuchInvite {
                self.joins.failed(user, group);
            }
            return Err(refused(&why, is_join).into());
        }
        if let Some(new) = comes_in(change, user) {
            self.check_groups_of(new)?;
        }
        let conn = &self.database.conn;
        let log = self.logs.get(conn, &name)?.ok_or(Code::NoSuchGroup)?;
        let (now_ms, changes_max) = (self.env.unix_ms(), self.limits.group_changes_per_day);
        daily::check_changes(conn, log, change, newest, now_ms, changes_max)?;
        self.store_operation(asker, &name, &operation, roster)
    }

    fn create_group(
        &mut self,
        asker: Asker<'_>,
        user: &UserName,
        name: &LogName,
        operation: &VerifiedOperation,
    ) -> Result<Body, No> {
        let roster = Roster::create(operation).map_err(|why| refused(&why, false))?;
        if roster.member(user).is_none() {
            return Err(Code::NotAMember.into());
        }
        for member in roster.members().keys() {
            self.check_groups_of(member)?;
        }
        let now_ms = self.env.unix_ms();
        daily::check_groups_made(self.conn(), user, now_ms, self.limits.groups_made_per_day)?;
        let epoch = LogEpoch(self.env.random_id());
        let new = NewGroup {
            name: roster.name(),
            id: roster.id(),
            epoch,
            maker: user,
            day: day_of(now_ms),
        };
        rows::insert_group(self.conn(), &new)?;
        self.has_days = true;
        self.store_operation(asker, name, operation, roster)
    }

    fn check_groups_of(&self, user: &UserName) -> Result<(), No> {
        if rows::groups_of(self.conn(), user)? < GROUPS_PER_USER_MAX as u64 {
            return Ok(());
        }
        Err(Refusal::because(Code::Quota, "somebody would be in too many groups").into())
    }

    /// Makes an operation that the roster took the newest one: entry, chain and members.
    fn store_operation(
        &mut self,
        asker: Asker<'_>,
        name: &LogName,
        operation: &VerifiedOperation,
        roster: Roster,
    ) -> Result<Body, No> {
        let conn = &self.database.conn;
        let now_ms = self.env.unix_ms();
        let log = self.logs.get(conn, name)?.ok_or(Code::NoSuchGroup)?;
        let producer = log.group.as_ref().ok_or(Code::NoSuchGroup)?.operations;
        log.begin_day(conn, day_of(now_ms))?;
        let (id, number, seq) = (log.id, roster.number(), Seq(log.head.0 + 1));
        let (hash, encoded) = (operation.hash(), operation.encoded());
        let sha256: [u8; 32] = Sha256::digest(encoded).into();
        rows::insert_operation(conn, &NewOperation { log: id, number, seq, hash, encoded })?;
        let (kind, n, sha256, envelope) = (EntryKind::Operation, N(number), &sha256, &encoded[..]);
        insert_entry(conn, &NewEntry { log: id, seq, producer, n, kind, sha256, envelope })?;
        let before = log.cursor;
        log.add_operation(seq);
        match &operation.operation().change {
            Change::Create { members, .. } => {
                for member in members {
                    log.begin_stay(conn, &member.user)?;
                }
            }
            Change::Remove { user, .. } if self.env.has_bug(Bug::RemovedStillReads) => {
                rows::end_stay(conn, id, user, seq)?;
            }
            Change::Remove { user, .. } => log.end_stay(conn, user)?,
            Change::Leave => log.end_stay(conn, &operation.operation().author)?,
            change => {
                if let Some(user) = comes_in(change, &operation.operation().author) {
                    log.begin_stay(conn, user)?;
                }
            }
        }
        let people = roster.members().len();
        rows::set_group(conn, id, roster.key_epoch(), roster.is_closed())?;
        if let Some(group) = &mut log.group {
            group.key_epoch = roster.key_epoch();
            group.closed = roster.is_closed();
            group.roster = Some(roster);
        }
        if log.cursor > before {
            self.passed += log.cursor.0 - before.0;
            self.reapable.insert(name.clone());
            self.moved.insert(name.clone());
        }
        self.logs.touch(name);
        self.logs.grown(people);
        let what = Pushed::Operation(number, encoded.clone());
        let entry = Fresh { seq, what, since: asker.since };
        self.fresh.entry(name.clone()).or_default().push(entry);
        Ok(Body::Changed(wire::Changed { number, seq: seq.0 }))
    }

    /// What the chain of a group comes to. Kept with the log; else applied again from CREATE on.
    pub(super) fn roster(&mut self, name: &LogName) -> Result<&Roster, No> {
        let conn = &self.database.conn;
        let log = self.logs.get(conn, name)?.ok_or(Code::NoSuchGroup)?;
        let id = log.id;
        let group = log.group.as_mut().ok_or(Code::NoSuchGroup)?;
        let roster = match group.roster.take() {
            Some(roster) => roster,
            None => replay(conn, id, &self.cluster)?,
        };
        Ok(group.roster.insert(roster))
    }

    /// A page of the chain: all of it for members and for who proved an invitation; for who was a
    /// member, up to the end of that.
    pub(super) fn get_roster(
        &mut self,
        asker: Asker<'_>,
        group: &GroupName,
        after: u64,
    ) -> Result<Body, No> {
        let user = Self::user(asker)?;
        let name = LogName::Group(group.clone());
        self.own_log(&name)?;
        let conn = &self.database.conn;
        let log = self.logs.get(conn, &name)?.ok_or(Code::NoSuchGroup)?;
        let members = log.group.as_ref().ok_or(Code::NoSuchGroup)?;
        let upto = if self.joins.is_granted(asker.place, user, group) {
            log.head
        } else {
            members.sees_upto(user, log.head).ok_or(Code::NotAMember)?
        };
        // These are the largest answers there are: a link that lags gets no more of them.
        if !self.edges.has_room(asker.place.edge) {
            return Err(Refusal::later(Code::Busy, PAGE_RETRY_MS).into());
        }
        let (page, more) = rows::operations(conn, log.id, after, upto, OPERATION_BYTES_MAX)?;
        let entry = |row: rows::OperationRow| wire::RosterEntry {
            number: row.number,
            seq: row.seq.0,
            operation: row.encoded,
        };
        Ok(Body::Roster(wire::Roster {
            group_id: members.id.0.to_vec().into(),
            entries: page.into_iter().map(entry).collect(),
            more,
        }))
    }
}

/// Who becomes a member by this change.
fn comes_in<'a>(change: &'a Change, author: &'a UserName) -> Option<&'a UserName> {
    match change {
        Change::Add(new) => Some(&new.user),
        Change::Join { .. } => Some(author),
        _ => None,
    }
}

/// Readers of one member at other connections, and the epochs of their sessions.
fn readers_of<'a>(
    opens: impl Iterator<Item = (Place, &'a super::live::OpenLog)>,
    user: &UserName,
    place: Place,
) -> Vec<(Place, crate::types::SessionEpoch)> {
    opens
        .filter(|(at, open)| *at != place && open.reader.is_some() && open.author == *user)
        .map(|(at, open)| (at, open.session_epoch))
        .collect()
}

/// Applies a stored chain from its CREATE on, with every check that it had when it came.
fn replay(
    conn: &Connection,
    log: sql::RowId,
    cluster: &crate::types::ClusterId,
) -> Result<Roster, Fault> {
    let damaged = |what: String| Fault::Damaged(format!("an operation of a group: {what}"));
    let (mut roster, mut after): (Option<Roster>, u64) = (None, 0);
    loop {
        let end = Seq(i64::MAX.unsigned_abs());
        let (page, more) = rows::operations(conn, log, after, end, OPERATION_BYTES_MAX)?;
        for row in page {
            let operation = verify_operation(&row.encoded, cluster)
                .map_err(|error| damaged(error.to_string()))?;
            let applied = match &mut roster {
                Some(roster) => roster.apply(&operation),
                None => Roster::create(&operation).map(|created| roster = Some(created)),
            };
            applied.map_err(|error| damaged(error.to_string()))?;
            after = row.number;
        }
        if !more {
            return roster.ok_or_else(|| damaged("there is none".to_owned()));
        }
    }
}

fn unreadable(error: OperationError) -> Refusal {
    match error {
        OperationError::TooLarge(_) => Refusal::new(Code::FrameTooLarge),
        OperationError::Malformed(why) => Refusal::because(Code::Malformed, why),
        OperationError::Bundle(_) => {
            Refusal::because(Code::Malformed, "the operation's bundle does not count")
        }
        OperationError::NotTheDevice(_) => {
            Refusal::because(Code::Malformed, "not signed by the active device of its bundle")
        }
        OperationError::BadSignature => {
            Refusal::because(Code::Malformed, "the operation's signature does not fit")
        }
    }
}

fn refused(why: &RosterError, is_join: bool) -> Refusal {
    let forbidden = |detail| Refusal::because(Code::Forbidden, detail);
    match why {
        RosterError::AnotherGroup => {
            Refusal::because(Code::Malformed, "an operation of another group")
        }
        RosterError::Create => Refusal::because(Code::Malformed, "a CREATE comes first"),
        RosterError::Conflict => Refusal::new(Code::RosterConflict),
        RosterError::Closed => Refusal::because(Code::NotAMember, CLOSED),
        RosterError::NoSuchInvite if is_join => Refusal::new(Code::WrongInvite),
        RosterError::TooMany(what) => Refusal::because(Code::Quota, what),
        RosterError::NotAMember(_) => forbidden("its author is not a member"),
        RosterError::AnotherIdentity(_) => forbidden("its author is a member under another key"),
        RosterError::NotAnAdmin => forbidden("only an admin may do that"),
        RosterError::AlreadyAMember(_) => forbidden("a member already"),
        RosterError::NoSuchMember(_) => forbidden("no such member"),
        RosterError::Oneself => forbidden("who goes says so with a LEAVE"),
        RosterError::LastAdmin => forbidden("the group would have no admin"),
        RosterError::LastMember => forbidden("the last member closes the group instead"),
        RosterError::NoSuchInvite => forbidden("no such invitation"),
        RosterError::InviteTwice => forbidden("this invitation is there already"),
        RosterError::WrongKeys => forbidden("the new key is not for exactly those who remain"),
        RosterError::NotDue => forbidden("nobody left since the key was made"),
        RosterError::Nothing => forbidden("that is so already"),
    }
}
