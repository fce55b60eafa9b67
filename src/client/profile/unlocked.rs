//! A profile with its keys read: what a running client holds. Who opens it is not decided here.

use std::fs::{self, File};
use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::crypto::bundle::{VerifiedBundle, verify_bundle};
use crate::crypto::device::DeviceKey;
use crate::crypto::identity::{EncryptionKey, IdentityKey};
use crate::crypto::secret::DbKey;
use crate::types::DeviceId;

use super::super::account::Where;
use super::super::backup::RESTORED;
use super::super::store::{Store, StoreError, meta, meta_u64, set_meta, set_meta_u64, unseal};
use super::errors::damaged;
use super::key_files::{ENCRYPTION_PEM, IDENTITY_PEM, PEM_PENDING};
use super::writing::{clear, write_balancer};
use super::{Owner, Profile, ProfileError, Stage};

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
    pub(super) fn load(profile: Profile, key: DbKey) -> Result<Self, ProfileError> {
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

    /// The same for a doctor, to whom a database that cannot be read says nothing here.
    pub fn needs_password(&self) -> bool {
        self.is_signed_out().unwrap_or(false)
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

    /// Forgets keys that became nobody's, and their files.
    pub(crate) fn forget(mut self) -> Result<(), ProfileError> {
        clear(&mut self.store)?;
        for name in [IDENTITY_PEM, ENCRYPTION_PEM] {
            let _ = fs::remove_file(self.folder.join(name));
        }
        Ok(())
    }
}
