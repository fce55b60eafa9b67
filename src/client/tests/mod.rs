//! What a client makes of everything that can arrive, and what it never does: driven through
//! [`Core`], with envelopes and answers made by hand. No network here; `tests/client_life.rs` has
//! the real one.

mod bundles;
mod conversations;
mod expiring;
mod files;
mod group_bed;
mod group_inbox;
mod group_outbox;
mod group_talk;
mod groups;
mod hostile;
mod incoming;
mod outgoing;
mod presence;
mod profiles;
mod receipts;
mod settings;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quinn::{AsyncUdpSocket, Runtime};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::crypto::bundle::{Bundle, BundleDevice, DeviceState, VerifiedBundle, verify_bundle};
use crate::crypto::device::DeviceKey;
use crate::crypto::envelope::{Body, SealRequest, seal, seal_void};
use crate::crypto::identity::{EncryptionKey, IdentityKey};
use crate::crypto::rf1::{ConversationKey, WrappedKey, wrap};
use crate::crypto::secret::{StretchCost, Stretched, stretch};
use crate::crypto::testkeys;
use crate::net::Env;
use crate::net::env::{TestOptions, World};
use crate::types::{
    ChatName, ClusterId, DeviceId, GroupName, KeyId, LogEpoch, LogId, N, Seq, UserName,
};

use super::account::Where;
use super::api::{Author, Contact, Event, Line, LocalId, MessageState, MessageView, Trouble};
use super::core::Core;
use super::outbox::{Outgoing, Ready, Sealing};
use super::profile::{NewKeys, Owner, Profile, Stage, Unlocked};
use super::views::Note;

const CLUSTER: ClusterId = ClusterId([9; 32]);
const EPOCH: LogEpoch = LogEpoch(77);
const PASSWORD: &str = "correct horse battery";
const DAY_MS: u64 = 24 * 3600 * 1000;

fn name(text: &str) -> UserName {
    UserName::parse(text).unwrap()
}

/// A world without a network, whose clock is set by the test.
struct Still(AtomicU64);

impl World for Still {
    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(quinn::TokioRuntime)
    }
    fn bind(&self, _: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn unix_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
    fn disk_pause(&self) -> Duration {
        Duration::ZERO
    }
    fn is_simulated(&self) -> bool {
        true
    }
}

/// One person's client without a connection.
struct Desk {
    name: UserName,
    core: Core,
    events: mpsc::Receiver<Event>,
    clock: Arc<Still>,
    env: Env,
    dir: TempDir,
}

fn stretched(user: &UserName) -> Stretched {
    stretch(PASSWORD, &CLUSTER, user, StretchCost::Cheap).unwrap()
}

fn still_env(seed: u64) -> (Env, Arc<Still>) {
    let clock = Arc::new(Still(AtomicU64::new(1_800_000_000_000)));
    let options = TestOptions { cheap_crypto: true, bug: None };
    (Env::simulated(clock.clone(), seed, CancellationToken::new(), options), clock)
}

/// Keys of a new account; `number` picks the committed RSA keys.
fn new_keys(user: &UserName, number: usize) -> NewKeys {
    let peer = Peer::new(user.as_str(), number);
    NewKeys {
        bundle: peer.bundle().encoded().clone(),
        identity: peer.identity,
        encryption: peer.encryption,
        earlier: None,
        device: peer.device,
        device_key: peer.device_key,
    }
}

impl Desk {
    fn new(user: &str, number: usize) -> Self {
        let user = name(user);
        let (env, clock) = still_env(100 + number as u64);
        let dir = tempfile::tempdir().unwrap();
        let at = Where { host: "10.0.0.1".to_owned(), port: 9000 };
        let owner = Owner { user: user.clone(), cluster: CLUSTER, balancer: at };
        let profile = Profile::open(&env, &dir.path().join("p")).unwrap();
        let keys = new_keys(&user, number);
        let unlocked =
            profile.fill(&owner, Stage::Active, &keys, &stretched(&user), env.unix_ms()).unwrap();
        Self::over(user, env, clock, dir, unlocked)
    }

    fn over(name: UserName, env: Env, clock: Arc<Still>, dir: TempDir, unlocked: Unlocked) -> Self {
        let (sender, events) = mpsc::channel(1_000);
        let core = Core::new(env.clone(), unlocked, sender);
        Self { name, core, events, clock, env, dir }
    }

