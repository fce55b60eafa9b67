//! Storing what an entry of a group came to: line, number and the end of the entry in one
//! transaction.

use rusqlite::{Transaction, params};

use crate::crypto::bundle::VerifiedBundle;
use crate::crypto::envelope::{Body, HeaderInfo, Kind};
use crate::types::{ChatName, GroupName, Seq, UserName};

use super::super::api::{Contact, Trouble};
use super::super::core::{Core, check_bundle};
use super::super::groups::Group;
use super::super::hearing::{Effect, Heard};
use super::super::inbox::Entry;
use super::super::store::{StoreError, bits, unbits};
use super::super::taking::{Audience, sha256, show_trouble, take_id};
use super::super::views::Key;
use super::Step;
use super::judging::Verdict;

/// What waits for a key of this group is tried again.
pub(in crate::client) fn retry_waiting(
    tx: &Transaction<'_>,
    name: &GroupName,
) -> Result<(), rusqlite::Error> {
    tx.prepare_cached("UPDATE inbox SET waits = 2 WHERE log = ?1 AND waits = 1")?
        .execute([ChatName::Group(name.clone())])
        .map(drop)
}

impl Core {
    /// Stores what an entry came to.
    pub(super) fn finish_in_group(
        &mut self,
        name: &GroupName,
        entry: &Entry,
        header: Option<&HeaderInfo>,
        verdict: Verdict,
    ) -> Result<Step, StoreError> {
        let now = self.now();
        let chat = &ChatName::Group(name.clone());
        let seq = Seq(unbits(entry.seq));
        let blocked = match header {
            Some(header) => {
                self.person(&header.author)?.is_some_and(|p| p.contact == Contact::Blocked)
            }
            None => false,
        };
        let audience = if blocked { Audience::Nobody } else { Audience::Person };
        let whole = self.group(name)?.is_some_and(|group| group.whole);
        let stay = self.stay_at(name, seq)?;
        let (key, cluster) = (self.profile.key.clone(), self.cluster());
        let own = self.profile.owner.user.clone();
        let receipts = self.receipts_on(chat)?;
        let fetch_max_bytes = self.files.policy.auto_fetch_bytes;
        let digest = header
            .filter(|header| header.kind == Kind::Message)
            .map(|_| sha256(&entry.envelope))
            .unwrap_or_default();
        let takes_id = match &verdict {
            Verdict::Opened { .. }
            | Verdict::Own { .. }
            | Verdict::Void
            | Verdict::NoKey { .. } => !entry.tried,
            Verdict::Trouble { takes_id, .. } => *takes_id && !entry.tried,
            Verdict::Nothing => false,
        };
        let mut anew = false;
        let effect = self.profile.store.commit(|tx| {
            anew = begin_stay(tx, name, &entry.log, stay)?;
            let whole = whole && !anew;
            let mut lines = 0;
            if let (true, Some(header)) = (takes_id, header)
                && let Some(hole) = take_id(tx, &entry.log, header, whole, &digest)?
            {
                lines += show_trouble(tx, chat, audience, &hole, now)?;
            }
            let mut effect = match (&verdict, header) {
                (Verdict::Opened { message, roster, number }, Some(header)) => {
                    name_operation(tx, &entry.log, header, *number)?;
                    let heard = Heard {
                        key: &key,
                        cluster,
                        own: &own,
                        author: &header.author,
                        chat,
                        header: Some(header),
                        message,
                        author_key: Key::Pinned,
                        audience,
                        receipts,
                        now,
                        fetch_max_bytes,
                        group: Some((roster.as_ref(), seq)),
                    };
                    heard.take(tx)?
                }
                (Verdict::Own { .. }, Some(header)) => {
                    own_came_back(tx, chat, header, seq)?;
                    Effect::default()
                }
                (Verdict::Trouble { trouble, .. }, _) => {
                    show_trouble(tx, chat, audience, trouble, now).map(Effect::lines)?
                }
                (Verdict::NoKey { announced: false }, _) => {
                    show_trouble(tx, chat, audience, &Trouble::NoKey, now).map(Effect::lines)?
                }
                (
                    Verdict::Opened { .. }
                    | Verdict::Own { .. }
                    | Verdict::Void
                    | Verdict::Nothing
                    | Verdict::NoKey { announced: true },
                    _,
                ) => Effect::default(),
            };
            effect.lines += lines;
            match &verdict {
                Verdict::NoKey { .. } => entry.wait(tx)?,
                _ => entry.delete(tx)?,
            };
            Ok::<_, StoreError>(effect)
        })?;
        if anew && let Some((epoch, cursor)) = self.group(name)?.map(|g| (g.epoch, g.cursor)) {
            self.groups.moved_to(name, epoch, cursor, false);
        }
        self.forgotten_or_begun(&effect.events)?;
        effect.events.into_iter().for_each(|event| self.emit(event));
        if let (Verdict::Opened { message, .. }, Some(header)) = (&verdict, header) {
            self.bundle_mentioned(&header.author, &message.body, message.author_bundle_version)?;
        }
        Ok(match verdict {
            Verdict::Own { foreign: true } => Step::Foreign,
            Verdict::NoKey { .. } if entry.tried => Step::Nothing,
            _ => Step::Done { lines: effect.lines },
        })
    }

