//! The inbox: from an entry of the own log to a line that is shown once.
//!
//! Arrival and opening are two steps. Arrival stores entries and moves the cursor in one
//! transaction, and only then does the home hear of it. Opening comes after the cursor, in `seq`
//! order, so that nothing a sender can observe depends on whether decryption worked.

use bytes::Bytes;
use rusqlite::{OptionalExtension, Transaction, params};

use crate::crypto::bundle::VerifiedBundle;
use crate::crypto::envelope::{
    Body, EnvelopeError, HeaderInfo, Kind, OpenedMessage, VerifiedEnvelope, open, parse_header,
    verify,
};
use crate::crypto::identity::EncryptionKey;
use crate::crypto::rf1::{ConversationKey, unwrap};
use crate::crypto::secret::DbKey;
use crate::limits;
use crate::types::{DeviceId, KeyId, LogEpoch, N, Seq, UserName};

use super::api::{Contact, Event, Trouble};
use super::contacts::{Learned, Person};
use super::core::{Core, check_bundle};
use super::store::{StoreError, bits, meta_u64, set_meta_u64, unbits, unseal};
use super::views::{Key, insert_peer_line, insert_trouble};

/// Where this device stands in its own log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) epoch: LogEpoch,
    pub(crate) cursor: Seq,
}

/// What opening some entries came to.
#[derive(Debug, Default)]
pub(crate) struct OpenReport {
    /// Lines were added.
    pub(crate) lines: usize,
    /// Entries were taken from the inbox; call again.
    pub(crate) progress: bool,
    /// Authors whose bundle is needed before theirs can be opened.
    pub(crate) need_bundle: Vec<(UserName, DeviceId)>,
    /// An author has used up the hour's unwraps; theirs waits.
    pub(crate) over_budget: bool,
}

/// What one entry comes to. Decided first, then stored in one transaction.
enum Outcome {
    /// A text or a bundle.
    Opened {
        message: OpenedMessage,
        person: Box<Person>,
        /// Under which of the person's identities it was signed.
        identity: KeyId,
        new_key: Option<ConversationKey>,
    },
    /// Takes its numbers, shows nothing.
    Void,
    /// Was accepted before; silently dropped.
    Replay,
    /// One line of trouble. `takes_id`: the envelope itself was genuine.
    Trouble { trouble: Trouble, takes_id: bool },
    /// Keeps its place until a key arrives.
    NoKey { announced: bool },
    /// Keeps its place, and so does all that this author wrote after it.
    OverBudget,
}

/// What became of one entry.
enum Step {
    /// It left the queue of what can be opened.
    Done {
        /// Lines added.
        lines: usize,
    },
    /// It was tried again, in vain.
    Nothing,
    /// Its author's bundle has to be fetched first.
    NeedsBundle,
    /// Its author has used up the hour's unwraps.
    OverBudget,
}

/// Whether an author's troubles are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Audience {
    Person,
    /// The author is blocked: nothing of theirs is.
    Nobody,
}

/// What looking for a conversation key came to.
enum Unwrapped {
    Key(ConversationKey),
    /// None rides along, or it is for a key that is not here.
    NoKey,
    /// It is for our key, and made for other people or damaged.
    Bad,
    OverBudget,
}

struct Entry {
    epoch: i64,
    seq: i64,
    envelope: Bytes,
    /// It waited for a key: its numbers are taken, and the person was told.
    tried: bool,
}

impl Core {
    /// Where this device stands in its own log.
    pub(crate) fn position(&self) -> Result<Position, StoreError> {
        let db = self.profile.store.db();
        Ok(Position {
            epoch: LogEpoch(meta_u64(db, "inbox_epoch")?),
            cursor: Seq(meta_u64(db, "inbox_cursor")?),
        })
    }

