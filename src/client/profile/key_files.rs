//! The two RSA keys as PEM files under the account's password, and the steps in which another
//! password takes the place of this one. The PEM texts are made elsewhere.

use std::fs;

use crate::crypto::secret::{DbKey, Stretched};

use super::super::password::{NEXT, Pem};
use super::super::store::set_meta;
use super::errors::{damaged, io_error};
use super::folder::write_private;
use super::{Profile, ProfileError, Unlocked};

impl Profile {
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
}

impl Unlocked {
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
    pub(super) fn rename_pem(&mut self) -> Result<(), ProfileError> {
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

    /// Stores the two RSA keys' encrypted PEM, each replacing what was there in one step.
    pub(crate) fn write_pem(&self, identity: &str, encryption: &str) -> Result<(), ProfileError> {
        write_private(&self.folder.join(IDENTITY_PEM), identity.as_bytes())?;
        write_private(&self.folder.join(ENCRYPTION_PEM), encryption.as_bytes())
    }
}

/// The password has changed, and the key files are being put in place.
pub(super) const PEM_PENDING: &str = "pem_pending";

fn next_name(name: &str) -> String {
    format!("{name}.next")
}

/// File names of the PEM files in a profile folder.
pub(crate) const IDENTITY_PEM: &str = "identity.pem";
pub(crate) const ENCRYPTION_PEM: &str = "encryption.pem";
