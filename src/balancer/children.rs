//! Server processes: started, adopted, watched, restarted, stopped.
//!
//! Children outlive a balancer that is killed, so that nobody's chat stops with it; the next
//! balancer finds them by their pid files and adopts those that were started exactly as it would
//! start them. Deliberately judges no exit code: whoever reads the events does.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::fleet::Fleet;
use super::process::{self, Ask, Holder};
use crate::limits;
use crate::net::Env;
use crate::ops::service::ENVIRONMENT;
use crate::types::ServerId;

/// First pause before a restart; doubles up to [`RESTART_PAUSE_MAX`].
const RESTART_PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause before a restart.
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(5);
/// A process that lived this long was healthy: the pauses start again from the shortest.
const HEALTHY_AFTER: Duration = Duration::from_secs(30);
/// How often an adopted process, which is not ours to wait for, is looked at.
const ADOPTED_POLL: Duration = Duration::from_millis(100);
/// What is left of [`limits::STOP_DEADLINE`] for ending whoever does not stop by itself.
const KILL_RESERVE: Duration = Duration::from_millis(400);

/// How to start one server.
#[derive(Clone, Debug)]
pub struct ChildSpec {
    /// Which.
    pub id: ServerId,
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// The file the child locks while it lives.
    pub pid_file: PathBuf,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It said this number.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It was adopted, so nobody knows.
    Unseen,
    /// It could not even be started.
    NotStarted,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unseen => f.write_str("cause unknown"),
            Self::NotStarted => f.write_str("cannot be started"),
        }
    }
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Unseen,
        }
    }
}

/// What happened to a child that was not asked to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChildEvent {
    /// It ended, and will be started again.
    Died {
        /// Which.
        id: ServerId,
        /// How.
        ended: Ended,
        /// Whether it had ever been ready since this balancer started.
        before: Before,
    },
    /// It is ready again.
    Back {
        /// Which.
        id: ServerId,
        /// From its end to being ready.
        after: Duration,
    },
}

/// When a child died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// It has never been ready.
    FirstReady,
    /// It has been ready before.
    Later,
}

/// A server that was running before this balancer started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftover {
    /// There is none.
    None,
    /// Started exactly as we would start it: it can be adopted.
    Same(u32),
    /// Started by a balancer, otherwise than we would: it must give way.
    Outdated(u32),
    /// Started by somebody else.
    Foreign(Option<u32>),
}

/// Looks for a running server of this spec.
///
/// # Errors
/// When the pid file cannot be read.
pub fn leftover(spec: &ChildSpec) -> io::Result<Leftover> {
    Ok(match process::holder(&spec.pid_file)? {
        Holder::Nobody => Leftover::None,
        Holder::Unknown => Leftover::Foreign(None),
        Holder::Process(pid) => {
            let arguments = process::arguments_of(pid);
            if arguments == spec.arguments {
                Leftover::Same(pid)
            } else if arguments.first() == spec.arguments.first() {
                Leftover::Outdated(pid)
            } else {
                Leftover::Foreign(Some(pid))
            }
        }
    })
}

/// Stops a process that holds `pid_file`: in order, then by force.
pub async fn stop_leftover(pid: u32, pid_file: &Path) {
    process::signal(pid, Ask::StopNow);
    if timeout(limits::STOP_DEADLINE - KILL_RESERVE, released(pid_file)).await.is_err() {
        process::signal(pid, Ask::Die);
        released(pid_file).await;
    }
}

/// Returns once nobody holds the pid file.
async fn released(pid_file: &Path) {
    while matches!(process::holder(pid_file), Ok(Holder::Process(_) | Holder::Unknown)) {
        sleep(ADOPTED_POLL).await;
    }
}

/// All children of this balancer. Dropping it leaves them running.
#[derive(Debug)]
pub struct Children {
    tasks: TaskTracker,
    stop: CancellationToken,
    die: CancellationToken,
}

