//! Groups: chains of operations, one log with many readers, and who is refused what.

use super::*;
use crate::crypto::group::GroupKey;
use crate::crypto::operation::{Change, KeyFor, NewKey, NewMember, Operation, SignedOperation};
use crate::types::{GroupId, GroupName, KeyId, OpHash};

mod crashes;
mod daily;
mod joining;
mod keeping;
mod members;
mod refusing;

/// A group as a client that knows its chain sees it.
#[derive(Clone)]
pub(super) struct Team {
    pub(super) name: GroupName,
    pub(super) id: GroupId,
    pub(super) head: OpHash,
    pub(super) number: u64,
    pub(super) members: Vec<UserName>,
    pub(super) key_epoch: u64,
}

pub(super) fn identity() -> KeyId {
    KeyId::of_spki(testkeys::identity(0).spki())
}

pub(super) fn new_member(user: &str) -> NewMember {
    NewMember { user: name(user), identity: identity() }
}

pub(super) fn sign(by: &Person, group: Option<&Team>, change: Change) -> SignedOperation {
    sign_with(by, group, change, None)
}

pub(super) fn sign_with(
    by: &Person,
    group: Option<&Team>,
    change: Change,
    invite: Option<&crate::crypto::invite::InviteKey>,
) -> SignedOperation {
    let bundle = verify_bundle(&by.bundle(1), &cluster(), &by.name).unwrap();
    let operation = Operation {
        group: group.map(|group| group.id),
        prev: group.map(|group| group.head),
        author: by.name.clone(),
        device: by.device,
        at_unix_ms: 5,
        change,
    };
    operation.sign(&cluster(), &bundle, &by.key, invite).unwrap()
}

pub(super) fn create_of(by: &Person, group: &str, members: &[&str], nonce: u8) -> SignedOperation {
    let mut members: Vec<&str> = members.to_vec();
    members.sort_unstable();
    let change = Change::Create {
        name: GroupName::canonical(group).unwrap(),
        nonce: [nonce; 16],
        members: members.into_iter().map(new_member).collect(),
        key_commit: [0; 32],
        title: String::new(),
    };
    sign(by, None, change)
}

impl Team {
    pub(super) fn log(&self) -> LogName {
        LogName::Group(self.name.clone())
    }

    /// Takes note that an operation was taken.
    pub(super) fn follow(&mut self, operation: &SignedOperation) {
        self.head = operation.hash;
        self.number += 1;
    }

    pub(super) fn key_without(&self, gone: &str) -> NewKey {
        let stay = self.members.iter().filter(|user| user.as_str() != gone);
        let key = |user: &UserName| KeyFor {
            user: user.clone(),
            wrapped_to: KeyId([3; 32]),
            wrapped_key: Bytes::from_static(&[4; 384]),
        };
        NewKey { key_commit: [1; 32], keys: stay.map(key).collect(), invited: Vec::new() }
    }

    pub(super) fn remove(&self, by: &Person, user: &str) -> SignedOperation {
        let key = self.key_without(user);
        sign(by, Some(self), Change::Remove { user: name(user), key })
    }

    pub(super) fn add(&self, by: &Person, user: &str) -> SignedOperation {
        sign(by, Some(self), Change::Add(new_member(user)))
    }

    pub(super) fn message(&self, from: &Caller, n: u64) -> Bytes {
        self.message_at(from, n, self.key_epoch)
    }

    pub(super) fn message_at(&self, from: &Caller, n: u64, key_epoch: u64) -> Bytes {
        group_envelope(wire::Kind::Message, self.id, from, n, n, key_epoch)
    }

    pub(super) fn void(&self, from: &Caller, n: u64, upto: u64) -> Bytes {
        group_envelope(wire::Kind::Void, self.id, from, n, upto, 0)
    }
}

pub(super) fn group_envelope(
    kind: wire::Kind,
    group: GroupId,
    from: &Caller,
    n: u64,
    upto: u64,
    key_epoch: u64,
) -> Bytes {
    let is_void = kind == wire::Kind::Void;
    let header = wire::Header {
        suite: 1,
        kind: kind.into(),
        log: format!("#{group}"),
        author: from.user.as_ref().unwrap().to_string(),
        device: from.device.0,
        n,
        upto: if is_void { upto } else { 0 },
        key_id: if is_void { Bytes::new() } else { Bytes::from_static(&[1; 16]) },
        key_epoch,
    };
    let envelope = wire::Envelope {
        header: header.encode_to_vec().into(),
        payload: if is_void { Bytes::new() } else { Bytes::from_static(b"text") },
        signature: Bytes::from_static(&[9; 64]),
    };
    envelope.encode_to_vec().into()
}

/// An opened group.
#[derive(Clone)]
pub(super) struct GroupOpen {
    pub(super) opened: wire::Opened,
    pub(super) log: LogName,
}