    /// Ends the process and starts it again; `meanwhile` may change the folder.
    fn restarted(self, meanwhile: impl FnOnce(&std::path::Path)) -> Self {
        let Self { name, core, events, clock, env, dir } = self;
        drop((core, events));
        let folder = dir.path().join("p");
        meanwhile(&folder);
        let profile = Profile::open(&env, &folder).unwrap();
        let unlocked = profile.unlock_stretched(&stretched(&name)).unwrap();
        Self::over(name, env, clock, dir, unlocked)
    }

    fn later(&self, ms: u64) {
        self.clock.0.fetch_add(ms, Ordering::Relaxed);
    }

    fn bundle(&self) -> VerifiedBundle {
        self.core.profile.bundle.clone()
    }

    fn knows(&mut self, bundle: &VerifiedBundle) {
        self.core.learn(&bundle.user.clone(), bundle, Contact::Accepted).unwrap();
    }

    // -------------------------------------------------------------- reading

    /// The home pushes these as the next entries, and all that can be opened is.
    fn gets(&mut self, envelopes: &[Bytes]) {
        self.stores(EPOCH, envelopes);
        self.opens();
    }

    fn stores(&mut self, epoch: LogEpoch, envelopes: &[Bytes]) {
        let mut at = self.core.position().unwrap();
        if at.epoch != epoch {
            at = self.core.inbox_opened(epoch, Seq(1)).unwrap();
        }
        let entries: Vec<_> = (at.cursor.0 + 1..).map(Seq).zip(envelopes.iter().cloned()).collect();
        self.core.store_entries(epoch, &entries).unwrap();
    }

    /// Opens until nothing moves; returns who is needed.
    fn opens(&mut self) -> Vec<UserName> {
        loop {
            let report = self.core.open_entries(64).unwrap();
            if !report.progress {
                return report.need_bundle.into_iter().map(|(user, _)| user).collect();
            }
        }
    }

    fn inbox_rows(&self) -> i64 {
        let db = self.core.profile.store.db();
        db.query_row("SELECT count(*) FROM inbox", [], |row| row.get(0)).unwrap()
    }

    /// All that was never shown, as short words, and marks it shown.
    fn sees(&mut self) -> Vec<String> {
        let lines = self.core.unshown(1_000, Note::BeingShown).unwrap();
        let ids: Vec<LocalId> = lines.iter().map(Line::id).collect();
        self.core.shown(&ids).unwrap();
        lines.iter().map(words).collect()
    }

    /// The chat that others have with this person.
    fn chat(&self) -> ChatName {
        self.name.clone().into()
    }

    /// This person as others see an author.
    fn them(&self) -> Author {
        Author::Them(self.name.clone())
    }

    // -------------------------------------------------------------- writing

    fn writes(&mut self, to: &UserName, text: &str) -> LocalId {
        self.core.queue_text(&to.clone().into(), text).unwrap()
    }

    /// What would be sent now, from number 1 on, sealing what waits. As the session does it.
    fn sends(&mut self, to: &UserName) -> Vec<Outgoing> {
        self.sends_to(&ChatName::from(to.clone()))
    }

    fn sends_to(&mut self, to: &ChatName) -> Vec<Outgoing> {
        for _ in 0..100 {
            match self.core.ready(to, N(1), 1_000).unwrap() {
                Ready::Send(sealed) => return sealed,
                Ready::Seal => match self.core.seal_waiting(to, 64).unwrap() {
                    Sealing::Again => {}
                    Sealing::Nothing
                    | Sealing::NeedsBundle
                    | Sealing::NeedsKey
                    | Sealing::KeyChanged => return Vec::new(),
                },
                Ready::NeedsBundle | Ready::KeyChanged | Ready::NeedsKey | Ready::Renew => {
                    return Vec::new();
                }
            }
        }
        panic!("sealing never ends");
    }

    fn state(&self, id: LocalId) -> MessageState {
        match self.core.line(id).unwrap() {
            Some(Line::Message(message)) => message.state.unwrap(),
            other => panic!("not an own message: {other:?}"),
        }
    }

    fn message(&self, id: LocalId) -> MessageView {
        match self.core.line(id).unwrap() {
            Some(Line::Message(message)) => message,
            other => panic!("not a message: {other:?}"),
        }
    }

    /// The newest line of a chat, which is a message.
    fn newest(&self, chat: &UserName) -> MessageView {
        let id = self.core.history(&chat.clone().into(), 1).unwrap()[0].id();
        self.message(id)
    }