impl Children {
    /// Starts or adopts every server and keeps it running until [`Self::stop`].
    pub fn start(
        env: &Env,
        specs: Vec<ChildSpec>,
        fleet: &Fleet,
        events: &mpsc::Sender<ChildEvent>,
    ) -> Self {
        let children =
            Self { tasks: TaskTracker::new(), stop: CancellationToken::new(), die: <_>::default() };
        for spec in specs {
            let supervisor = Supervisor {
                spec,
                fleet: fleet.clone(),
                events: events.clone(),
                stop: children.stop.clone(),
                die: children.die.clone(),
            };
            env.spawn(children.tasks.track_future(supervisor.run()));
        }
        children.tasks.close();
        children
    }

    /// Asks all to stop and waits for them; after [`limits::STOP_DEADLINE`] none is left.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }

    /// Ends those that are left at once.
    pub fn kill(&self) {
        self.die.cancel();
        self.stop.cancel();
    }
}

/// Keeps one server running.
struct Supervisor {
    spec: ChildSpec,
    fleet: Fleet,
    events: mpsc::Sender<ChildEvent>,
    stop: CancellationToken,
    die: CancellationToken,
}

/// A process that serves.
enum Process {
    Own(Child),
    Adopted(u32),
}

impl Supervisor {
    async fn run(self) {
        let mut pause = RESTART_PAUSE_MIN;
        let mut before = Before::FirstReady;
        let mut died: Option<Instant> = None;
        while !self.stop.is_cancelled() {
            let started = Instant::now();
            let Some(ended) = self.life(&mut before, &mut died).await else { return };
            died.get_or_insert_with(Instant::now);
            self.fleet.process_ended(&self.spec.id);
            self.tell(ChildEvent::Died { id: self.spec.id.clone(), ended, before }).await;
            if started.elapsed() >= HEALTHY_AFTER {
                pause = RESTART_PAUSE_MIN;
            }
            let _ = timeout(pause, self.stop.cancelled()).await;
            pause = (pause * 2).min(RESTART_PAUSE_MAX);
        }
    }

    /// One process from start to end. `None` when it was stopped on request.
    async fn life(&self, before: &mut Before, died: &mut Option<Instant>) -> Option<Ended> {
        let mut process = match self.begin() {
            Ok(process) => process,
            Err(error) => {
                tracing::warn!(server = %self.spec.id, %error, "cannot start the server process");
                return Some(Ended::NotStarted);
            }
        };
        if let Some(pid) = process.pid() {
            self.fleet.process_started(&self.spec.id, pid);
        }
        let mut is_ready = false;
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {
                    self.end(&mut process).await;
                    return None;
                }
                ended = process.ended(&self.spec.pid_file) => return Some(ended),
                () = self.fleet.wait_up(&self.spec.id), if !is_ready => {
                    is_ready = true;
                    *before = Before::Later;
                    if let Some(since) = died.take() {
                        let after = since.elapsed();
                        self.tell(ChildEvent::Back { id: self.spec.id.clone(), after }).await;
                    }
                }
            }
        }
    }

    fn begin(&self) -> io::Result<Process> {
        if let Leftover::Same(pid) = leftover(&self.spec)? {
            tracing::info!(server = %self.spec.id, pid, "adopted a running server");
            return Ok(Process::Adopted(pid));
        }
        // A rebuild removes the file this process was started from; the running image stays.
        let own_image = Path::new("/proc/self/exe");
        let program =
            if self.spec.program.exists() { self.spec.program.as_path() } else { own_image };
        let mut command = Command::new(program);
        for name in ENVIRONMENT {
            command.env_remove(name);
        }
        command
            .args(&self.spec.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // A group of its own: Ctrl-C at the terminal reaches the balancer alone, which stops
            // its servers in order.
            .process_group(0)
            .spawn()
            .map(Process::Own)
    }

    /// Stops the process: in order, then by force.
    async fn end(&self, process: &mut Process) {
        let Some(pid) = process.pid() else { return };
        process::signal(pid, Ask::StopNow);
        tokio::select! {
            biased;
            _ = process.ended(&self.spec.pid_file) => return,
            () = self.die.cancelled() => {}
            () = sleep(limits::STOP_DEADLINE - KILL_RESERVE) => {
                tracing::warn!(server = %self.spec.id, pid, "did not stop in time and is killed");
            }
        }
        process::signal(pid, Ask::Die);
        let _ = process.ended(&self.spec.pid_file).await;
    }

    async fn tell(&self, event: ChildEvent) {
        // Nobody listens any more: the balancer is on its way out.
        let _ = self.events.send(event).await;
    }
}

