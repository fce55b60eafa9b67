//! The home driven directly with requests, in a world whose clock and disk the test holds.

mod append;
mod blobs;
mod crash;
mod farewell;
mod files;
mod groups;
mod presence;
mod property;
mod reading;
mod sessions;

use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::crypto::{
    Bundle, BundleDevice, DeviceKey, DeviceState, ResumeClaim, testkeys, verify_bundle,
};
use crate::limits;
use crate::net::env::{TestOptions, World};
use crate::placement::ServerEntry;
use crate::types::{DeviceId, LogEpoch, LogName, N, Seq, SessionEpoch, SessionId};
use crate::wire::Code;
use crate::wire::client::{self as wire, server_frame::Body};

/// A world whose clock stands and whose disk takes as long as the test says.
struct TestWorld {
    now_ms: AtomicU64,
    disk_ms: AtomicU64,
    /// 0: unknown.
    free_bytes: AtomicU64,
}

impl World for TestWorld {
    fn runtime(&self) -> Arc<dyn quinn::Runtime> {
        Arc::new(quinn::TokioRuntime)
    }
    fn bind(&self, _: SocketAddr) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn unix_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }
    fn disk_pause(&self) -> Duration {
        Duration::from_millis(self.disk_ms.load(Ordering::Relaxed))
    }
    fn disk_free_bytes(&self, _: &Path) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }
    fn is_simulated(&self) -> bool {
        true
    }
}

fn name(text: &str) -> UserName {
    UserName::canonical(text).unwrap()
}

fn inbox(owner: &str) -> LogName {
    LogName::inbox(name(owner))
}

fn cluster() -> ClusterId {
    ClusterId([7; 32])
}

/// A map of so many servers, of which "s1" is the home under test.
fn map(servers: u16) -> Arc<PlacementMap> {
    let entry = |number| ServerEntry {
        id: ServerId::numbered(number),
        addr: SocketAddr::from(([127, 0, 0, 1], 9000 + number)),
        peer_addr: SocketAddr::from(([127, 0, 0, 1], 9100 + number)),
        spki_sha256: String::new(),
    };
    Arc::new(PlacementMap::deal((1..=servers).map(entry).collect(), String::new()))
}

/// A home with one edge attached, "e1".
struct Bed {
    folder: TempDir,
    world: Arc<TestWorld>,
    env: Env,
    killed: CancellationToken,
    map: Arc<PlacementMap>,
    limits: Limits,
    home: HomeHandle,
    outputs: mpsc::Receiver<Output>,
    rid: u64,
    /// Pushes that came while something else was waited for.
    skipped: Vec<Output>,
}

impl Bed {
    fn new() -> Self {
        Self::with(Limits::default(), TestOptions::default())
    }

    fn with(limits: Limits, options: TestOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now_ms = AtomicU64::new(1 << 40);
        let world = Arc::new(TestWorld { now_ms, disk_ms: 0.into(), free_bytes: 0.into() });
        let killed = CancellationToken::new();
        let env = Env::simulated(world.clone(), 1, killed.clone(), options);
        let map = map(1);
        let path = folder.path().join("s1.db");
        let s1 = ServerId::numbered(1);
        create(&env, &path, &s1, &cluster(), &map.slots_of(&s1)).unwrap();
        let home = HomeHandle::open(&env, config(&path, &map, &limits)).unwrap();
        let outputs = home.attach(edge("e1"));
        Self {
            folder,
            world,
            env,
            killed,
            map,
            limits,
            home,
            outputs,
            rid: 1 << 32,
            skipped: Vec::new(),
        }
    }

    fn config(&self) -> HomeConfig {
        config(&self.folder.path().join("s1.db"), &self.map, &self.limits)
    }

    /// Opens the home again after it is gone; nothing of the old edge is left.
    fn reopen(&mut self) {
        self.killed = CancellationToken::new();
        let options = TestOptions::default();
        self.env = Env::simulated(self.world.clone(), 2, self.killed.clone(), options);
        self.home = HomeHandle::open(&self.env, self.config()).unwrap();
        self.outputs = self.home.attach(edge("e1"));
    }

    async fn kill(&mut self) {
        self.home.clone().kill().await;
        self.reopen();
    }

    async fn send(&self, from: &Caller, rid: u64, request: HomeRequest) {
        let call = Call { from: from.clone(), rid, request };
        self.home.call(&edge("e1"), call).await.unwrap();
    }

    /// The next output, whatever it is.
    async fn next(&mut self) -> (Target, Body) {
        let output = self.outputs.recv().await.unwrap();
        (output.to[0], output.frame.body.unwrap())
    }

