//! The people of a run: real accounts with keys of their own, made quickly.
//!
//! All share four RSA keys, and their auth keys are random instead of stretched from a password:
//! servers see no difference. Deliberately without profiles: what they know lives in memory, and
//! their device keys in a file if the next run shall be the same people again.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::super::{BenchError, unexpected};
use crate::crypto::{
    Body, Bundle, BundleDevice, ConversationKey, DeviceKey, DeviceState, EncryptionKey,
    IdentityKey, ResumeClaim, SUITE_RF1, SealRequest, VerifiedBundle, open, seal, verify,
    verify_bundle,
};
use crate::net::{Env, files};
use crate::types::{ClusterId, DeviceId, LogId, N, ServerId, UserName, hex, unhex};

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
    device_key: DeviceKey,
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

/// How much of the cryptography happens while the clock runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// All: each message is encrypted and signed by its author, verified and opened by its
    /// recipient.
    Real,
    /// None: one message of each conversation is sealed beforehand, and every message is that one
    /// under its own number. Servers see no difference, and recipients look at the header alone.
    Pre,
}

/// One direction of a conversation that has been going on for a while: its key is known at both
/// ends.
pub(super) struct Conversation {
    author: Arc<Person>,
    recipient: Arc<Person>,
    key: ConversationKey,
    text: Body,
    /// Payload and signature for [`Sealed::Pre`].
    before: Option<(crate::wire::client::Header, Bytes, Bytes)>,
}

impl Conversation {
    pub(super) fn new(
        author: &Arc<Person>,
        recipient: &Arc<Person>,
        size: usize,
        sealed: Sealed,
    ) -> Result<Self, BenchError> {
        let (author, recipient) = (Arc::clone(author), Arc::clone(recipient));
        let (key, text) = (ConversationKey::generate(), Body::Text("x".repeat(size)));
        let mut made = Self { author, recipient, key, text, before: None };
        if sealed == Sealed::Pre {
            use crate::wire::client::{Envelope, Header};
            use prost::Message as _;
            let envelope = made.seal(1, 0)?;
            let envelope = Envelope::decode(envelope).map_err(unexpected)?;
            let header = Header::decode(envelope.header).map_err(unexpected)?;
            made.before = Some((header, envelope.payload, envelope.signature));
        }
        Ok(made)
    }

    pub(super) fn author(&self) -> &Arc<Person> {
        &self.author
    }

    pub(super) fn recipient(&self) -> &Arc<Person> {
        &self.recipient
    }

    /// The envelope of the message with this number.
    pub(super) fn seal(&self, n: u64, unix_ms: u64) -> Result<Bytes, BenchError> {
        if let Some((header, payload, signature)) = &self.before {
            use prost::Message as _;
            let header = crate::wire::client::Header { n, ..header.clone() };
            let envelope = crate::wire::client::Envelope {
                header: header.encode_to_vec().into(),
                payload: payload.clone(),
                signature: signature.clone(),
            };
            return Ok(envelope.encode_to_vec().into());
        }
        let (author, recipient) = (&*self.author, &*self.recipient);
        seal(&SealRequest {
            cluster: &author.keys.cluster,
            device_key: &author.device_key,
            log: &recipient.log,
            author: &author.user,
            device: author.device,
            n: N(n),
            key: &self.key,
            wrapped: None,
            author_identity: author.keys.identity(),
            recipient_identity: recipient.keys.identity(),
            author_bundle_version: author.keys.version,
            recipient_bundle_version: recipient.keys.version,
            sent_at_unix_ms: unix_ms,
            body: &self.text,
        })
        .map_err(unexpected)
    }

    /// Whether the author really wrote this, and it says what it should.
    pub(super) fn is_good(&self, envelope: &[u8]) -> bool {
        if self.before.is_some() {
            return true;
        }
        let (author, recipient) = (&self.author.keys, &self.recipient.keys);
        verify(envelope, &author.cluster, author)
            .and_then(|sound| open(&sound, &self.key, &author.identity(), &recipient.identity()))
            .is_ok_and(|opened| opened.body == self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::parse_header;

    fn person(name: &str, number: usize, rsa: &RsaKeys) -> Arc<Person> {
        let user = UserName::parse(name).unwrap();
        let env = Env::system_for_tests();
        Arc::new(Person::new(&env, rsa, ClusterId([7; 32]), &user, number).unwrap())
    }

    #[tokio::test]
    async fn what_is_sealed_passes_its_recipient_and_an_altered_byte_does_not() {
        let rsa = RsaKeys::generate(&Env::system_for_tests()).await.unwrap();
        let (ann, ben) = (person("ann", 0, &rsa), person("ben", 1, &rsa));
        let talk = Conversation::new(&ann, &ben, 256, Sealed::Real).unwrap();
        let envelope = talk.seal(3, 1).unwrap();
        assert_eq!(parse_header(&envelope).unwrap().n, N(3));
        assert!(talk.is_good(&envelope));
        let mut altered = envelope.to_vec();
        *altered.last_mut().unwrap() ^= 1;
        assert!(!talk.is_good(&altered));
    }

    #[tokio::test]
    async fn servers_take_what_was_sealed_beforehand_under_any_number() {
        let rsa = RsaKeys::generate(&Env::system_for_tests()).await.unwrap();
        let (ann, ben) = (person("ann", 0, &rsa), person("ben", 1, &rsa));
        let talk = Conversation::new(&ann, &ben, 256, Sealed::Pre).unwrap();
        let real = Conversation::new(&ann, &ben, 256, Sealed::Real).unwrap();
        for n in [1, 127, 128, 70_000] {
            let envelope = talk.seal(n, 0).unwrap();
            let header = parse_header(&envelope).unwrap();
            assert_eq!((header.n, header.author), (N(n), ann.user.clone()));
            assert_eq!(envelope.len(), real.seal(n, 0).unwrap().len(), "the same size");
        }
    }
}
