//! Eve, a member of a group whose client works for the server: signs operations and messages by
//! hand, and speaks frames to the home.

use std::collections::BTreeMap;

use bytes::Bytes;
use fastchat::crypto::operation::{Change, KeyFor, NewKey, VerifiedOperation, verify_operation};
use fastchat::crypto::testpeople::Person;
use fastchat::crypto::{
    Body, ConversationKey, GroupKey, GroupSealRequest, Kind, SealRequest, VerifiedBundle, open,
    parse_header, seal, seal_group, unwrap, verify, verify_bundle, wrap,
};
use fastchat::roster::Roster;
use fastchat::types::{GroupId, GroupName, KeyEpoch, KeyId, LogId, N, OpHash, UserName};
use fastchat::wire::client::client_frame::Body as Ask;
use fastchat::wire::client::server_frame::Body as Answer;
use fastchat::wire::client::{Append, Change as HandIn, Entry, GetRoster, LookUp, Open, Opened};

use super::raw::Raw;
use super::{Life, Town};

/// Number of Eve's keys: nobody else draws them.
pub const EVES: usize = 15;

/// A group as the home has it.
pub struct Chain {
    pub operations: Vec<VerifiedOperation>,
    pub roster: Roster,
}

impl Chain {
    pub fn of(operations: Vec<VerifiedOperation>) -> Self {
        let mut roster = Roster::create(&operations[0]).unwrap();
        for operation in &operations[1..] {
            roster.apply(operation).unwrap();
        }
        Self { operations, roster }
    }

    pub fn head(&self) -> OpHash {
        self.roster.head()
    }

    pub fn number(&self) -> u64 {
        self.roster.number()
    }
}

/// A member whose client signs what it likes, and speaks frames to the home.
pub struct Eve {
    pub person: Person,
    pub raw: Raw,
    rid: u64,
    opened: BTreeMap<String, Opened>,
    /// Her last number in the group.
    pub n: u64,
    /// The keys of the group that she was given.
    pub keys: Vec<(KeyEpoch, GroupKey)>,
}

impl Eve {
    pub async fn comes(town: &Town) -> Self {
        Self::as_user(town, "eve", EVES).await
    }

    /// Somebody else of her kind.
    pub async fn as_user(town: &Town, salt: &str, number: usize) -> Self {
        let name = town.name(salt);
        let cluster = town.servers.authority.cluster_id();
        let person = Person::new(&cluster, name.as_str(), number);
        let mut account = town.servers.person(name.as_str(), number);
        account.bundle = person.bundle.encoded().clone();
        assert_eq!(account.device, person.device);
        let raw = town.servers.sign_up(1, &mut account).await;
        Self { person, raw, rid: 1_000, opened: BTreeMap::new(), n: 0, keys: Vec::new() }
    }

    /// Asks, and lets everything pass that is no answer to it.
    pub async fn ask(&mut self, body: Ask) -> Answer {
        self.rid += 1;
        self.raw.send(self.rid, body).await;
        loop {
            let frame = self.raw.next_frame().await;
            if frame.rid == self.rid {
                return frame.body.unwrap();
            }
        }
    }

    async fn next_entry(&mut self, log: &str) -> Entry {
        loop {
            if let Answer::Entry(entry) = self.raw.next().await
                && entry.log == log
            {
                return entry;
            }
        }
    }

    /// Reads in her inbox until she has the group's key, as an honest client would.
    pub async fn reads_her_welcome(&mut self, from: &Life) {
        let cluster = self.person.bundle.cluster;
        let log = format!("@{}", self.person.user);
        let author = self.bundle_of(&from.name).await;
        self.raw.open(&log, 1, 0).await;
        loop {
            let entry = self.next_entry(&log).await;
            if parse_header(&entry.envelope).unwrap().kind == Kind::Void {
                continue;
            }
            let envelope = verify(&entry.envelope, &cluster, &author).unwrap();
            let Some(wrapped) = envelope.wrapped() else { continue };
            let (from, own) = (author.identity(), self.person.identity());
            let key = unwrap(&self.person.encryption(), &cluster, &from, &own, &wrapped).unwrap();
            if let Body::Welcome(welcome) = open(&envelope, &key, &from, &own).unwrap().body {
                self.keys.push((welcome.epoch, welcome.key));
                return;
            }
        }
    }

    pub fn key(&self) -> &(KeyEpoch, GroupKey) {
        self.keys.last().expect("a key")
    }

    /// The group's chain as the home shows it to her.
    pub async fn chain(&mut self, group: &GroupName) -> Chain {
        let (mut operations, mut after) = (Vec::new(), 0);
        loop {
            let ask = GetRoster { group: group.as_str().to_owned(), after };
            let answer = self.ask(Ask::GetRoster(ask)).await;
            let Answer::Roster(page) = answer else { panic!("{answer:?}") };
            for entry in page.entries {
                after = entry.number;
                let cluster = &self.person.bundle.cluster;
                operations.push(verify_operation(&entry.operation, cluster).unwrap());
            }
            if !page.more {
                return Chain::of(operations);
            }
        }
    }

    /// Signs what follows the chain, right or not.
    pub fn signs(&self, chain: &Chain, change: Change) -> VerifiedOperation {
        self.person.sign(chain.roster.id(), chain.head(), change)
    }

    pub async fn hands_in(&mut self, group: &GroupName, operation: &VerifiedOperation) -> Answer {
        let operation = operation.encoded().clone();
        self.ask(Ask::Change(HandIn { group: group.as_str().to_owned(), operation })).await
    }