    /// The home opened the own log. Returns the position from which entries are accepted.
    pub(crate) fn inbox_opened(
        &mut self,
        epoch: LogEpoch,
        first_seq: Seq,
    ) -> Result<Position, StoreError> {
        let before = self.position()?;
        let same = before.epoch == epoch;
        let cursor = if same { before.cursor } else { Seq(0) };
        let jump = first_seq.0 > cursor.0.saturating_add(1);
        if same && !jump {
            return Ok(before);
        }
        let now = self.now();
        let own = self.user().clone();
        let cursor = if jump { Seq(first_seq.0 - 1) } else { cursor };
        self.profile.store.commit(|tx| {
            set_meta_u64(tx, "inbox_epoch", epoch.0)?;
            set_meta_u64(tx, "inbox_cursor", cursor.0)?;
            // Only a device that saw the log from its first entry can tell that an author's first
            // number is missing.
            let whole = before.epoch.0 == 0 && !jump;
            if whole || jump {
                set_meta_u64(tx, "inbox_whole", u64::from(whole))?;
            }
            if same && jump && before.cursor.0 > 0 {
                insert_trouble(tx, &own, &Trouble::Expired, now)?;
            }
            Ok::<_, StoreError>(())
        })?;
        Ok(Position { epoch, cursor })
    }

    /// Stores entries that follow the cursor without a gap, and moves it: one transaction.
    pub(crate) fn store_entries(
        &mut self,
        epoch: LogEpoch,
        entries: &[(Seq, Bytes)],
    ) -> Result<(), StoreError> {
        let Some((last, _)) = entries.last() else { return Ok(()) };
        self.profile.store.commit(|tx| {
            let mut insert = tx.prepare_cached(
                "INSERT OR IGNORE INTO inbox (epoch, seq, author, envelope) VALUES (?1, ?2, ?3, ?4)",
            )?;
            for (seq, envelope) in entries {
                let author = parse_header(envelope).map(|h| h.author.to_string());
                insert.execute(params![
                    bits(epoch.0),
                    bits(seq.0),
                    author.unwrap_or_default(),
                    envelope.as_ref()
                ])?;
            }
            set_meta_u64(tx, "inbox_cursor", last.0)?;
            Ok(())
        })
    }

    /// Opens what can be opened, in order, at most `max` entries. An author whose bundle is not
    /// here keeps their place; the others go on.
    pub(crate) fn open_entries(&mut self, max: usize) -> Result<OpenReport, StoreError> {
        let mut report = OpenReport::default();
        for author in self.authors_with_mail()? {
            for entry in self.entries_of(&author, max)? {
                match self.open_entry(&entry)? {
                    Step::Done { lines } => {
                        report.lines += lines;
                        report.progress = true;
                    }
                    Step::Nothing => {}
                    Step::NeedsBundle => {
                        report.need_bundle.extend(entry_author(&entry));
                        break;
                    }
                    Step::OverBudget => {
                        report.over_budget = true;
                        break;
                    }
                }
            }
        }
        if report.lines > 0 {
            self.emit(Event::Lines);
        }
        Ok(report)
    }

