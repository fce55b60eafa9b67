//! What an entry is worth: the checks of an envelope, in the order of docs/PROTOCOL.md, and the key
//! that opens it. Decides, and stores nothing.

use rusqlite::{OptionalExtension, params};

use crate::crypto::envelope::{HeaderInfo, Kind, OpenedMessage, VerifiedEnvelope, open, verify};
use crate::crypto::identity::EncryptionKey;
use crate::crypto::rf1::{ConversationKey, unwrap};
use crate::limits;
use crate::types::{KeyId, LogId, UserName};

use super::api::Trouble;
use super::contacts::Person;
use super::core::Core;
use super::inbox::Entry;
use super::store::{StoreError, bits, unbits, unseal};

/// What one entry comes to. Decided first, then stored in one transaction.
pub(super) enum Outcome {
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

/// What looking for a conversation key came to.
enum Unwrapped {
    Key(ConversationKey),
    /// None rides along, or it is for a key that is not here.
    NoKey,
    /// It is for our key, and made for other people or damaged.
    Bad,
    OverBudget,
}

impl Core {
    /// All the checks of an envelope whose author is known, in the order of docs/PROTOCOL.md.
    pub(super) fn judge(
        &mut self,
        header: &HeaderInfo,
        entry: &Entry,
        person: Person,
    ) -> Result<Outcome, StoreError> {
        let trouble = |trouble| Ok(Outcome::Trouble { trouble, takes_id: false });
        if header.log != LogId::Inbox(self.user().clone()) || header.upto.0 > NUMBERS_MAX {
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
            && let Some(outcome) = self.seen_before(&entry.log, header, &envelope)?
        {
            return Ok(outcome);
        }
        match header.kind {
            Kind::Void => Ok(Outcome::Void),
            Kind::Message => self.decrypt(&envelope, author_identity, person, entry.tried),
        }
    }

    /// An id that is taken: the same envelope again, or another under the same id.
    pub(super) fn seen_before(
        &self,
        log: &str,
        header: &HeaderInfo,
        envelope: &VerifiedEnvelope,
    ) -> Result<Option<Outcome>, StoreError> {
        let db = self.profile.store.db();
        let high: Option<i64> = db
            .prepare_cached(
                "SELECT high FROM highs WHERE log = ?1 AND author = ?2 AND device = ?3",
            )?
            .query_row(params![log, header.author.as_str(), bits(header.device.0)], |row| {
                row.get(0)
            })
            .optional()?;
        if high.is_none_or(|high| unbits(high) < header.upto.0) {
            return Ok(None);
        }
        let digest: Option<Vec<u8>> = db
            .prepare_cached(
                "SELECT digest FROM accepted
                 WHERE log = ?1 AND author = ?2 AND device = ?3 AND n = ?4",
            )?
            .query_row(
                params![log, header.author.as_str(), bits(header.device.0), bits(header.n.0)],
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
pub(super) const NUMBERS_MAX: u64 = i64::MAX as u64;
