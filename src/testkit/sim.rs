//! A whole cluster in one thread: the real balancer, servers and clients over real QUIC on a
//! simulated network with paused time, from a seed. The same seed gives the same trace.
//!
//! A crash ends every task of a process at its next await and drops its sockets; store work that
//! was not committed by then is lost. Only keys and password costs are cheaper than in life.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::checkers::{Books, Diary};
use super::net::{NetConfig, NetCounters, SimNet};
use crate::admission::AdmissionKey;
use crate::balancer::{self, BalancerConfig, Fleet, Strategy};
use crate::client::account::{self, Cluster, Where};
use crate::client::{Client, Event, LocalId, MessageState, Mode, Profile};
use crate::home;
use crate::limits::Limits;
use crate::net::env::{Bug, TestOptions};
use crate::net::{Authority, Credentials, Env, QuicKeys, Role};
use crate::placement::{PlacementMap, ServerEntry};
use crate::server::{self, ServerConfig};
use crate::types::{ClusterId, ServerId, UserName};

/// Trouble while setting up: not a finding, the run says nothing.
pub type SetupError = Box<dyn std::error::Error>;

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Servers, besides the balancer.
    pub servers: u16,
    /// People, one client each.
    pub clients: usize,
    /// Steps: in each a few texts are written and perhaps something breaks.
    pub steps: usize,
    /// A bug planted in every process.
    pub bug: Option<Bug>,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self { servers: 3, clients: 8, steps: 24, bug: None }
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct SimReport {
    /// Broken promises; empty when all is well.
    pub violations: Vec<String>,
    /// Hash of every datagram's time, endpoints and length, and of every client's events.
    pub trace_hash: u64,
    /// Virtual time that passed.
    pub simulated: Duration,
    /// Processes killed.
    pub crashes: usize,
    /// Texts written, told sent, shown.
    pub counts: (usize, usize, usize),
    /// What the network did.
    pub network: NetCounters,
    /// The last events, to find where two runs part.
    pub trace_tail: Vec<String>,
}

/// Runs one seed to its end.
///
/// # Errors
/// [`SetupError`] when the cluster could not even be set up.
pub fn run(seed: u64, config: &SimConfig) -> Result<SimReport, SetupError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let folder = Folder::new(seed)?;
    runtime.block_on(async { World::new(seed, config, &folder.0)?.live().await })
}

/// How long an idle client takes to be back online elsewhere, from the moment its edge is killed;
/// the edge is started again 300 ms after that, as the balancer does.
///
/// # Errors
/// [`SetupError`] when the cluster could not be set up, or the client does not come back.
pub fn time_to_leave_a_dead_edge(seed: u64) -> Result<Duration, SetupError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let folder = Folder::new(seed)?;
    let config = SimConfig { clients: 1, ..SimConfig::default() };
    runtime.block_on(async { World::new(seed, &config, &folder.0)?.leave_a_dead_edge().await })
}

/// A folder that goes away.
struct Folder(PathBuf);

impl Folder {
    fn new(seed: u64) -> std::io::Result<Self> {
        let unique =
            format!("fastchat-sim-{}-{seed}-{:x}", std::process::id(), rand::random::<u64>());
        let path = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const BALANCER_PORT: u16 = 9000;
/// After a kill: until its last answers are where they were going. What is dead repairs nothing.
const LAST_ANSWERS: Duration = Duration::from_millis(100);
/// Texts that one person writes at once, at most: more than an inbox takes.
const BURST: usize = 8;
const PASSWORD: &str = "correct horse battery";
/// After everything is repaired, all that was written must be shown within this.
const HEALING: Duration = Duration::from_secs(120);

fn balancer_ip() -> IpAddr {
    Ipv4Addr::new(10, 0, 0, 1).into()
}

fn server_ip(number: u16) -> IpAddr {
    let [_, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 0, 1, low).into()
}

fn client_ip(index: usize) -> IpAddr {
    Ipv4Addr::new(10, 0, 2, u8::try_from(index + 1).unwrap_or(u8::MAX)).into()
}

struct World {
    seed: u64,
    rng: StdRng,
    net: SimNet,
    folder: PathBuf,
    bug: Option<Bug>,
    steps: usize,
    cluster: ClusterId,
    map: PlacementMap,
    admission_key: AdmissionKey,
    balancer_credentials: Credentials,
    server_credentials: Vec<Credentials>,
    balancer: Option<CancellationToken>,
    servers: Vec<Option<CancellationToken>>,
    people: Vec<Person>,
    diary: Arc<Mutex<Diary>>,
    books: Books,
    violations: Vec<String>,
    lives: u64,
    crashes: usize,
    texts: usize,
    /// To whom the last text was written.
    last_reader: Option<UserName>,
}

struct Person {
    name: UserName,
    folder: PathBuf,
    unlock: Option<Zeroizing<Vec<u8>>>,
    running: Option<(CancellationToken, Client)>,
    /// Texts handed to the client, to ask it about later.
    taken: Vec<(LocalId, String)>,
}

impl World {
    fn new(seed: u64, config: &SimConfig, folder: &Path) -> Result<Self, SetupError> {
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
        })
    }

