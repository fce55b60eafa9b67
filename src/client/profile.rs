//! A profile: one user's keys and history on one disk, held by one process at a time.
//!
//! The folder (0700) holds `profile.sqlite`, `lock`, and the two RSA keys as encrypted PEM under
//! the account's password (`identity.pem`, `encryption.pem`: what survives a lost database, and
//! what other tools can read). Everything secret in the database is sealed under a random database
//! key, which is wrapped by the vault key of the password.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rusqlite::Transaction;
use zeroize::Zeroizing;

use crate::crypto::bundle::{VerifiedBundle, verify_bundle};
use crate::crypto::device::DeviceKey;
use crate::crypto::identity::{EncryptionKey, IdentityKey};
use crate::crypto::secret::{DbKey, StretchCost, Stretched, stretch};
use crate::net::Env;
use crate::types::{ClusterId, DeviceId, UserName};

use super::account::Where;
use super::backup::RESTORED;
use super::password::{NEXT, Pem};
use super::store::{Store, StoreError, meta, meta_text, meta_u64, set_meta, set_meta_u64, unseal};

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Another process holds it.
    #[error("the profile is in use by process {pid}")]
    Locked {
        /// Its process id; 0 when it cannot be read.
        pid: u32,
    },
    /// There is no account in it yet.
    #[error("no account in this profile")]
    Empty,
    /// It holds an account already.
    #[error("the profile belongs to {0}")]
    NotEmpty(UserName),
    /// The password, or the key of the unlock file, does not open it.
    #[error("the profile does not open with this password")]
    WrongPassword,
    /// The folder or a file in it cannot be read or written.
    #[error("{path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database or a key file is damaged.
    #[error("{path} is damaged: {why}")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// In what way.
        why: String,
    },
}

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

    /// Renames key files that are in the way of new ones: they may be all that is left of an
    /// account.
    pub(crate) fn set_pem_aside(&self, now_unix_ms: u64) -> Result<(), ProfileError> {
        for name in [IDENTITY_PEM, ENCRYPTION_PEM] {
            let path = self.folder.join(name);
            let aside = self.folder.join(format!("{name}.{now_unix_ms}"));
            match fs::rename(&path, aside) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(io_error(&path)(error)),
            }
        }
        Ok(())
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

/// A profile whose keys and texts can be read.
pub struct Unlocked {
    pub(crate) folder: PathBuf,
    pub(crate) store: Store,
    pub(crate) owner: Owner,
    pub(crate) stage: Stage,
    pub(crate) key: DbKey,
    pub(crate) device: DeviceId,
    pub(crate) device_key: DeviceKey,
    /// One's own bundle, newest version.
    pub(crate) bundle: VerifiedBundle,
    _lock: File,
}

impl std::fmt::Debug for Unlocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            folder,
            store: _,
            owner,
            stage,
            key: _,
            device,
            device_key: _,
            bundle: _,
            _lock: _,
        } = self;
        f.debug_struct("Unlocked")
            .field("folder", folder)
            .field("owner", owner)
            .field("stage", stage)
            .field("device", device)
            .finish_non_exhaustive()
    }
}

impl Unlocked {
    fn load(profile: Profile, key: DbKey) -> Result<Self, ProfileError> {
        let path = profile.store.path().to_owned();
        let sealed_seed = profile.required("device_seed")?;
        // The first sealed value decides whether the key fits.
        let seed = unseal(&key, &sealed_seed).map_err(|_| ProfileError::WrongPassword)?;
        let seed: &[u8; 32] =
            seed.as_slice().try_into().map_err(|_| damaged(&path, &"the device key"))?;
        let device_key = DeviceKey::from_seed(seed);
        let device =
            DeviceId(meta_u64(profile.store.db(), "device").map_err(|e| damaged(&path, &e))?);
        let encoded = profile.required("bundle")?;
        let Profile { folder, store, owner, stage, _lock } = profile;
        let (owner, stage) = owner.zip(stage).ok_or(ProfileError::Empty)?;
        let bundle = verify_bundle(&encoded, &owner.cluster, &owner.user)
            .map_err(|error| damaged(&path, &error))?;
        let mut unlocked =
            Self { folder, store, owner, stage, key, device, device_key, bundle, _lock };
        if unlocked.meta(PEM_PENDING)?.is_some() {
            unlocked.rename_pem()?;
        }
        Ok(unlocked)
    }

    /// A small value of the database.
    pub(crate) fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, ProfileError> {
        meta(self.store.db(), key).map_err(|error| damaged(self.store.path(), &error))
    }

