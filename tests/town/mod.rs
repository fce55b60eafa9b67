//! A small town in the simulated network: real servers, one of which can be made hostile, a real
//! balancer, and the clients of a few people.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper of tests; not every test uses all of it"
)]

pub mod eve;
pub mod parcels;
pub mod scene;
pub mod team;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fastchat::balancer::{self, BalancerConfig, Fleet, Strategy};
use fastchat::client::account::{self, Cluster, Where};
use fastchat::client::{Client, Event, Line, LocalId, MessageState, Mode, Profile, Unlocked};
use fastchat::limits::Limits;
use fastchat::net::env::TestOptions;
use fastchat::net::{Env, QuicKeys};
use fastchat::testkit::{Hostile, NetConfig, SimNet};
use fastchat::types::UserName;
use fastchat::ui::say;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::raw;

pub const PASSWORD: &str = "correct horse battery";
const BALANCER: [u8; 4] = [10, 0, 9, 1];
/// Nothing takes this long, in virtual time.
pub const LONG: Duration = Duration::from_secs(120);

/// One server that will be hostile, a balancer, and everybody's network.
pub struct Town {
    pub net: SimNet,
    pub servers: raw::Cluster,
    pub hostile: Arc<Hostile>,
    balancer: CancellationToken,
    dir: tempfile::TempDir,
    hosts: u8,
    fingerprints: Vec<String>,
}

impl Town {
    pub async fn new() -> Self {
        let net = SimNet::new(7, NetConfig::default());
        let limits = Limits { bcrypt_cost: 4, ..Limits::default() };
        let servers = raw::Cluster::simulated(&net, 1, limits).await;
        let hostile = Hostile::over(servers.server_env(1));
        let balancer = balance(&net, &servers).await;
        let dir = tempfile::tempdir().unwrap();
        let fingerprints = Vec::new();
        let town = Self { net, servers, hostile, balancer, dir, hosts: 0, fingerprints };
        sleep(Duration::from_secs(5)).await;
        town
    }

    /// For so long, another cluster answers at the addresses of this one.
    pub async fn usurped_for(&mut self, time: Duration) {
        self.balancer.cancel();
        self.servers.stop(1).await;
        sleep(Duration::from_secs(1)).await;
        let limits = self.servers.limits.clone();
        let mut usurper = raw::Cluster::simulated_from(&self.net, 1, limits, 1_000).await;
        assert_ne!(usurper.authority.cluster_id(), self.servers.authority.cluster_id());
        let balancer = balance(&self.net, &usurper).await;
        sleep(time).await;
        balancer.cancel();
        usurper.stop(1).await;
        sleep(Duration::from_secs(1)).await;
        self.servers.restart(1).await;
        self.balancer = balance(&self.net, &self.servers).await;
    }

    fn at(&self) -> Cluster {
        let at = Where { host: IpAddr::from(BALANCER).to_string(), port: 9000 };
        Cluster { at, id: self.servers.authority.cluster_id() }
    }

    pub fn name(&self, salt: &str) -> UserName {
        UserName::canonical(&self.servers.name_at(1, salt)).unwrap()
    }

    pub async fn sign_up(&mut self, user: &UserName) -> Life {
        self.hosts += 1;
        let ip = IpAddr::from([10, 0, 8, self.hosts]);
        let env = env(&self.net, ip, 300 + u64::from(self.hosts), CancellationToken::new());
        let profile = Profile::open(&env, &self.dir.path().join(user.as_str())).unwrap();
        let unlocked = account::sign_up(&env, profile, &self.at(), user, PASSWORD).await.unwrap();
        let life = Life::start(env, user.clone(), unlocked);
        // Test keys are drawn from a small pot.
        let fingerprint = life.client.status().unwrap().fingerprint;
        assert!(!self.fingerprints.contains(&fingerprint), "two people with one key");
        self.fingerprints.push(fingerprint);
        life
    }

