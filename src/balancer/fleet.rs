//! What is known of each server at this moment, shared by those who learn it (health links, the
//! supervisor of child processes) and those who act on it (answers to clients, the screen).
//!
//! Deliberately starts, stops and asks nobody.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::strategy::{Busy, Candidate, Strategy};
use crate::net::Env;
use crate::placement::{PlacementMap, ServerEntry};
use crate::types::ServerId;

/// What a server is fit for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not heard of yet, or it answers but does not accept work yet.
    Starting,
    /// It answers and accepts work: the only state in which it is handed out.
    Ready,
    /// It serves whom it has and takes nobody new.
    Drain,
    /// It has no room for another connection.
    Full,
    /// Its process ended, or it stopped answering.
    Down,
}

impl State {
    /// Every state.
    pub const ALL: &'static [Self] =
        &[Self::Starting, Self::Ready, Self::Drain, Self::Full, Self::Down];

    /// The word in `status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Full => "full",
            Self::Down => "down",
        }
    }

    /// Whether it serves, be it only those whom it has.
    pub fn is_up(self) -> bool {
        match self {
            Self::Ready | Self::Drain | Self::Full => true,
            Self::Starting | Self::Down => false,
        }
    }
}

/// What the operator wants of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// That it takes clients.
    Serve,
    /// That it sends its clients on and takes no new ones.
    Drain,
}

/// The map has no such server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such server")]
pub struct NoSuchServer;

/// Whether a server that fell silent was handed out until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WasReady {
    Yes,
    No,
}

/// What is known of a server's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// Nobody here watches processes.
    Unwatched,
    /// It runs, under this number.
    Alive(u32),
    /// It ended.
    Ended,
}

impl Process {
    /// Its number, if it is known to run.
    pub fn pid(self) -> Option<u32> {
        match self {
            Self::Alive(pid) => Some(pid),
            Self::Unwatched | Self::Ended => None,
        }
    }
}

/// What a server last said of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Users logged in whose home it is.
    pub sessions: u64,
    /// Client connections.
    pub connections: u64,
    /// Requests waiting at its writer.
    pub queue: u64,
    /// Bytes of its database.
    pub database_bytes: u64,
    /// Messages stored in the last second.
    pub messages_per_s: u64,
    /// 99 of 100 messages of the last ten seconds were stored and answered within this.
    pub p99_us: u64,
    /// Processor time and UDP bytes of the last second.
    pub busy: Busy,
    /// Bytes free on the disk of its database; 0 when unknown.
    pub disk_free_bytes: u64,
}

/// One server.
#[derive(Clone, Debug)]
pub struct Member {
    /// As in the placement map.
    pub entry: ServerEntry,
    /// Whether it may be handed out.
    pub state: State,
    /// Since when it has been up. `None` while it is not.
    pub up_since: Option<Instant>,
    /// Its last word, kept while it is down.
    pub load: Load,
    /// Its process.
    pub process: Process,
    /// How often its process ended unasked.
    pub restarts: u32,
    /// Counts its processes; a health link of an earlier one is void.
    pub life: u64,
    /// What the operator said last. `None`: nothing, then the server's own word holds.
    pub wish: Option<Wish>,
    /// How often it stood first in an answer.
    pub offered_first: u64,
    /// What the strategy goes by, beside the report.
    pub(super) offers: Offers,
}

/// What was given away that no report can show yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offers {
    /// Clients sent there since the latest full second of reports, and in the one before: some of
    /// them are still on their way.
    reserved: [u64; 2],
    since: Instant,
    /// The load of the last seconds.
    busy: Busy,
    /// When it last stood first, in answers.
    turn: u64,
}

/// How long answers are counted before they grow old.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

impl Offers {
    fn new() -> Self {
        Self { reserved: [0; 2], since: Instant::now(), busy: Busy::default(), turn: 0 }
    }

    /// A report came in.
    fn reported(&mut self, busy: Busy) {
        let now = Instant::now();
        if now.duration_since(self.since) >= REPORT_INTERVAL {
            let [latest, _] = self.reserved;
            self.reserved = [0, latest];
            self.since = now;
            self.busy = self.busy.smoothed(busy);
        }
    }

    fn given(&mut self, turn: u64) {
        let [latest, _] = &mut self.reserved;
        *latest += 1;
        self.turn = turn;
    }
}

impl Member {
    fn candidate(&self) -> (ServerId, Candidate) {
        let candidate = Candidate {
            connections: self.load.connections,
            busy: self.offers.busy,
            reserved: self.offers.reserved.iter().sum(),
            turn: self.offers.turn,
        };
        (self.entry.id.clone(), candidate)
    }
}

/// All servers of the map. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Fleet {
    members: Arc<watch::Sender<Vec<Member>>>,
}

impl Fleet {
    /// The servers of `map`, none of them heard of yet.
    pub fn new(map: &PlacementMap) -> Self {
        let member = |entry: &ServerEntry| Member {
            entry: entry.clone(),
            state: State::Starting,
            up_since: None,
            load: Load::default(),
            process: Process::Unwatched,
            restarts: 0,
            life: 0,
            wish: None,
            offered_first: 0,
            offers: Offers::new(),
        };
        let members = map.servers.iter().map(member).collect();
        Self { members: Arc::new(watch::Sender::new(members)) }
    }

    /// All servers, in order of number.
    pub fn members(&self) -> Vec<Member> {
        self.members.borrow().clone()
    }

