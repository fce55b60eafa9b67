//! Servers, a balancer and clients in the simulated network, for tests about files.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper of tests; not every test uses all of it"
)]

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fastchat::balancer::fleet::{State, Wish};
use fastchat::balancer::{self, BalancerConfig, Fleet, Strategy};
use fastchat::client::account::{self, Cluster, Where};
use fastchat::client::{
    Client, Event, FileDraft, Line, LocalId, MessageState, MessageView, Mode, Profile, SaveTo,
    TransferState, TransferView,
};
use fastchat::limits::Limits;
use fastchat::net::env::TestOptions;
use fastchat::net::{Env, QuicKeys};
use fastchat::testkit::{NetConfig, SimNet};
use fastchat::types::{ChatName, ServerId, UserName};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::raw;

const PASSWORD: &str = "correct horse battery";
const BALANCER: [u8; 4] = [10, 0, 9, 1];
/// Nothing takes this long, in virtual time.
pub const LONG: Duration = Duration::from_secs(300);

/// Servers, a balancer, and a network between them and everybody.
pub struct Town {
    pub net: SimNet,
    pub servers: raw::Cluster,
    fleet: Fleet,
    dir: tempfile::TempDir,
    hosts: u8,
}

impl Town {
    pub async fn new(servers: u16) -> Self {
        Self::with(servers, Limits::default()).await
    }

    pub async fn with(servers: u16, limits: Limits) -> Self {
        let limits = Limits { bcrypt_cost: 4, ..limits };
        // Nothing overtakes: what quinn takes for lost, it sends again, and here bytes are counted.
        let delay = Duration::from_millis(3)..=Duration::from_millis(3);
        let net = SimNet::new(7, NetConfig { delay, ..NetConfig::default() });
        let servers = raw::Cluster::simulated(&net, servers, limits.clone()).await;
        let fleet = Fleet::new(&servers.map);
        let dir = tempfile::tempdir().unwrap();
        let town = Self { net, servers, fleet, dir, hosts: 0 };
        let env = town.env(BALANCER.into(), 1, CancellationToken::new());
        let config = BalancerConfig {
            listen: SocketAddr::new(BALANCER.into(), 9000),
            credentials: town.servers.balancer.clone().into(),
            quic_keys: QuicKeys::create(&env),
            cluster: town.servers.authority.cluster_id(),
            map: town.servers.map.clone(),
            fleet: town.fleet.clone(),
            admission_key: town.servers.key.clone(),
            strategy: Strategy::Home,
            limits,
            stop_asked: CancellationToken::new(),
        };
        let (ready, is_ready) = oneshot::channel();
        env.spawn(balancer::run(env.clone(), config, ready, CancellationToken::new()));
        is_ready.await.unwrap();
        // The links between them come up.
        sleep(Duration::from_secs(5)).await;
        town
    }

    fn env(&self, ip: IpAddr, seed: u64, killed: CancellationToken) -> Env {
        let options = TestOptions { cheap_crypto: true, bug: None };
        self.net.env(ip, seed, killed, options)
    }

    /// From now on, clients are sent to other servers than this one.
    pub async fn sends_on(&self, server: u16) {
        let server = ServerId::numbered(server);
        self.fleet.wish(&server, Wish::Drain).unwrap();
        let mut members = self.fleet.subscribe();
        let drains = members.wait_for(|members| {
            members.iter().any(|one| one.entry.id == server && one.state == State::Drain)
        });
        timeout(LONG, drains).await.unwrap().unwrap();
    }

    /// It takes clients again.
    pub async fn serves(&self, server: u16) {
        let server = ServerId::numbered(server);
        self.fleet.wish(&server, Wish::Serve).unwrap();
        let mut members = self.fleet.subscribe();
        let serves = members.wait_for(|members| {
            members.iter().any(|one| one.entry.id == server && one.state == State::Ready)
        });
        timeout(LONG, serves).await.unwrap().unwrap();
    }

    /// Somebody whose home is that server.
    pub fn name(&self, server: u16, salt: &str) -> UserName {
        UserName::canonical(&self.servers.name_at(server, salt)).unwrap()
    }

    pub async fn sign_up(&mut self, home: u16, salt: &str) -> Life {
        let user = self.name(home, salt);
        self.hosts += 1;
        let ip = IpAddr::from([10, 0, 8, self.hosts]);
        let killed = CancellationToken::new();
        let env = self.env(ip, 200 + u64::from(self.hosts), killed.clone());
        let folder = self.dir.path().join(user.as_str());
        let profile = Profile::open(&env, &folder).unwrap();
        let at = Where { host: IpAddr::from(BALANCER).to_string(), port: 9000 };
        let at = Cluster { at, id: self.servers.authority.cluster_id() };
        let unlocked = account::sign_up(&env, profile, &at, &user, PASSWORD).await.unwrap();
        let (client, events) = Client::start(&env, unlocked, Mode::SendAndReceive);
        Life { env, ip, killed, name: user, folder, client, events }
    }

