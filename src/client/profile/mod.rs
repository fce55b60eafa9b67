//! A profile: one user's keys and history on one disk, held by one process at a time.
//!
//! The folder (0700) holds `profile.sqlite`, `lock`, and the two RSA keys as encrypted PEM under
//! the account's password (`identity.pem`, `encryption.pem`: what survives a lost database, and
//! what other tools can read). Everything secret in the database is sealed under a random database
//! key, which is wrapped by the vault key of the password.
//!
//! Here the profile as it lies there, locked. Inside: `unlocked` is the same with its keys read;
//! `key_files` the PEM files, and how a password is replaced; `stretching` makes a password a key;
//! `folder` and `writing` put things on the disk and into the database; `errors` what can go wrong.

mod errors;
mod folder;
mod key_files;
mod stretching;
mod unlocked;
mod writing;

pub use errors::ProfileError;
pub(crate) use key_files::{ENCRYPTION_PEM, IDENTITY_PEM};
pub(crate) use stretching::{stretch_cost, stretch_password};
pub use unlocked::Unlocked;
pub(crate) use writing::{write_device, write_encryption_key};

use std::fs::File;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::crypto::bundle::{VerifiedBundle, verify_bundle};
use crate::crypto::device::DeviceKey;
use crate::crypto::identity::{EncryptionKey, IdentityKey};
use crate::crypto::secret::{DbKey, Stretched};
use crate::net::Env;
use crate::types::{ClusterId, DeviceId, UserName};

use super::account::Where;
use super::password::NEXT;
use super::store::{Store, meta, meta_text, meta_u64, set_meta};
use errors::damaged;
use folder::{make_private_folder, take_lock};
use writing::{clear, write_balancer};

/// How far this profile has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Keys are made; the home has not confirmed the account yet.
    SigningUp,
    /// Keys are made; the home has not confirmed this device yet.
    Joining,
    /// Everything is in place.
    Active,
}

impl Stage {
    fn name(self) -> &'static [u8] {
        match self {
            Self::SigningUp => b"signing-up",
            Self::Joining => b"joining",
            Self::Active => b"active",
        }
    }

    fn named(name: &[u8]) -> Option<Self> {
        [Self::SigningUp, Self::Joining, Self::Active].into_iter().find(|s| s.name() == name)
    }
}

/// What an account-holding profile says without being unlocked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Whose it is.
    pub user: UserName,
    /// The cluster it belongs to, for ever.
    pub cluster: ClusterId,
    /// The balancer last used.
    pub balancer: Where,
}

/// A profile folder, locked for this process. Dropping it releases the lock.
pub struct Profile {
    folder: PathBuf,
    store: Store,
    owner: Option<Owner>,
    stage: Option<Stage>,
    _lock: File,
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { folder, store: _, owner, stage, _lock: _ } = self;
        f.debug_struct("Profile")
            .field("folder", folder)
            .field("owner", owner)
            .field("stage", stage)
            .finish_non_exhaustive()
    }
}

impl Profile {
    /// Takes the lock of a profile folder, making the folder (0700) when it is not there.
    ///
    /// # Errors
    /// [`ProfileError::Locked`], [`ProfileError::Io`], [`ProfileError::Damaged`].
    pub fn open(env: &Env, folder: &Path) -> Result<Self, ProfileError> {
        make_private_folder(folder)?;
        let lock = take_lock(&folder.join("lock"))?;
        let store = Store::open(env, &folder.join("profile.sqlite"))?;
        let mut profile =
            Self { folder: folder.to_owned(), store, owner: None, stage: None, _lock: lock };
        profile.read_owner()?;
        Ok(profile)
    }

    /// Whose it is; `None` when nobody signed up or logged in here yet.
    pub fn owner(&self) -> Option<&Owner> {
        self.owner.as_ref().filter(|_| self.stage == Some(Stage::Active))
    }

