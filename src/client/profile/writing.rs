//! Rows that are written from more than one place, always inside the caller's transaction.

use rusqlite::Transaction;

use crate::crypto::device::DeviceKey;
use crate::crypto::identity::EncryptionKey;
use crate::crypto::secret::DbKey;
use crate::types::DeviceId;

use super::super::account::Where;
use super::super::store::{Store, set_meta, set_meta_u64};
use super::ProfileError;
use super::errors::damaged;

/// Stores a device id and its key; a rolled-back profile takes a new one.
pub(crate) fn write_device(
    tx: &Transaction<'_>,
    key: &DbKey,
    device: DeviceId,
    device_key: &DeviceKey,
) -> Result<(), rusqlite::Error> {
    set_meta_u64(tx, "device", device.0)?;
    set_meta_u64(tx, "resume_count", 0)?;
    set_meta(tx, "device_seed", &key.seal(device_key.seed().as_slice()))
}

/// Stores an encryption key. The bundle says which one is current.
pub(crate) fn write_encryption_key(
    tx: &Transaction<'_>,
    key: &DbKey,
    encryption: &EncryptionKey,
    now_unix_ms: u64,
) -> Result<(), rusqlite::Error> {
    let now = i64::try_from(now_unix_ms).unwrap_or(i64::MAX);
    tx.execute(
        "INSERT OR REPLACE INTO encryption_keys (key_id, sealed_pkcs8, made_unix_ms) VALUES (?1, ?2, ?3)",
        rusqlite::params![encryption.key_id().0, key.seal(&encryption.to_pkcs8()), now],
    )
    .map(drop)
}

pub(super) fn clear(store: &mut Store) -> Result<(), ProfileError> {
    let path = store.path().to_owned();
    store
        .commit(|tx| tx.execute_batch("DELETE FROM meta; DELETE FROM encryption_keys;"))
        .map_err(|error: rusqlite::Error| damaged(&path, &error))
}

pub(super) fn write_balancer(tx: &Transaction<'_>, at: &Where) -> Result<(), rusqlite::Error> {
    set_meta(tx, "host", at.host.as_bytes())?;
    set_meta_u64(tx, "port", u64::from(at.port))
}
