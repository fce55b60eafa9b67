//! Sealing: for one person, with the conversation key of this direction and when it rides along;
//! for a group, with its key.
//!
//! Knows nothing of what is sealed or when; that is `outbox`.

use bytes::Bytes;
use rusqlite::{Transaction, params};

use crate::crypto::bundle::VerifiedBundle;
use crate::crypto::device::DeviceKey;
use crate::crypto::envelope::{Body, SealRequest, seal, seal_void};
use crate::crypto::group::GroupKey;
use crate::crypto::group_envelope::{GroupSealRequest, seal_group};
use crate::crypto::rf1::{ConversationKey, WrappedKey, wrap};
use crate::crypto::secret::DbKey;
use crate::types::{
    ChatName, ClusterId, DeviceId, GroupId, KeyEpoch, KeyId, LogId, N, OpHash, UserName,
};

use super::store::{StoreError, bits, unbits, unseal};

/// Who seals, and into which log.
pub(super) struct Sealer {
    pub(super) cluster: ClusterId,
    pub(super) author: UserName,
    pub(super) device: DeviceId,
    pub(super) device_key: DeviceKey,
    pub(super) log: LogId,
}

impl Sealer {
    pub(super) fn void(&self, n: N, upto: N) -> Result<Sealed, StoreError> {
        seal_void(&self.cluster, &self.device_key, &self.log, &self.author, self.device, n, upto)
            .map(|envelope| Sealed { envelope, carries: None })
            .map_err(|error| StoreError::Crypto(error.to_string()))
    }
}

/// For whom is sealed.
#[derive(Clone, Copy)]
pub(super) enum Recipient<'a> {
    Person(&'a VerifiedBundle),
    Group(&'a GroupSeal),
}

/// A group as far as sealing has to know it.
pub(super) struct GroupSeal {
    pub(super) id: GroupId,
    /// Of this epoch, which is the roster's.
    pub(super) key: GroupKey,
    pub(super) epoch: KeyEpoch,
    /// The newest operation known here.
    pub(super) head: OpHash,
}

/// An envelope of our own.
pub(super) struct Sealed {
    pub(super) envelope: Bytes,
    /// The conversation key that rides in it, wrapped.
    pub(super) carries: Option<[u8; 16]>,
}

/// What a change of bundles meant for the conversation key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fitted {
    /// Nothing that is sealed already has to change.
    Fine,
    /// What was sealed before cannot be read with the recipient's present keys.
    OtherKeys,
}

/// A row of `send_logs`: the next number and the conversation key of this direction.
pub(super) struct SendState {
    pub(super) next_n: u64,
    key: Option<ConversationKey>,
    wrapped: Option<WrappedKey>,
    /// One that carried the key is delivered.
    carried: bool,
    own_version: u64,
    recipient_version: u64,
    recipient_identity: Option<KeyId>,
    /// Of a group: the epoch under which what is unanswered is sealed.
    key_epoch: KeyEpoch,
}

impl SendState {
    pub(super) fn load(
        tx: &Transaction<'_>,
        key: &DbKey,
        chat: &ChatName,
    ) -> Result<Self, StoreError> {
        tx.prepare_cached("INSERT OR IGNORE INTO send_logs (chat) VALUES (?1)")?.execute([chat])?;
        let (mut state, sealed) = tx
            .prepare_cached(
                "SELECT next_n, sealed_key, wrapped, wrapped_to, carried,
                        own_version, recipient_version, recipient_identity, key_epoch
                 FROM send_logs WHERE chat = ?1",
            )?
            .query_row([chat], |row| {
                let wrapped: Option<Vec<u8>> = row.get(2)?;
                let to: Option<Vec<u8>> = row.get(3)?;
                let identity: Option<Vec<u8>> = row.get(7)?;
                let to = to.and_then(|id| KeyId::from_bytes(&id));
                let state = Self {
                    next_n: unbits(row.get(0)?),
                    key: None,
                    wrapped: wrapped.zip(to).map(|(bytes, to)| WrappedKey { to, bytes }),
                    carried: row.get(4)?,
                    own_version: unbits(row.get(5)?),
                    recipient_version: unbits(row.get(6)?),
                    recipient_identity: identity.and_then(|id| KeyId::from_bytes(&id)),
                    key_epoch: KeyEpoch(unbits(row.get(8)?)),
                };
                Ok((state, row.get::<_, Option<Vec<u8>>>(1)?))
            })?;
        if let Some(sealed) = sealed {
            let bytes = unseal(key, &sealed)?;
            state.key = Some(ConversationKey::from_bytes(&bytes).map_err(|_| StoreError::Sealed)?);
        }
        Ok(state)
    }

