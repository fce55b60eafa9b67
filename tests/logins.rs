//! People who log in and out as fast as they can, and others who stay on: nobody is refused, nobody
//! who stays is disturbed, and each strategy spreads them as it promises.
//!
//! Real processes over loopback. 20 people here; `scripts/logins.sh` does it with 100 and prints
//! the table of docs/PERFORMANCE.md.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod processes;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fastchat::balancer::Strategy;
use fastchat::client::account::{self, Cluster, Where};
use fastchat::client::{Client, Event, Mode, Offline, Profile};
use fastchat::net::{CaCert, Env};
use fastchat::types::UserName;
use processes::{PATIENCE, Place, Running};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

const SERVERS: u16 = 3;
/// All come from one address, which the defaults would take for an attack.
const LIMITS: &str = "bcrypt_cost = 4\nasks_per_ip_per_min = 1000000\n\
    handshakes_per_ip_per_s = 10000\nconnections_per_ip_max = 10000\n\
    sign_ups_per_ip_per_min = 10000\n";

/// How many, and how often; the environment may say more.
fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[derive(Clone)]
struct Person {
    env: Env,
    folder: PathBuf,
    key: Vec<u8>,
}

impl Person {
    fn name(index: usize) -> UserName {
        UserName::canonical(&format!("person{index}")).unwrap()
    }

    async fn sign_up(index: usize, folder: PathBuf, at: Cluster) -> Self {
        let env = Env::system_for_tests();
        let profile = Profile::open(&env, &folder).unwrap();
        let user = Self::name(index);
        let done = account::sign_up(&env, profile, &at, &user, "correct horse battery").await;
        let key = done.unwrap().unlock_key().to_vec();
        Self { env, folder, key }
    }

    /// Logs in. A typed refusal fails the test; that a busy machine did not answer within the first
    /// patience of a client is counted.
    async fn log_in(&self) -> Login {
        let profile = Profile::open(&self.env, &self.folder).unwrap();
        let unlocked = profile.unlock_with_key(&self.env, &self.key).unwrap();
        let started = Instant::now();
        let (client, mut events) = Client::start(&self.env, unlocked, Mode::SendAndReceive);
        let mut slow = 0;
        let server = timeout(PATIENCE, async {
            loop {
                match events.recv().await.expect("the client ended") {
                    Event::Online { server } => return server.to_string(),
                    Event::Offline { reason: Offline::Unreachable } => slow += 1,
                    refused @ (Event::Offline { .. } | Event::SignedOut { .. }) => {
                        panic!("refused: {refused:?}")
                    }
                    _ => {}
                }
            }
        });
        let server = server.await.expect("no login in time");
        Login { client, events, server, took: started.elapsed(), slow }
    }
}

/// Somebody who is logged in.
struct Login {
    client: Client,
    events: mpsc::Receiver<Event>,
    server: String,
    took: Duration,
    slow: usize,
}

impl Login {
    /// Leaves; the folder is free when this returns.
    async fn log_out(mut self) {
        self.client.stop().await;
        drop(self.client);
        while self.events.recv().await.is_some() {}
    }
}

/// What came of one strategy.
struct Outcome {
    landed: BTreeMap<String, usize>,
    slow: usize,
    waits: Vec<Duration>,
    took: Duration,
}

impl Outcome {
    fn row(&self, strategy: Strategy) -> String {
        let mut waits = self.waits.clone();
        waits.sort();
        let at = |quantile: usize| waits[(waits.len() - 1) * quantile / 100].as_secs_f64() * 1e3;
        let on = |number| self.landed.get(&format!("s{number}")).copied().unwrap_or(0);
        let per_s = self.waits.len() as f64 / self.took.as_secs_f64();
        format!(
            "| {:<17} | {:>6} | 0 | {:>4} | {:>5} | {:>5} | {:>5} | {per_s:>8.0} | {:>6.1} | {:>6.1} |",
            strategy.name(),
            self.waits.len(),
            self.slow,
            on(1),
            on(2),
            on(3),
            at(50),
            at(99)
        )
    }
}

