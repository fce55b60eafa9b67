//! Storing what an entry came to: plaintext, key, number and the end of the entry in one
//! transaction.

use rusqlite::{OptionalExtension, Transaction, params};

use crate::crypto::bundle::VerifiedBundle;
use crate::crypto::envelope::{Body, HeaderInfo, Kind};
use crate::crypto::secret::DbKey;
use crate::types::{ChatName, ClusterId, N, UserName};

use super::api::{Contact, Event, Trouble};
use super::core::{Core, check_bundle};
use super::group_log::retry_waiting;
use super::hearing::{Effect, Heard};
use super::inbox::{Entry, Step};
use super::judging::Outcome;
use super::store::{StoreError, bits, meta_u64, unbits};
use super::views::{Key, insert_trouble};

/// Whether an author's troubles are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    Person,
    /// The author is blocked: nothing of theirs is.
    Nobody,
}

impl Core {
    /// Stores what an entry came to: plaintext, key, high and `done` in one transaction.
    pub(super) fn finish(
        &mut self,
        entry: &Entry,
        header: Option<&HeaderInfo>,
        author: &UserName,
        outcome: Outcome,
    ) -> Result<Step, StoreError> {
        if matches!(outcome, Outcome::OverBudget) {
            return Ok(Step::OverBudget);
        }
        let now = self.now();
        let chat = &ChatName::from(author.clone());
        let blocked = self.person(author)?.is_some_and(|p| p.contact == Contact::Blocked);
        let audience = if blocked { Audience::Nobody } else { Audience::Person };
        let whole = meta_u64(self.profile.store.db(), "inbox_whole")? == 1;
        let key = self.profile.key.clone();
        let digest = header
            .filter(|h| h.kind == Kind::Message)
            .map(|_| sha256(&entry.envelope))
            .unwrap_or_default();
        let is_receipt = matches!(
            &outcome,
            Outcome::Opened { message, .. } if matches!(message.body, Body::Read { .. })
        );
        let receipts = is_receipt && self.receipts_on(chat)?;
        let own = self.profile.owner.user.clone();
        let cluster = self.cluster();
        let fetch_max_bytes = self.files.policy.auto_fetch_bytes;
        let effect = self.profile.store.commit(|tx| {
            let mut lines = 0;
            let takes_id = match &outcome {
                Outcome::Opened { .. } | Outcome::Void | Outcome::NoKey { .. } => !entry.tried,
                Outcome::Trouble { takes_id, .. } => *takes_id && !entry.tried,
                Outcome::Replay | Outcome::OverBudget => false,
            };
            if let (true, Some(header)) = (takes_id, header)
                && let Some(hole) = take_id(tx, &entry.log, header, whole, &digest)?
            {
                lines += show_trouble(tx, chat, audience, &hole, now)?;
            }
            let place = Place {
                key: &key,
                cluster,
                own: &own,
                author,
                chat,
                header,
                audience,
                receipts,
                fetch_max_bytes,
                now,
            };
            let mut effect = store_outcome(tx, &place, &outcome)?;
            effect.lines += lines;
            for group in &effect.rosters {
                retry_waiting(tx, group)?;
            }
            match outcome {
                Outcome::NoKey { .. } => entry.wait(tx)?,
                Outcome::Opened { .. }
                | Outcome::Void
                | Outcome::Replay
                | Outcome::OverBudget
                | Outcome::Trouble { .. } => entry.delete(tx)?,
            };
            if let Outcome::Opened { new_key: Some(_), .. } = &outcome {
                // A new key may open what waited for it.
                tx.prepare_cached(
                    "UPDATE inbox SET waits = 2 WHERE log = '' AND author = ?1 AND waits = 1",
                )?
                .execute([author.as_str()])?;
            }
            Ok::<_, StoreError>(effect)
        })?;
        self.forgotten_or_begun(&effect.events)?;
        effect.events.into_iter().for_each(|event| self.emit(event));
        for group in effect.rosters {
            self.group_changed(&group);
            self.groups.wanted.insert(group);
        }
        self.after_opening(author, &outcome)?;
        let in_vain = entry.tried && matches!(outcome, Outcome::NoKey { .. });
        Ok(if in_vain { Step::Nothing } else { Step::Done { lines: effect.lines } })
    }

    /// A deletion leaves its traces in the log of the database; a text that was read begins to age.
    pub(super) fn forgotten_or_begun(&mut self, events: &[Event]) -> Result<(), StoreError> {
        if events.iter().any(|event| matches!(event, Event::Deleted { .. })) {
            self.leave_no_trace()?;
        }
        if events.iter().any(|event| matches!(event, Event::State { .. })) {
            self.ring();
        }
        Ok(())
    }