impl GroupOpen {
    pub(super) fn append(&self, envelope: Bytes) -> HomeRequest {
        let (open_id, epoch) = (self.opened.open_id, LogEpoch(self.opened.epoch));
        HomeRequest::Append { log: self.log.clone(), open_id, epoch, envelope }
    }

    pub(super) fn cursor(&self, upto: u64) -> HomeRequest {
        let (open_id, epoch) = (self.opened.open_id, LogEpoch(self.opened.epoch));
        HomeRequest::Cursor { log: self.log.clone(), open_id, epoch, upto: Seq(upto) }
    }
}

pub(super) fn open_of(log: &LogName, open_id: u32, cursor: u64, epoch: u64) -> HomeRequest {
    let (log, cursor, epoch) = (log.clone(), Seq(cursor), LogEpoch(epoch));
    HomeRequest::Open { log, open_id, epoch, cursor, write_only: false }
}

#[track_caller]
pub(super) fn changed(body: Body) -> (u64, u64) {
    match body {
        Body::Changed(changed) => (changed.number, changed.seq),
        other => panic!("{other:?}"),
    }
}

/// What was pushed to one connection: seqs of entries, and 0 for the end of the Open.
pub(super) fn pushed_to(outputs: &[Output], sid: u64) -> Vec<u64> {
    let is_for = |output: &&Output| output.to.iter().any(|to| to.sid == SessionId(sid));
    let seq = |output: &Output| match &output.frame.body {
        Some(Body::Entry(entry)) => Some(entry.seq),
        Some(Body::Closed(_)) => Some(0),
        _ => None,
    };
    outputs.iter().filter(is_for).filter_map(seq).collect()
}

impl Bed {
    pub(super) async fn hand_in(
        &mut self,
        from: &Caller,
        group: &GroupName,
        operation: &SignedOperation,
    ) -> Body {
        let (group, operation) = (group.clone(), operation.encoded.clone());
        self.ask_quietly(from, HomeRequest::Change { group, operation }).await
    }

    /// An operation that must be taken.
    pub(super) async fn change(&mut self, from: &Caller, team: &mut Team, op: &SignedOperation) {
        let (number, _) = changed(self.hand_in(from, &team.name.clone(), op).await);
        team.follow(op);
        assert_eq!(number, team.number);
    }

    /// As `ask`, but skips pushes.
    pub(super) async fn ask_quietly(&mut self, from: &Caller, request: HomeRequest) -> Body {
        self.rid += 1;
        let rid = self.rid;
        self.send(from, rid, request).await;
        loop {
            let output = self.outputs.recv().await.unwrap();
            let is_answer = output.to.iter().any(|to| to.sid == from.sid);
            match &output.frame.body {
                Some(Body::Entry(_) | Body::Delivered(_) | Body::Closed(_) | Body::Online(_)) => {
                    self.skipped.push(output)
                }
                Some(body) if is_answer => return body.clone(),
                _ => {}
            }
        }
    }

    pub(super) async fn sign_up_quietly(&mut self, person: &Person, sid: u64) -> Caller {
        let seen = self.settle_all().await;
        self.skipped.extend(seen);
        self.sign_up(person, sid).await
    }

    /// Everything that comes until the home has nothing left to do, with all targets.
    pub(super) async fn settle_all(&mut self) -> Vec<Output> {
        let stranger = stranger(u64::MAX);
        let mut seen = std::mem::take(&mut self.skipped);
        for _ in 0..8 {
            self.rid += 1;
            let mark = self.rid;
            self.send(&stranger, mark, HomeRequest::LookUp { user: name("nobody") }).await;
            loop {
                let output = self.outputs.recv().await.unwrap();
                if output.frame.rid == mark {
                    break;
                }
                seen.push(output);
            }
        }
        seen
    }

    pub(super) async fn open_team(
        &mut self,
        from: &Caller,
        team: &Team,
        open_id: u32,
    ) -> GroupOpen {
        self.open_team_at(from, team, open_id, 0, 0).await
    }

    pub(super) async fn open_team_at(
        &mut self,
        from: &Caller,
        team: &Team,
        open_id: u32,
        cursor: u64,
        epoch: u64,
    ) -> GroupOpen {
        let log = team.log();
        match self.ask_quietly(from, open_of(&log, open_id, cursor, epoch)).await {
            Body::Opened(opened) => GroupOpen { opened, log },
            other => panic!("{other:?}"),
        }
    }

    /// Alice's group "team" with Bob and Carol in it, who are signed in at connections 1, 2, 3.
    pub(super) async fn team(&mut self) -> (Team, [Person; 3], [Caller; 3]) {
        let people = ["alice", "bob", "carol"].map(Person::new);
        let mut callers = Vec::new();
        for (sid, person) in (1..).zip(&people) {
            callers.push(self.sign_up(person, sid).await);
        }
        let team = self.team_of(&people[0], &callers[0], "team", &["alice", "bob", "carol"]).await;
        (team, people, callers.try_into().unwrap())
    }

