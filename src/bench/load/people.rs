//! The people of a run: real accounts with keys of their own, made quickly.
//!
//! All share four RSA keys, and their auth keys are random instead of stretched from a password:
//! servers see no difference. Deliberately without profiles: what they know lives in memory, and
//! their device keys in a file if the next run shall be the same people again.

use std::path::Path;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::super::{BenchError, unexpected};
use crate::crypto::{
    Bundle, BundleDevice, DeviceKey, DeviceState, EncryptionKey, IdentityKey, ResumeClaim,
    SUITE_RF1, VerifiedBundle, verify_bundle,
};
use crate::net::{Env, files};
use crate::types::{ClusterId, DeviceId, LogId, ServerId, UserName, hex, unhex};

/// RSA keys of a run.
pub(super) struct RsaKeys {
    pairs: Vec<(IdentityKey, EncryptionKey)>,
}

/// Neighbours have different ones, so that nobody writes to their own identity.
const PAIRS: usize = 2;

impl RsaKeys {
    /// Makes them side by side.
    pub(super) async fn generate(env: &Env) -> Result<Self, BenchError> {
        #[cfg(feature = "testkit")]
        if env.cheap_crypto() {
            use crate::crypto::testkeys;
            let pair = |number| (testkeys::identity(number), testkeys::encryption(number));
            return Ok(Self { pairs: (0..PAIRS).map(pair).collect() });
        }
        let making: Vec<_> = (0..PAIRS)
            .map(|_| {
                let (one, two) = (env.clone(), env.clone());
                let identity = env.spawn(async move { one.blocking(IdentityKey::generate).await });
                let encryption =
                    env.spawn(async move { two.blocking(EncryptionKey::generate).await });
                (identity, encryption)
            })
            .collect();
        let mut pairs = Vec::new();
        for (identity, encryption) in making {
            let stopped = || BenchError::Unexpected("a task stopped".to_owned());
            let identity = identity.await.ok().flatten().ok_or_else(stopped)?;
            let encryption = encryption.await.ok().flatten().ok_or_else(stopped)?;
            pairs.push((identity.map_err(unexpected)?, encryption.map_err(unexpected)?));
        }
        Ok(Self { pairs })
    }
}

/// One account and its only device.
pub(super) struct Person {
    pub(super) user: UserName,
    pub(super) log: LogId,
    pub(super) device: DeviceId,
    pub(super) keys: VerifiedBundle,
    pub(super) account: Account,
    pub(super) device_key: DeviceKey,
}

/// Whether the cluster knows a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Account {
    /// Not yet.
    Wanted,
    /// From an earlier run.
    Known,
}

/// A person as kept between runs, and a file of them.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    user: String,
    device: u64,
    /// Hexadecimal, like the bundle.
    seed: String,
    bundle: String,
}

#[derive(Serialize, Deserialize)]
struct KeptFile {
    cluster: String,
    people: Vec<Kept>,
}

/// Reads the people of earlier runs; a file that is not there yet has none.
pub(super) fn read(path: &Path, cluster: ClusterId) -> Result<Vec<Person>, BenchError> {
    let bad = |what: &str| BenchError::People { path: path.to_owned(), what: what.to_owned() };
    let bytes = match files::read(path) {
        Err(error) if error.is_missing() => return Ok(Vec::new()),
        read => read.map_err(|error| bad(&error.to_string()))?,
    };
    let file: KeptFile = serde_json::from_slice(&bytes).map_err(|error| bad(&error.to_string()))?;
    if file.cluster != cluster.to_string() {
        return Err(bad("its people live in another cluster"));
    }
    let people = file.people.iter().map(|kept| Person::known(cluster, kept));
    people.collect::<Option<_>>().ok_or_else(|| bad("somebody in it has no keys"))
}

/// Writes them for the next run: with what is in that file, anybody can be them.
pub(super) fn write<'a>(
    path: &Path,
    cluster: ClusterId,
    people: impl Iterator<Item = &'a Person>,
) -> Result<(), BenchError> {
    let people = people.map(Person::keep).collect();
    let file = KeptFile { cluster: cluster.to_string(), people };
    let bytes = serde_json::to_vec(&file).map_err(unexpected)?;
    files::write_private(path, &bytes).map_err(unexpected)
}

impl Person {
    /// Makes an account's keys; nobody has heard of it yet.
    pub(super) fn new(
        env: &Env,
        rsa: &RsaKeys,
        cluster: ClusterId,
        user: &UserName,
        number: usize,
    ) -> Result<Self, BenchError> {
        let pair = rsa.pairs.get(number % PAIRS);
        let (identity, encryption) =
            pair.ok_or_else(|| BenchError::Unexpected("no keys".to_owned()))?;
        let (device, device_key) = (DeviceId(env.random_id()), DeviceKey::generate());
        let active = DeviceState::Active;
        let bundle = Bundle {
            cluster,
            user: user.clone(),
            version: 1,
            identity_spki: identity.spki().to_vec().into(),
            enc_spki: encryption.spki().to_vec().into(),
            devices: vec![BundleDevice { device, ed25519: device_key.public(), state: active }],
            suites: vec![SUITE_RF1],
        };
        let bundle = bundle.sign(identity).map_err(unexpected)?;
        let keys = verify_bundle(&bundle, &cluster, user).map_err(unexpected)?;
        let log = LogId::Inbox(user.clone());
        let account = Account::Wanted;
        Ok(Self { user: user.clone(), log, device, keys, account, device_key })
    }

    fn known(cluster: ClusterId, kept: &Kept) -> Option<Self> {
        let user = UserName::canonical(&kept.user).ok()?;
        let seed: [u8; 32] = unhex(&kept.seed)?.try_into().ok()?;
        let keys = verify_bundle(&unhex(&kept.bundle)?, &cluster, &user).ok()?;
        let (device, account) = (DeviceId(kept.device), Account::Known);
        let (log, device_key) = (LogId::Inbox(user.clone()), DeviceKey::from_seed(&seed));
        Some(Self { user, log, device, keys, account, device_key })
    }

    fn keep(&self) -> Kept {
        Kept {
            user: self.user.to_string(),
            device: self.device.0,
            seed: hex(&*self.device_key.seed()),
            bundle: hex(self.keys.encoded()),
        }
    }

    pub(super) fn sign_resume(&self, server: &ServerId, count: u64) -> Bytes {
        let (cluster, user, device) = (&self.keys.cluster, &self.user, self.device);
        let claim = ResumeClaim { cluster, server, user, device, count };
        Bytes::copy_from_slice(&self.device_key.sign_resume(&claim))
    }
}