    /// Everything that comes until the home has nothing left to do.
    async fn settle(&mut self) -> Vec<(Target, Body)> {
        let stranger = stranger(u64::MAX);
        let mut seen = Vec::new();
        // Pages follow the answers of a batch: one more batch shows them.
        for _ in 0..4 {
            self.rid += 1;
            let mark = self.rid;
            self.send(&stranger, mark, HomeRequest::LookUp { user: name("nobody") }).await;
            loop {
                let output = self.outputs.recv().await.unwrap();
                if output.frame.rid == mark {
                    break;
                }
                seen.push((output.to[0], output.frame.body.unwrap()));
            }
        }
        seen
    }

    /// One request, and the first thing that comes back.
    async fn ask(&mut self, from: &Caller, request: HomeRequest) -> Body {
        self.rid += 1;
        let rid = self.rid;
        self.send(from, rid, request).await;
        self.next().await.1
    }

    async fn sign_up(&mut self, person: &Person, sid: u64) -> Caller {
        let request = HomeRequest::SignUp {
            user: person.name.clone(),
            verifier: format!("hash of {}", person.name),
            bundle: person.bundle(1),
            device: person.device,
            visibility: Visibility::Visible,
        };
        let Body::Welcome(welcome) = self.ask(&stranger(sid), request).await else {
            panic!("no welcome")
        };
        assert!(welcome.device_known);
        person.at(sid, welcome.session_epoch)
    }

    async fn open(&mut self, from: &Caller, log: &str, open_id: u32) -> wire::Opened {
        self.open_at(from, log, open_id, LogEpoch(0), Seq(0)).await
    }

    async fn open_at(
        &mut self,
        from: &Caller,
        log: &str,
        open_id: u32,
        epoch: LogEpoch,
        cursor: Seq,
    ) -> wire::Opened {
        let request =
            HomeRequest::Open { log: inbox(log), open_id, epoch, cursor, write_only: false };
        match self.ask(from, request).await {
            Body::Opened(opened) => opened,
            other => panic!("{other:?}"),
        }
    }

    async fn append(&mut self, from: &Caller, to: &Opening, envelope: Bytes) -> Body {
        self.ask(from, to.append(envelope)).await
    }

    async fn cursor(&mut self, from: &Caller, to: &Opening, upto: u64) {
        let (log, open_id, epoch) = (inbox(&to.log), to.open_id, to.epoch);
        self.send(from, 0, HomeRequest::Cursor { log, open_id, epoch, upto: Seq(upto) }).await;
    }

    /// Sign-ups of "alice" and "bob", Bob's Open of Alice's inbox.
    async fn alice_and_bob(&mut self) -> (Caller, Caller, Opening) {
        let alice = self.sign_up(&Person::new("alice"), 1).await;
        let bob = self.sign_up(&Person::new("bob"), 2).await;
        let opened = self.open(&bob, "alice", 1).await;
        (alice, bob, Opening::of(&opened))
    }
}

fn config(path: &Path, map: &Arc<PlacementMap>, limits: &Limits) -> HomeConfig {
    HomeConfig {
        database: path.to_owned(),
        server: ServerId::numbered(1),
        cluster: cluster(),
        map: map.clone(),
        limits: Arc::new(limits.clone()),
    }
}

fn edge(name: &str) -> ServerId {
    ServerId::parse(name).unwrap()
}

fn stranger(sid: u64) -> Caller {
    Caller { sid: SessionId(sid), user: None, device: DeviceId(0), session_epoch: SessionEpoch(0) }
}

/// An opened log, as the appender sees it.
#[derive(Clone)]
struct Opening {
    log: String,
    open_id: u32,
    epoch: LogEpoch,
}

impl Opening {
    fn of(opened: &wire::Opened) -> Self {
        let log = opened.log.trim_start_matches('@').to_owned();
        Self { log, open_id: opened.open_id, epoch: LogEpoch(opened.epoch) }
    }

    fn append(&self, envelope: Bytes) -> HomeRequest {
        let (open_id, epoch) = (self.open_id, self.epoch);
        HomeRequest::Append { log: inbox(&self.log), open_id, epoch, envelope }
    }
}

/// A user with one active device.
#[derive(Clone)]
struct Person {
    name: UserName,
    device: DeviceId,
    key: DeviceKey,
    retired: Vec<(DeviceId, DeviceKey)>,
}

impl Person {
    fn new(text: &str) -> Self {
        let device = DeviceId(u64::MAX - u64::from(text.as_bytes()[0]));
        let key = DeviceKey::from_seed(&[text.as_bytes()[0]; 32]);
        Self { name: name(text), device, key, retired: Vec::new() }
    }

    /// The same person with another device; the one before is retired.
    fn next_device(&self) -> Self {
        let mut next = self.clone();
        next.retired.push((self.device, self.key.clone()));
        next.device = DeviceId(self.device.0 - 1000);
        next.key = DeviceKey::from_seed(&self.device.0.to_le_bytes().repeat(4).try_into().unwrap());
        next
    }

