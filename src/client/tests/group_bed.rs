//! A group for tests: its chain, its keys and its log, kept by a home that does what it is told.

use super::*;
use crate::client::answers::Answered;
use crate::client::group_log::Arrived;
use crate::client::groups::TookOperation;
use crate::crypto::group::GroupKey;
use crate::crypto::group_envelope::{GroupSealRequest, seal_group};
use crate::crypto::operation::{Change, KeyFor, NewKey, NewMember, Operation, verify_operation};
use crate::roster::Roster;
use crate::types::{GroupId, KeyEpoch, OpHash};

/// Whoever can sign.
pub(super) struct Signer {
    pub(super) user: UserName,
    pub(super) device: DeviceId,
    pub(super) device_key: DeviceKey,
    pub(super) bundle: VerifiedBundle,
}

impl From<&Desk> for Signer {
    fn from(desk: &Desk) -> Self {
        let profile = &desk.core.profile;
        Self {
            user: desk.name.clone(),
            device: profile.device,
            device_key: profile.device_key.clone(),
            bundle: profile.bundle.clone(),
        }
    }
}

impl From<&Peer> for Signer {
    fn from(peer: &Peer) -> Self {
        let device_key = peer.device_key.clone();
        Self { user: peer.name.clone(), device: peer.device, device_key, bundle: peer.bundle() }
    }
}

impl Signer {
    pub(super) fn member(&self) -> NewMember {
        NewMember { user: self.user.clone(), identity: self.bundle.identity() }
    }
}

/// What can be wrong in a message of a group that its author signed.
pub(super) struct GroupLetter {
    pub(super) group: GroupId,
    pub(super) key: GroupKey,
    pub(super) epoch: KeyEpoch,
    pub(super) identity: KeyId,
    pub(super) head: OpHash,
}

pub(super) struct Team {
    pub(super) name: GroupName,
    pub(super) id: GroupId,
    pub(super) keys: Vec<GroupKey>,
    pub(super) roster: Roster,
    /// Operations with their places.
    pub(super) chain: Vec<(Seq, Bytes)>,
    pub(super) log: Vec<Arrived>,
}

impl Team {
    pub(super) fn made(by: &Signer, others: &[&Signer]) -> Self {
        Self::named("team", by, others)
    }

    pub(super) fn named(name: &str, by: &Signer, others: &[&Signer]) -> Self {
        let name = GroupName::canonical(name).unwrap();
        let key = GroupKey::generate();
        let mut members: Vec<_> = others.iter().map(|other| other.member()).collect();
        members.push(by.member());
        members.sort_by(|a, b| a.user.cmp(&b.user));
        let change = Change::Create {
            name: name.clone(),
            nonce: [7; 16],
            members,
            key_commit: key.first_commit(&CLUSTER),
            title: String::new(),
        };
        let signed = sign(by, None, change);
        let verified = verify_operation(&signed, &CLUSTER).unwrap();
        let roster = Roster::create(&verified).unwrap();
        let log = vec![Arrived::Operation { number: 1, encoded: signed.clone() }];
        let (id, chain, keys) = (roster.id(), vec![(Seq(1), signed)], vec![key]);
        Self { name, id, keys, roster, chain, log }
    }

    pub(super) fn chat(&self) -> ChatName {
        self.name.clone().into()
    }

    /// Signs a change, and puts it into the log.
    pub(super) fn changes(&mut self, by: &Signer, change: Change) {
        let signed = sign(by, Some((self.id, self.roster.head())), change);
        let verified = verify_operation(&signed, &CLUSTER).unwrap();
        self.roster.apply(&verified).unwrap();
        let number = self.roster.number();
        self.log.push(Arrived::Operation { number, encoded: signed.clone() });
        self.chain.push((self.head(), signed));
    }

    pub(super) fn adds(&mut self, by: &Signer, who: &Signer) {
        self.changes(by, Change::Add(who.member()));
    }

    /// Puts somebody out, with a new key for `rest`.
    pub(super) fn removes(&mut self, by: &Signer, who: &UserName, rest: &[&Signer]) {
        let key = self.new_key(rest);
        self.changes(by, Change::Remove { user: who.clone(), key });
    }

    pub(super) fn new_key(&mut self, rest: &[&Signer]) -> NewKey {
        let (key, epoch) = (GroupKey::generate(), KeyEpoch(self.roster.key_epoch().0 + 1));
        let wrap = |who: &&Signer| {
            let (identity, spki) = (who.bundle.identity(), &who.bundle.enc_spki);
            let wrapped = key.wrap_for(&CLUSTER, &self.id, epoch, &identity, spki).unwrap();
            let (user, wrapped_key) = (who.user.clone(), wrapped.bytes.into());
            KeyFor { user, wrapped_to: wrapped.to, wrapped_key }
        };
        let mut keys: Vec<KeyFor> = rest.iter().map(wrap).collect();
        keys.sort_by(|a, b| a.user.cmp(&b.user));
        let key_commit = key.commit(&CLUSTER, &self.id, epoch);
        self.keys.push(key);
        NewKey { key_commit, keys, invited: vec![] }
    }

    pub(super) fn head(&self) -> Seq {
        Seq(self.log.len() as u64)
    }

