//! What is known of each server at this moment, shared by those who learn it (health links, the
//! supervisor of child processes) and those who act on it (answers to clients, the screen).
//!
//! Deliberately starts, stops and asks nobody.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::placement::{PlacementMap, ServerEntry};
use crate::types::ServerId;

/// Whether a server may be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not heard of yet, or it answers but does not accept work yet.
    Starting,
    /// It answers and accepts work.
    Ready,
    /// Its process ended, or it stopped answering.
    Down,
}

impl State {
    /// Every state.
    pub const ALL: &'static [Self] = &[Self::Starting, Self::Ready, Self::Down];

    /// The word in `status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Down => "down",
        }
    }
}

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
}

/// One server.
#[derive(Clone, Debug)]
pub struct Member {
    /// As in the placement map.
    pub entry: ServerEntry,
    /// Whether it may be handed out.
    pub state: State,
    /// Since when it has been ready. `None` while it is not.
    pub ready_since: Option<Instant>,
    /// Its last word, kept while it is down.
    pub load: Load,
    /// Its process.
    pub process: Process,
    /// How often its process ended unasked.
    pub restarts: u32,
    /// Counts its processes; a health link of an earlier one is void.
    pub life: u64,
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
            ready_since: None,
            load: Load::default(),
            process: Process::Unwatched,
            restarts: 0,
            life: 0,
        };
        let members = map.servers.iter().map(member).collect();
        Self { members: Arc::new(watch::Sender::new(members)) }
    }

    /// All servers, in order of number.
    pub fn members(&self) -> Vec<Member> {
        self.members.borrow().clone()
    }

    /// Those that may be handed out.
    pub fn ready(&self) -> Vec<ServerEntry> {
        let members = self.members.borrow();
        let ready = members.iter().filter(|member| member.state == State::Ready);
        ready.map(|member| member.entry.clone()).collect()
    }

    /// Tells when anything changes.
    pub fn subscribe(&self) -> watch::Receiver<Vec<Member>> {
        self.members.subscribe()
    }

    /// Returns once this server is ready. Never for a server that is not in the map.
    pub async fn wait_ready(&self, id: &ServerId) {
        let is_ready = |members: &Vec<Member>| {
            members.iter().any(|member| member.entry.id == *id && member.state == State::Ready)
        };
        if self.subscribe().wait_for(is_ready).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns once every server is ready at the same time.
    pub async fn wait_all_ready(&self) {
        let all_ready =
            |members: &Vec<Member>| members.iter().all(|member| member.state == State::Ready);
        if self.subscribe().wait_for(all_ready).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// A new process of this server is running.
    pub fn process_started(&self, id: &ServerId, pid: u32) {
        self.change(id, |member| {
            member.process = Process::Alive(pid);
            member.state = State::Starting;
            member.ready_since = None;
            member.life += 1;
        });
    }

    /// The process of this server ended: it is not handed out from this moment.
    pub fn process_ended(&self, id: &ServerId) {
        self.change(id, |member| {
            member.process = Process::Ended;
            member.state = State::Down;
            member.ready_since = None;
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
            member.state = state;
            match state {
                State::Ready => {
                    member.ready_since.get_or_insert_with(Instant::now);
                }
                State::Starting | State::Down => member.ready_since = None,
            }
        });
    }

    /// The server of this life does not answer any more.
    pub(super) fn silent(&self, id: &ServerId, life: u64) -> WasReady {
        let mut was_ready = WasReady::No;
        self.change(id, |member| {
            if member.life == life && member.state == State::Ready {
                was_ready = WasReady::Yes;
                member.state = State::Down;
                member.ready_since = None;
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
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn fleet() -> Fleet {
        let entry = |number| ServerEntry {
            id: ServerId::numbered(number),
            addr: SocketAddr::from(([127, 0, 0, 1], 9000 + number)),
            peer_addr: SocketAddr::from(([127, 0, 0, 1], 9100 + number)),
            spki_sha256: String::new(),
        };
        Fleet::new(&PlacementMap::deal((1..=2).map(entry).collect(), String::new()))
    }

    fn ready_ids(fleet: &Fleet) -> Vec<String> {
        fleet.ready().iter().map(|entry| entry.id.to_string()).collect()
    }

    #[tokio::test]
    async fn only_a_server_that_answers_and_accepts_is_handed_out() {
        let fleet = fleet();
        let s1 = ServerId::numbered(1);
        assert!(ready_ids(&fleet).is_empty());
        fleet.answered(&s1, 0, Load::default(), State::Starting);
        assert!(ready_ids(&fleet).is_empty());
        fleet.answered(&s1, 0, Load::default(), State::Ready);
        assert_eq!(ready_ids(&fleet), ["s1"]);
        fleet.silent(&s1, 0);
        assert!(ready_ids(&fleet).is_empty());
    }

    #[tokio::test]
    async fn a_late_answer_of_a_dead_process_does_not_make_it_ready() {
        let fleet = fleet();
        let s1 = ServerId::numbered(1);
        fleet.process_started(&s1, 41);
        let life = fleet.life(&s1);
        fleet.answered(&s1, life, Load::default(), State::Ready);
        fleet.process_ended(&s1);
        fleet.answered(&s1, life, Load::default(), State::Ready);
        assert!(ready_ids(&fleet).is_empty());
        fleet.process_started(&s1, 42);
        fleet.answered(&s1, life, Load::default(), State::Ready);
        assert!(ready_ids(&fleet).is_empty());
        assert_eq!(fleet.members()[0].restarts, 1);
    }
}
