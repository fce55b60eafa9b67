//! The processes of a measurement: this program under a hidden word, told what to do line by line.
//!
//! Both ends of that are here. One JSON object a line: orders with a number go in, answers with the
//! number of their order come out, in whatever order they are done. A part ends with its input.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};
use tokio::time::timeout;

use super::super::cluster::no_pipe;
use super::super::load::lock;
use super::super::{BenchError, PATIENCE, process, unexpected};
use crate::net::Env;

/// Orders that wait.
const ORDERS_MAX: usize = 16;

/// What a part is told to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// A person: send this file; the answer comes when all of it lies at the home, on its disk.
    Send { to: String, path: PathBuf },
    /// A person: as [`Order::Send`], again and again for so long, each deleted once it is there.
    Upload { to: String, path: PathBuf, ms: u64 },
    /// A person: wait until a file of that name was announced.
    Hear { name: String },
    /// A person: fetch the file of that name and store it here.
    Save { name: String, folder: PathBuf },
    /// A person: write so many texts a second for so long, whether they arrive or not.
    Write { to: String, per_s: f64, ms: u64 },
    /// A person: how long the texts took that came since this was asked last.
    Latencies,
    /// A person: lose this share of all datagrams from now on.
    Lose { share: f64 },
    /// Either end of the relay: that many bytes.
    Pass { bytes: u64 },
}

/// What comes of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// It took so long.
    Done { ms: f64 },
    /// So many bytes in so many files.
    Uploaded { files: u32, bytes: u64, ms: f64 },
    /// So many texts.
    Written { texts: u64 },
    /// Of each text, in microseconds.
    Latencies { us: Vec<u64> },
    /// It did not.
    Failed { why: String },
}

impl Answer {
    pub(super) fn ms(self) -> Result<f64, BenchError> {
        match self {
            Self::Done { ms } | Self::Uploaded { ms, .. } => Ok(ms),
            other => Err(unexpected(format!("not the answer to that: {other:?}"))),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Numbered<T> {
    number: u64,
    what: T,
}

fn line<T: Serialize>(number: u64, what: T) -> Result<String, BenchError> {
    let text = serde_json::to_string(&Numbered { number, what });
    Ok(text.map_err(unexpected)? + "\n")
}

/// The part's end: says `ready` and does what it is told until its input ends.
pub(super) async fn obey<F>(
    env: &Env,
    ready: &str,
    obey: impl Fn(Order) -> F,
) -> Result<(), BenchError>
where
    F: Future<Output = Result<Answer, BenchError>> + Send + 'static,
{
    writeln!(std::io::stdout(), "{ready}")?;
    let (lines, mut orders) = mpsc::channel(ORDERS_MAX);
    thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    while let Some(order) = orders.recv().await {
        let Numbered { number, what }: Numbered<Order> =
            serde_json::from_str(&order).map_err(unexpected)?;
        let done = obey(what);
        env.spawn(async move {
            let answer = done.await.unwrap_or_else(|error| Answer::Failed { why: whole(&error) });
            // Nobody there to read it: then the input ends, too.
            let line = line(number, answer).unwrap_or_default();
            let _ = std::io::stdout().write_all(line.as_bytes());
        });
    }
    Ok(())
}

/// An error with its causes.
fn whole(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

type Waiting = Arc<Mutex<BTreeMap<u64, oneshot::Sender<Answer>>>>;

/// A running part.
pub(super) struct Part {
    child: Child,
    orders: AsyncMutex<(ChildStdin, u64)>,
    waiting: Waiting,
    /// What it said when it was ready.
    pub(super) ready: String,
}

impl Part {
    /// Starts `program` with these words, and waits until it is ready.
    pub(super) async fn start(
        env: &Env,
        program: &Path,
        words: &[&str],
    ) -> Result<Self, BenchError> {
        let mut command = Command::new(program);
        command.arg("part").args(words).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let path = PathBuf::from(program);
        let mut child = command.spawn().map_err(|source| BenchError::Program { path, source })?;
        let stdin = child.stdin.take().ok_or_else(no_pipe)?;
        let mut lines = BufReader::new(child.stdout.take().ok_or_else(no_pipe)?).lines();
        let ready = timeout(PATIENCE, lines.next_line()).await;
        let ready = ready.map_err(|_| BenchError::TooSlow("the start of a part"))??;
        let ready = ready.ok_or_else(|| unexpected(format!("no part {words:?}: see above")))?;
        let waiting = Waiting::default();
        env.spawn(hand_out(lines, Arc::clone(&waiting)));
        Ok(Self { child, orders: AsyncMutex::new((stdin, 0)), waiting, ready })
    }

    /// Has it do something, however long that takes.
    pub(super) async fn ask(&self, order: &Order) -> Result<Answer, BenchError> {
        let (reply, answer) = oneshot::channel();
        {
            let mut orders = self.orders.lock().await;
            let (stdin, number) = &mut *orders;
            *number += 1;
            lock(&self.waiting).insert(*number, reply);
            stdin.write_all(line(*number, order)?.as_bytes()).await?;
            stdin.flush().await?;
        }
        match answer.await {
            Ok(Answer::Failed { why }) => Err(unexpected(format!("{order:?} failed: {why}"))),
            Ok(answer) => Ok(answer),
            Err(_) => Err(unexpected(format!("the part ended during {order:?}"))),
        }
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Processor time that it has used.
    pub(super) fn cpu(&self) -> std::time::Duration {
        process::cpu_time(&[self.pid()])
    }

    /// Lets it end.
    pub(super) async fn stop(mut self) {
        drop(self.orders);
        if timeout(PATIENCE, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

async fn hand_out(mut lines: tokio::io::Lines<BufReader<ChildStdout>>, waiting: Waiting) {
    while let Ok(Some(text)) = lines.next_line().await {
        if let Ok(Numbered { number, what }) = serde_json::from_str::<Numbered<Answer>>(&text)
            && let Some(reply) = lock(&waiting).remove(&number)
        {
            // Nobody waits for it any more.
            let _ = reply.send(what);
        }
    }
    // Whoever waits now waits for nothing.
    lock(&waiting).clear();
}