    pub(super) async fn team_of(
        &mut self,
        by: &Person,
        from: &Caller,
        group: &str,
        members: &[&str],
    ) -> Team {
        let create = create_of(by, group, members, 1);
        let group = GroupName::canonical(group).unwrap();
        assert_eq!(changed(self.hand_in(from, &group, &create).await), (1, 1));
        let mut members: Vec<UserName> = members.iter().map(|user| name(user)).collect();
        members.sort();
        let id = GroupId(create.hash.0);
        Team { name: group, id, head: create.hash, number: 1, members, key_epoch: 1 }
    }

    pub(super) async fn roster_page(&mut self, from: &Caller, team: &Team, after: u64) -> Body {
        let group = team.name.clone();
        self.ask_quietly(from, HomeRequest::GetRoster { group, after }).await
    }

    /// The numbers and seqs of the operations that somebody is shown.
    pub(super) async fn chain(&mut self, from: &Caller, team: &Team) -> Vec<(u64, u64)> {
        match self.roster_page(from, team, 0).await {
            Body::Roster(roster) => {
                assert!(!roster.more);
                roster.entries.iter().map(|entry| (entry.number, entry.seq)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Rows of each table.
    pub(super) fn rows(&self) -> Vec<(&'static str, i64)> {
        let path = self.folder.path().join("s1.db");
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let conn = rusqlite::Connection::open_with_flags(path, flags).unwrap();
        let tables = [
            "accounts",
            "cursors",
            "days",
            "devices",
            "entries",
            "groups",
            "logs",
            "members",
            "producers",
            "roster_ops",
        ];
        let count = |table: &'static str| -> (&'static str, i64) {
            let sql = format!("SELECT count(*) FROM {table}");
            (table, conn.query_row(&sql, [], |row| row.get(0)).unwrap())
        };
        tables.into_iter().map(count).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_is_made_once_and_its_messages_reach_everybody_who_is_in_it() {
    let mut bed = Bed::new();
    let (team, people, [alice, bob, carol]) = bed.team().await;
    let [a, b, c] = [
        bed.open_team(&alice, &team, 1).await,
        bed.open_team(&bob, &team, 1).await,
        bed.open_team(&carol, &team, 1).await,
    ];
    assert_eq!((a.opened.first_seq, a.opened.head_seq, a.opened.last_n), (1, 1, 0));
    assert!(!b.opened.online);
    let sent = bed.settle_all().await;
    for sid in 1..=3 {
        assert_eq!(pushed_to(&sent, sid), [1]);
    }
    let first = &sent.iter().find(|output| !pushed_to(&[(*output).clone()], 1).is_empty()).unwrap();
    let Some(Body::Entry(entry)) = &first.frame.body else { panic!("{first:?}") };
    let create = create_of(&people[0], "team", &["alice", "bob", "carol"], 1);
    assert_eq!((entry.number, &entry.operation), (1, &create.encoded));
    assert_eq!((entry.log.as_str(), entry.envelope.len()), ("#team", 0));

    bed.send(&alice, 0, a.append(team.message(&alice, 1))).await;
    let sent = bed.settle_all().await;
    // One output for the three of them.
    let pushes: Vec<&Output> =
        sent.iter().filter(|output| matches!(output.frame.body, Some(Body::Entry(_)))).collect();
    assert_eq!(pushes.len(), 1);
    assert_eq!(pushes[0].to.len(), 3);
    // The same operation again has the same answer, another of that name is too late.
    assert_eq!(changed(bed.hand_in(&alice, &team.name, &create).await), (1, 1));
    assert_eq!(changed(bed.hand_in(&bob, &team.name, &create).await), (1, 1));
    let other = create_of(&people[1], "team", &["bob"], 2);
    assert_eq!(code(bed.hand_in(&bob, &team.name, &other).await), Code::NameTaken);
    // Delivered is what the slowest has.
    bed.send(&alice, 0, a.cursor(2)).await;
    bed.send(&bob, 0, b.cursor(2)).await;
    assert!(delivered_to(&bed.settle_all().await, 1).is_empty());
    bed.send(&carol, 0, c.cursor(2)).await;
    assert_eq!(delivered_to(&bed.settle_all().await, 1), [1]);
}

pub(super) fn delivered_to(outputs: &[Output], sid: u64) -> Vec<u64> {
    let told = |output: &Output| match &output.frame.body {
        Some(Body::Delivered(delivered)) if output.to[0].sid == SessionId(sid) => {
            Some(delivered.delivered_n)
        }
        _ => None,
    };
    outputs.iter().filter_map(told).collect()
}
