//! How long texts take while somebody uploads, against the same while nobody does.
//!
//! Ann writes to Ben, and Cat, who uploads, to Dan: her texts are on the very connection that
//! carries the file. Each has a moment at which it is meant to go, and its time counts from there.
//! With and without an upload, on a good line and on a bad one, all in turns within one run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::super::run::{Environment, Scratch, environment};
use super::super::{BenchError, Durations, Summary, unexpected};
use super::part::{Answer, Order, Part};
use super::{FILE_NAME, Scene};
use crate::net::Env;

/// An upload runs this long before the first text that counts.
const AHEAD: Duration = Duration::from_millis(500);
/// Until the last text has come.
const DRAIN: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Until everybody has everybody's keys, and nothing is done for the first time.
const WARM_UP: Duration = Duration::from_secs(2);
/// Who writes to whom, and what that is called.
const PAIRS: [(&str, &str, &str); 2] =
    [("ann", "ben", "two other people"), ("cat", "dan", "of whoever uploads")];

/// What is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// This very program; `load_balancer` lies beside it.
    pub program: PathBuf,
    /// Where the people's profiles and files lie; the server's are among the temporary files.
    pub people_in: PathBuf,
    /// Bytes of the file that is uploaded.
    pub bytes: u64,
    /// How often each of the four cases is measured, from 1.
    pub rounds: usize,
    /// Texts a second of each of the two who write.
    pub per_s: f64,
    /// How long each time.
    pub duration: Duration,
    /// Lines to compare: how much is lost, from 0.0 to 1.0.
    pub losses: Vec<f64>,
}

/// Texts of one pair on one line.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Whose.
    pub who: &'static str,
    /// Share of datagrams lost, each way.
    pub loss: f64,
    /// While nobody uploads.
    pub alone: Summary,
    /// While somebody does.
    pub beside: Summary,
    /// p50 beside / p50 alone.
    pub p50_ratio: f64,
    /// p99 beside / p99 alone.
    pub p99_ratio: f64,
    /// Texts that did not come in time.
    pub lost: u64,
}

/// The figures.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The machine and the program.
    pub environment: Environment,
    /// Bytes of the file.
    pub bytes: u64,
    /// Texts a second of each writer.
    pub per_s: f64,
    /// Seconds measured in each case.
    pub seconds: f64,
    /// A row for each pair and line.
    pub rows: Vec<Row>,
    /// For each line: what was uploaded meanwhile, in megabytes (10^6 bytes) a second.
    pub uploaded: Vec<f64>,
}

impl Report {
    /// Whether every text came.
    pub fn is_sound(&self) -> bool {
        self.rows.iter().all(|row| row.lost == 0)
    }
}

/// The histograms behind a report: the name of the case, and its times.
pub type Cases = Vec<(String, Durations)>;

/// Measures.
///
/// # Errors
/// [`BenchError`]; nothing is left running, and nothing on disk either.
pub async fn run(env: &Env, options: &Options) -> Result<(Report, Cases), BenchError> {
    let scratch = Scratch::new_in(env, &options.people_in)?;
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Err(BenchError::Interrupted),
        report = measure(env, options, scratch.path()) => report,
    }
}

async fn measure(
    env: &Env,
    options: &Options,
    folder: &Path,
) -> Result<(Report, Cases), BenchError> {
    let environment = environment(env, folder).await?;
    let words = ["ann", "ben", "cat", "dan"];
    let scene = Scene::start(env, &options.program, folder, &words).await?;
    let outcome = turns(env, options, &scene).await;
    scene.stop().await;
    let lines = outcome?;
    let (mut rows, mut cases, mut uploaded) = (Vec::new(), Cases::new(), Vec::new());
    let seconds = options.duration.as_secs_f64() * options.rounds as f64;
    for (line, loss) in lines.into_iter().zip(&options.losses) {
        uploaded.push(if line.ms > 0.0 { line.bytes as f64 / line.ms / 1_000.0 } else { 0.0 });
        for (pair, (_, _, who)) in line.pairs.into_iter().zip(PAIRS) {
            let (alone, beside) = (pair.alone.summary(), pair.beside.summary());
            let (p50_ratio, p99_ratio) =
                (beside.p50_ms / alone.p50_ms, beside.p99_ms / alone.p99_ms);
            let (loss, lost) = (*loss, pair.lost);
            rows.push(Row { who, loss, alone, beside, p50_ratio, p99_ratio, lost });
            let name = |case| format!("{}-{:.0}-{case}", who.replace(' ', "-"), loss * 1_000.0);
            cases.push((name("alone"), pair.alone));
            cases.push((name("beside"), pair.beside));
        }
    }
    let (bytes, per_s) = (options.bytes, options.per_s);
    Ok((Report { environment, bytes, per_s, seconds, rows, uploaded }, cases))
}

