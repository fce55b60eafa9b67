//! What one person feels: how long until a cluster is ready, an account made, a message sent and
//! read; and what the processes need while nothing happens.
//!
//! One message at a time, each sent by a client program of its own, to somebody whose home is on
//! another server and whose client follows. How much a cluster can carry is another question.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::{Instant, timeout};

use super::cluster::{Cluster, done, no_pipe, write};
use super::{BenchError, Durations, PATIENCE, Summary, process};
use crate::net::Env;
use crate::types::UserName;

/// Every message is sent by a client of its own, and each asks the balancer.
const LIMITS: &str = "asks_per_ip_per_min = 1000000\nhandshakes_per_ip_per_s = 10000\n";

/// What becomes of the folder with databases, logs and profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folder {
    /// Deleted at the end.
    Delete,
    /// Left for whoever wants to look.
    Keep,
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of `load_balancer` and `client`.
    pub programs: PathBuf,
    /// Servers, from 2: the two people live on different ones.
    pub servers: u16,
    /// Messages, from 1.
    pub messages: u32,
    /// What becomes of the folder.
    pub folder: Folder,
}

/// The figures.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Servers.
    pub servers: u16,
    /// From the start of `load_balancer`, with nothing on disk, to the line that says how to join.
    pub ready_ms: f64,
    /// From start to exit of `client register`, password from a file.
    pub sign_up: Summary,
    /// From start to exit of `client send`: the message is on disk at the other server.
    pub sent: Summary,
    /// From start of `client send` to its line from `client recv --follow` at the other end.
    pub shown: Summary,
    /// What processes hold in memory when nothing happens.
    pub memory: Vec<Memory>,
    /// Where everything still lies, if it was to be kept.
    pub folder: Option<PathBuf>,
}

/// What one process holds in memory.
#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    /// Which.
    pub process: String,
    /// Resident bytes.
    pub rss_bytes: u64,
}

/// Starts a cluster, measures, stops it.
///
/// # Errors
/// [`BenchError`]; nothing is left running, and nothing on disk either.
pub async fn run(env: &Env, options: &Options) -> Result<Report, BenchError> {
    let cluster = Cluster::start(env, &options.programs, options.servers, LIMITS).await?;
    let report = tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Err(BenchError::Interrupted),
        report = measure(&cluster, options) => report,
    };
    let folder = cluster.stop().await;
    match (report, options.folder) {
        (Ok(report), Folder::Keep) => Ok(Report { folder: Some(folder), ..report }),
        (report, Folder::Keep | Folder::Delete) => {
            let _ = fs::remove_dir_all(folder);
            report
        }
    }
}

async fn measure(cluster: &Cluster, options: &Options) -> Result<Report, BenchError> {
    let author = cluster.name_at(1, "ann")?;
    let reader = cluster.name_at(2, "ben")?;
    let password = cluster.folder.join("password");
    write(&password, "correct horse battery staple\n")?;
    let mut sign_up = Durations::new();
    for user in [&author, &reader] {
        let words = ["register", user.as_str(), "--password-file"];
        let mut command = cluster.client(user, &words);
        let started = Instant::now();
        done("client register", command.arg(&password)).await?;
        sign_up.add(started.elapsed());
    }
    let mut following = Following::start(cluster, &reader)?;
    // The first message finds nothing prepared: keys are looked up, and somebody has to connect.
    exchange(cluster, &author, &reader, &mut following, "hello").await?;
    let mut processes = cluster.processes();
    processes.extend(following.child.id().map(|pid| ("client recv --follow".to_owned(), pid)));
    let memory = processes.into_iter().map(|(process, pid)| {
        Ok::<_, BenchError>(Memory { process, rss_bytes: process::resident_bytes(pid)? })
    });
    let memory = memory.collect::<Result<_, _>>()?;
    let (mut sent, mut shown) = (Durations::new(), Durations::new());
    for number in 1..=options.messages {
        let text = format!("message number {number}, as long as people write");
        let (to_exit, to_line) = exchange(cluster, &author, &reader, &mut following, &text).await?;
        sent.add(to_exit);
        shown.add(to_line);
    }
    Ok(Report {
        servers: options.servers,
        ready_ms: cluster.ready_after.as_secs_f64() * 1000.0,
        sign_up: sign_up.summary(),
        sent: sent.summary(),
        shown: shown.summary(),
        memory,
        folder: None,
    })
}

/// One message: how long until its sender's program ended, and until it stood at the other end.
async fn exchange(
    cluster: &Cluster,
    author: &UserName,
    reader: &UserName,
    following: &mut Following,
    text: &str,
) -> Result<(Duration, Duration), BenchError> {
    let mut command = cluster.client(author, &["send", reader.as_str(), text]);
    let started = Instant::now();
    let sending = async {
        done("client send", &mut command).await?;
        Ok(started.elapsed())
    };
    let reading = async {
        following.until(text).await?;
        Ok(started.elapsed())
    };
    let both = async { tokio::try_join!(sending, reading) };
    timeout(PATIENCE, both).await.map_err(|_| BenchError::TooSlow("a message"))?
}

/// `client recv --follow --json`.
struct Following {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Following {
    fn start(cluster: &Cluster, reader: &UserName) -> Result<Self, BenchError> {
        let mut command = cluster.client(reader, &["recv", "--follow", "--json"]);
        // Nobody reads what else it says.
        let mut child = command.stderr(Stdio::null()).spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or_else(no_pipe)?).lines();
        Ok(Self { child, lines })
    }

    async fn until(&mut self, text: &str) -> Result<(), BenchError> {
        while let Some(line) = self.lines.next_line().await? {
            let record: serde_json::Value = serde_json::from_str(&line)
                .map_err(|error| BenchError::Unexpected(format!("{line:?}: {error}")))?;
            match record.get("type").and_then(|kind| kind.as_str()) {
                Some("message") if record.get("text").is_some_and(|found| found == text) => {
                    return Ok(());
                }
                Some("message" | "trouble") => return Err(BenchError::Unexpected(line)),
                Some(_) | None => {}
            }
        }
        Err(BenchError::Unexpected("client recv --follow ended".to_owned()))
    }
}