    /// A message of hers: sound, but for what `change` makes of it.
    pub fn seals(
        &self,
        chain: &Chain,
        n: u64,
        text: &str,
        change: impl FnOnce(&mut Sealing),
    ) -> Bytes {
        let (key_epoch, key) = self.key().clone();
        let mut sealing = Sealing {
            group: chain.roster.id(),
            key,
            key_epoch,
            head: chain.head(),
            identity: self.person.identity(),
            body: Body::Text(text.to_owned()),
        };
        change(&mut sealing);
        sealing.seal(&self.person, n)
    }

    /// Opens the group's log, only to write.
    pub async fn opens(&mut self, group: &GroupName) {
        self.opens_log(&group.to_string()).await;
    }

    async fn opens_log(&mut self, log: &str) {
        let open_id = 7 + u32::try_from(self.opened.len()).unwrap();
        let open = Open { log: log.to_owned(), open_id, epoch: 0, cursor: 0, write_only: true };
        self.raw.send(0, Ask::Open(open)).await;
        loop {
            match self.raw.next().await {
                Answer::Opened(opened) if opened.open_id == open_id => {
                    self.opened.insert(log.to_owned(), opened);
                    return;
                }
                Answer::Refused(refused) if refused.open_id == open_id => panic!("{refused:?}"),
                _ => {}
            }
        }
    }

    /// Appends to a group that she opened; the answer.
    pub async fn appends(&mut self, group: &GroupName, envelope: Bytes) -> Answer {
        self.appends_to(&group.to_string(), envelope).await
    }

    async fn appends_to(&mut self, log: &str, envelope: Bytes) -> Answer {
        let Opened { log, open_id, epoch, .. } = self.opened[log].clone();
        self.raw.send(0, Ask::Append(Append { log, open_id, epoch, envelope })).await;
        loop {
            match self.raw.next().await {
                Answer::Appended(appended) if appended.open_id == open_id => {
                    return Answer::Appended(appended);
                }
                Answer::Refused(refused) if refused.open_id == open_id => {
                    return Answer::Refused(refused);
                }
                _ => {}
            }
        }
    }

    /// Somebody's bundle as the home has it.
    pub async fn bundle_of(&mut self, user: &UserName) -> VerifiedBundle {
        let answer = self.ask(Ask::LookUp(LookUp { user: user.to_string() })).await;
        let Answer::Account(account) = answer else { panic!("{answer:?}") };
        verify_bundle(&account.bundle, &self.person.bundle.cluster, user).unwrap()
    }

    /// Tells somebody something directly.
    pub async fn tells(&mut self, to: &UserName, body: &Body) {
        let recipient = self.bundle_of(to).await;
        let log = format!("@{to}");
        if !self.opened.contains_key(&log) {
            self.opens_log(&log).await;
        }
        let opened = self.opened.get_mut(&log).unwrap();
        opened.last_n += 1;
        let n = N(opened.last_n);
        let key = ConversationKey::generate();
        let (author_identity, recipient_identity) = (self.person.identity(), recipient.identity());
        let cluster = &self.person.bundle.cluster;
        let wrapped =
            wrap(&key, cluster, &author_identity, &recipient_identity, &recipient.enc_spki)
                .unwrap();
        let sealed = seal(&SealRequest {
            cluster,
            device_key: &self.person.device_key,
            log: &LogId::Inbox(to.clone()),
            author: &self.person.user,
            device: self.person.device,
            n,
            key: &key,
            wrapped: Some(&wrapped),
            author_identity,
            recipient_identity,
            author_bundle_version: self.person.bundle.version,
            recipient_bundle_version: recipient.version,
            sent_at_unix_ms: 5,
            body,
        })
        .unwrap();
        let answer = self.appends_to(&log, sealed).await;
        assert!(matches!(answer, Answer::Appended(_)), "{answer:?}");
    }

    /// The next key of the group, for everybody in it but `without`. Whoever is in `cheated` gets
    /// another one than the chain says.
    pub async fn next_key(
        &mut self,
        chain: &Chain,
        without: &UserName,
        cheated: &[&UserName],
    ) -> (GroupKey, NewKey) {
        let cluster = self.person.bundle.cluster;
        let (group, epoch) = (chain.roster.id(), KeyEpoch(chain.roster.key_epoch().0 + 1));
        let (key, another) = (GroupKey::generate(), GroupKey::generate());
        let mut keys = Vec::new();
        for user in chain.roster.members().keys().filter(|user| *user != without) {
            let bundle = self.bundle_of(user).await;
            let given = if cheated.contains(&user) { &another } else { &key };
            let wrapped =
                given.wrap_for(&cluster, &group, epoch, &bundle.identity(), &bundle.enc_spki);
            let wrapped = wrapped.unwrap();
            let (wrapped_to, wrapped_key) = (wrapped.to, wrapped.bytes.into());
            keys.push(KeyFor { user: user.clone(), wrapped_to, wrapped_key });
        }
        let key_commit = key.commit(&cluster, &group, epoch);
        (key, NewKey { key_commit, keys, invited: Vec::new() })
    }
}

/// What goes into a message that somebody seals by hand.
pub struct Sealing {
    pub group: GroupId,
    pub key: GroupKey,
    pub key_epoch: KeyEpoch,
    pub head: OpHash,
    pub identity: KeyId,
    pub body: Body,
}

impl Sealing {
    pub fn seal(&self, author: &Person, n: u64) -> Bytes {
        seal_group(&GroupSealRequest {
            cluster: &author.bundle.cluster,
            device_key: &author.device_key,
            group: &self.group,
            author: &author.user,
            device: author.device,
            n: N(n),
            key: &self.key,
            key_epoch: self.key_epoch,
            author_identity: self.identity,
            author_bundle_version: author.bundle.version,
            roster_head: self.head,
            sent_at_unix_ms: 5,
            body: &self.body,
        })
        .unwrap()
    }
}
