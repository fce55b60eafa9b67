//! Alice and Bob under a server that will be hostile, and what such a server can make by itself.

use std::time::Duration;

use bytes::Bytes;
use fastchat::client::MessageState;
use fastchat::crypto::{
    Body, Bundle, BundleDevice, ConversationKey, DeviceKey, DeviceState, SealRequest,
    VerifiedBundle, seal, testkeys, verify_bundle, wrap,
};
use fastchat::types::{ClusterId, DeviceId, KeyId, LogId, N, UserName};
use fastchat::wire::client::client_frame::Body as Ask;
use fastchat::wire::client::server_frame::Body as Answer;
use fastchat::wire::client::{Envelope, LookUp, ServerFrame};
use prost::Message;
use tokio::time::sleep;

use super::raw::Raw;
use super::{Life, Town};

/// Alice and Bob have talked: each has the other's key, and each other's first message.
pub struct Scene {
    pub town: Town,
    pub alice: Life,
    pub bob: Life,
}

pub async fn scene() -> Scene {
    let scene = strangers().await;
    scene.alice.writes(&scene.bob.name, "hello bob");
    assert_eq!(scene.bob.reads_until("hello bob").await, ["hello bob"]);
    scene.bob.writes(&scene.alice.name, "hello alice");
    assert_eq!(scene.alice.reads_until("hello alice").await, ["hello alice"]);
    scene
}

pub async fn strangers() -> Scene {
    let mut town = Town::new().await;
    let (alice, bob) = (town.name("alice"), town.name("bob"));
    let alice = town.sign_up(&alice).await;
    let bob = town.sign_up(&bob).await;
    Scene { town, alice, bob }
}

impl Scene {
    /// Alice writes `text` while the server does this to what comes to Bob; then it is honest, and
    /// she writes "honest". What Bob reads in all.
    pub async fn under(
        &self,
        text: &str,
        attack: impl FnMut(Bytes) -> Vec<Bytes> + Send + 'static,
    ) -> Vec<String> {
        let (alice, bob) = (&self.alice, &self.bob);
        self.town.hostile.rewrite_entries(&bob.name, attack);
        let id = alice.writes(&bob.name, text);
        while !matches!(alice.state(id), MessageState::Sent | MessageState::Delivered) {
            sleep(Duration::from_millis(50)).await;
        }
        sleep(Duration::from_secs(1)).await;
        self.town.hostile.relent(&bob.name);
        let last = alice.writes(&bob.name, "honest");
        let seen = bob.reads_until("honest").await;
        assert_eq!(seen.last().map(String::as_str), Some("honest"), "{seen:?}");
        assert!(matches!(alice.state(last), MessageState::Sent | MessageState::Delivered));
        seen
    }

    pub fn cluster(&self) -> ClusterId {
        self.town.servers.authority.cluster_id()
    }
}

#[track_caller]
pub fn is_trouble(line: &str, word: &str, sentence: &str) {
    assert!(line.starts_with(&format!("! {word}: ")) && line.contains(sentence), "{line}");
}

/// What went wrong, and what was said, each in its order. Authors have no order among them.
pub fn sorted(seen: Vec<String>) -> (Vec<String>, Vec<String>) {
    seen.into_iter().partition(|line| line.starts_with("! "))
}

pub fn altered(envelope: &[u8], change: impl FnOnce(&mut Envelope)) -> Bytes {
    let mut envelope = Envelope::decode(envelope).unwrap();
    change(&mut envelope);
    envelope.encode_to_vec().into()
}

pub fn body(frame: &ServerFrame) -> &Answer {
    frame.body.as_ref().unwrap()
}

/// Rewrites one kind of answer and lets the others pass.
pub fn answers(
    mut change: impl FnMut(&mut Answer) + Send,
) -> impl FnMut(ServerFrame) -> Vec<ServerFrame> + Send {
    move |mut frame| {
        change(frame.body.as_mut().unwrap());
        vec![frame]
    }
}

