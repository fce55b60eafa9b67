//! `bench files`: how fast files travel, and how long texts take meanwhile.
//!
//! Real programs: a cluster of one server, and people whose clients run in processes of their own
//! ([`person`]), with profiles on disk. Here a file goes up while another goes down, in turns with
//! the same bytes over a relay that does nothing else ([`raw`]), and beside it what one core and
//! the disk give ([`rates`]). [`text`] is about what others notice of it.

mod line;
mod part;
pub mod person;
pub mod rates;
pub mod raw;
pub mod text;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use self::part::{Order, Part};
use self::rates::{Rates, middle};
use super::cluster::Cluster;
use super::run::{Environment, LIMITS, Scratch, environment};
use super::{BenchError, process, unexpected};
use crate::net::Env;

/// Files beyond what one person may keep.
const FILE_LIMITS: &str = "blob_user_bytes_max = 1000000000000\nblobs_per_user_max = 1000000\n";
/// Whoever measures has nothing to protect.
const PASSWORD: &str = "correct horse battery staple";

/// The file that goes up beside texts.
const FILE_NAME: &str = "large.bin";

/// What is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// This very program; `load_balancer` lies beside it.
    pub program: PathBuf,
    /// Where the people's profiles and files lie; the server's are among the temporary files.
    pub people_in: PathBuf,
    /// Bytes of each file.
    pub bytes: u64,
    /// How often, from 1; the relay as often, in turns.
    pub rounds: usize,
}

/// How fast it went, in megabytes (10^6 bytes) a second of the file's own bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Speed {
    /// The middle one of the rounds.
    pub median: f64,
    /// The slowest.
    pub min: f64,
    /// The fastest.
    pub max: f64,
}

impl Speed {
    fn of(bytes: u64, took_ms: &[f64]) -> Self {
        let rates = || took_ms.iter().map(|ms| bytes as f64 / ms / 1_000.0);
        let (min, max) = (rates().fold(f64::MAX, f64::min), rates().fold(0.0, f64::max));
        Self { median: middle(rates()), min, max }
    }
}

/// Processor time of one process.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// Which.
    pub process: &'static str,
    /// Seconds for each gigabyte (10^9 bytes) that went each way.
    pub cpu_s_per_gb: f64,
}

/// The figures.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The machine and the program.
    pub environment: Environment,
    /// Bytes of each file.
    pub bytes: u64,
    /// Rounds.
    pub rounds: usize,
    /// From the call that sends it until all of it is durable at the home.
    pub up: Speed,
    /// From the wish to have it until it lies in a folder, verified and durable.
    pub down: Speed,
    /// Through both hops of the relay.
    pub relay: Speed,
    /// Of the processes that carried files.
    pub costs: Vec<Cost>,
    /// Of the processes that passed on.
    pub relay_costs: Vec<Cost>,
    /// What one core and the disk give.
    pub rates: Rates,
}

/// Measures.
///
/// # Errors
/// [`BenchError`]; nothing is left running, and nothing on disk either.
pub async fn run(env: &Env, options: &Options) -> Result<Report, BenchError> {
    let scratch = Scratch::new_in(env, &options.people_in)?;
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Err(BenchError::Interrupted),
        report = measure(env, options, scratch.path()) => report,
    }
}

async fn measure(env: &Env, options: &Options, folder: &Path) -> Result<Report, BenchError> {
    let Options { bytes, rounds, program, people_in: _ } = options;
    let environment = environment(env, folder).await?;
    let rates = rates::measure(env, folder, *bytes).await?;
    let mut relay = Relay::start(env, program).await?;
    let mut scene = Scene::start(env, program, folder, &["ann", "ben"]).await?;
    let outcome = turns(env, &mut relay, &mut scene, *bytes, *rounds).await;
    relay.stop().await;
    scene.stop().await;
    let took = outcome?;
    // The first round finds nothing prepared, and is none.
    let gb = (*rounds as u64 * bytes) as f64 / 1e9;
    let cost = |(process, time): (&'static str, Duration)| Cost {
        process,
        cpu_s_per_gb: time.as_secs_f64() / gb,
    };
    Ok(Report {
        environment,
        bytes: *bytes,
        rounds: *rounds,
        up: Speed::of(*bytes, &took.up),
        down: Speed::of(*bytes, &took.down),
        relay: Speed::of(*bytes, &took.relay),
        costs: took.costs.map(cost).into(),
        relay_costs: took.relay_costs.map(cost).into(),
        rates,
    })
}