    /// A message as its author's client makes it, after `change` had its way with it.
    pub(super) fn seals_with(
        &self,
        by: &Signer,
        n: u64,
        body: &Body,
        change: impl FnOnce(&mut GroupLetter),
    ) -> Bytes {
        let epoch = self.roster.key_epoch();
        let mut letter = GroupLetter {
            group: self.id,
            key: self.keys[usize::try_from(epoch.0).unwrap() - 1].clone(),
            epoch,
            identity: by.bundle.identity(),
            head: self.roster.head(),
        };
        change(&mut letter);
        seal_group(&GroupSealRequest {
            cluster: &CLUSTER,
            device_key: &by.device_key,
            group: &letter.group,
            author: &by.user,
            device: by.device,
            n: N(n),
            key: &letter.key,
            key_epoch: letter.epoch,
            author_identity: letter.identity,
            author_bundle_version: by.bundle.version,
            roster_head: letter.head,
            sent_at_unix_ms: 5,
            body,
        })
        .unwrap()
    }

    pub(super) fn text(&self, by: &Signer, n: u64, text: &str) -> Bytes {
        self.seals_with(by, n, &Body::Text(text.to_owned()), |_| ())
    }

    /// The log gets these envelopes.
    pub(super) fn gets(&mut self, envelopes: impl IntoIterator<Item = Bytes>) {
        self.log.extend(envelopes.into_iter().map(Arrived::Envelope));
    }

    /// What somebody's client would be given by a welcome and the roster. `key`: of the present
    /// epoch, if the welcome has come.
    pub(super) fn welcomes(&self, desk: &mut Desk, key: Option<&GroupKey>) {
        let name = self.name.as_str();
        let db = desk.core.profile.store.db();
        db.execute(
            "INSERT INTO groups (name, id, standing) VALUES (?1, ?2, 1)
             ON CONFLICT (name) DO UPDATE SET standing = 1",
            rusqlite::params![name, self.id.0],
        )
        .unwrap();
        if let Some(key) = key {
            self.gives_key(desk, key);
        }
        desk.core.group_changed(&self.name);
        self.shows_chain(desk);
    }

    fn gives_key(&self, desk: &Desk, key: &GroupKey) {
        let epoch = self.roster.key_epoch();
        let commit = key.commit(&CLUSTER, &self.id, epoch);
        let sealed = desk.core.profile.key.seal(key.as_bytes());
        let values = rusqlite::params![self.id.0, epoch.0.cast_signed(), commit, sealed];
        // The chain may have opened the epoch already, or not.
        for statement in [
            "INSERT OR REPLACE INTO key_candidates (grp, epoch, key_commit, sealed_key)
             VALUES (?1, ?2, ?3, ?4)",
            "UPDATE group_keys SET sealed_key = ?4
             WHERE grp = ?1 AND epoch = ?2 AND key_commit = ?3",
        ] {
            desk.core.profile.store.db().execute(statement, values).unwrap();
        }
    }

    /// The roster is fetched.
    pub(super) fn shows_chain(&self, desk: &mut Desk) {
        for (number, (seq, encoded)) in (1..).zip(&self.chain) {
            let took = desk.core.take_operation(&self.name, number, *seq, encoded).unwrap();
            assert!(matches!(took, TookOperation::Applied | TookOperation::Known));
        }
    }

    /// A desk that is in the group and has its first key.
    pub(super) fn with(&self, desk: &mut Desk, known: &[&Signer]) {
        for who in known {
            desk.knows(&who.bundle);
        }
        self.welcomes(desk, self.keys.last());
    }

    /// The home pushes what this desk does not have, and all that can be opened is.
    pub(super) fn pushes(&self, desk: &mut Desk) {
        self.pushes_from(desk, Seq(1));
    }

    /// The same to one whose first entry is this one.
    pub(super) fn pushes_from(&self, desk: &mut Desk, first: Seq) {
        let at = desk.core.group_opened(&self.name, EPOCH, first).unwrap();
        let entries: Vec<(Seq, Arrived)> = (1..)
            .map(Seq)
            .zip(self.log.iter().cloned())
            .filter(|(seq, _)| *seq > at.cursor)
            .collect();
        desk.core.store_group_entries(&self.name, EPOCH, &entries).unwrap();
        desk.opens();
    }

    /// The home takes all that waits of this desk. Returns how many envelopes that were.
    pub(super) fn takes(&mut self, desk: &mut Desk) -> usize {
        let chat = self.chat();
        let sealed = desk.sends_to(&chat);
        self.stores(desk, &sealed);
        sealed.len()
    }

    pub(super) fn stores(&mut self, desk: &mut Desk, sealed: &[Outgoing]) {
        let chat = self.chat();
        for outgoing in sealed {
            self.log.push(Arrived::Envelope(outgoing.envelope.clone()));
            let answered =
                desk.core.log_appended(&chat, outgoing.upto, &hash(&outgoing.envelope)).unwrap();
            assert_eq!(answered, Answered::Stored);
        }
    }
}

fn sign(by: &Signer, after: Option<(GroupId, OpHash)>, change: Change) -> Bytes {
    let operation = Operation {
        group: after.map(|(group, _)| group),
        prev: after.map(|(_, prev)| prev),
        author: by.user.clone(),
        device: by.device,
        at_unix_ms: 5,
        change,
    };
    operation.sign(&CLUSTER, &by.bundle, &by.device_key, None).unwrap().encoded
}