/// Keys that the server made: what it can say under any name.
pub struct Forger {
    pub cluster: ClusterId,
    pub identity: usize,
    pub device: DeviceId,
    pub device_key: DeviceKey,
    pub key: ConversationKey,
}

impl Forger {
    pub fn new(cluster: ClusterId) -> Self {
        let (device_key, key) = (DeviceKey::from_seed(&[66; 32]), ConversationKey::generate());
        Self { cluster, identity: 15, device: DeviceId(666), device_key, key }
    }

    /// A sound bundle in somebody's name, of the server's making.
    pub fn bundle_of(&self, user: &UserName, version: u64, encryption: usize) -> Bytes {
        let identity = testkeys::identity(self.identity);
        let bundle = Bundle {
            cluster: self.cluster,
            user: user.clone(),
            version,
            identity_spki: Bytes::copy_from_slice(identity.spki()),
            enc_spki: Bytes::copy_from_slice(testkeys::encryption(encryption).spki()),
            devices: vec![BundleDevice {
                device: self.device,
                ed25519: self.device_key.public(),
                state: DeviceState::Active,
            }],
            suites: vec![1],
        };
        bundle.sign(&identity).unwrap()
    }

    pub fn identity(&self) -> KeyId {
        testkeys::identity(self.identity).key_id()
    }

    /// A message in somebody's name, sound but for whose keys it is under.
    pub fn writes(&self, author: &UserName, to: &VerifiedBundle, n: u64, text: &str) -> Bytes {
        self.says(author, to, n, &Body::Text(text.to_owned()))
    }

    /// The same with anything else that a message can say.
    pub fn says(&self, author: &UserName, to: &VerifiedBundle, n: u64, body: &Body) -> Bytes {
        self.seals((&self.cluster, &to.user), author, to, n, body)
    }

    /// The same with another cluster, or another address over it.
    pub fn writes_at(
        &self,
        place: (&ClusterId, &UserName),
        author: &UserName,
        to: &VerifiedBundle,
        n: u64,
        text: &str,
    ) -> Bytes {
        self.seals(place, author, to, n, &Body::Text(text.to_owned()))
    }

    fn seals(
        &self,
        (cluster, address): (&ClusterId, &UserName),
        author: &UserName,
        to: &VerifiedBundle,
        n: u64,
        body: &Body,
    ) -> Bytes {
        let (from, identity) = (self.identity(), to.identity());
        let wrapped = wrap(&self.key, cluster, &from, &identity, &to.enc_spki).unwrap();
        let log = LogId::Inbox(address.clone());
        seal(&SealRequest {
            cluster,
            device_key: &self.device_key,
            log: &log,
            author,
            device: self.device,
            n: N(n),
            key: &self.key,
            wrapped: Some(&wrapped),
            author_identity: from,
            recipient_identity: identity,
            author_bundle_version: 1,
            recipient_bundle_version: to.version,
            sent_at_unix_ms: 5,
            body,
        })
        .unwrap()
    }
}

/// Somebody's bundle as the server has it.
pub async fn bundle_at(scene: &Scene, user: &UserName) -> VerifiedBundle {
    let mut raw = scene.town.servers.greeted(1).await;
    let found = raw.ask(Ask::LookUp(LookUp { user: user.to_string() })).await;
    let Answer::Account(account) = found else { panic!("{found:?}") };
    verify_bundle(&account.bundle, &scene.cluster(), user).unwrap()
}

/// A person who works for the server: Eve's own keys sign whatever it likes.
pub async fn eve(scene: &Scene) -> (UserName, Forger) {
    let (name, forger, _) = eve_online(scene).await;
    (name, forger)
}

pub async fn eve_online(scene: &Scene) -> (UserName, Forger, Raw) {
    let name = scene.town.name("eve");
    let forger = Forger::new(scene.cluster());
    let mut eve = scene.town.servers.person(name.as_str(), forger.identity);
    (eve.device, eve.bundle) = (forger.device, forger.bundle_of(&name, 1, forger.identity));
    let raw = scene.town.servers.sign_up(1, &mut eve).await;
    (name, forger, raw)
}
