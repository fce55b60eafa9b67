//! A person of a measurement: the product's client in a process of its own, told what to do.
//!
//! Everything goes through what front ends use, and lies on the disk as theirs does. How long a
//! text takes is counted from the moment it was meant to go, which stands in it, to the moment its
//! reader would show it: the clock is the machine's and so the same for all processes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::super::load::lock;
use super::super::{BenchError, PATIENCE, unexpected};
use super::line::Loss;
use super::part::{Answer, Order, obey};
use crate::client::account::{Cluster, Where, sign_up};
use crate::client::{
    Client, Event, FileDraft, Line, LocalId, MessageState, MessageView, Mode, Profile, SaveTo,
};
use crate::net::Env;
use crate::types::{ChatName, ClusterId, UserName};

/// Lines taken at once.
const LINES_MAX: usize = 256;
/// A text as long as people write.
const FILLER: &str = " and then some words more, as many as people put into one line of a talk";

/// Who, and where.
#[derive(Clone, Debug)]
pub struct Person {
    /// Their name; it is free.
    pub user: UserName,
    /// The folder of their profile, made for this.
    pub folder: PathBuf,
    /// The balancer.
    pub balancer: SocketAddr,
    /// The cluster.
    pub cluster: ClusterId,
    /// Their password.
    pub password: String,
}

/// Signs up and does what it is told.
///
/// # Errors
/// [`BenchError`] when there is no account, or no connection.
pub async fn serve(env: &Env, person: &Person) -> Result<(), BenchError> {
    let loss = Loss::none(env.random_u64());
    let env = loss.around(env.clone());
    let (host, port) = (person.balancer.ip().to_string(), person.balancer.port());
    let profile = Profile::open(&env, &person.folder).map_err(unexpected)?;
    let cluster = Cluster { id: person.cluster, at: Where { host, port } };
    let signed_up = sign_up(&env, profile, &cluster, &person.user, &person.password).await;
    let unlocked = signed_up.map_err(unexpected)?;
    let (client, mut events) = Client::start(&env, unlocked, Mode::SendAndReceive);
    let online = async {
        while let Some(event) = events.recv().await {
            if matches!(event, Event::Online { .. }) {
                return Ok(());
            }
        }
        Err(unexpected("the client ended"))
    };
    timeout(PATIENCE, online).await.map_err(|_| BenchError::TooSlow("the first contact"))??;
    let me =
        Arc::new(Me { client, loss, heard: Mutex::default(), changed: watch::Sender::new(()) });
    env.spawn(hear(Arc::clone(&me), events));
    obey(&env, "ready", |order| Arc::clone(&me).obey(order)).await?;
    me.client.stop().await;
    Ok(())
}

/// What others told.
#[derive(Default)]
struct Heard {
    files: BTreeMap<String, LocalId>,
    latencies_us: Vec<u64>,
}

struct Me {
    client: Client,
    loss: Arc<Loss>,
    heard: Mutex<Heard>,
    /// Sent whenever something may be different.
    changed: watch::Sender<()>,
}

/// Reads what comes, as a front end does.
async fn hear(me: Arc<Me>, mut events: mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Lines => {
                if let Err(error) = me.read() {
                    tracing::warn!(%error, "lines cannot be read");
                }
            }
            Event::Request { from } => {
                let _ = me.client.accept(&from);
            }
            _ => {}
        }
        me.changed.send_replace(());
    }
}

/// Microseconds of a clock that all processes share.
fn now_us() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.cast_unsigned() * 1_000_000 + time.tv_nsec.cast_unsigned() / 1_000
}

impl Me {
    fn read(&self) -> Result<(), BenchError> {
        loop {
            let lines = self.client.take_unshown(LINES_MAX).map_err(unexpected)?;
            if lines.is_empty() {
                return Ok(());
            }
            let now = now_us();
            for line in &lines {
                if let Line::Message(message) = line {
                    lock(&self.heard).note(message, now);
                }
            }
            let ids: Vec<LocalId> = lines.iter().map(Line::id).collect();
            self.client.mark_shown(&ids).map_err(unexpected)?;
        }
    }

