//! What lives only as long as the home runs: sessions, and which connection has which log open.
//!
//! Every change is remembered until the transaction it belongs to is committed, and undone if that
//! fails. Deliberately decides nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tokio::time::Instant;

use super::request::Visibility;
use crate::types::{DeviceId, LogName, N, Seq, SessionEpoch, SessionId, UserName};

/// A small number for an edge's name, fixed while the home runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EdgeNumber(pub(super) usize);

/// One client connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) edge: EdgeNumber,
    pub(super) sid: SessionId,
}

/// A device's live attachment.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) place: Place,
    pub(super) device: DeviceId,
    pub(super) epoch: SessionEpoch,
    pub(super) since_ms: u64,
    pub(super) last_seen_ms: u64,
    pub(super) visibility: Visibility,
}

/// A log that a connection has open.
#[derive(Clone, Debug)]
pub(super) struct OpenLog {
    pub(super) open_id: u32,
    pub(super) author: UserName,
    pub(super) device: DeviceId,
    /// Of the author's session: a later one is not displaced by an earlier one.
    pub(super) session_epoch: SessionEpoch,
    /// `delivered_n` as last told.
    pub(super) told: N,
    /// Whether the owner was there, as last told.
    pub(super) told_online: bool,
    /// Of the owner of an inbox, or a member of a group: entries are pushed.
    pub(super) reader: Option<Reader>,
}

/// How far the push to a reader has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader {
    /// Safe on the client's disk, as far as this Open knows.
    pub(super) cursor: Seq,
    /// Sent.
    pub(super) pushed: Seq,
    /// Waits in [`Live::behind`] or for room towards its edge.
    pub(super) queued: bool,
    /// One entry on its way to the reader, and when it was accepted: how long readers take is
    /// measured on one entry of each at a time.
    pub(super) timed: Option<(Seq, Instant)>,
}

enum Undo {
    Session(UserName, Option<Session>),
    Open(LogName, Place, Option<OpenLog>),
}

/// All sessions and opens.
#[derive(Default)]
pub(super) struct Live {
    sessions: BTreeMap<UserName, Session>,
    users: BTreeMap<Place, UserName>,
    opens: BTreeMap<LogName, BTreeMap<Place, OpenLog>>,
    logs_of: BTreeMap<Place, BTreeSet<LogName>>,
    /// Readers to be served from the database, in turn.
    pub(super) behind: VecDeque<(LogName, Place)>,
    /// Whose coming or going somebody who has their log open has to be told.
    pub(super) changed: BTreeSet<UserName>,
    undo: Vec<Undo>,
}

impl Live {
    pub(super) fn session(&self, user: &UserName) -> Option<&Session> {
        self.sessions.get(user)
    }

    pub(super) fn seen(&mut self, user: &UserName, now_ms: u64) {
        if let Some(session) = self.sessions.get_mut(user) {
            session.last_seen_ms = now_ms;
        }
    }

    pub(super) fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Users with a session that may be seen, in order of name.
    pub(super) fn online(&self) -> impl Iterator<Item = &UserName> {
        let seen = |session: &Session| session.visibility == Visibility::Visible;
        self.sessions.iter().filter(move |(_, session)| seen(session)).map(|(user, _)| user)
    }

    /// Whether a user has a session that may be seen.
    pub(super) fn is_online(&self, user: &UserName) -> bool {
        self.session(user).is_some_and(|session| session.visibility == Visibility::Visible)
    }

    pub(super) fn show(&mut self, user: &UserName, visibility: Visibility) {
        if let Some(session) = self.sessions.get(user).cloned() {
            self.put_session(user.clone(), Some(Session { visibility, ..session }));
        }
    }

    /// Notes that those who have `user`'s log open may have to be told of a change.
    pub(super) fn note_change(&mut self, user: &UserName) {
        if !self.changed.contains(user) && self.opens.contains_key(&LogName::inbox(user.clone())) {
            self.changed.insert(user.clone());
        }
    }

    /// Begins a session at a connection; whatever that connection had before ends.
    pub(super) fn begin_session(&mut self, user: &UserName, session: Session) {
        if self.users.get(&session.place).is_some_and(|known| known != user) {
            self.end_place(session.place);
        }
        self.put_session(user.clone(), Some(session));
    }