impl Process {
    /// Its number. `None` once it is gone.
    fn pid(&self) -> Option<u32> {
        match self {
            Self::Own(child) => child.id(),
            Self::Adopted(pid) => Some(*pid),
        }
    }

    /// Returns once it is gone. May be dropped and called again.
    async fn ended(&mut self, pid_file: &Path) -> Ended {
        match self {
            Self::Own(child) => child.wait().await.map_or(Ended::Unseen, Ended::from),
            Self::Adopted(_) => {
                released(pid_file).await;
                Ended::Unseen
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::fleet::{Load, Member, State};
    use crate::placement::{PlacementMap, ServerEntry};

    struct Stage {
        fleet: Fleet,
        events: mpsc::Receiver<ChildEvent>,
        children: Children,
        _folder: tempfile::TempDir,
    }

    /// One child, `sh -c SCRIPT`, in place of a server.
    fn stage(script: &str) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let id = ServerId::numbered(1);
        let entry = ServerEntry {
            id: id.clone(),
            addr: ([127, 0, 0, 1], 1).into(),
            peer_addr: ([127, 0, 0, 1], 2).into(),
            spki_sha256: String::new(),
        };
        let fleet = Fleet::new(&PlacementMap::deal(vec![entry], String::new()));
        let spec = ChildSpec {
            id,
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            pid_file: folder.path().join("s1.pid"),
        };
        let (sender, events) = mpsc::channel(8);
        let children = Children::start(&Env::system(), vec![spec], &fleet, &sender);
        Stage { fleet, events, children, _folder: folder }
    }

    async fn pid_of(fleet: &Fleet) -> u32 {
        let mut members = fleet.subscribe();
        let is_alive = |members: &Vec<Member>| members[0].process.pid().is_some();
        members.wait_for(is_alive).await.unwrap()[0].process.pid().unwrap()
    }

    #[tokio::test]
    async fn a_killed_child_is_restarted_and_the_time_to_ready_is_told() {
        let mut stage = stage("exec sleep 600");
        let id = ServerId::numbered(1);
        let first = pid_of(&stage.fleet).await;
        let ready = |fleet: &Fleet| {
            fleet.answered(&id, fleet.life(&id), Load::default(), State::Ready);
        };
        ready(&stage.fleet);
        // The supervisor must have seen it ready before it dies.
        tokio::task::yield_now().await;
        process::signal(first, Ask::Die);
        let event = stage.events.recv().await.unwrap();
        let ended = Ended::Signal(9);
        assert_eq!(event, ChildEvent::Died { id: id.clone(), ended, before: Before::Later });
        assert!(!stage.fleet.members()[0].state.is_up());
        assert_ne!(pid_of(&stage.fleet).await, first);
        ready(&stage.fleet);
        assert!(matches!(stage.events.recv().await, Some(ChildEvent::Back { .. })));
        stage.children.stop().await;
    }

    #[tokio::test]
    async fn a_child_that_never_got_ready_says_with_what_code_it_ended() {
        let mut stage = stage("exit 9");
        let event = stage.events.recv().await.unwrap();
        let (id, ended) = (ServerId::numbered(1), Ended::Code(9));
        assert_eq!(event, ChildEvent::Died { id, ended, before: Before::FirstReady });
        stage.children.stop().await;
    }

    #[tokio::test]
    async fn a_child_that_ignores_the_request_to_stop_is_killed_when_asked_twice() {
        let stage = stage("trap '' TERM INT; while :; do sleep 1; done");
        let pid = pid_of(&stage.fleet).await;
        stage.children.kill();
        stage.children.stop().await;
        assert!(process::arguments_of(pid).is_empty());
    }
}
