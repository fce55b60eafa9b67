//! Many people at once: sessions of real accounts that write to each other by a pattern, at a
//! pace, and keep the books of what became of every message.
//!
//! Real QUIC, the real protocol, one task per person; no profiles on disk, so that the servers are
//! measured and not this program. Latency counts from the moment a message was *meant* to go: with
//! an open loop a server that stands still is charged for all that should have gone meanwhile.

mod cast;
mod dial;
mod group;
mod log;
mod pace;
mod pattern;
mod people;
mod session;
mod talk;
mod tally;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub use self::dial::Place;
pub use self::pace::{Gaps, Pace};
pub use self::pattern::{Pattern, Writers};
pub use self::talk::Sealed;

use self::cast::{Groups, Joined, cast};
use self::dial::Dialer;
use self::group::Group;
use self::people::{Account, Person, RsaKeys};
use self::session::{Run, Session};
use self::tally::Totals;

pub(super) use self::tally::lock;
use super::{BenchError, Durations, process, unexpected};
use crate::net::Env;
use crate::types::{ClusterId, GroupName, UserName};

/// Sign-ups under way at a time.
const SIGN_UPS_AT_ONCE: usize = 64;
/// How often it is looked whether the last one arrived.
const LOOK: Duration = Duration::from_millis(5);
/// From the last preparation to the first message.
const RUN_UP: Duration = Duration::from_millis(50);
const SECOND: Duration = Duration::from_secs(1);

/// What to do to a cluster.
#[derive(Clone, Debug)]
pub struct Load {
    /// People, from 2.
    pub clients: usize,
    /// Who writes to whom.
    pub pattern: Pattern,
    /// When.
    pub pace: Pace,
    /// Bytes of a text.
    pub size: usize,
    /// How much of the cryptography is done while the clock runs.
    pub sealed: Sealed,
    /// Not timed.
    pub warmup: Duration,
    /// Timed.
    pub duration: Duration,
    /// How long messages may take after the last one was written, before they count as lost.
    pub drain: Duration,
    /// Decides chance.
    pub seed: u64,
    /// Planted: everybody treats the entry with this number as if it had never come.
    pub forget: Option<u64>,
}

impl Load {
    /// One writer to many readers, in a closed loop: alone with the answers it would only measure
    /// how fast a queue grows, so it never gets further ahead of its readers than its window.
    fn follows_readers(&self) -> bool {
        let one = matches!(self.pattern, Pattern::Group { writers: Writers::One, .. });
        one && matches!(self.pace, Pace::Closed { .. })
    }
}

/// Where the load goes.
#[derive(Clone, Debug)]
pub struct Aim {
    /// The port to talk to.
    pub place: Place,
    /// Who must answer there.
    pub cluster: ClusterId,
    /// Where its people are kept from run to run; without a file every run makes new ones.
    pub people: Option<PathBuf>,
    /// Processes whose processor time is counted.
    pub processes: Vec<u32>,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// From the moment a message was meant to go until its author knew that it is on disk.
    pub sent: Durations,
    /// From that moment until it was at a recipient's: of a message to a group, once for each.
    pub delivered: Durations,
    /// Messages answered per second of the timed part.
    pub sent_per_s: f64,
    /// Deliveries per second of the timed part: a message to a group is one to each other member.
    pub delivered_per_s: f64,
    /// Messages written, warm-up included.
    pub written: u64,
    /// Times that these had to arrive: once at each of their readers.
    pub expected: u64,
    /// Groups that were written to.
    pub groups: usize,
    /// Not arrived until the end of the wait, counted at each reader.
    pub lost: u64,
    /// Arrived again.
    pub doubled: u64,
    /// Arrived after a later one.
    pub reordered: u64,
    /// Did not verify, did not decrypt, or was never written.
    pub damaged: u64,
    /// Answers that told a sender to wait or to begin again.
    pub put_off: u64,
    /// Sessions that ended early, and why the first did.
    pub broken: (usize, Option<String>),
    /// From nothing to all people connected.
    pub joining: Duration,
    /// What the cluster's sign-up rate made them wait, the longest.
    pub waited: Duration,
    /// Processor time of the watched processes in the timed part, per 1,000 deliveries.
    pub cpu_ms_per_1000: f64,
    /// An interval log of `HdrHistogram`: one interval a second, tags `sent` and `delivered`.
    pub log: Vec<u8>,
}