/// What came of one line.
#[derive(Default)]
struct Line {
    pairs: [Pair; 2],
    bytes: u64,
    ms: f64,
}

#[derive(Default)]
struct Pair {
    alone: Durations,
    beside: Durations,
    lost: u64,
}

async fn turns(env: &Env, options: &Options, scene: &Scene) -> Result<Vec<Line>, BenchError> {
    let file = scene.file(env, FILE_NAME, options.bytes)?;
    let mut lines: Vec<Line> = options.losses.iter().map(|_| Line::default()).collect();
    talk(options, scene, WARM_UP).await?;
    for round in 0..options.rounds {
        for (line, loss) in lines.iter_mut().zip(&options.losses) {
            for (_, part) in &scene.people {
                part.ask(&Order::Lose { share: *loss }).await?;
            }
            // What the one leaves behind is the other's as often as the other way round.
            for turn in 0..2 {
                if (round + turn) % 2 == 0 {
                    let heard = talk(options, scene, options.duration).await?;
                    line.take(heard, |pair| &mut pair.alone);
                } else {
                    let heard = beside(options, scene, &file, line).await?;
                    line.take(heard, |pair| &mut pair.beside);
                }
            }
        }
    }
    Ok(lines)
}

impl Line {
    fn take(&mut self, heard: [Heard; 2], case: impl Fn(&mut Pair) -> &mut Durations) {
        for (pair, heard) in self.pairs.iter_mut().zip(heard) {
            pair.lost += heard.written.saturating_sub(heard.us.len() as u64);
            heard.us.into_iter().for_each(|us| case(pair).add(Duration::from_micros(us)));
        }
    }
}

/// Texts while Cat uploads, again and again.
async fn beside(
    options: &Options,
    scene: &Scene,
    file: &Path,
    line: &mut Line,
) -> Result<[Heard; 2], BenchError> {
    let ms = u64::try_from((AHEAD + options.duration).as_millis()).unwrap_or(u64::MAX);
    let order = Order::Upload { to: "dan".to_owned(), path: file.to_owned(), ms };
    let uploading = scene.person("cat")?.ask(&order);
    let talking = async {
        sleep(AHEAD).await;
        talk(options, scene, options.duration).await
    };
    let (uploaded, heard) = tokio::try_join!(uploading, talking)?;
    let Answer::Uploaded { bytes, ms, .. } = uploaded else {
        return Err(unexpected("an upload says how much it was"));
    };
    line.bytes += bytes;
    line.ms += ms;
    Ok(heard)
}

/// The texts of one pair.
struct Heard {
    written: u64,
    us: Vec<u64>,
}

/// Both pairs talk for so long.
async fn talk(options: &Options, scene: &Scene, time: Duration) -> Result<[Heard; 2], BenchError> {
    let [one, other] = PAIRS.map(|(from, to, _)| async move {
        let (from, reader) = (scene.person(from)?, scene.person(to)?);
        exchange(from, to, reader, options.per_s, time).await
    });
    let (one, other) = tokio::try_join!(one, other)?;
    Ok([one, other])
}

async fn exchange(
    from: &Part,
    to: &str,
    reader: &Part,
    per_s: f64,
    time: Duration,
) -> Result<Heard, BenchError> {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let order = Order::Write { to: to.to_owned(), per_s, ms };
    let Answer::Written { texts: written } = from.ask(&order).await? else {
        return Err(unexpected("whoever writes says how much"));
    };
    let (deadline, mut us) = (Instant::now() + DRAIN, Vec::new());
    loop {
        if let Answer::Latencies { us: more } = reader.ask(&Order::Latencies).await? {
            us.extend(more);
        }
        if us.len() as u64 >= written || Instant::now() > deadline {
            return Ok(Heard { written, us });
        }
        sleep(LOOK_AGAIN).await;
    }
}