/// Milliseconds of each round, and what all of them cost.
struct Took {
    up: Vec<f64>,
    down: Vec<f64>,
    relay: Vec<f64>,
    costs: [(&'static str, Duration); 3],
    relay_costs: [(&'static str, Duration); 3],
}

async fn turns(
    env: &Env,
    relay: &mut Relay,
    scene: &mut Scene,
    bytes: u64,
    rounds: usize,
) -> Result<Took, BenchError> {
    let mut took =
        Took { up: vec![], down: vec![], relay: vec![], costs: NOTHING, relay_costs: NOTHING };
    scene.send(env, 0, bytes).await?;
    for round in 0..=rounds {
        let before = relay.cpu();
        let passed = relay.pass(bytes).await?;
        let spent = since(&before, &relay.cpu());
        let before = scene.cpu();
        let (up, down) = scene.exchange(env, round + 1, bytes).await?;
        let own = since(&before, &scene.cpu());
        if round == 0 {
            continue;
        }
        took.relay.push(passed);
        took.up.push(up);
        took.down.push(down);
        add(&mut took.relay_costs, &spent);
        add(&mut took.costs, &own);
    }
    Ok(took)
}

type Costs = [(&'static str, Duration); 3];
const NOTHING: Costs = [("", Duration::ZERO); 3];

fn since(before: &Costs, after: &Costs) -> Costs {
    let mut spent = *after;
    spent.iter_mut().zip(before).for_each(|(spent, before)| spent.1 -= before.1);
    spent
}

fn add(sum: &mut Costs, spent: &Costs) {
    sum.iter_mut().zip(spent).for_each(|(sum, spent)| *sum = (spent.0, sum.1 + spent.1));
}

/// A cluster of one server, and people.
struct Scene {
    cluster: Option<Cluster>,
    people: Vec<(String, Part)>,
    folder: PathBuf,
}

impl Scene {
    async fn start(
        env: &Env,
        program: &Path,
        folder: &Path,
        words: &[&str],
    ) -> Result<Self, BenchError> {
        let programs = program.parent().map(Path::to_owned).unwrap_or_default();
        let cluster = Cluster::start(env, &programs, 1, &format!("{LIMITS}{FILE_LIMITS}")).await?;
        let mut scene = Self { cluster: None, people: Vec::new(), folder: folder.to_owned() };
        let joined = scene.join(env, program, &cluster, words).await;
        scene.cluster = Some(cluster);
        match joined {
            Ok(()) => Ok(scene),
            Err(error) => {
                scene.stop().await;
                Err(error)
            }
        }
    }

    async fn join(
        &mut self,
        env: &Env,
        program: &Path,
        cluster: &Cluster,
        words: &[&str],
    ) -> Result<(), BenchError> {
        let (balancer, ca) = cluster.balancer();
        for word in words {
            let profile = self.folder.join(word).to_string_lossy().into_owned();
            let (balancer, ca) = (balancer.to_string(), ca.to_string());
            let words = ["person", word, &profile, &balancer, &ca, PASSWORD];
            self.people.push(((*word).to_owned(), Part::start(env, program, &words).await?));
        }
        Ok(())
    }

    fn person(&self, word: &str) -> Result<&Part, BenchError> {
        let found = self.people.iter().find(|(name, _)| name == word);
        found.map(|(_, part)| part).ok_or_else(|| unexpected(format!("{word} is not here")))
    }

    /// A file that does not compress, under its own name.
    fn file(&self, env: &Env, name: &str, bytes: u64) -> Result<PathBuf, BenchError> {
        let path = self.folder.join(name);
        let mut content = vec![0; usize::try_from(bytes).map_err(unexpected)?];
        env.fill(&mut content);
        fs::write(&path, content)
            .map_err(|source| BenchError::File { path: path.clone(), source })?;
        Ok(path)
    }

    /// Ann sends Ben the file of that number. Milliseconds.
    async fn send(&self, env: &Env, number: usize, bytes: u64) -> Result<f64, BenchError> {
        let path = self.file(env, &format!("file-{number}.bin"), bytes)?;
        self.send_made(path).await
    }

    async fn send_made(&self, path: PathBuf) -> Result<f64, BenchError> {
        let order = Order::Send { to: "ben".to_owned(), path: path.clone() };
        let took = self.person("ann")?.ask(&order).await?.ms();
        let _ = fs::remove_file(path);
        took
    }

    /// Ann sends the file of that number while Ben fetches the one before it. Milliseconds.
    async fn exchange(
        &self,
        env: &Env,
        number: usize,
        bytes: u64,
    ) -> Result<(f64, f64), BenchError> {
        let next = self.file(env, &format!("file-{number}.bin"), bytes)?;
        let name = format!("file-{}.bin", number - 1);
        let ben = self.person("ben")?;
        ben.ask(&Order::Hear { name: name.clone() }).await?;
        let folder = self.folder.join("saved");
        fs::create_dir_all(&folder)
            .map_err(|source| BenchError::File { path: folder.clone(), source })?;
        let save = Order::Save { name: name.clone(), folder: folder.clone() };
        let (up, down) = tokio::try_join!(self.send_made(next), ben.ask(&save))?;
        let saved = folder.join(name);
        let length = fs::metadata(&saved).map(|file| file.len()).unwrap_or_default();
        if length != bytes {
            return Err(unexpected(format!("{length} bytes were saved instead of {bytes}")));
        }
        let _ = fs::remove_file(saved);
        Ok((up, down.ms()?))
    }

    fn cpu(&self) -> Costs {
        let of = |word| self.person(word).map(Part::cpu).unwrap_or_default();
        let servers = self.cluster.iter().flat_map(Cluster::processes);
        let servers: Vec<u32> =
            servers.filter(|(name, _)| name != "load_balancer").map(|(_, pid)| pid).collect();
        [
            ("client that sends", of("ann")),
            ("server", process::cpu_time(&servers)),
            ("client that fetches", of("ben")),
        ]
    }

    async fn stop(self) {
        for (_, part) in self.people {
            part.stop().await;
        }
        if let Some(cluster) = self.cluster {
            let _ = fs::remove_dir_all(cluster.stop().await);
        }
    }
}

/// The relay and its two ends.
struct Relay {
    relay: Part,
    up: Part,
    down: Part,
}

impl Relay {
    async fn start(env: &Env, program: &Path) -> Result<Self, BenchError> {
        let relay = Part::start(env, program, &["relay"]).await?;
        let ready = relay.ready.clone();
        let (port, cluster) = ready.split_once(' ').unwrap_or_default();
        let down = Part::start(env, program, &["down", port, cluster]).await?;
        let up = Part::start(env, program, &["up", port, cluster]).await?;
        Ok(Self { relay, up, down })
    }

    /// Milliseconds until that many bytes have gone through both hops.
    async fn pass(&self, bytes: u64) -> Result<f64, BenchError> {
        let order = Order::Pass { bytes };
        let (_, down) = tokio::try_join!(self.up.ask(&order), self.down.ask(&order))?;
        down.ms()
    }

    fn cpu(&self) -> Costs {
        [
            ("sending end", self.up.cpu()),
            ("relay", self.relay.cpu()),
            ("other end", self.down.cpu()),
        ]
    }

    async fn stop(self) {
        self.up.stop().await;
        self.down.stop().await;
        self.relay.stop().await;
    }
}