    async fn live(mut self) -> Result<SimReport, SetupError> {
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
        for _ in 0..self.steps {
            self.step().await?;
        }
        self.heal().await?;
        self.judge()
    }

    async fn leave_a_dead_edge(mut self) -> Result<Duration, SetupError> {
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
        let (_, client) = person.ok_or("nobody is there")?;
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

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn pick(&mut self, count: usize) -> usize {
        self.rng.random_range(0..count.max(1))
    }

    // ------------------------------------------------------------------ processes

    async fn start_balancer(&mut self) {
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

    async fn start_server(&mut self, index: usize) {
        let (Some(entry), Some(credentials)) =
            (self.map.servers.get(index).cloned(), self.server_credentials.get(index).cloned())
        else {
            return;
        };
        let killed = CancellationToken::new();
        let env = self.env(entry.addr.ip(), &killed);
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

    async fn kill(&mut self, killed: CancellationToken) {
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
        let name = person.name.clone();
        let unlocked = account::sign_up(&env, profile, &cluster, &name, PASSWORD).await?;
        person.unlock = Some(unlocked.unlock_key());
        self.run_client(index, killed, &env, unlocked);
        Ok(())
    }

    fn start_client(&mut self, index: usize) -> Result<(), SetupError> {
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
        unlocked: crate::client::Unlocked,
    ) {
        let Some(person) = self.people.get_mut(index) else { return };
        let (client, events) = Client::start(env, unlocked, Mode::SendAndReceive);
        let screen = Screen {
            env: env.clone(),
            name: person.name.clone(),
            client: client.clone(),
            diary: Arc::clone(&self.diary),
            net: self.net.clone(),
        };
        env.spawn(screen.watch(events));
        person.running = Some((killed, client));
    }

    // ------------------------------------------------------------------ what happens

    async fn step(&mut self) -> Result<(), SetupError> {
        for _ in 0..self.pick(4) {
            self.write();
        }
        // Half of the time something breaks while those texts are under way.
        let pause = if self.chance(60) { 0..80 } else { 80..1_500 };
        let pause = self.rng.random_range(pause);
        sleep(Duration::from_millis(pause)).await;
        match self.pick(13) {
            0..=2 => self.crash_server().await?,
            3 => self.crash_balancer().await,
            4 | 5 => self.crash_client().await?,
            6 => self.partition(),
            7 => self.net.repair_all(),
            8 => self.bad_weather(),
            9 => self.restart_something().await?,
            10 => self.hold(),
            _ => {}
        }
        self.audit()
    }

    fn write(&mut self) {
        let (from, to) = (self.pick(self.people.len()), self.pick(self.people.len()));
        let Some(to) = self.people.get(to).map(|person| person.name.clone()) else { return };
        let burst = 1 + self.pick(BURST);
        let Some(person) = self.people.get_mut(from) else { return };
        if person.name == to {
            return;
        }
        let Some((_, client)) = &person.running else { return };
        self.last_reader = Some(to.clone());
        for _ in 0..burst {
            self.texts += 1;
            let text = format!("{}>{to} #{}", person.name, self.texts);
            match client.send_text(&to.clone().into(), &text) {
                Ok(id) => {
                    person.taken.push((id, text.clone()));
                    diary(&self.diary).wrote(&person.name, &to, &text);
                }
                Err(error) => self.violations.push(format!("{text:?} was not taken: {error}")),
            }
        }
    }

    async fn crash_server(&mut self) -> Result<(), SetupError> {
        let index = self.crash_target(|world| {
            let home = world.map.home_of_user(&world.last_reader.clone()?)?;
            world.map.servers.iter().position(|server| server.id == home.id)
        });
        let index = index.unwrap_or_else(|| self.pick(self.servers.len()));
        if let Some(killed) = self.servers.get_mut(index).and_then(Option::take) {
            self.kill(killed).await;
            // When its last answers have arrived, and before anybody can put right what the crash
            // left behind.
            sleep(LAST_ANSWERS).await;
            self.audit()?;
        }
        if self.chance(60) {
            let pause = self.rng.random_range(1..800);
            sleep(Duration::from_millis(pause)).await;
            self.start_server(index).await;
        }
        Ok(())
    }

    /// Every other crash strikes where the last text is going.
    fn crash_target(&mut self, find: impl FnOnce(&Self) -> Option<usize>) -> Option<usize> {
        if self.chance(50) { find(self) } else { None }
    }

    async fn crash_balancer(&mut self) {
        if let Some(killed) = self.balancer.take() {
            self.kill(killed).await;
        }
    }

    async fn crash_client(&mut self) -> Result<(), SetupError> {
        let index = self.crash_target(|world| {
            let reader = world.last_reader.clone()?;
            world.people.iter().position(|person| person.name == reader)
        });
        let index = index.unwrap_or_else(|| self.pick(self.people.len()));
        let running = self.people.get_mut(index).and_then(|person| person.running.take());
        if let Some((killed, client)) = running {
            drop(client);
            self.kill(killed).await;
            sleep(LAST_ANSWERS).await;
            self.audit()?;
        }
        if self.chance(60) {
            self.start_client(index)?;
        }
        Ok(())
    }

    async fn restart_something(&mut self) -> Result<(), SetupError> {
        if self.balancer.is_none() {
            self.start_balancer().await;
        }
        for index in 0..self.servers.len() {
            if self.servers.get(index).is_some_and(Option::is_none) {
                self.start_server(index).await;
            }
        }
        for index in 0..self.people.len() {
            if self.people.get(index).is_some_and(|person| person.running.is_none()) {
                self.start_client(index)?;
            }
        }
        Ok(())
    }

    fn any_host(&mut self) -> IpAddr {
        let servers = self.servers.len();
        match self.pick(servers + self.people.len()) {
            index if index < servers => server_ip(u16::try_from(index + 1).unwrap_or(1)),
            index => client_ip(index - servers),
        }
    }

    fn a_server(&mut self) -> IpAddr {
        let index = self.pick(self.servers.len());
        server_ip(u16::try_from(index + 1).unwrap_or(1))
    }

    fn partition(&mut self) {
        let (a, b) = (self.a_server(), self.any_host());
        if a != b {
            self.net.partition(a, b);
        }
    }

    fn hold(&mut self) {
        let (a, b) = (self.a_server(), self.any_host());
        if a != b {
            self.net.hold(a, b);
        }
    }

    fn bad_weather(&mut self) {
        let slow = self.rng.random_range(5..80);
        self.net.configure(NetConfig {
            delay: Duration::from_millis(1)..=Duration::from_millis(slow),
            loss: self.rng.random_range(0.0..0.15),
            duplicate: self.rng.random_range(0.0..0.05),
            reorder: self.rng.random_range(0.0..0.25),
        });
    }

    // ------------------------------------------------------------------ the end

    /// Repairs everything and waits until all that was written is shown.
    async fn heal(&mut self) -> Result<(), SetupError> {
        self.net.repair_all();
        self.net.configure(NetConfig::default());
        self.restart_something().await?;
        let until = self.net.elapsed() + HEALING;
        while self.net.elapsed() < until && !diary(&self.diary).missing().is_empty() {
            sleep(Duration::from_millis(500)).await;
            for person in &self.people {
                if let Some((_, client)) = &person.running {
                    client.retry()?;
                }
            }
        }
        // The answers to the last of them.
        sleep(Duration::from_secs(2)).await;
        self.audit()
    }

    fn audit(&mut self) -> Result<(), SetupError> {
        let profile = |person: &Person| (person.name.clone(), person.folder.join("profile.sqlite"));
        let profiles = self.people.iter().map(profile).collect();
        for server in &self.map.servers {
            let path = database(&self.folder, &server.id);
            let found = self.books.audit(&server.id, &path, &diary(&self.diary))?;
            self.violations.extend(found);
            self.violations.extend(Books::audit_cursors(&path, &profiles)?);
        }
        Ok(())
    }

    fn judge(mut self) -> Result<SimReport, SetupError> {
        for person in &self.people {
            let Some((_, client)) = &person.running else { continue };
            for (id, text) in &person.taken {
                match client.message(*id)?.and_then(|message| message.state) {
                    Some(MessageState::Sent | MessageState::Delivered | MessageState::Read) => {
                        diary(&self.diary).told_sent(text);
                    }
                    state => self.violations.push(format!("{text:?} ended as {state:?}")),
                }
            }
        }
        let databases: Vec<PathBuf> =
            self.map.servers.iter().map(|server| database(&self.folder, &server.id)).collect();
        let databases: Vec<&Path> = databases.iter().map(PathBuf::as_path).collect();
        self.violations.extend(Books::audit_slots(&databases)?);
        self.violations.extend(diary(&self.diary).violations());
        Ok(SimReport {
            trace_hash: self.net.trace_hash(),
            simulated: self.net.elapsed(),
            crashes: self.crashes,
            counts: diary(&self.diary).counts(),
            network: self.net.counters(),
            trace_tail: self.net.trace_tail(),
            violations: self.violations,
        })
    }
}

/// A person in front of a client: sees what is shown, and remembers.
struct Screen {
    env: Env,
    name: UserName,
    client: Client,
    diary: Arc<Mutex<Diary>>,
    net: SimNet,
}

impl Screen {
    async fn watch(self, mut events: mpsc::Receiver<Event>) {
        // What an earlier life left unshown.
        self.show().await;
        while let Some(event) = events.recv().await {
            self.net.note(&format!("{} {event:?}", self.name));
            match event {
                Event::Lines => self.show().await,
                Event::State { id, state: MessageState::Sent, .. } => {
                    if let Ok(Some(message)) = self.client.message(id) {
                        let mut diary = diary(&self.diary);
                        diary.told_sent(&message.text);
                        if let (Some(id), Some(to)) = (&message.wire_id, message.chat.person()) {
                            diary.told_stored(&self.name, to, id);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// What people do beside writing takes numbers of its own, and none from the texts.
    fn answer(&self, lines: &[crate::client::Line]) {
        for line in lines {
            // A client that stops takes nothing more, as if the person had not done it.
            let _ = self.client.mark_read(line.chat());
            let _ = self.client.react(line.id(), Some("+"));
        }
    }

    async fn show(&self) {
        while let Ok(lines) = self.client.take_unshown(16) {
            if lines.is_empty() {
                return;
            }
            // A kill here: they were not on the screen yet, and come again.
            self.env.disk_pause().await;
            for line in &lines {
                diary(&self.diary).saw(&self.name, line);
            }
            // A kill here: they were, and come again marked.
            self.env.disk_pause().await;
            let ids: Vec<LocalId> = lines.iter().map(crate::client::Line::id).collect();
            if self.client.mark_shown(&ids).is_err() {
                return;
            }
            self.answer(&lines);
        }
    }
}

fn diary(diary: &Arc<Mutex<Diary>>) -> MutexGuard<'_, Diary> {
    diary.lock().unwrap_or_else(PoisonError::into_inner)
}

fn database(folder: &Path, id: &ServerId) -> PathBuf {
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