    /// The first step of another password: from here on it opens the profile as well. The key files
    /// for it lie ready beside the present ones.
    pub(crate) fn begin_password(
        &mut self,
        new: &Stretched,
        pem: Option<&Pem>,
    ) -> Result<(), ProfileError> {
        for (name, pem) in [IDENTITY_PEM, ENCRYPTION_PEM].into_iter().zip(pem.into_iter().flatten())
        {
            write_private(&self.folder.join(next_name(name)), pem.as_bytes())?;
        }
        let (wrapped, path) = (self.key.wrap(&new.vault_key), self.store.path().to_owned());
        self.store
            .commit(|tx| set_meta(tx, NEXT, &wrapped))
            .map_err(|error: rusqlite::Error| damaged(&path, &error))
    }

    /// The last step: this is the password that the home takes, the old one or the new one.
    pub(crate) fn settle_password(&mut self, taken: &Stretched) -> Result<(), ProfileError> {
        let Some(next) = self.meta(NEXT)? else { return Ok(()) };
        let is_new = DbKey::unwrap(&next, &taken.vault_key).is_ok();
        let path = self.store.path().to_owned();
        self.store
            .commit(|tx| {
                if is_new {
                    set_meta(tx, "db_key", &next)?;
                    set_meta(tx, PEM_PENDING, b"1")?;
                }
                tx.execute("DELETE FROM meta WHERE key = ?1", [NEXT]).map(drop)
            })
            .map_err(|error: rusqlite::Error| damaged(&path, &error))?;
        if is_new {
            return self.rename_pem();
        }
        for name in [IDENTITY_PEM, ENCRYPTION_PEM] {
            let _ = fs::remove_file(self.folder.join(next_name(name)));
        }
        Ok(())
    }

    /// Puts the key files for the new password in the place of those for the old one.
    fn rename_pem(&mut self) -> Result<(), ProfileError> {
        for name in [IDENTITY_PEM, ENCRYPTION_PEM] {
            let path = self.folder.join(name);
            match fs::rename(self.folder.join(next_name(name)), &path) {
                // Renamed before a kill.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                other => other.map_err(io_error(&path))?,
            }
        }
        let path = self.store.path().to_owned();
        self.store
            .commit(|tx| tx.execute("DELETE FROM meta WHERE key = ?1", [PEM_PENDING]).map(drop))
            .map_err(|error: rusqlite::Error| damaged(&path, &error))
    }

    /// Whose it is.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// For the unlock file in the user's runtime directory.
    pub fn unlock_key(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.key.to_bytes().to_vec())
    }

    /// The identity key, needed only to sign bundles.
    pub(crate) fn identity(&self) -> Result<IdentityKey, StoreError> {
        let sealed = meta(self.store.db(), "identity")?.ok_or(StoreError::Sealed)?;
        IdentityKey::from_pkcs8(&unseal(&self.key, &sealed)?)
            .map_err(|error| StoreError::Crypto(error.to_string()))
    }

    /// The home has confirmed: the account, or this device, is real.
    pub(crate) fn activate(&mut self, bundle: &VerifiedBundle) -> Result<(), StoreError> {
        self.store.commit(|tx| {
            set_meta(tx, "stage", Stage::Active.name())?;
            set_meta(tx, "bundle", bundle.encoded())
        })?;
        self.stage = Stage::Active;
        self.bundle = bundle.clone();
        Ok(())
    }

    /// Whether the home refused this device: then only the password helps.
    pub(crate) fn is_signed_out(&self) -> Result<bool, StoreError> {
        Ok(meta_u64(self.store.db(), "signed_out")? == 1)
    }

    /// Notes whether the home refuses this device.
    pub(crate) fn set_signed_out(&mut self, out: bool) -> Result<(), StoreError> {
        Ok(self.store.commit(|tx| set_meta_u64(tx, "signed_out", u64::from(out)))?)
    }

    /// Whether this profile comes from a copy, and has not become a new device yet.
    pub(crate) fn is_restored(&self) -> Result<bool, StoreError> {
        Ok(meta_u64(self.store.db(), RESTORED)? == 1)
    }

    /// It has, or is about to.
    pub(crate) fn forget_restored(&mut self) -> Result<(), StoreError> {
        if self.is_restored()? {
            self.store.commit(|tx| set_meta_u64(tx, RESTORED, 0))?;
        }
        Ok(())
    }

    /// Remembers where the balancer was reached.
    pub(crate) fn set_balancer(&mut self, at: &Where) -> Result<(), StoreError> {
        if self.owner.balancer != *at {
            self.store.commit(|tx| write_balancer(tx, at))?;
            self.owner.balancer = at.clone();
        }
        Ok(())
    }

    /// The private key of the present bundle.
    fn encryption(&self) -> Result<EncryptionKey, StoreError> {
        let sealed: Vec<u8> = self.store.db().query_row(
            "SELECT sealed_pkcs8 FROM encryption_keys WHERE key_id = ?1",
            [self.bundle.encryption_key_id().0],
            |row| row.get(0),
        )?;
        EncryptionKey::from_pkcs8(&unseal(&self.key, &sealed)?)
            .map_err(|error| StoreError::Crypto(error.to_string()))
    }

    /// The two RSA keys, for their PEM files.
    pub(crate) fn rsa_keys(&self) -> Result<(IdentityKey, EncryptionKey), StoreError> {
        Ok((self.identity()?, self.encryption()?))
    }

    /// Stores the two RSA keys' encrypted PEM, each replacing what was there in one step.
    pub(crate) fn write_pem(&self, identity: &str, encryption: &str) -> Result<(), ProfileError> {
        write_private(&self.folder.join(IDENTITY_PEM), identity.as_bytes())?;
        write_private(&self.folder.join(ENCRYPTION_PEM), encryption.as_bytes())
    }

    /// Forgets keys that became nobody's, and their files.
    pub(crate) fn forget(mut self) -> Result<(), ProfileError> {
        clear(&mut self.store)?;
        for name in [IDENTITY_PEM, ENCRYPTION_PEM] {
            let _ = fs::remove_file(self.folder.join(name));
        }
        Ok(())
    }
}