    /// Ends the session and the opens of a connection.
    pub(super) fn end_place(&mut self, place: Place) {
        if let Some(user) = self.users.get(&place).cloned() {
            self.put_session(user, None);
        }
        for log in self.logs_of.get(&place).cloned().unwrap_or_default() {
            self.put_open(log, place, None);
        }
    }

    /// Ends everything of an edge that is gone.
    pub(super) fn end_edge(&mut self, edge: EdgeNumber) {
        let first = Place { edge, sid: SessionId(0) };
        let last = Place { edge, sid: SessionId(u64::MAX) };
        let mut places: BTreeSet<Place> =
            self.users.range(first..=last).map(|(place, _)| *place).collect();
        places.extend(self.logs_of.range(first..=last).map(|(place, _)| *place));
        for place in places {
            self.end_place(place);
        }
    }

    pub(super) fn open_log(&self, log: &LogName, place: Place) -> Option<&OpenLog> {
        self.opens.get(log)?.get(&place)
    }

    /// How many logs of this home a connection has open.
    pub(super) fn open_count(&self, place: Place) -> usize {
        self.logs_of.get(&place).map_or(0, BTreeSet::len)
    }

    pub(super) fn begin_open(&mut self, log: LogName, place: Place, open: OpenLog) {
        self.put_open(log, place, Some(open));
    }

    /// Everybody who has a log open, in order of place.
    pub(super) fn opens(&self, log: &LogName) -> impl Iterator<Item = (Place, &OpenLog)> {
        self.opens.get(log).into_iter().flatten().map(|(place, open)| (*place, open))
    }

    /// The same, to be changed. What is changed so is not undone with the transaction.
    pub(super) fn opens_mut(
        &mut self,
        log: &LogName,
    ) -> impl Iterator<Item = (Place, &mut OpenLog)> {
        self.opens.get_mut(log).into_iter().flatten().map(|(place, open)| (*place, open))
    }

    /// Ends one Open.
    pub(super) fn end_open(&mut self, log: &LogName, place: Place) {
        self.put_open(log.clone(), place, None);
    }

    pub(super) fn open_mut(&mut self, log: &LogName, place: Place) -> Option<&mut OpenLog> {
        self.opens.get_mut(log)?.get_mut(&place)
    }

    /// Puts a reader at the end of the line for pages, unless it waits already.
    pub(super) fn queue_reader(&mut self, log: &LogName, place: Place) {
        let open = self.opens.get_mut(log).and_then(|opens| opens.get_mut(&place));
        if let Some(reader) = open.and_then(|open| open.reader.as_mut())
            && !reader.queued
        {
            reader.queued = true;
            self.behind.push_back((log.clone(), place));
        }
    }

    /// The transaction was committed: what changed stays.
    pub(super) fn commit(&mut self) {
        self.undo.clear();
    }

    /// The transaction was rolled back: everything is as it was before it.
    pub(super) fn rollback(&mut self) {
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Session(user, before) => drop(self.set_session(user, before)),
                Undo::Open(log, place, before) => drop(self.set_open(log, place, before)),
            }
        }
    }

    fn put_session(&mut self, user: UserName, session: Option<Session>) {
        let before = self.set_session(user.clone(), session);
        self.undo.push(Undo::Session(user, before));
    }

    fn put_open(&mut self, log: LogName, place: Place, open: Option<OpenLog>) {
        let before = self.set_open(log.clone(), place, open);
        self.undo.push(Undo::Open(log, place, before));
    }

    fn set_session(&mut self, user: UserName, session: Option<Session>) -> Option<Session> {
        self.note_change(&user);
        let before = self.sessions.remove(&user);
        if let Some(before) = &before {
            self.users.remove(&before.place);
        }
        if let Some(session) = session {
            self.users.insert(session.place, user.clone());
            self.sessions.insert(user, session);
        }
        before
    }

    fn set_open(&mut self, log: LogName, place: Place, open: Option<OpenLog>) -> Option<OpenLog> {
        let Some(open) = open else {
            let opens = self.opens.get_mut(&log)?;
            let before = opens.remove(&place);
            if opens.is_empty() {
                self.opens.remove(&log);
            }
            if let Some(logs) = self.logs_of.get_mut(&place) {
                logs.remove(&log);
                if logs.is_empty() {
                    self.logs_of.remove(&place);
                }
            }
            return before;
        };
        self.logs_of.entry(place).or_default().insert(log.clone());
        self.opens.entry(log).or_default().insert(place, open)
    }
}
