//! The cluster and its people: who there is, and how they are started and killed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::oneshot;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::files::{Files, policy, saved};
use super::groups::Groups;
use super::screen::Screen;
use super::{SetupError, SimConfig, SimReport};
use crate::admission::AdmissionKey;
use crate::balancer::{self, BalancerConfig, Fleet, Strategy};
use crate::client::account::{self, Cluster, Where};
use crate::client::{Client, LocalId, Mode, Profile, Unlocked};
use crate::home;
use crate::limits::Limits;
use crate::net::env::{Bug, TestOptions};
use crate::net::{Authority, Credentials, Env, QuicKeys, Role};
use crate::placement::{PlacementMap, ServerEntry};
use crate::server::{self, ServerConfig};
use crate::testkit::checkers::{Books, Diary};
use crate::testkit::net::{NetConfig, SimNet};
use crate::types::{ChatName, ClusterId, LogName, ServerId, UserName};

const BALANCER_PORT: u16 = 9000;
const PASSWORD: &str = "correct horse battery";

fn balancer_ip() -> IpAddr {
    Ipv4Addr::new(10, 0, 0, 1).into()
}

pub(super) fn server_ip(number: u16) -> IpAddr {
    let [_, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 0, 1, low).into()
}

pub(super) fn client_ip(index: usize) -> IpAddr {
    Ipv4Addr::new(10, 0, 2, u8::try_from(index + 1).unwrap_or(u8::MAX)).into()
}

pub(super) struct World {
    pub(super) seed: u64,
    pub(super) rng: StdRng,
    pub(super) net: SimNet,
    pub(super) folder: PathBuf,
    pub(super) bug: Option<Bug>,
    pub(super) steps: usize,
    pub(super) cluster: ClusterId,
    pub(super) map: PlacementMap,
    pub(super) admission_key: AdmissionKey,
    pub(super) balancer_credentials: Credentials,
    pub(super) server_credentials: Vec<Credentials>,
    pub(super) balancer: Option<CancellationToken>,
    pub(super) servers: Vec<Option<CancellationToken>>,
    pub(super) people: Vec<Person>,
    pub(super) diary: Arc<Mutex<Diary>>,
    pub(super) books: Books,
    pub(super) violations: Vec<String>,
    pub(super) lives: u64,
    pub(super) crashes: usize,
    pub(super) texts: usize,
    /// To whom the last text was written.
    pub(super) last_reader: Option<UserName>,
    /// Where the last text or change went.
    pub(super) last_log: Option<LogName>,
    /// Whether there are groups at all.
    pub(super) has_groups: bool,
    pub(super) groups: Groups,
    pub(super) files: Files,
}

pub(super) struct Person {
    pub(super) name: UserName,
    pub(super) folder: PathBuf,
    pub(super) unlock: Option<Zeroizing<Vec<u8>>>,
    pub(super) running: Option<Life>,
    /// Texts handed to the client, to ask it about later.
    pub(super) taken: Vec<(LocalId, String, ChatName)>,
}

/// One life of a client.
pub(super) struct Life {
    pub(super) killed: CancellationToken,
    pub(super) env: Env,
    pub(super) client: Client,
}

impl World {
    pub(super) fn new(seed: u64, config: &SimConfig, folder: &Path) -> Result<Self, SetupError> {
        let net = SimNet::new(seed, NetConfig::default());
        let env = net.env(balancer_ip(), seed, CancellationToken::new(), options(config.bug));
        let authority = Authority::create(&env)?;
        let balancer_credentials = authority.issue(&env, &Role::Balancer)?;
        let mut entries = Vec::new();
        let mut server_credentials = Vec::new();
        for number in 1..=config.servers {
            let id = ServerId::numbered(number);
            let credentials = authority.issue(&env, &Role::Server(id.clone()))?;
            entries.push(ServerEntry {
                id,
                addr: SocketAddr::new(server_ip(number), 9001),
                peer_addr: SocketAddr::new(server_ip(number), 9101),
                spki_sha256: credentials.spki_sha256(),
            });
            server_credentials.push(credentials);
        }
        let map = PlacementMap::deal(entries, balancer_credentials.spki_sha256());
        let cluster = authority.cluster_id();
        for server in &map.servers {
            let slots = map.slots_of(&server.id);
            home::create(&env, &database(folder, &server.id), &server.id, &cluster, &slots)?;
        }
        let mut people = Vec::new();
        for index in 0..config.clients {
            let name = UserName::parse(&format!("user{index}"))?;
            let folder = folder.join(name.as_str());
            people.push(Person { name, folder, unlock: None, running: None, taken: Vec::new() });
        }
        let groups = Groups::new(seed, &map)?;
        Ok(Self {
            seed,
            rng: StdRng::seed_from_u64(seed ^ 0x5eed),
            net,
            folder: folder.to_owned(),
            bug: config.bug,
            steps: config.steps,
            cluster,
            servers: map.servers.iter().map(|_| None).collect(),
            map,
            admission_key: admission_key().ok_or("an admission key has 32 bytes")?,
            balancer_credentials,
            server_credentials,
            balancer: None,
            people,
            diary: Arc::default(),
            books: Books::default(),
            violations: Vec::new(),
            lives: 0,
            crashes: 0,
            texts: 0,
            last_reader: None,
            last_log: None,
            has_groups: config.groups,
            groups,
            files: Files::new(seed),
        })
    }

