//! The keys of a new account or device: found or made, and written down as PEM files. Nothing is
//! sent from here.

use zeroize::Zeroizing;

use crate::crypto::bundle::{Bundle, VerifiedBundle};
use crate::crypto::device::DeviceKey;
use crate::crypto::identity::{EncryptionKey, IdentityKey, KeyError};
use crate::net::Env;
use crate::types::{ClusterId, DeviceId, UserName};

use super::super::core::{add_device, generate_encryption_key};
use super::super::keys::read_keys;
use super::super::password::Pem;
use super::super::profile::{IDENTITY_PEM, NewKeys, Profile, Unlocked};
use super::{AccountError, IdentitySource};

/// The identity key of the account that this device will use.
pub(super) async fn find_identity(
    env: &Env,
    profile: &Profile,
    known: &VerifiedBundle,
    password: &str,
    source: IdentitySource,
) -> Result<(IdentityKey, Option<EncryptionKey>), AccountError> {
    let own = || Zeroizing::new(password.to_owned());
    let (path, passphrase) = match source {
        IdentitySource::New => return Ok((generate_identity(env).await?, None)),
        IdentitySource::Profile => (profile.folder().join(IDENTITY_PEM), own()),
        IdentitySource::Pem(path) => (path, own()),
        IdentitySource::Exported { path, passphrase } => (path, passphrase.0),
    };
    if !path.exists() {
        return Err(AccountError::NoIdentityKey);
    }
    let (key, earlier) = env.blocking(move || read_keys(&path, &passphrase)).await?;
    // A key file of an earlier identity is as good as none.
    if key.key_id() == known.identity() {
        Ok((key, earlier))
    } else {
        Err(AccountError::NoIdentityKey)
    }
}

/// Keys for a new account, or for a new device of the account `known`.
pub(super) async fn make_keys(
    env: &Env,
    cluster: ClusterId,
    user: &UserName,
    known: Option<(&VerifiedBundle, IdentityKey)>,
) -> Result<NewKeys, AccountError> {
    let generating = env.clone();
    let encryption = env.blocking(move || generate_encryption_key(&generating));
    // A new account needs two RSA keys: most of a sign-up's time, so they are made side by side.
    let identity = async {
        match known {
            None => generate_identity(env).await.map(|identity| (None, identity)),
            Some((known, identity)) => Ok((Some(known), identity)),
        }
    };
    let (encryption, identity) = tokio::join!(encryption, identity);
    let encryption: EncryptionKey = encryption.map_err(|error| key_error(&error))?;
    let device = DeviceId(env.random_id());
    let device_key = DeviceKey::generate();
    let (mut bundle, identity) = match identity? {
        (None, identity) => {
            let bundle = Bundle {
                cluster,
                user: user.clone(),
                version: 1,
                identity_spki: identity.spki().to_vec().into(),
                enc_spki: encryption.spki().to_vec().into(),
                devices: Vec::new(),
                suites: vec![1],
            };
            (bundle, identity)
        }
        (Some(known), identity) => {
            let mut bundle: Bundle = (**known).clone();
            // A bundle of the last version there is does not follow, and is refused.
            bundle.version = bundle.version.saturating_add(1);
            if identity.key_id() != known.identity() {
                // Devices of another identity say nothing under this one.
                bundle.devices.clear();
                bundle.identity_spki = identity.spki().to_vec().into();
            }
            bundle.enc_spki = encryption.spki().to_vec().into();
            (bundle, identity)
        }
    };
    add_device(&mut bundle, device, device_key.public());
    let bundle =
        bundle.sign(&identity).map_err(|error| AccountError::BadKeyFile(error.to_string()))?;
    Ok(NewKeys { identity, encryption, earlier: None, device, device_key, bundle })
}

/// Writes the key files.
pub(super) async fn write_pem(
    env: &Env,
    unlocked: &Unlocked,
    password: &str,
) -> Result<(), AccountError> {
    let Some([identity, encryption]) = seal_pem(env, unlocked.rsa_keys()?, password).await? else {
        return Ok(());
    };
    Ok(env.in_place(|| unlocked.write_pem(&identity, &encryption))?)
}

/// The key files' texts: two scrypt runs, side by side. `None` in the simulator, where nobody reads
/// them: scrypt is slow on purpose.
pub(crate) async fn seal_pem(
    env: &Env,
    (identity, encryption): (IdentityKey, EncryptionKey),
    password: &str,
) -> Result<Option<Pem>, AccountError> {
    if env.is_simulated() {
        return Ok(None);
    }
    let [one, two] = [0, 1].map(|_| Zeroizing::new(password.to_owned()));
    let (identity, encryption) = tokio::join!(
        env.blocking(move || identity.to_pem(&one)),
        env.blocking(move || encryption.to_pem(&two)),
    );
    let identity = identity.map_err(|error| key_error(&error))?;
    Ok(Some([identity, encryption.map_err(|error| key_error(&error))?]))
}

async fn generate_identity(env: &Env) -> Result<IdentityKey, AccountError> {
    #[cfg(feature = "testkit")]
    if env.cheap_crypto() {
        return Ok(crate::crypto::testkeys::identity(env.random_below(16)));
    }
    env.blocking(IdentityKey::generate).await.map_err(|error| key_error(&error))
}

fn key_error(error: &KeyError) -> AccountError {
    AccountError::BadKeyFile(error.to_string())
}