    /// Starts somebody's client again, on a host of its own.
    pub async fn start(&mut self, gone: Gone) -> Life {
        self.hosts += 1;
        let ip = IpAddr::from([10, 0, 8, self.hosts]);
        let killed = CancellationToken::new();
        let env = self.env(ip, 200 + u64::from(self.hosts), killed.clone());
        let profile = Profile::open(&env, &gone.folder).unwrap();
        let unlocked = profile.unlock(&env, PASSWORD).await.unwrap();
        let (client, events) = Client::start(&env, unlocked, Mode::SendAndReceive);
        Life { env, ip, killed, name: gone.name, folder: gone.folder, client, events }
    }

    /// A file to be sent: bytes that nothing makes shorter.
    pub fn file(&self, name: &str, bytes: usize) -> PathBuf {
        let folder = self.dir.path().join("outgoing");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        let mut state = bytes as u64 | 1;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        });
        fs::write(&path, noise.take(bytes).collect::<Vec<u8>>()).unwrap();
        path
    }

    /// A folder for what somebody stores.
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.dir.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    }
}

/// A running client.
pub struct Life {
    pub env: Env,
    pub ip: IpAddr,
    killed: CancellationToken,
    pub name: UserName,
    pub folder: PathBuf,
    pub client: Client,
    pub events: mpsc::Receiver<Event>,
}

/// A client that does not run.
pub struct Gone {
    name: UserName,
    folder: PathBuf,
}

impl Life {
    pub fn chat(&self) -> ChatName {
        self.name.clone().into()
    }

    pub async fn sends(&self, to: &ChatName, path: &Path) -> LocalId {
        self.client.send_file(to, FileDraft::of(path)).await.unwrap()
    }

    pub fn writes(&self, to: &ChatName, text: &str) -> LocalId {
        self.client.send_text(to, text).unwrap()
    }

    pub fn state(&self, id: LocalId) -> MessageState {
        self.client.message(id).unwrap().unwrap().state.unwrap()
    }

    pub fn transfer(&self, id: LocalId) -> TransferView {
        self.client.transfer(id).unwrap().expect("no transfer")
    }

    /// Waits until something is so.
    pub async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let wait = async {
            while !is_so() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let found = timeout(LONG, wait).await;
        assert!(found.is_ok(), "never: {what}; {:?}", self.client.transfers());
    }

    pub async fn stands(&self, id: LocalId, state: &MessageState) {
        self.until(&format!("{id} {state:?}"), || self.state(id) == *state).await;
    }

    pub async fn transfer_is(&self, id: LocalId, state: TransferState) {
        self.until(&format!("{id} {state:?}"), || self.transfer(id).state == state).await;
    }

    /// Waits until so much of a file is there, and not all of it. Returns the sealed bytes.
    pub async fn half_way(&self, id: LocalId) -> u64 {
        let is_half = || {
            let view = self.transfer(id);
            assert_ne!(view.state, TransferState::Done, "too late");
            view.done_bytes * 5 > view.total_bytes * 2
        };
        self.until("half of it", is_half).await;
        self.transfer(id).done_bytes
    }

    /// The messages that come, as soon as there are so many.
    pub async fn sees(&self, count: usize) -> Vec<MessageView> {
        let mut seen = Vec::new();
        let wait = async {
            while seen.len() < count {
                let lines = self.client.take_unshown(100).unwrap();
                let ids: Vec<LocalId> = lines.iter().map(Line::id).collect();
                self.client.mark_shown(&ids).unwrap();
                seen.extend(lines.into_iter().filter_map(|line| match line {
                    Line::Message(message) => Some(message),
                    Line::Trouble { .. } | Line::Membership { .. } => None,
                }));
                sleep(Duration::from_millis(20)).await;
            }
        };
        let found = timeout(LONG, wait).await;
        assert!(found.is_ok(), "{} of {count} came", seen.len());
        seen
    }

    pub async fn saves(&self, id: LocalId, folder: &Path) -> PathBuf {
        let to = SaveTo::Folder(folder.to_owned());
        timeout(LONG, self.client.save_file(id, &to)).await.expect("never stored").unwrap()
    }

    /// Stops it in order.
    pub async fn stop(self) -> Gone {
        let Self { client, mut events, name, folder, .. } = self;
        client.stop().await;
        drop(client);
        while events.recv().await.is_some() {}
        Gone { name, folder }
    }

    /// Ends its process at once.
    pub async fn killed(self) -> Gone {
        let Self { client, mut events, name, folder, killed, .. } = self;
        killed.cancel();
        drop(client);
        while events.recv().await.is_some() {}
        Gone { name, folder }
    }

    /// One byte of each of its sealed copies is another from now on.
    pub fn damages_its_copies(&self) {
        for entry in fs::read_dir(self.folder.join("blobs")).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = fs::read(&path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(&path, bytes).unwrap();
        }
    }

    /// Where it is connected.
    pub fn edge(&self) -> Option<String> {
        self.client.status().unwrap().connected.map(|server| server.to_string())
    }

    /// Sealed copies in its profile.
    pub fn spools(&self) -> usize {
        fs::read_dir(self.folder.join("blobs")).map_or(0, Iterator::count)
    }
}

/// Bytes of the blob of a file.
pub fn sealed(bytes: usize) -> u64 {
    fastchat::blob::sealed_bytes(bytes as u64)
}

/// Whether two files have the same bytes.
#[track_caller]
pub fn are_alike(one: &Path, other: &Path) {
    assert!(fs::read(one).unwrap() == fs::read(other).unwrap(), "{one:?} and {other:?} differ");
}