    /// Towards a person: a new key on any change of either bundle, wrapped for the recipient.
    pub(super) fn fit_key(
        &mut self,
        own: &VerifiedBundle,
        recipient: Recipient<'_>,
        sealer: &Sealer,
    ) -> Result<Fitted, StoreError> {
        let recipient = match recipient {
            Recipient::Person(bundle) => bundle,
            Recipient::Group(group) => {
                let before = std::mem::replace(&mut self.key_epoch, group.epoch);
                let fits = before.0 == 0 || before == group.epoch;
                return Ok(if fits { Fitted::Fine } else { Fitted::OtherKeys });
            }
        };
        let identity = recipient.identity();
        let fits = self.key.is_some()
            && self.own_version == own.version
            && self.recipient_version == recipient.version
            && self.recipient_identity == Some(identity);
        if fits {
            return Ok(Fitted::Fine);
        }
        let key = ConversationKey::generate();
        let wrapped = wrap(&key, &sealer.cluster, &own.identity(), &identity, &recipient.enc_spki)
            .map_err(|error| StoreError::Crypto(error.to_string()))?;
        let readable = self.wrapped.as_ref().is_none_or(|before| before.to == wrapped.to)
            && self.recipient_identity.is_none_or(|before| before == identity);
        self.key = Some(key);
        self.wrapped = Some(wrapped);
        self.carried = false;
        self.own_version = own.version;
        self.recipient_version = recipient.version;
        self.recipient_identity = Some(identity);
        Ok(if readable { Fitted::Fine } else { Fitted::OtherKeys })
    }

    /// Seals one body under `n`. The wrapped key rides along until one that carried it is
    /// delivered.
    pub(super) fn seal(
        &self,
        sealer: &Sealer,
        n: u64,
        own: &VerifiedBundle,
        recipient: Recipient<'_>,
        sent_at_unix_ms: u64,
        body: &Body,
    ) -> Result<Sealed, StoreError> {
        let recipient = match recipient {
            Recipient::Person(bundle) => bundle,
            Recipient::Group(group) => return group.seal(sealer, n, own, sent_at_unix_ms, body),
        };
        let key = self.key.as_ref().ok_or(StoreError::Sealed)?;
        let wrapped = self.wrapped.as_ref().filter(|_| !self.carried);
        let envelope = seal(&SealRequest {
            cluster: &sealer.cluster,
            device_key: &sealer.device_key,
            log: &sealer.log,
            author: &sealer.author,
            device: sealer.device,
            n: N(n),
            key,
            wrapped,
            author_identity: own.identity(),
            recipient_identity: recipient.identity(),
            author_bundle_version: own.version,
            recipient_bundle_version: recipient.version,
            sent_at_unix_ms,
            body,
        })
        .map_err(|error| StoreError::Crypto(error.to_string()))?;
        Ok(Sealed { envelope, carries: wrapped.map(|_| key.key_id(&sealer.cluster)) })
    }

    pub(super) fn save(
        &self,
        tx: &Transaction<'_>,
        key: &DbKey,
        chat: &ChatName,
        sealer: &Sealer,
    ) -> Result<(), StoreError> {
        tx.prepare_cached(
            "UPDATE send_logs SET next_n = ?2, sealed_key = ?3, key_id = ?4, wrapped = ?5,
             wrapped_to = ?6, carried = ?7, own_version = ?8, recipient_version = ?9,
             recipient_identity = ?10, key_epoch = ?11 WHERE chat = ?1",
        )?
        .execute(params![
            chat,
            bits(self.next_n),
            self.key.as_ref().map(|k| key.seal(k.as_bytes())),
            self.key.as_ref().map(|k| k.key_id(&sealer.cluster)),
            self.wrapped.as_ref().map(|w| &w.bytes),
            self.wrapped.as_ref().map(|w| w.to.0),
            self.carried,
            bits(self.own_version),
            bits(self.recipient_version),
            self.recipient_identity.map(|id| id.0),
            bits(self.key_epoch.0),
        ])?;
        Ok(())
    }
}

impl GroupSeal {
    fn seal(
        &self,
        sealer: &Sealer,
        n: u64,
        own: &VerifiedBundle,
        sent_at_unix_ms: u64,
        body: &Body,
    ) -> Result<Sealed, StoreError> {
        let envelope = seal_group(&GroupSealRequest {
            cluster: &sealer.cluster,
            device_key: &sealer.device_key,
            group: &self.id,
            author: &sealer.author,
            device: sealer.device,
            n: N(n),
            key: &self.key,
            key_epoch: self.epoch,
            author_identity: own.identity(),
            author_bundle_version: own.version,
            roster_head: self.head,
            sent_at_unix_ms,
            body,
        })
        .map_err(|error| StoreError::Crypto(error.to_string()))?;
        Ok(Sealed { envelope, carries: None })
    }
}