impl Outcome {
    /// Whether every message arrived once, in order, as it was written.
    pub fn is_sound(&self) -> bool {
        self.lost + self.doubled + self.reordered + self.damaged == 0 && self.broken.0 == 0
    }
}

/// The RSA keys that all people of all runs share.
pub struct Keys(RsaKeys);

impl Keys {
    /// Makes them: about a second.
    ///
    /// # Errors
    /// [`BenchError::Unexpected`] when the system makes no keys.
    pub async fn generate(env: &Env) -> Result<Self, BenchError> {
        RsaKeys::generate(env).await.map(Self)
    }
}

/// Makes the people, connects them, and drives the load.
///
/// # Errors
/// [`BenchError`] when the people cannot be made or connected. What goes wrong later stands in the
/// outcome.
pub async fn run(env: &Env, aim: &Aim, load: &Load, keys: &Keys) -> Result<Outcome, BenchError> {
    let begun = Instant::now();
    let dialer = Arc::new(Dialer::new(env, &aim.place, aim.cluster, load.clients)?);
    let mut joined = join(env, aim, load.clients, keys, &dialer).await?;
    let waited = joined.iter().map(|(_, _, waited)| *waited).max().unwrap_or_default();
    let end_at = load.warmup + load.duration;
    let run = Arc::new(Run {
        env: env.clone(),
        totals: Totals::new(load.warmup, end_at),
        over: CancellationToken::new(),
    });
    let groups = found(env, load, &mut joined).await?;
    let (streams, parts) = cast(env, load, joined, &groups)?;
    let mut preparing = JoinSet::new();
    for part in parts {
        preparing.spawn(Session::prepare(Arc::clone(&run), part));
    }
    let mut sessions = Vec::new();
    while let Some(session) = preparing.join_next().await {
        sessions.push(session.map_err(unexpected)??);
    }
    let joining = begun.elapsed();
    let started = Instant::now() + RUN_UP;
    let mut running = JoinSet::new();
    for session in sessions {
        running.spawn(session.run(started));
    }
    let watched = watch(&run, load, &aim.processes, started).await?;
    run.over.cancel();
    let broken = broken(running).await;
    dialer.close();
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (totals, seconds) = (&run.totals, load.duration.as_secs_f64());
    let in_time = of(&totals.arrived_in_time);
    Ok(Outcome {
        sent_per_s: of(&totals.answered_in_time) as f64 / seconds,
        delivered_per_s: in_time as f64 / seconds,
        written: of(&totals.written),
        expected: of(&totals.expected),
        groups: groups.len(),
        lost: streams.iter().map(|stream| lock(&stream.book).lost()).sum(),
        doubled: of(&totals.doubled),
        reordered: of(&totals.reordered),
        damaged: of(&totals.damaged),
        put_off: of(&totals.put_off),
        broken,
        joining,
        waited,
        cpu_ms_per_1000: watched.cpu.as_secs_f64() * 1e6 / in_time.max(1) as f64,
        sent: watched.sent,
        delivered: watched.delivered,
        log: watched.log,
    })
}

/// How many sessions failed, and why the first did.
async fn broken(mut running: JoinSet<Result<(), BenchError>>) -> (usize, Option<String>) {
    let (mut count, mut why) = (0, None);
    while let Some(done) = running.join_next().await {
        if let Err(error) = done.map_err(unexpected).and_then(|done| done) {
            count += 1;
            why.get_or_insert(error.to_string());
        }
    }
    (count, why)
}

/// Connects everybody: the people of earlier runs, and as many new ones as are wanting.
async fn join(
    env: &Env,
    aim: &Aim,
    clients: usize,
    keys: &Keys,
    dialer: &Arc<Dialer>,
) -> Result<Joined, BenchError> {
    let known = aim.people.as_ref().map(|path| people::read(path, aim.cluster)).transpose()?;
    let known: Vec<_> = known.unwrap_or_default().into_iter().map(Arc::new).collect();
    let turns = Arc::new(Semaphore::new(SIGN_UPS_AT_ONCE));
    // Names are never given out twice, and this may not be the first run there.
    let word = env.random_u64();
    let mut joining = JoinSet::new();
    for number in 0..clients {
        let user = UserName::parse(&format!("bench-{word:016x}-{number}")).map_err(unexpected)?;
        let person = match known.get(number) {
            Some(person) => Arc::clone(person),
            None => Arc::new(Person::new(env, &keys.0, aim.cluster, &user, number)?),
        };
        let (dialer, turns) = (Arc::clone(dialer), Arc::clone(&turns));
        joining.spawn(async move {
            let _turn = turns.acquire().await.map_err(unexpected)?;
            let (line, waited) = dialer.enter(number, &person).await?;
            Ok::<_, BenchError>((number, (person, line, waited)))
        });
    }
    let (mut joined, mut failed) = (Vec::new(), None);
    while let Some(one) = joining.join_next().await {
        match one.map_err(unexpected)? {
            Ok(one) => joined.push(one),
            Err(error) => {
                failed.get_or_insert(error);
            }
        }
    }
    joined.sort_by_key(|(number, _)| *number);
    if let Some(path) = &aim.people {
        // Also after a failure: whoever got an account keeps it.
        let made = joined.iter().map(|(_, (person, ..))| person);
        let made = made.filter(|person| person.account == Account::Wanted);
        people::write(path, aim.cluster, known.iter().chain(made).map(|person| &**person))?;
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(joined.into_iter().map(|(_, one)| one).collect()),
    }
}