/// `stay` people log in and stay; the others come and go for so many rounds.
async fn come_and_go(people: &[Person], stay: usize, rounds: usize) -> Outcome {
    let mut staying = Vec::new();
    for person in &people[..stay] {
        staying.push(person.log_in().await);
    }
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for person in &people[stay..] {
        let person = person.clone();
        tasks.spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..rounds {
                let login = person.log_in().await;
                seen.push((login.server.clone(), login.took, login.slow));
                login.log_out().await;
            }
            seen
        });
    }
    let seen: Vec<(String, Duration, usize)> =
        tasks.join_all().await.into_iter().flatten().collect();
    let took = started.elapsed();
    for mut login in staying {
        while let Ok(event) = login.events.try_recv() {
            let disturbed = matches!(event, Event::Offline { .. } | Event::Online { .. });
            assert!(!disturbed, "somebody who stays was disturbed: {event:?}");
        }
        login.log_out().await;
    }
    let mut landed = BTreeMap::new();
    for (server, _, _) in &seen {
        *landed.entry(server.clone()).or_default() += 1;
    }
    let slow = seen.iter().map(|(_, _, slow)| slow).sum();
    Outcome { landed, slow, waits: seen.into_iter().map(|(_, took, _)| took).collect(), took }
}

fn start(place: &Place, strategy: Strategy) -> Running {
    let (servers, port) = (SERVERS.to_string(), place.port.to_string());
    let words = [&servers, &port, "--limits", "limits.toml", "--strategy", strategy.name()];
    let running = place.begin_with(place.command(&words));
    running.wait_for("Join:");
    running
}

/// The spread that a strategy promises.
fn judge(strategy: Strategy, people: &[usize], place: &Place, rounds: usize, found: &Outcome) {
    let landed = &found.landed;
    let share = found.waits.len() / usize::from(SERVERS);
    let least = (1..=SERVERS).map(|n| landed.get(&format!("s{n}")).copied().unwrap_or(0)).min();
    match strategy {
        // The answers are in turn; a connection that had to be made elsewhere is out of it.
        Strategy::RoundRobin => assert!(least.unwrap() * 10 >= share * 9, "{landed:?}"),
        Strategy::Random | Strategy::LeastConnections | Strategy::LeastLoad => {
            assert!(least.unwrap() * 3 >= share, "{landed:?}");
        }
        Strategy::Home => {
            let map = place.map();
            let mut homes = BTreeMap::<String, usize>::new();
            for &index in people {
                let home = map.home_of_user(&Person::name(index)).unwrap();
                *homes.entry(home.id.to_string()).or_default() += rounds;
            }
            // On a machine that is too busy some go on to the next server in the answer.
            let at_home: usize = homes
                .iter()
                .map(|(home, expected)| landed.get(home).copied().unwrap_or(0).min(*expected))
                .sum();
            assert!(at_home * 10 >= found.waits.len() * 9, "{landed:?}, homes {homes:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_refused_and_every_strategy_spreads_as_it_promises() {
    let users = number("FASTCHAT_LOGINS_USERS", 20);
    let rounds = number("FASTCHAT_LOGINS_ROUNDS", 3);
    let stay = users / 5;
    let place = Place::new();
    fs::write(place.path("limits.toml"), LIMITS).unwrap();
    let mut running = start(&place, Strategy::Random);
    let at = Where { host: "127.0.0.1".into(), port: place.port };
    let id = CaCert::load(&place.path("certs/ca.pem")).unwrap().cluster_id();
    let mut people = Vec::new();
    for index in 0..users {
        let (folder, at) = (place.path(&format!("person{index}")), at.clone());
        people.push(Person::sign_up(index, folder, Cluster { at, id }).await);
    }
    let movers: Vec<usize> = (stay..users).collect();
    println!("(slow: no answer within 0.7 s at first)");
    println!("| strategy | logins | refused | slow | s1 | s2 | s3 | logins/s | p50 ms | p99 ms |");
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for &strategy in Strategy::ALL {
        // The servers live on, and the next balancer adopts them.
        running.kill();
        running = start(&place, strategy);
        let found = come_and_go(&people, stay, rounds).await;
        println!("{}", found.row(strategy));
        judge(strategy, &movers, &place, rounds, &found);
    }
    running.stop();
}