/// The password has changed, and the key files are being put in place.
const PEM_PENDING: &str = "pem_pending";

fn next_name(name: &str) -> String {
    format!("{name}.next")
}

/// File names of the PEM files in a profile folder.
pub(crate) const IDENTITY_PEM: &str = "identity.pem";
pub(crate) const ENCRYPTION_PEM: &str = "encryption.pem";

/// The stretch of docs/SECURITY.md, section 4, off the async threads.
pub(crate) async fn stretch_password(
    env: &Env,
    password: &str,
    cluster: ClusterId,
    user: &UserName,
) -> Result<Stretched, ProfileError> {
    let (password, user) = (Zeroizing::new(password.to_owned()), user.clone());
    let cost = stretch_cost(env);
    env.blocking(move || stretch(&password, &cluster, &user, cost))
        .await
        .map_err(|error| damaged(Path::new("password"), &error))
}

fn stretch_cost(env: &Env) -> StretchCost {
    #[cfg(feature = "testkit")]
    if env.cheap_crypto() {
        return StretchCost::Cheap;
    }
    let _ = env;
    StretchCost::Full
}

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

fn clear(store: &mut Store) -> Result<(), ProfileError> {
    let path = store.path().to_owned();
    store
        .commit(|tx| tx.execute_batch("DELETE FROM meta; DELETE FROM encryption_keys;"))
        .map_err(|error: rusqlite::Error| damaged(&path, &error))
}

fn write_balancer(tx: &Transaction<'_>, at: &Where) -> Result<(), rusqlite::Error> {
    set_meta(tx, "host", at.host.as_bytes())?;
    set_meta_u64(tx, "port", u64::from(at.port))
}

fn damaged(path: &Path, why: &dyn std::fmt::Display) -> ProfileError {
    ProfileError::Damaged { path: path.to_owned(), why: why.to_string() }
}

fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> ProfileError {
    let path = path.to_owned();
    move |source| ProfileError::Io { path, source }
}

fn make_private_folder(folder: &Path) -> Result<(), ProfileError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io_error(folder))
}

/// The lock is the kernel's, so a killed client leaves none behind; the text in it is for people.
fn take_lock(path: &Path) -> Result<File, ProfileError> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(io_error(path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let mut text = String::new();
            let _ = file.read_to_string(&mut text);
            return Err(ProfileError::Locked { pid: text.trim().parse().unwrap_or(0) });
        }
        Err(fs::TryLockError::Error(source)) => return Err(io_error(path)(source)),
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(io_error(path))?;
    writeln!(file, "{}", std::process::id()).map_err(io_error(path))?;
    Ok(file)
}

/// Temporary file, fsync, rename: the file is whole under its name, or the old one is.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), ProfileError> {
    crate::net::files::write_private(path, bytes)
        .map_err(|error| ProfileError::Io { path: error.path, source: error.source })
}