/// Makes the groups of the run.
async fn found(env: &Env, load: &Load, joined: &mut Joined) -> Result<Groups, BenchError> {
    let word = env.random_u64();
    let people: Vec<Arc<Person>> = joined.iter().map(|(person, ..)| Arc::clone(person)).collect();
    let mut groups = Vec::new();
    for (number, places) in load.pattern.groups(people.len()).into_iter().enumerate() {
        // The name decides where it lives.
        let name = GroupName::parse(&format!("bench-{word:016x}-{number}")).map_err(unexpected)?;
        let members = people.get(places.clone()).unwrap_or_default();
        let Some((_, line, _)) = joined.get_mut(places.start) else { continue };
        groups.push((places, Arc::new(Group::make(env, line, name, members).await?)));
    }
    Ok(groups)
}

/// What the clock on the wall saw.
struct Watched {
    sent: Durations,
    delivered: Durations,
    cpu: Duration,
    log: Vec<u8>,
}

/// Holds the watch until everything has arrived, or has had its time to.
async fn watch(
    run: &Run,
    load: &Load,
    processes: &[u32],
    started: Instant,
) -> Result<Watched, BenchError> {
    let end = started + load.warmup + load.duration;
    let cpu_at = async |at: Instant| {
        sleep_until(at).await;
        process::cpu_time(processes)
    };
    let (before, after, written) =
        tokio::join!(cpu_at(started + load.warmup), cpu_at(end), intervals(run, load, started));
    Ok(Watched { cpu: after.saturating_sub(before), ..written? })
}

/// Takes down the durations of every second.
async fn intervals(run: &Run, load: &Load, started: Instant) -> Result<Watched, BenchError> {
    let end = started + load.warmup + load.duration;
    let (mut log, mut serializer) = (Vec::new(), V2DeflateSerializer::new());
    let start_time = SystemTime::UNIX_EPOCH + Duration::from_millis(run.env.unix_ms());
    let mut writer = IntervalLogWriterBuilder::new()
        .add_comment("FastChat bench: microseconds, one interval a second")
        .with_start_time(start_time)
        .with_base_time(start_time)
        .with_max_value_divisor(1_000.0)
        .begin_log_with(&mut log, &mut serializer)?;
    let (mut sent, mut delivered) = (Durations::new(), Durations::new());
    let mut from = Duration::ZERO;
    loop {
        let until = started + from + SECOND;
        let quiet = until > end && drain(run, end, until).await;
        if !quiet {
            sleep_until(until).await;
        }
        let length = if quiet { started.elapsed().saturating_sub(from) } else { SECOND };
        let [sent_now, delivered_now] = run.totals.recorder.take();
        for (tag, now, all) in
            [("sent", sent_now, &mut sent), ("delivered", delivered_now, &mut delivered)]
        {
            writer
                .write_histogram(now.histogram(), from, length, Tag::new(tag))
                .map_err(|error| BenchError::Unexpected(format!("{error:?}")))?;
            all.add_all(&now);
        }
        from += SECOND;
        if quiet || until >= end + load.drain {
            break;
        }
    }
    Ok(Watched { sent, delivered, cpu: Duration::ZERO, log })
}

/// From `end` on, waits until everything arrived (then true) or it is `until`.
async fn drain(run: &Run, end: Instant, until: Instant) -> bool {
    sleep_until(end).await;
    while !run.totals.is_quiet() {
        let look = Instant::now() + LOOK;
        if look >= until {
            return false;
        }
        sleep_until(look).await;
    }
    true
}
