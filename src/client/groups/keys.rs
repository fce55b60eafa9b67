//! The keys of groups on this device: how one comes out of an operation.

use rusqlite::{OptionalExtension, Transaction};

use crate::crypto::group::GroupKey;
use crate::crypto::identity::EncryptionKey;
use crate::crypto::operation::{Change, NewKey};
use crate::crypto::rf1::WrappedKey;
use crate::crypto::secret::DbKey;
use crate::types::{ClusterId, GroupId, KeyEpoch, KeyId, UserName};

use super::super::store::{StoreError, unseal};

/// The key that an operation brings, wrapped.
pub(super) fn new_key_of(change: &Change) -> Option<&NewKey> {
    match change {
        Change::Remove { key, user: _ } | Change::Rekey(key) => Some(key),
        _ => None,
    }
}

/// Our copy of a new key, if it is wrapped to a key that is here and opens. Whether it fits the
/// chain is for who stores it.
pub(super) fn our_key(
    tx: &Transaction<'_>,
    at_rest: &DbKey,
    cluster: &ClusterId,
    (id, epoch): (&GroupId, KeyEpoch),
    (user, identity): (&UserName, KeyId),
    new: &NewKey,
) -> Result<Option<GroupKey>, StoreError> {
    let Some(ours) = new.keys.iter().find(|key| key.user == *user) else { return Ok(None) };
    let sealed: Option<Vec<u8>> = tx
        .prepare_cached("SELECT sealed_pkcs8 FROM encryption_keys WHERE key_id = ?1")?
        .query_row([ours.wrapped_to.0], |row| row.get(0))
        .optional()?;
    let Some(sealed) = sealed else { return Ok(None) };
    let encryption = EncryptionKey::from_pkcs8(&unseal(at_rest, &sealed)?)
        .map_err(|error| StoreError::Crypto(error.to_string()))?;
    let wrapped = WrappedKey { to: ours.wrapped_to, bytes: ours.wrapped_key.to_vec() };
    // One that does not open is missing: the messages under it wait.
    Ok(GroupKey::unwrap(&encryption, cluster, id, epoch, &identity, &wrapped).ok())
}