    /// Whose it is or was about to become, and how far that came.
    pub(crate) fn begun(&self) -> Option<(&Owner, Stage)> {
        self.owner.as_ref().zip(self.stage)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Opens the sealed data with the password. Takes about 0.2 s of a core.
    ///
    /// # Errors
    /// [`ProfileError::WrongPassword`], [`ProfileError::Empty`], [`ProfileError::Damaged`].
    pub async fn unlock(self, env: &Env, password: &str) -> Result<Unlocked, ProfileError> {
        let owner = self.owner.as_ref().ok_or(ProfileError::Empty)?;
        let stretched = stretch_password(env, password, owner.cluster, &owner.user).await?;
        self.unlock_stretched(&stretched)
    }

    /// As [`Self::unlock`], when the stretch is there already.
    pub(crate) fn unlock_stretched(self, stretched: &Stretched) -> Result<Unlocked, ProfileError> {
        let wrapped = self.required("db_key")?;
        // Between the two steps of a change of the password, both open it.
        let next = meta(self.store.db(), NEXT).ok().flatten();
        let key = [Some(wrapped), next]
            .into_iter()
            .flatten()
            .find_map(|wrapped| DbKey::unwrap(&wrapped, &stretched.vault_key).ok())
            .ok_or(ProfileError::WrongPassword)?;
        Unlocked::load(self, key)
    }

    /// Opens the sealed data with what [`Unlocked::unlock_key`] gave earlier.
    ///
    /// # Errors
    /// As [`Self::unlock`].
    pub fn unlock_with_key(self, _env: &Env, key: &[u8]) -> Result<Unlocked, ProfileError> {
        if self.owner().is_none() {
            return Err(ProfileError::Empty);
        }
        let key = DbKey::from_bytes(key).map_err(|_| ProfileError::WrongPassword)?;
        Unlocked::load(self, key)
    }

    /// Fills an empty profile with a new account's or device's keys, in one transaction, before
    /// anybody else hears of them: a sign-up that is killed goes on with the same keys.
    pub(crate) fn fill(
        mut self,
        owner: &Owner,
        stage: Stage,
        keys: &NewKeys,
        stretched: &Stretched,
        now_unix_ms: u64,
    ) -> Result<Unlocked, ProfileError> {
        let db_key = DbKey::generate();
        let path = self.store.path().to_owned();
        self.store
            .commit(|tx| {
                tx.execute_batch("DELETE FROM meta; DELETE FROM encryption_keys;")?;
                set_meta(tx, "stage", stage.name())?;
                set_meta(tx, "user", owner.user.as_str().as_bytes())?;
                set_meta(tx, "cluster", &owner.cluster.0)?;
                set_meta(tx, "db_key", &db_key.wrap(&stretched.vault_key))?;
                write_balancer(tx, &owner.balancer)?;
                set_meta(tx, "identity", &db_key.seal(&keys.identity.to_pkcs8()))?;
                write_device(tx, &db_key, keys.device, &keys.device_key)?;
                set_meta(tx, "bundle", &keys.bundle)?;
                if let Some(earlier) = &keys.earlier {
                    write_encryption_key(tx, &db_key, earlier, now_unix_ms)?;
                    let now = i64::try_from(now_unix_ms).unwrap_or(i64::MAX);
                    tx.execute("UPDATE encryption_keys SET retired_unix_ms = ?1", [now])?;
                }
                write_encryption_key(tx, &db_key, &keys.encryption, now_unix_ms)
            })
            .map_err(|error: rusqlite::Error| damaged(&path, &error))?;
        self.read_owner()?;
        Unlocked::load(self, db_key)
    }

    /// Forgets a sign-up or login that came to nothing. The key files are not touched.
    pub(crate) fn clear(&mut self) -> Result<(), ProfileError> {
        clear(&mut self.store)?;
        self.read_owner()
    }

    /// Whether this password is the one of what is here.
    pub(crate) fn opens_with(&self, stretched: &Stretched) -> bool {
        let wrapped = meta(self.store.db(), "db_key").ok().flatten();
        let next = meta(self.store.db(), NEXT).ok().flatten();
        wrapped
            .into_iter()
            .chain(next)
            .any(|wrapped| DbKey::unwrap(&wrapped, &stretched.vault_key).is_ok())
    }

    /// The bundle of what was begun here.
    pub(crate) fn planned_bundle(&self) -> Option<VerifiedBundle> {
        let owner = self.owner.as_ref()?;
        let encoded = meta(self.store.db(), "bundle").ok().flatten()?;
        verify_bundle(&encoded, &owner.cluster, &owner.user).ok()
    }

    fn read_owner(&mut self) -> Result<(), ProfileError> {
        let path = self.store.path().to_owned();
        let read = || -> Result<Option<(Stage, Owner)>, rusqlite::Error> {
            let db = self.store.db();
            let Some(stage) = meta(db, "stage")?.as_deref().and_then(Stage::named) else {
                return Ok(None);
            };
            let user = meta_text(db, "user")?.and_then(|name| UserName::canonical(&name).ok());
            let cluster = meta(db, "cluster")?.and_then(|id| ClusterId::from_bytes(&id));
            let host = meta_text(db, "host")?.unwrap_or_default();
            let port = u16::try_from(meta_u64(db, "port")?).unwrap_or(0);
            let balancer = Where { host, port };
            Ok(user.zip(cluster).map(|(user, cluster)| (stage, Owner { user, cluster, balancer })))
        };
        let found = read().map_err(|error| damaged(&path, &error))?;
        (self.stage, self.owner) = found.map_or((None, None), |(s, o)| (Some(s), Some(o)));
        Ok(())
    }

    fn required(&self, key: &str) -> Result<Vec<u8>, ProfileError> {
        let path = self.store.path();
        meta(self.store.db(), key)
            .map_err(|error| damaged(path, &error))?
            .ok_or_else(|| damaged(path, &format!("{key} is missing")))
    }
}

/// Keys made for a new account or device, and the bundle that names them.
pub(crate) struct NewKeys {
    pub(crate) identity: IdentityKey,
    pub(crate) encryption: EncryptionKey,
    /// One of an earlier device, for what was sealed to it.
    pub(crate) earlier: Option<EncryptionKey>,
    pub(crate) device: DeviceId,
    pub(crate) device_key: DeviceKey,
    pub(crate) bundle: Bytes,
}