    pub(super) async fn live(mut self) -> Result<SimReport, SetupError> {
        if self.bug.is_some() {
            // A bug of durability shows when a crash finds something undone.
            self.net.disks(Duration::from_millis(1)..=Duration::from_millis(60));
        }
        self.start_balancer().await;
        for index in 0..self.servers.len() {
            self.start_server(index).await;
        }
        // The first servers found no others: their links come up by themselves.
        sleep(Duration::from_secs(5)).await;
        for index in 0..self.people.len() {
            self.sign_up(index).await?;
        }
        if self.has_groups {
            self.found_group().await?;
        }
        for step in 0..self.steps {
            self.step(step).await?;
        }
        self.heal().await?;
        self.judge().await
    }

    pub(super) async fn leave_a_dead_edge(mut self) -> Result<Duration, SetupError> {
        self.start_balancer().await;
        for index in 0..self.servers.len() {
            self.start_server(index).await;
        }
        sleep(Duration::from_secs(5)).await;
        self.sign_up(0).await?;
        let dead = self.wait_until_connected(None).await?;
        // Nothing is written or read: only the keep-alive can notice.
        sleep(Duration::from_secs(30)).await;
        let index = self.map.servers.iter().position(|server| server.id == dead).unwrap_or(0);
        let killed_at = self.net.elapsed();
        if let Some(killed) = self.servers.get_mut(index).and_then(Option::take) {
            self.kill(killed).await;
        }
        sleep(Duration::from_millis(300)).await;
        self.start_server(index).await;
        self.wait_until_connected(Some(&dead)).await?;
        Ok(self.net.elapsed() - killed_at)
    }

    async fn wait_until_connected(
        &self,
        not_to: Option<&ServerId>,
    ) -> Result<ServerId, SetupError> {
        let person = self.people.first().and_then(|person| person.running.as_ref());
        let client = &person.ok_or("nobody is there")?.client;
        for _ in 0..6_000 {
            match client.status()?.connected {
                Some(server) if Some(&server) != not_to => return Ok(server),
                Some(_) | None => sleep(Duration::from_millis(10)).await,
            }
        }
        Err("the client does not come back".into())
    }

    fn env(&mut self, ip: IpAddr, killed: &CancellationToken) -> Env {
        self.lives += 1;
        let seed = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(self.lives);
        self.net.env(ip, seed, killed.clone(), options(self.bug))
    }

    pub(super) fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    pub(super) fn pick(&mut self, count: usize) -> usize {
        self.rng.random_range(0..count.max(1))
    }

    pub(super) async fn start_balancer(&mut self) {
        let killed = CancellationToken::new();
        let env = self.env(balancer_ip(), &killed);
        let config = BalancerConfig {
            listen: SocketAddr::new(balancer_ip(), BALANCER_PORT),
            credentials: self.balancer_credentials.clone().into(),
            quic_keys: self.quic_keys(0),
            cluster: self.cluster,
            map: self.map.clone(),
            fleet: Fleet::new(&self.map),
            admission_key: self.admission_key.clone(),
            strategy: Strategy::Random,
            limits: limits(),
            stop_asked: CancellationToken::new(),
        };
        let (ready, is_ready) = oneshot::channel();
        env.spawn(balancer::run(env.clone(), config, ready, CancellationToken::new()));
        let _ = is_ready.await;
        self.balancer = Some(killed);
    }