    fn authors_with_mail(&self) -> Result<Vec<String>, StoreError> {
        let mut rows = self.profile.store.db().prepare_cached(
            "SELECT author FROM inbox WHERE waits <> 1 GROUP BY author ORDER BY min(arrival)",
        )?;
        let found = rows.query_map([], |row| row.get(0))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// In order of arrival. That is the order of `seq`, and it holds across the epochs of a home
    /// that was restored, which have no order of their own.
    fn entries_of(&self, author: &str, max: usize) -> Result<Vec<Entry>, StoreError> {
        let mut rows = self.profile.store.db().prepare_cached(
            "SELECT epoch, seq, envelope, waits FROM inbox WHERE author = ?1 AND waits <> 1
             ORDER BY arrival LIMIT ?2",
        )?;
        let found =
            rows.query_map(params![author, i64::try_from(max).unwrap_or(i64::MAX)], |row| {
                Ok(Entry {
                    epoch: row.get(0)?,
                    seq: row.get(1)?,
                    envelope: row.get::<_, Vec<u8>>(2)?.into(),
                    tried: row.get::<_, i64>(3)? == 2,
                })
            })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Opens one entry.
    fn open_entry(&mut self, entry: &Entry) -> Result<Step, StoreError> {
        let header = match parse_header(&entry.envelope) {
            Ok(header) => header,
            Err(error) => return self.finish_unreadable(entry, &error),
        };
        let person = self.person(&header.author)?.cloned();
        let knows_device = |bundle: Option<&VerifiedBundle>| {
            bundle.is_some_and(|bundle| bundle.device(header.device).is_some())
        };
        let known = person.as_ref().is_some_and(|person| {
            knows_device(person.bundle.as_ref()) || knows_device(person.changed.as_ref())
        });
        let fresh = self.fresh_bundles.contains(&(header.author.clone(), header.device));
        if !known && !fresh {
            return Ok(Step::NeedsBundle);
        }
        let chat = header.author.clone();
        let Some(person) = person else {
            return self.finish(
                entry,
                Some(&header),
                &chat,
                Outcome::Trouble { trouble: Trouble::BadSignature, takes_id: false },
            );
        };
        let outcome = self.judge(&header, entry, person)?;
        self.finish(entry, Some(&header), &chat, outcome)
    }

    /// No header of ours: a server made this up, or the author has a newer version. There is no
    /// author to believe in, so no chat to show it in but one's own.
    fn finish_unreadable(
        &mut self,
        entry: &Entry,
        error: &EnvelopeError,
    ) -> Result<Step, StoreError> {
        let own = self.user().clone();
        let trouble = match error {
            EnvelopeError::UnknownSuite(_) => Trouble::UnknownSuite,
            _ => Trouble::BadSignature,
        };
        self.finish(entry, None, &own, Outcome::Trouble { trouble, takes_id: false })
    }

    /// All the checks of an envelope whose author is known, in the order of docs/PROTOCOL.md.
    fn judge(
        &mut self,
        header: &HeaderInfo,
        entry: &Entry,
        person: Person,
    ) -> Result<Outcome, StoreError> {
        let trouble = |trouble| Ok(Outcome::Trouble { trouble, takes_id: false });
        if header.log != self.own_log() || header.upto.0 > NUMBERS_MAX {
            return trouble(Trouble::BadBinding);
        }
        let cluster = self.cluster();
        let candidates = [person.bundle.as_ref(), person.changed.as_ref()];
        let verified = candidates.into_iter().flatten().find_map(|bundle| {
            let envelope = verify(&entry.envelope, &cluster, bundle).ok()?;
            Some((envelope, bundle.identity()))
        });
        let Some((envelope, author_identity)) = verified else {
            return trouble(Trouble::BadSignature);
        };
        if !entry.tried
            && let Some(outcome) = self.seen_before(header, &envelope)?
        {
            return Ok(outcome);
        }
        match header.kind {
            Kind::Void => Ok(Outcome::Void),
            Kind::Message => self.decrypt(&envelope, author_identity, person, entry.tried),
        }
    }

    /// An id that is taken: the same envelope again, or another under the same id.
    fn seen_before(
        &self,
        header: &HeaderInfo,
        envelope: &VerifiedEnvelope,
    ) -> Result<Option<Outcome>, StoreError> {
        let db = self.profile.store.db();
        let high: Option<i64> = db
            .prepare_cached("SELECT high FROM highs WHERE author = ?1 AND device = ?2")?
            .query_row(params![header.author.as_str(), bits(header.device.0)], |row| row.get(0))
            .optional()?;
        if high.is_none_or(|high| unbits(high) < header.upto.0) {
            return Ok(None);
        }
        let digest: Option<Vec<u8>> = db
            .prepare_cached(
                "SELECT digest FROM accepted WHERE author = ?1 AND device = ?2 AND n = ?3",
            )?
            .query_row(
                params![header.author.as_str(), bits(header.device.0), bits(header.n.0)],
                |row| row.get(0),
            )
            .optional()?;
        let second_body = header.kind == Kind::Message
            && digest.is_some_and(|d| !d.is_empty() && d != envelope.digest());
        Ok(Some(if second_body {
            Outcome::Trouble { trouble: Trouble::Equivocation, takes_id: false }
        } else {
            Outcome::Replay
        }))
    }

    fn decrypt(
        &mut self,
        envelope: &VerifiedEnvelope,
        author_identity: KeyId,
        person: Person,
        waited: bool,
    ) -> Result<Outcome, StoreError> {
        let header = envelope.header();
        let Some(key_id) = header.key_id else {
            return Ok(Outcome::Trouble { trouble: Trouble::BadBinding, takes_id: true });
        };
        let known = self.receive_key(&author_identity, &key_id)?;
        let (key, new_key) = match known {
            Some(key) => (key, None),
            None => match self.unwrap_key(envelope, &author_identity)? {
                Unwrapped::Key(key) if key.key_id(&self.cluster()) == key_id => {
                    (key.clone(), Some(key))
                }
                Unwrapped::Key(_) | Unwrapped::Bad => {
                    return Ok(Outcome::Trouble { trouble: Trouble::BadBinding, takes_id: true });
                }
                Unwrapped::NoKey => return Ok(Outcome::NoKey { announced: waited }),
                Unwrapped::OverBudget => return Ok(Outcome::OverBudget),
            },
        };
        let own_identity = self.profile.bundle.identity();
        Ok(match open(envelope, &key, &author_identity, &own_identity) {
            Ok(message) => {
                let person = Box::new(person);
                Outcome::Opened { message, person, identity: author_identity, new_key }
            }
            Err(_) => Outcome::Trouble { trouble: Trouble::BadBinding, takes_id: true },
        })
    }

    fn receive_key(
        &self,
        author_identity: &KeyId,
        key_id: &[u8; 16],
    ) -> Result<Option<ConversationKey>, StoreError> {
        let sealed: Option<Vec<u8>> = self
            .profile
            .store
            .db()
            .prepare_cached(
                "SELECT sealed_key FROM receive_keys WHERE author_identity = ?1 AND key_id = ?2",
            )?
            .query_row(params![author_identity.0, key_id], |row| row.get(0))
            .optional()?;
        let Some(sealed) = sealed else { return Ok(None) };
        let bytes = unseal(&self.profile.key, &sealed)?;
        ConversationKey::from_bytes(&bytes).map(Some).map_err(|_| StoreError::Sealed)
    }

    /// Unwraps the key that rides in an envelope.
    fn unwrap_key(
        &mut self,
        envelope: &VerifiedEnvelope,
        author_identity: &KeyId,
    ) -> Result<Unwrapped, StoreError> {
        let Some(wrapped) = envelope.wrapped() else { return Ok(Unwrapped::NoKey) };
        let sealed: Option<Vec<u8>> = self
            .profile
            .store
            .db()
            .prepare_cached("SELECT sealed_pkcs8 FROM encryption_keys WHERE key_id = ?1")?
            .query_row([wrapped.to.0], |row| row.get(0))
            .optional()?;
        let Some(sealed) = sealed else { return Ok(Unwrapped::NoKey) };
        if !self.unwraps.allow(&envelope.header().author, self.env.unix_ms()) {
            return Ok(Unwrapped::OverBudget);
        }
        let key = EncryptionKey::from_pkcs8(&unseal(&self.profile.key, &sealed)?)
            .map_err(|error| StoreError::Crypto(error.to_string()))?;
        let own = self.profile.bundle.identity();
        let key = unwrap(&key, &self.cluster(), author_identity, &own, &wrapped);
        Ok(key.map_or(Unwrapped::Bad, Unwrapped::Key))
    }

    /// Stores what an entry came to: plaintext, key, high and `done` in one transaction.
    fn finish(
        &mut self,
        entry: &Entry,
        header: Option<&HeaderInfo>,
        chat: &UserName,
        outcome: Outcome,
    ) -> Result<Step, StoreError> {
        if matches!(outcome, Outcome::OverBudget) {
            return Ok(Step::OverBudget);
        }
        let now = self.now();
        let blocked = self.person(chat)?.is_some_and(|p| p.contact == Contact::Blocked);
        let audience = if blocked { Audience::Nobody } else { Audience::Person };
        let whole = meta_u64(self.profile.store.db(), "inbox_whole")? == 1;
        let key = self.profile.key.clone();
        let digest = header
            .filter(|h| h.kind == Kind::Message)
            .map(|_| sha256(&entry.envelope))
            .unwrap_or_default();
        let lines = self.profile.store.commit(|tx| {
            let mut lines = 0;
            let takes_id = match &outcome {
                Outcome::Opened { .. } | Outcome::Void | Outcome::NoKey { .. } => !entry.tried,
                Outcome::Trouble { takes_id, .. } => *takes_id && !entry.tried,
                Outcome::Replay | Outcome::OverBudget => false,
            };
            if let (true, Some(header)) = (takes_id, header)
                && let Some(hole) = take_id(tx, header, whole, &digest)?
            {
                lines += show_trouble(tx, chat, audience, &hole, now)?;
            }
            lines += store_outcome(tx, &key, chat, header, &outcome, audience, now)?;
            match outcome {
                Outcome::NoKey { .. } => tx
                    .prepare_cached("UPDATE inbox SET waits = 1 WHERE epoch = ?1 AND seq = ?2")?
                    .execute(params![entry.epoch, entry.seq])?,
                Outcome::Opened { .. }
                | Outcome::Void
                | Outcome::Replay
                | Outcome::OverBudget
                | Outcome::Trouble { .. } => tx
                    .prepare_cached("DELETE FROM inbox WHERE epoch = ?1 AND seq = ?2")?
                    .execute(params![entry.epoch, entry.seq])?,
            };
            if let Outcome::Opened { new_key: Some(_), .. } = &outcome {
                // A new key may open what waited for it.
                tx.prepare_cached("UPDATE inbox SET waits = 2 WHERE author = ?1 AND waits = 1")?
                    .execute([chat.as_str()])?;
            }
            Ok::<_, StoreError>(lines)
        })?;
        self.after_opening(chat, &outcome)?;
        let in_vain = entry.tried && matches!(outcome, Outcome::NoKey { .. });
        Ok(if in_vain { Step::Nothing } else { Step::Done { lines } })
    }

    /// What an opened message tells about bundles, on either side.
    fn after_opening(&mut self, chat: &UserName, outcome: &Outcome) -> Result<(), StoreError> {
        let Outcome::Opened { message, person, identity, .. } = outcome else { return Ok(()) };
        if person.contact == Contact::Request
            && matches!(message.body, Body::Text(_))
            && self.is_first_text(chat)?
        {
            self.emit(Event::Request { from: chat.clone() });
        }
        if message.recipient_bundle_version < self.profile.bundle.version && !person.tell {
            self.set_tell(chat, true)?;
        }
        let known = [&person.bundle, &person.changed]
            .into_iter()
            .flatten()
            .find(|bundle| bundle.identity() == *identity)
            .map_or(0, |bundle| bundle.version);
        if let Body::Bundle(encoded) = &message.body {
            // It came under the author's own signature; still only the same identity may follow.
            let bundle = check_bundle(encoded, &self.cluster(), chat);
            let same = |b: &VerifiedBundle| {
                person.bundle.as_ref().is_some_and(|known| known.identity() == b.identity())
            };
            if let Some(bundle) = bundle.filter(same) {
                self.learn(chat, &bundle, Contact::Request)?;
            }
        } else if message.author_bundle_version > known {
            self.stale_bundles.insert(chat.clone());
        }
        Ok(())
    }

    /// The server answered a look-up: a bundle, or that there is nobody of that name.
    pub(crate) fn bundle_arrived(
        &mut self,
        user: &UserName,
        devices: &std::collections::BTreeSet<DeviceId>,
        encoded: Option<&[u8]>,
    ) -> Result<Option<Learned>, StoreError> {
        self.stale_bundles.remove(user);
        if self.fresh_bundles.len() >= FRESH_BUNDLES_MAX {
            self.fresh_bundles.clear();
        }
        self.fresh_bundles.extend(devices.iter().map(|&device| (user.clone(), device)));
        let cluster = self.cluster();
        let Some(bundle) = encoded.and_then(|bytes| check_bundle(bytes, &cluster, user)) else {
            return Ok(None);
        };
        self.learn(user, &bundle, Contact::Request).map(Some)
    }
}

fn entry_author(entry: &Entry) -> Option<(UserName, DeviceId)> {
    parse_header(&entry.envelope).ok().map(|header| (header.author, header.device))
}

/// Adds a line of trouble, unless its author is blocked; returns the lines added.
fn show_trouble(
    tx: &Transaction<'_>,
    chat: &UserName,
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
fn take_id(
    tx: &Transaction<'_>,
    header: &HeaderInfo,
    whole: bool,
    digest: &[u8],
) -> Result<Option<Trouble>, StoreError> {
    let (author, device) = (header.author.as_str(), bits(header.device.0));
    let high: Option<i64> = tx
        .prepare_cached("SELECT high FROM highs WHERE author = ?1 AND device = ?2")?
        .query_row(params![author, device], |row| row.get(0))
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
        "INSERT INTO highs (author, device, high) VALUES (?1, ?2, ?3)
         ON CONFLICT (author, device) DO UPDATE SET high = max(high, ?3)",
    )?
    .execute(params![author, device, bits(header.upto.0)])?;
    tx.prepare_cached(
        "INSERT OR REPLACE INTO accepted (author, device, n, digest) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![author, device, bits(header.n.0), digest])?;
    let forget = header.n.0.saturating_sub(ACCEPTED_KEPT);
    tx.prepare_cached("DELETE FROM accepted WHERE author = ?1 AND device = ?2 AND n < ?3")?
        .execute(params![author, device, bits(forget)])?;
    Ok(hole)
}

fn store_outcome(
    tx: &Transaction<'_>,
    key: &DbKey,
    chat: &UserName,
    header: Option<&HeaderInfo>,
    outcome: &Outcome,
    audience: Audience,
    now: u64,
) -> Result<usize, StoreError> {
    match outcome {
        Outcome::Void
        | Outcome::Replay
        | Outcome::OverBudget
        | Outcome::NoKey { announced: true } => Ok(0),
        Outcome::NoKey { announced: false } => {
            show_trouble(tx, chat, audience, &Trouble::NoKey, now)
        }
        Outcome::Trouble { trouble, .. } => show_trouble(tx, chat, audience, trouble, now),
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
            match &message.body {
                Body::Text(_) if audience == Audience::Nobody => Ok(0),
                Body::Text(text) => {
                    let pinned = person.bundle.as_ref().map(|bundle| bundle.identity());
                    let standing =
                        if pinned == Some(*identity) { Key::Pinned } else { Key::NotAccepted };
                    insert_peer_line(tx, key, chat, header, text, message, now, standing)?;
                    Ok(1)
                }
                Body::Bundle(_) => Ok(0),
                Body::Unknown(_) => show_trouble(tx, chat, audience, &Trouble::UnknownSuite, now),
            }
        }
    }
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).to_vec()
}

/// Unwraps per author and hour: each costs a private-key operation that anybody can cause.
#[derive(Default)]
pub(crate) struct UnwrapBudget {
    hour: u64,
    used: std::collections::BTreeMap<UserName, u32>,
}

impl UnwrapBudget {
    fn allow(&mut self, author: &UserName, now_unix_ms: u64) -> bool {
        let hour = now_unix_ms / 3_600_000;
        if hour != self.hour {
            *self = Self { hour, ..Self::default() };
        }
        let used = self.used.entry(author.clone()).or_default();
        *used += 1;
        *used <= limits::UNWRAPS_PER_PEER_PER_HOUR_MAX
    }
}

/// Numbers that a device can come to; SQLite keeps them as signed integers.
const NUMBERS_MAX: u64 = i64::MAX as u64;

/// Look-ups remembered in one session.
const FRESH_BUNDLES_MAX: usize = 1_000;

/// Digests kept per device: enough to judge what a home could still hold.
const ACCEPTED_KEPT: u64 = 2_000;