    /// Those that may be handed out, the best first, and counts that as an answer given.
    pub fn offer(
        &self,
        env: &Env,
        strategy: Strategy,
        home: Option<&ServerId>,
    ) -> Vec<ServerEntry> {
        let mut offered = Vec::new();
        self.members.send_if_modified(|members| {
            let ready = members.iter().filter(|member| member.state == State::Ready);
            let mut ranked: Vec<_> = ready.map(Member::candidate).collect();
            strategy.rank(env, home, &mut ranked);
            let turn = 1 + members.iter().map(|member| member.offers.turn).max().unwrap_or(0);
            for (place, (id, _)) in ranked.iter().enumerate() {
                let Some(member) = members.iter_mut().find(|m| m.entry.id == *id) else { continue };
                if place == 0 {
                    member.offers.given(turn);
                    member.offered_first += 1;
                }
                offered.push(member.entry.clone());
            }
            // Nobody waits for an answer to be given.
            false
        });
        offered
    }

    /// Whether some server would do but for being full or told to drain.
    pub fn is_closed_on_purpose(&self) -> bool {
        let members = self.members.borrow();
        members.iter().any(|member| matches!(member.state, State::Drain | State::Full))
    }

    /// Notes what the operator wants of a server. It is not handed out from this moment, or may be
    /// once it says so itself.
    ///
    /// # Errors
    /// [`NoSuchServer`].
    pub fn wish(&self, id: &ServerId, wish: Wish) -> Result<(), NoSuchServer> {
        let mut known = Err(NoSuchServer);
        self.change(id, |member| {
            known = Ok(());
            member.wish = Some(wish);
            if wish == Wish::Drain && member.state.is_up() {
                member.state = State::Drain;
            }
        });
        known
    }

    /// Returns once the operator wants something of a server that it was not told yet.
    pub(super) async fn wish_other_than(&self, id: &ServerId, told: Option<Wish>) -> Wish {
        let mut members = self.subscribe();
        loop {
            let wish = {
                let members = members.borrow_and_update();
                members.iter().find(|member| member.entry.id == *id).and_then(|m| m.wish)
            };
            match wish {
                Some(wish) if Some(wish) != told => return wish,
                Some(_) | None => {}
            }
            if members.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Tells when anything changes.
    pub fn subscribe(&self) -> watch::Receiver<Vec<Member>> {
        self.members.subscribe()
    }

    /// Returns once this server is up. Never for a server that is not in the map.
    pub async fn wait_up(&self, id: &ServerId) {
        let is_up = |members: &Vec<Member>| {
            members.iter().any(|member| member.entry.id == *id && member.state.is_up())
        };
        if self.subscribe().wait_for(is_up).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns once every server is up at the same time.
    pub async fn wait_all_up(&self) {
        let all_up = |members: &Vec<Member>| members.iter().all(|member| member.state.is_up());
        if self.subscribe().wait_for(all_up).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// A new process of this server is running.
    pub fn process_started(&self, id: &ServerId, pid: u32) {
        self.change(id, |member| {
            member.process = Process::Alive(pid);
            member.state = State::Starting;
            member.up_since = None;
            member.life += 1;
        });
    }

    /// The process of this server ended: it is not handed out from this moment.
    pub fn process_ended(&self, id: &ServerId) {
        self.change(id, |member| {
            member.process = Process::Ended;
            member.state = State::Down;
            member.up_since = None;
            member.restarts = member.restarts.saturating_add(1);
            member.life += 1;
        });
    }

    /// The server answered, in the life `life`. An answer of an earlier life changes nothing.
    pub(super) fn answered(&self, id: &ServerId, life: u64, load: Load, state: State) {
        self.change(id, |member| {
            // Whoever answers for a process that ended is somebody else.
            if member.life != life || member.process == Process::Ended {
                return;
            }
            member.load = load;
            member.offers.reported(load.busy);
            // It may not have heard of the operator's wish yet.
            let drains = member.wish == Some(Wish::Drain) && state.is_up();
            member.state = if drains { State::Drain } else { state };
            if state.is_up() {
                member.up_since.get_or_insert_with(Instant::now);
            } else {
                member.up_since = None;
            }
        });
    }

    /// The server of this life does not answer any more.
    pub(super) fn silent(&self, id: &ServerId, life: u64) -> WasReady {
        let mut was_ready = WasReady::No;
        self.change(id, |member| {
            if member.life != life {
                return;
            }
            if member.state.is_up() {
                was_ready = WasReady::Yes;
            }
            // One that somebody here has just started is still on its way.
            if member.state.is_up() || member.process == Process::Unwatched {
                member.state = State::Down;
                member.up_since = None;
            }
        });
        was_ready
    }

    /// The current life of a server.
    pub(super) fn life(&self, id: &ServerId) -> u64 {
        let members = self.members.borrow();
        members.iter().find(|member| member.entry.id == *id).map_or(0, |member| member.life)
    }

    /// Returns once the server's life is no longer `life`.
    pub(super) async fn life_ended(&self, id: &ServerId, life: u64) {
        let ended = |members: &Vec<Member>| {
            members.iter().any(|member| member.entry.id == *id && member.life != life)
        };
        if self.subscribe().wait_for(ended).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn change(&self, id: &ServerId, change: impl FnOnce(&mut Member)) {
        self.members.send_modify(|members| {
            if let Some(member) = members.iter_mut().find(|member| member.entry.id == *id) {
                change(member);
            }
        });
    }
}

#[cfg(test)]
mod tests;