    pub(super) async fn start_server(&mut self, index: usize) {
        let (Some(entry), Some(credentials)) =
            (self.map.servers.get(index).cloned(), self.server_credentials.get(index).cloned())
        else {
            return;
        };
        let killed = CancellationToken::new();
        let env = self.env(entry.addr.ip(), &killed);
        env.set_way_out(Arc::new(self.groups.tap.clone()));
        let config = ServerConfig {
            id: entry.id.clone(),
            listen: entry.addr,
            peer_listen: entry.peer_addr,
            database: database(&self.folder, &entry.id),
            credentials: credentials.into(),
            cluster: self.cluster,
            map: self.map.clone(),
            limits: limits().into(),
            admission_key: self.admission_key.clone(),
            quic_keys: self.quic_keys(index as u64 + 1),
        };
        let (ready, is_ready) = oneshot::channel();
        let shutdown = CancellationToken::new();
        let failed = Arc::new(Mutex::new(None));
        let told = Arc::clone(&failed);
        let running = env.clone();
        env.spawn(async move {
            let ended = server::run(running, config, ready, shutdown).await;
            *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended.err());
        });
        if is_ready.await.is_err() {
            let why = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
            self.violations.push(format!("{} does not start: {why:?}", entry.id));
        }
        if let Some(slot) = self.servers.get_mut(index) {
            *slot = Some(killed);
        }
    }

    /// The same keys in every life of a process: a client notices a restart by them.
    fn quic_keys(&self, process: u64) -> QuicKeys {
        let killed = CancellationToken::new();
        let seed = self.seed.wrapping_add(process << 32);
        QuicKeys::create(&self.net.env(balancer_ip(), seed, killed, options(None)))
    }

    pub(super) async fn kill(&mut self, killed: CancellationToken) {
        killed.cancel();
        self.crashes += 1;
        // Every task sees it at its next poll; none of them can do anything before that.
        sleep(Duration::from_millis(1)).await;
    }

    fn at(&self) -> Cluster {
        let at = Where { host: balancer_ip().to_string(), port: BALANCER_PORT };
        Cluster { at, id: self.cluster }
    }

    async fn sign_up(&mut self, index: usize) -> Result<(), SetupError> {
        let killed = CancellationToken::new();
        let env = self.env(client_ip(index), &killed);
        let cluster = self.at();
        let Some(person) = self.people.get_mut(index) else { return Ok(()) };
        let profile = Profile::open(&env, &person.folder)?;
        std::fs::create_dir_all(saved(&person.folder))?;
        let name = person.name.clone();
        let unlocked = account::sign_up(&env, profile, &cluster, &name, PASSWORD).await?;
        person.unlock = Some(unlocked.unlock_key());
        self.run_client(index, killed, &env, unlocked);
        Ok(())
    }

    pub(super) fn start_client(&mut self, index: usize) -> Result<(), SetupError> {
        let killed = CancellationToken::new();
        let env = self.env(client_ip(index), &killed);
        let Some(person) = self.people.get(index) else { return Ok(()) };
        let key = person.unlock.clone().unwrap_or_default();
        let unlocked = Profile::open(&env, &person.folder)?.unlock_with_key(&env, &key)?;
        self.run_client(index, killed, &env, unlocked);
        Ok(())
    }

    fn run_client(
        &mut self,
        index: usize,
        killed: CancellationToken,
        env: &Env,
        unlocked: Unlocked,
    ) {
        let Some(person) = self.people.get_mut(index) else { return };
        let (client, events) = Client::start(env, unlocked, Mode::SendAndReceive);
        client.set_transfers(policy());
        let screen = Screen {
            env: env.clone(),
            name: person.name.clone(),
            client: client.clone(),
            diary: Arc::clone(&self.diary),
            net: self.net.clone(),
            saved: saved(&person.folder),
        };
        env.spawn(screen.watch(events));
        person.running = Some(Life { killed, env: env.clone(), client });
    }
}

pub(super) fn diary(diary: &Arc<Mutex<Diary>>) -> MutexGuard<'_, Diary> {
    diary.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn database(folder: &Path, id: &ServerId) -> PathBuf {
    folder.join(format!("{id}.sqlite"))
}

fn admission_key() -> Option<AdmissionKey> {
    AdmissionKey::from_bytes(&[7; 32])
}

fn options(bug: Option<Bug>) -> TestOptions {
    TestOptions { cheap_crypto: true, bug }
}

/// An inbox takes few entries of one author, so that senders are refused and have to come back.
fn limits() -> Limits {
    Limits { bcrypt_cost: 4, inbox_author_entries_max: 4, ..Limits::default() }
}