    fn told(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }
}

/// A line in a word or two.
fn words(line: &Line) -> String {
    match line {
        Line::Message(message) => {
            let again = if message.again { " (again)" } else { "" };
            let new_key = if message.unaccepted_key { " (new key)" } else { "" };
            format!("{}: {}{again}{new_key}", message.chat, message.text)
        }
        Line::Trouble { chat, trouble, .. } => match trouble {
            Trouble::Hole { from, to } => format!("{chat}! hole {from}-{to}"),
            trouble => format!("{chat}! {trouble:?}"),
        },
        Line::Membership { chat, by, change, .. } => format!("{chat}* {by} {change:?}"),
    }
}

/// The hash that a home answers with.
fn hash(envelope: &[u8]) -> [u8; 8] {
    use sha2::{Digest, Sha256};
    Sha256::digest(envelope).first_chunk().copied().unwrap()
}

/// What can be wrong in an envelope that its author signed.
struct Letter {
    cluster: ClusterId,
    log: LogId,
    wrapped: Option<WrappedKey>,
    author_identity: KeyId,
    recipient_identity: KeyId,
}

/// A person whose envelopes and bundles are made by hand.
struct Peer {
    name: UserName,
    identity: IdentityKey,
    encryption: EncryptionKey,
    device: DeviceId,
    device_key: DeviceKey,
    version: u64,
    key: ConversationKey,
}

impl Peer {
    fn chat(&self) -> ChatName {
        self.name.clone().into()
    }

    fn new(user: &str, number: usize) -> Self {
        Self {
            name: name(user),
            identity: testkeys::identity(number),
            encryption: testkeys::encryption(number),
            device: DeviceId(1_000 + number as u64),
            device_key: DeviceKey::generate(),
            version: 1,
            key: ConversationKey::generate(),
        }
    }

    fn bundle(&self) -> VerifiedBundle {
        let device = BundleDevice {
            device: self.device,
            ed25519: self.device_key.public(),
            state: DeviceState::Active,
        };
        self.bundle_with(vec![device])
    }

    fn bundle_with(&self, devices: Vec<BundleDevice>) -> VerifiedBundle {
        let bundle = Bundle {
            cluster: CLUSTER,
            user: self.name.clone(),
            version: self.version,
            identity_spki: self.identity.spki().to_vec().into(),
            enc_spki: self.encryption.spki().to_vec().into(),
            devices,
            suites: vec![1],
        };
        let encoded = bundle.sign(&self.identity).unwrap();
        verify_bundle(&encoded, &CLUSTER, &self.name).unwrap()
    }

    fn wrapped_for(&self, to: &VerifiedBundle) -> WrappedKey {
        let from = self.identity.key_id();
        wrap(&self.key, &CLUSTER, &from, &to.identity(), &to.enc_spki).unwrap()
    }

    /// A good envelope for `to`, after `change` had its way with it.
    fn seals_with(
        &self,
        to: &VerifiedBundle,
        n: u64,
        body: &Body,
        change: impl FnOnce(&mut Letter),
    ) -> Bytes {
        let mut letter = Letter {
            cluster: CLUSTER,
            log: LogId::Inbox(to.user.clone()),
            wrapped: Some(self.wrapped_for(to)),
            author_identity: self.identity.key_id(),
            recipient_identity: to.identity(),
        };
        change(&mut letter);
        let request = SealRequest {
            cluster: &letter.cluster,
            device_key: &self.device_key,
            log: &letter.log,
            author: &self.name,
            device: self.device,
            n: N(n),
            key: &self.key,
            wrapped: letter.wrapped.as_ref(),
            author_identity: letter.author_identity,
            recipient_identity: letter.recipient_identity,
            author_bundle_version: self.version,
            recipient_bundle_version: to.version,
            sent_at_unix_ms: 5,
            body,
        };
        seal(&request).unwrap()
    }

    fn writes(&self, to: &VerifiedBundle, n: u64, text: &str) -> Bytes {
        self.seals_with(to, n, &Body::Text(text.to_owned()), |_| ())
    }

    fn voids(&self, to: &UserName, n: u64, upto: u64) -> Bytes {
        let log = LogId::Inbox(to.clone());
        seal_void(&CLUSTER, &self.device_key, &log, &self.name, self.device, N(n), N(upto)).unwrap()
    }
}