    /// What an opened message tells about bundles, on either side.
    pub(super) fn after_opening(
        &mut self,
        author: &UserName,
        outcome: &Outcome,
    ) -> Result<(), StoreError> {
        let Outcome::Opened { message, person, identity, .. } = outcome else { return Ok(()) };
        if person.contact == Contact::Request
            && matches!(message.body, Body::Text(_) | Body::Rich(_) | Body::File(_))
            && self.is_first_text(&author.clone().into())?
        {
            self.emit(Event::Request { from: author.clone() });
        }
        if message.recipient_bundle_version < self.profile.bundle.version && !person.tell {
            self.set_tell(author, true)?;
        }
        let known = [&person.bundle, &person.changed]
            .into_iter()
            .flatten()
            .find(|bundle| bundle.identity() == *identity)
            .map_or(0, |bundle| bundle.version);
        if let Body::Bundle(encoded) = &message.body {
            // It came under the author's own signature; still only the same identity may follow.
            let bundle = check_bundle(encoded, &self.cluster(), author);
            let same = |b: &VerifiedBundle| {
                person.bundle.as_ref().is_some_and(|known| known.identity() == b.identity())
            };
            if let Some(bundle) = bundle.filter(same) {
                self.learn(author, &bundle, Contact::Request)?;
            }
        } else if message.author_bundle_version > known {
            self.stale_bundles.insert(author.clone());
        }
        Ok(())
    }
}

/// Adds a line of trouble, unless its author is blocked; returns the lines added.
pub(super) fn show_trouble(
    tx: &Transaction<'_>,
    chat: &ChatName,
    audience: Audience,
    trouble: &Trouble,
    now: u64,
) -> Result<usize, StoreError> {
    match audience {
        Audience::Nobody => Ok(0),
        Audience::Person => insert_trouble(tx, chat, trouble, now).map(|()| 1),
    }
}

/// Takes the numbers of an envelope; returns the hole, if some before it are missing.
pub(super) fn take_id(
    tx: &Transaction<'_>,
    log: &str,
    header: &HeaderInfo,
    whole: bool,
    digest: &[u8],
) -> Result<Option<Trouble>, StoreError> {
    let (author, device) = (header.author.as_str(), bits(header.device.0));
    let high: Option<i64> = tx
        .prepare_cached("SELECT high FROM highs WHERE log = ?1 AND author = ?2 AND device = ?3")?
        .query_row(params![log, author, device], |row| row.get(0))
        .optional()?;
    // The first number seen of a device is the base, unless nothing can have come before it.
    let expected = match high {
        Some(high) => unbits(high).saturating_add(1),
        None if whole => 1,
        None => header.n.0,
    };
    let hole = (header.n.0 > expected)
        .then(|| Trouble::Hole { from: N(expected), to: N(header.n.0.saturating_sub(1)) });
    tx.prepare_cached(
        "INSERT INTO highs (log, author, device, high) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (log, author, device) DO UPDATE SET high = max(high, ?4)",
    )?
    .execute(params![log, author, device, bits(header.upto.0)])?;
    tx.prepare_cached(
        "INSERT OR REPLACE INTO accepted (log, author, device, n, digest)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![log, author, device, bits(header.n.0), digest])?;
    let forget = header.n.0.saturating_sub(ACCEPTED_KEPT);
    tx.prepare_cached(
        "DELETE FROM accepted WHERE log = ?1 AND author = ?2 AND device = ?3 AND n < ?4",
    )?
    .execute(params![log, author, device, bits(forget)])?;
    Ok(hole)
}

/// Where an entry stands.
struct Place<'a> {
    key: &'a DbKey,
    cluster: ClusterId,
    own: &'a UserName,
    author: &'a UserName,
    chat: &'a ChatName,
    header: Option<&'a HeaderInfo>,
    audience: Audience,
    receipts: bool,
    /// A file of somebody accepted is fetched by itself up to this size.
    fetch_max_bytes: u64,
    now: u64,
}

fn store_outcome(
    tx: &Transaction<'_>,
    place: &Place<'_>,
    outcome: &Outcome,
) -> Result<Effect, StoreError> {
    let Place { key, cluster, own, author, chat, header, audience, receipts, now, .. } = *place;
    let trouble = |trouble| show_trouble(tx, chat, audience, trouble, now).map(Effect::lines);
    match outcome {
        Outcome::Void
        | Outcome::Replay
        | Outcome::OverBudget
        | Outcome::NoKey { announced: true } => Ok(Effect::default()),
        Outcome::NoKey { announced: false } => trouble(&Trouble::NoKey),
        Outcome::Trouble { trouble: what, .. } => trouble(what),
        Outcome::Opened { message, person, identity, new_key } => {
            if let (Some(new_key), Some(header)) = (new_key, header) {
                tx.prepare_cached(
                    "INSERT OR IGNORE INTO receive_keys (author_identity, key_id, sealed_key)
                     VALUES (?1, ?2, ?3)",
                )?
                .execute(params![
                    identity.0,
                    header.key_id.unwrap_or_default(),
                    key.seal(new_key.as_bytes())
                ])?;
            }
            let pinned = person.bundle.as_ref().map(|bundle| bundle.identity());
            let author_key = if pinned == Some(*identity) { Key::Pinned } else { Key::NotAccepted };
            let trusted = author_key == Key::Pinned && person.contact == Contact::Accepted;
            let heard = Heard {
                key,
                cluster,
                own,
                author,
                chat,
                header,
                message,
                author_key,
                audience,
                receipts,
                now,
                fetch_max_bytes: if trusted { place.fetch_max_bytes } else { 0 },
                group: None,
            };
            heard.take(tx)
        }
    }
}

pub(super) fn sha256(bytes: &[u8]) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).to_vec()
}

/// Digests kept per device: enough to judge what a home could still hold.
const ACCEPTED_KEPT: u64 = 2_000;