    /// What a message in a group tells about its author's bundle.
    fn bundle_mentioned(
        &mut self,
        author: &UserName,
        body: &Body,
        version: u64,
    ) -> Result<(), StoreError> {
        let known = self.person(author)?.and_then(|person| person.bundle.clone());
        if let Body::Bundle(encoded) = body {
            let bundle = check_bundle(encoded, &self.cluster(), author);
            let same = |bundle: &VerifiedBundle| {
                known.as_ref().is_some_and(|known| known.identity() == bundle.identity())
            };
            if let Some(bundle) = bundle.filter(same) {
                self.learn(author, &bundle, Contact::Request)?;
            }
        } else if known.is_some_and(|known| known.version < version) {
            self.stale_bundles.insert(author.clone());
        }
        Ok(())
    }

    /// Number of the operation that brought the owner in, as of this place.
    fn stay_at(&mut self, name: &GroupName, seq: Seq) -> Result<u64, StoreError> {
        let own = self.profile.owner.user.clone();
        let roster = self.roster_at(name, seq)?;
        Ok(roster.and_then(|roster| roster.member(&own).map(|m| m.since)).unwrap_or(0))
    }

    /// An own number that this device has not given: its database is an old copy.
    pub(super) fn is_foreign(
        &self,
        group: &Group,
        header: &HeaderInfo,
    ) -> Result<bool, StoreError> {
        if header.device != self.profile.device {
            return Ok(false);
        }
        let known = self
            .profile
            .store
            .db()
            .prepare_cached("SELECT 1 FROM send_logs WHERE chat = ?1 AND next_n > ?2")?
            .exists(params![ChatName::Group(group.name.clone()), bits(header.upto.0)])?;
        Ok(!known)
    }
}

/// Whoever comes in again begins anew: what was written meanwhile is no hole, and nothing is known
/// of the numbers any more, even if nothing was. True: so it is from here on.
fn begin_stay(
    tx: &Transaction<'_>,
    name: &GroupName,
    log: &str,
    since: u64,
) -> Result<bool, rusqlite::Error> {
    let begins = tx
        .prepare_cached("UPDATE groups SET stay = ?2 WHERE name = ?1 AND stay < ?2")?
        .execute(params![name.as_str(), bits(since)])?;
    if begins == 0 {
        return Ok(false);
    }
    tx.execute("DELETE FROM accepted WHERE log = ?1", [log])?;
    let anew = tx.execute("DELETE FROM highs WHERE log = ?1", [log])? > 0;
    if anew {
        tx.execute("UPDATE groups SET whole = 0 WHERE name = ?1", [name.as_str()])?;
    }
    Ok(anew)
}

/// Notes which operation an author has named.
fn name_operation(
    tx: &Transaction<'_>,
    log: &str,
    header: &HeaderInfo,
    number: u64,
) -> Result<(), rusqlite::Error> {
    tx.prepare_cached(
        "UPDATE highs SET number = max(number, ?4)
         WHERE log = ?1 AND author = ?2 AND device = ?3",
    )?
    .execute(params![log, header.author.as_str(), bits(header.device.0), bits(number)])
    .map(drop)
}

/// An own message has its place in the log.
fn own_came_back(
    tx: &Transaction<'_>,
    chat: &ChatName,
    header: &HeaderInfo,
    seq: Seq,
) -> Result<(), rusqlite::Error> {
    tx.prepare_cached(
        "UPDATE lines SET seq = ?4 WHERE chat = ?1 AND kind = 0 AND device = ?2 AND n = ?3
         AND n <> 0",
    )?
    .execute(params![chat, bits(header.device.0), bits(header.n.0), bits(seq.0)])
    .map(drop)
}