    async fn obey(self: Arc<Self>, order: Order) -> Result<Answer, BenchError> {
        let started = Instant::now();
        let done = |started: Instant| Answer::Done { ms: ms(started) };
        match order {
            Order::Send { to, path } => {
                self.send(&to, &path).await?;
                Ok(done(started))
            }
            Order::Upload { to, path, ms } => {
                self.upload(&to, &path, Duration::from_millis(ms)).await
            }
            Order::Hear { name } => {
                self.file(&name).await?;
                Ok(done(started))
            }
            Order::Save { name, folder } => {
                let id = self.file(&name).await?;
                let started = Instant::now();
                let saved = self.client.save_file(id, &SaveTo::Folder(folder)).await;
                saved.map_err(unexpected)?;
                Ok(done(started))
            }
            Order::Write { to, per_s, ms } => {
                self.write(&to, per_s, Duration::from_millis(ms)).await
            }
            Order::Latencies => {
                let us = std::mem::take(&mut lock(&self.heard).latencies_us);
                Ok(Answer::Latencies { us })
            }
            Order::Lose { share } => {
                self.loss.set(share);
                Ok(done(started))
            }
            Order::Pass { .. } => Err(unexpected("people do not pass on")),
        }
    }

    /// Waits until something is so.
    async fn until<T>(
        &self,
        look: impl Fn() -> Result<Option<T>, BenchError>,
    ) -> Result<T, BenchError> {
        let mut changes = self.changed.subscribe();
        loop {
            changes.borrow_and_update();
            if let Some(found) = look()? {
                return Ok(found);
            }
            changes.changed().await.map_err(unexpected)?;
        }
    }

    async fn file(&self, name: &str) -> Result<LocalId, BenchError> {
        self.until(|| Ok(lock(&self.heard).files.get(name).copied())).await
    }

    /// Until all bytes lie at the home: from then on its message waits like any other.
    async fn send(&self, to: &str, path: &Path) -> Result<LocalId, BenchError> {
        let draft = FileDraft::of(path);
        let id = self.client.send_file(&chat(to)?, draft).await.map_err(unexpected)?;
        self.until(|| {
            let message = self.client.message(id).map_err(unexpected)?;
            match message.and_then(|message| message.state) {
                Some(MessageState::Uploading) => Ok(None),
                Some(MessageState::Refused(why)) => {
                    Err(unexpected(format!("the file was refused: {why:?}")))
                }
                None | Some(MessageState::Cancelled) => Err(unexpected("the file is gone")),
                Some(_) => Ok(Some(id)),
            }
        })
        .await
    }

    async fn upload(&self, to: &str, path: &Path, time: Duration) -> Result<Answer, BenchError> {
        let length = std::fs::metadata(path)?.len();
        let (started, mut files) = (Instant::now(), 0);
        loop {
            let Ok(sent) = tokio::time::timeout_at(started + time, self.send(to, path)).await
            else {
                break;
            };
            files += 1;
            let (id, gone) = (sent?, self.client.clone());
            let is_sent = |message: MessageView| message.wire_id.is_some();
            self.until(|| Ok(gone.message(id).map_err(unexpected)?.filter(|m| is_sent(m.clone()))))
                .await?;
            gone.delete(id).map_err(unexpected)?;
        }
        let (mut bytes, ms) = (length * u64::from(files), ms(started));
        // The one that is under way counts as far as it came, and must not go into what is
        // measured next.
        for transfer in self.client.transfers().map_err(unexpected)? {
            bytes += transfer.done_bytes;
            self.client.cancel_transfer(transfer.id).map_err(unexpected)?;
        }
        Ok(Answer::Uploaded { files, bytes, ms })
    }

    async fn write(&self, to: &str, per_s: f64, time: Duration) -> Result<Answer, BenchError> {
        let (chat, started, started_us) = (chat(to)?, Instant::now(), now_us());
        let mut texts = 0;
        loop {
            let due = Duration::from_secs_f64(texts as f64 / per_s);
            if due >= time {
                return Ok(Answer::Written { texts });
            }
            sleep_until(started + due).await;
            let meant = started_us + u64::try_from(due.as_micros()).unwrap_or(u64::MAX);
            self.client.send_text(&chat, &format!("{meant}{FILLER}")).map_err(unexpected)?;
            texts += 1;
        }
    }
}

impl Heard {
    fn note(&mut self, message: &MessageView, now_us: u64) {
        if let Some(file) = &message.file {
            self.files.insert(file.name.clone(), message.id);
        } else if let Some(meant) = message.text.strip_suffix(FILLER)
            && let Ok(meant) = meant.parse::<u64>()
        {
            self.latencies_us.push(now_us.saturating_sub(meant));
        }
    }
}

fn chat(user: &str) -> Result<ChatName, BenchError> {
    UserName::parse(user).map(ChatName::Person).map_err(unexpected)
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1_000.0
}
