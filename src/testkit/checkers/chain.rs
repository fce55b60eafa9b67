//! A group as its home's disk has it, and what follows from that: who was in it, and when.
//!
//! Reads the rows of the chain with a small interpreter of its own, which knows names and order
//! and nothing of signatures and keys.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use crate::types::UserName;
use crate::wire::client::{Operation, SignedOperation, operation::Change};

/// What one operation did, as far as it matters who was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Made the group, with these people.
    Create(Vec<UserName>),
    /// Brought somebody in.
    Add(UserName),
    /// Put somebody out.
    Remove(UserName),
    /// Its author came in.
    Join,
    /// Its author went.
    Leave,
    /// Its author renewed the key.
    Rekey,
    /// Made somebody an admin, or took that back.
    Grant(UserName, bool),
    /// Ended the group.
    Close,
    /// Anything else that only an admin may do.
    Other,
}

/// One operation, as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its place in the group's log.
    pub seq: u64,
    /// Its id.
    pub hash: Vec<u8>,
    /// The id of the one before it; empty in the first.
    pub prev: Vec<u8>,
    /// Who signed it.
    pub author: UserName,
    /// What it did.
    pub deed: Deed,
}

impl Step {
    /// Reads a stored operation. `None`: it is none.
    pub fn decode(seq: u64, hash: Vec<u8>, encoded: &[u8]) -> Option<Self> {
        let signed = SignedOperation::decode(encoded).ok()?;
        let operation = Operation::decode(signed.operation).ok()?;
        let name = |text: &str| UserName::canonical(text).ok();
        let deed = match operation.change? {
            Change::Create(create) => {
                let members = create.members.iter().map(|member| name(&member.user));
                Deed::Create(members.collect::<Option<_>>()?)
            }
            Change::Add(member) => Deed::Add(name(&member.user)?),
            Change::Remove(remove) => Deed::Remove(name(&remove.user)?),
            Change::Join(_) => Deed::Join,
            Change::Leave(_) => Deed::Leave,
            Change::Rekey(_) => Deed::Rekey,
            Change::Grant(grant) => Deed::Grant(name(&grant.user)?, grant.admin),
            Change::Close(_) => Deed::Close,
            Change::Title(_) | Change::Topic(_) | Change::Invite(_) | Change::Withdraw(_) => {
                Deed::Other
            }
        };
        let author = name(&operation.author)?;
        Some(Self { seq, hash, prev: operation.prev.to_vec(), author, deed })
    }
}

/// One time in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    /// The operation that began it.
    pub since: u64,
    /// The one that ended it; `None`: it goes on.
    pub until: Option<u64>,
}

impl Stay {
    /// Whether a message at this place was written during it.
    pub fn holds(&self, seq: u64) -> bool {
        self.since < seq && self.until.is_none_or(|until| seq < until)
    }
}

/// All operations of a group, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// In order.
    pub steps: Vec<Step>,
}

impl Chain {
    /// Everybody who was in it, and when.
    pub fn stays(&self) -> BTreeMap<UserName, Vec<Stay>> {
        let mut stays: BTreeMap<UserName, Vec<Stay>> = BTreeMap::new();
        for step in &self.steps {
            let (came, went): (Vec<&UserName>, Option<&UserName>) = match &step.deed {
                Deed::Create(members) => (members.iter().collect(), None),
                Deed::Add(user) => (vec![user], None),
                Deed::Join => (vec![&step.author], None),
                Deed::Remove(user) => (Vec::new(), Some(user)),
                Deed::Leave => (Vec::new(), Some(&step.author)),
                Deed::Rekey | Deed::Grant(..) | Deed::Close | Deed::Other => (Vec::new(), None),
            };
            for user in came {
                let stay = Stay { since: step.seq, until: None };
                stays.entry(user.clone()).or_default().push(stay);
            }
            let last = went.and_then(|user| stays.get_mut(user)).and_then(|all| all.last_mut());
            if let Some(stay) = last {
                stay.until = stay.until.or(Some(step.seq));
            }
        }
        stays
    }

    /// Everybody who is in it after the last operation.
    pub fn members(&self) -> BTreeSet<UserName> {
        let is_in = |stays: &Vec<Stay>| stays.last().is_some_and(|stay| stay.until.is_none());
        self.stays().into_iter().filter(|(_, stays)| is_in(stays)).map(|(user, _)| user).collect()
    }

    /// Whether nobody can do anything in it any more.
    pub fn is_closed(&self) -> bool {
        self.steps.last().is_some_and(|step| step.deed == Deed::Close)
    }

    /// The epoch of its key: each removal and each renewal began one.
    pub fn key_epoch(&self) -> i64 {
        let opens = |step: &&Step| matches!(step.deed, Deed::Remove(_) | Deed::Rekey);
        1 + i64::try_from(self.steps.iter().filter(opens).count()).unwrap_or(i64::MAX - 1)
    }

    /// The last operation's id, in hexadecimal.
    pub fn head(&self) -> String {
        use std::fmt::Write;
        let mut text = String::new();
        for byte in self.steps.last().map_or(&[][..], |step| &step.hash) {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// Where a home took what it must not take.
    pub fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut members: BTreeMap<&UserName, bool> = BTreeMap::new();
        let (mut before, mut closed): (Option<&Step>, bool) = (None, false);
        for (number, step) in (1..).zip(&self.steps) {
            let Step { seq, prev, author, deed, .. } = step;
            if prev.as_slice() != before.map_or(&[][..], |before| &before.hash) {
                found.push(format!("operation {number} does not follow the one before it"));
            }
            if before.is_some_and(|before| before.seq >= *seq) {
                found.push(format!("operation {number} stands before the one before it"));
            }
            if closed {
                found.push(format!("operation {number} came after the end of the group"));
            }
            let is_in = members.contains_key(author);
            let is_admin = members.get(author).copied().unwrap_or(false);
            let may = match deed {
                Deed::Create(_) => number == 1,
                Deed::Join => number > 1 && !is_in,
                Deed::Leave | Deed::Rekey => is_in,
                Deed::Add(user) => is_admin && !members.contains_key(user),
                Deed::Remove(user) | Deed::Grant(user, _) => is_admin && members.contains_key(user),
                Deed::Close | Deed::Other => is_admin,
            };
            if !may {
                found.push(format!("operation {number}: {author} may not {deed:?}"));
            }
            match deed {
                Deed::Create(all) => members.extend(all.iter().map(|user| (user, user == author))),
                Deed::Add(user) => drop(members.insert(user, false)),
                Deed::Join => drop(members.insert(author, false)),
                Deed::Remove(user) => drop(members.remove(user)),
                Deed::Leave => drop(members.remove(author)),
                Deed::Grant(user, admin) => drop(members.insert(user, *admin)),
                Deed::Close => closed = true,
                Deed::Rekey | Deed::Other => {}
            }
            if !closed && !members.values().any(|admin| *admin) {
                found.push(format!("operation {number} leaves a group without an admin"));
            }
            before = Some(step);
        }
        found
    }
}