    /// Stops somebody's client and starts it again.
    pub async fn restarted(&self, life: Life) -> Life {
        let Life { env, name, client, mut events } = life;
        client.stop().await;
        drop(client);
        while events.recv().await.is_some() {}
        let profile = Profile::open(&env, &self.dir.path().join(name.as_str())).unwrap();
        let unlocked = profile.unlock(&env, PASSWORD).await.unwrap();
        Life::start(env, name, unlocked)
    }
}

fn env(net: &SimNet, ip: IpAddr, seed: u64, killed: CancellationToken) -> Env {
    let options = TestOptions { cheap_crypto: true, ..TestOptions::default() };
    net.env(ip, seed, killed, options)
}

async fn balance(net: &SimNet, servers: &raw::Cluster) -> CancellationToken {
    let killed = CancellationToken::new();
    let env = env(net, BALANCER.into(), 1, killed.clone());
    let config = BalancerConfig {
        listen: SocketAddr::new(BALANCER.into(), 9000),
        credentials: servers.balancer.clone().into(),
        quic_keys: QuicKeys::create(&env),
        cluster: servers.authority.cluster_id(),
        map: servers.map.clone(),
        fleet: Fleet::new(&servers.map),
        admission_key: servers.key.clone(),
        strategy: Strategy::Random,
        limits: servers.limits.clone(),
        stop_asked: CancellationToken::new(),
    };
    let (ready, is_ready) = oneshot::channel();
    env.spawn(balancer::run(env.clone(), config, ready, CancellationToken::new()));
    is_ready.await.unwrap();
    killed
}

/// A running client.
pub struct Life {
    env: Env,
    pub name: UserName,
    pub client: Client,
    events: mpsc::Receiver<Event>,
}

impl Life {
    fn start(env: Env, name: UserName, unlocked: Unlocked) -> Self {
        let (client, events) = Client::start(&env, unlocked, Mode::SendAndReceive);
        Self { env, name, client, events }
    }

    pub fn writes(&self, to: &UserName, text: &str) -> LocalId {
        self.client.send_text(&to.clone().into(), text).unwrap()
    }

    pub fn state(&self, id: LocalId) -> MessageState {
        self.client.message(id).unwrap().unwrap().state.unwrap()
    }

    /// Waits until a message stands so.
    pub async fn stands(&self, id: LocalId, state: &MessageState) {
        let wait = async {
            while self.state(id) != *state {
                sleep(Duration::from_millis(50)).await;
            }
        };
        let found = timeout(LONG, wait).await;
        assert!(found.is_ok(), "{id} is {:?}, not {state:?}", self.state(id));
    }

    /// Waits for an event, forgetting those before it.
    pub async fn told(&mut self, what: impl Fn(&Event) -> bool) -> Event {
        let wait = async {
            loop {
                let event = self.events.recv().await.expect("the client is gone");
                if what(&event) {
                    return event;
                }
            }
        };
        timeout(LONG, wait).await.expect("that never happened")
    }

    /// What the person reads, until the line that begins so.
    pub async fn reads_until(&self, last: &str) -> Vec<String> {
        let mut seen: Vec<String> = Vec::new();
        let wait = async {
            loop {
                let lines = self.client.take_unshown(100).unwrap();
                let ids: Vec<LocalId> = lines.iter().map(Line::id).collect();
                self.client.mark_shown(&ids).unwrap();
                seen.extend(lines.iter().map(read));
                if seen.iter().any(|line| line.starts_with(last)) {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        let found = timeout(LONG, wait).await;
        assert!(found.is_ok(), "{last:?} never came: {seen:?}");
        seen
    }
}

/// A text; or, for trouble, its short name and what the person is told.
fn read(line: &Line) -> String {
    match line {
        Line::Message(message) => {
            let new_key = if message.unaccepted_key { " (new key)" } else { "" };
            format!("{}{new_key}", message.text)
        }
        Line::Trouble { chat, trouble, .. } => {
            format!("! {}: {}", say::trouble_word(trouble), say::trouble(trouble, chat).what)
        }
        Line::Membership { by, change, .. } => format!("* {by} {change:?}"),
    }
}