    fn bundle(&self, version: u64) -> Bytes {
        let device =
            |device, key: &DeviceKey, state| BundleDevice { device, ed25519: key.public(), state };
        let mut devices = vec![device(self.device, &self.key, DeviceState::Active)];
        devices.extend(self.retired.iter().map(|(id, key)| device(*id, key, DeviceState::Retired)));
        // PSS is randomised: the same bundle must have the same bytes in one test.
        static SIGNED: Mutex<Vec<(Bundle, Bytes)>> = Mutex::new(Vec::new());
        let bundle = Bundle {
            cluster: cluster(),
            user: self.name.clone(),
            version,
            identity_spki: Bytes::copy_from_slice(testkeys::identity(0).spki()),
            enc_spki: Bytes::copy_from_slice(testkeys::encryption(0).spki()),
            devices,
            suites: vec![1],
        };
        let mut signed = SIGNED.lock().unwrap();
        if let Some((_, bytes)) = signed.iter().find(|(known, _)| *known == bundle) {
            return bytes.clone();
        }
        let bytes = bundle.sign(&testkeys::identity(0)).unwrap();
        signed.push((bundle, bytes.clone()));
        bytes
    }

    /// The same bundle, signed again: other bytes, the same keys.
    fn signed_again(&self, version: u64) -> Bytes {
        let bundle = verify_bundle(&self.bundle(version), &cluster(), &self.name).unwrap();
        bundle.sign(&testkeys::identity(0)).unwrap()
    }

    fn at(&self, sid: u64, epoch: u64) -> Caller {
        Caller {
            sid: SessionId(sid),
            user: Some(self.name.clone()),
            device: self.device,
            session_epoch: SessionEpoch(epoch),
        }
    }

    fn resume(&self, count: u64, at: &str) -> HomeRequest {
        let (cluster, server) = (cluster(), edge(at));
        let claim = ResumeClaim {
            cluster: &cluster,
            server: &server,
            user: &self.name,
            device: self.device,
            count,
        };
        let signature = Bytes::copy_from_slice(&self.key.sign_resume(&claim));
        let (user, device) = (self.name.clone(), self.device);
        HomeRequest::Resume { user, device, count, signature, visibility: Visibility::Visible }
    }

    fn login(&self, takeover: Takeover) -> HomeRequest {
        let (user, device) = (self.name.clone(), self.device);
        HomeRequest::Login { user, device, takeover, visibility: Visibility::Visible }
    }
}

/// An envelope that no reader would take, but whose form a home cannot fault.
fn envelope(
    kind: wire::Kind,
    log: &str,
    from: &Caller,
    n: u64,
    upto: u64,
    payload: &[u8],
) -> Bytes {
    let is_void = kind == wire::Kind::Void;
    let header = wire::Header {
        suite: 1,
        kind: kind.into(),
        log: inbox(log).to_string(),
        author: from.user.as_ref().unwrap().to_string(),
        device: from.device.0,
        n,
        upto: if is_void { upto } else { 0 },
        key_id: if is_void { Bytes::new() } else { Bytes::from_static(&[1; 16]) },
        key_epoch: 0,
    };
    let envelope = wire::Envelope {
        header: header.encode_to_vec().into(),
        payload: Bytes::copy_from_slice(payload),
        signature: Bytes::from_static(&[9; 64]),
    };
    envelope.encode_to_vec().into()
}

fn message(log: &str, from: &Caller, n: u64) -> Bytes {
    envelope(wire::Kind::Message, log, from, n, n, format!("text {n}").as_bytes())
}

fn void(log: &str, from: &Caller, n: u64, upto: u64) -> Bytes {
    envelope(wire::Kind::Void, log, from, n, upto, b"")
}

#[track_caller]
fn appended(body: Body) -> (N, Seq, Bytes) {
    match body {
        Body::Appended(appended) => (N(appended.n), Seq(appended.seq), appended.hash),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(body: Body) -> wire::Refused {
    match body {
        Body::Refused(refused) => refused,
        other => panic!("{other:?}"),
    }
}

/// The code of a refusal, whichever form it has.
#[track_caller]
fn code(body: Body) -> Code {
    let number = match body {
        Body::Refused(refused) => refused.code,
        Body::Error(error) => error.code,
        other => panic!("{other:?}"),
    };
    Code::from_number(number).unwrap()
}

/// The `seq`s of the entries among outputs.
fn entries(outputs: &[(Target, Body)]) -> Vec<u64> {
    let seq = |(_, body): &(Target, Body)| match body {
        Body::Entry(entry) => Some(entry.seq),
        _ => None,
    };
    outputs.iter().filter_map(seq).collect()
}

/// The `delivered_n`s told to a connection.
fn delivered(outputs: &[(Target, Body)], sid: u64) -> Vec<u64> {
    let told = |(to, body): &(Target, Body)| match body {
        Body::Delivered(delivered) if to.sid == SessionId(sid) => Some(delivered.delivered_n),
        _ => None,
    };
    outputs.iter().filter_map(told).collect()
}
