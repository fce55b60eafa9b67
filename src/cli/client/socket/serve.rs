//! The holder's side: listens beside the profile, and runs what callers ask for on its own client.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use crate::cli::exit::Exit;
use crate::client::{Client, Event};
use crate::limits::SOCKET_CALLERS_MAX;
use crate::types::UserName;
use crate::ui::theme::{Colour, Style, Theme};

use super::super::Context;
use super::super::io::Io;
use super::super::report::{Form, Notices, Report};
use super::caller::{Caller, Hello};
use super::events::Events;
use super::frame::{self, Frame, Tag};

/// For the first frame of a caller, and for its reading of the last one.
const PATIENCE: Duration = Duration::from_secs(2);
/// Frames that wait to be written to a caller.
const FRAMES_MAX: usize = 64;

/// A profile whose client runs in this process.
#[derive(Clone)]
pub(in super::super) struct Held {
    pub(in super::super) profile: UserName,
    pub(in super::super) me: UserName,
    pub(in super::super) client: Client,
    pub(in super::super) events: Events,
}

/// Runs callers' commands until it is ended.
pub(in super::super) struct Service {
    path: Option<PathBuf>,
    stop: CancellationToken,
    callers: TaskTracker,
}

impl Service {
    /// Stops listening and ends the callers; to be called before the client is stopped.
    pub(in super::super) async fn end(self) {
        self.stop.cancel();
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
        self.callers.close();
        let _ = timeout(PATIENCE, self.callers.wait()).await;
    }
}

/// Serves the profile from now on. The holder reads its events from the receiver that it gets back.
/// Without a socket, commands say that the profile is in use.
pub(in super::super) fn serve(
    context: &Context,
    profile: &UserName,
    me: &UserName,
    client: &Client,
    incoming: mpsc::Receiver<Event>,
) -> (Service, mpsc::Receiver<Event>) {
    let events = Events::default();
    let (primary, own) = mpsc::channel(1);
    context.env.spawn(pass_on(incoming, primary, events.clone()));
    let mut service =
        Service { path: None, stop: CancellationToken::new(), callers: TaskTracker::new() };
    match listen(context, profile) {
        Ok((path, listener)) => {
            service.path = Some(path);
            let held =
                Held { profile: profile.clone(), me: me.clone(), client: client.clone(), events };
            let context = Context { held: Some(held), ..context.clone() };
            let (stop, callers) = (service.stop.clone(), service.callers.clone());
            context.env.clone().spawn(accept(context, listener, stop, callers));
        }
        Err(error) => tracing::info!(%error, "no socket for other commands"),
    }
    (service, own)
}

async fn pass_on(
    mut incoming: mpsc::Receiver<Event>,
    primary: mpsc::Sender<Event>,
    events: Events,
) {
    while let Some(event) = incoming.recv().await {
        events.pass(&event);
        let _ = primary.send(event).await;
    }
    events.end();
}

/// Whoever holds the lock of a profile owns its socket: one that lies there is a dead client's.
fn listen(context: &Context, profile: &UserName) -> io::Result<(PathBuf, UnixListener)> {
    let path = context.places.socket(profile)?;
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok((path, listener))
}

async fn accept(
    context: Context,
    listener: UnixListener,
    stop: CancellationToken,
    callers: TaskTracker,
) {
    let places = Arc::new(Semaphore::new(SOCKET_CALLERS_MAX));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = next_caller(&listener, &places) => accepted,
        };
        let Ok((stream, place)) = accepted else {
            // Out of descriptors: those who are served give theirs back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let attend = attend(context.clone(), stream, stop.clone());
        callers.spawn(async move {
            attend.await;
            drop(place);
        });
    }
}

/// The next caller, once there is a place for one. Until then they wait in the line of the socket:
/// whoever is taken and then dropped cannot know whether its message was.
pub(super) async fn next_caller(
    listener: &UnixListener,
    places: &Arc<Semaphore>,
) -> io::Result<(UnixStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

/// One caller, from its command to its exit code.
async fn attend(context: Context, stream: UnixStream, stop: CancellationToken) {
    let (mut reader, mut writer) = stream.into_split();
    let Ok(Ok(Some(first))) = timeout(PATIENCE, frame::read(&mut reader)).await else { return };
    let hello = Some(&first).filter(|first| first.tag == Tag::Hello);
    let hello = hello.and_then(|first| serde_json::from_slice::<Hello>(&first.bytes).ok());
    // Said before anything is done: whoever never heard it may do the same once more.
    if frame::write(&mut writer, &Frame::new(Tag::Begun, [])).await.is_err() {
        return;
    }
    let (frames, queue) = mpsc::channel(FRAMES_MAX);
    let gone = CancellationToken::new();
    let writing = context.env.spawn(write_all(writer, queue, gone.clone()));
    let exit = match hello {
        Some(hello) if hello.version == env!("CARGO_PKG_VERSION") => {
            let (answers, answered) = mpsc::channel(1);
            let (flushed, written) = mpsc::channel(1);
            let caller = Arc::new(Caller::new(hello.facts, frames.clone(), answered, written));
            let reading = read_all(reader, answers, flushed, Arc::clone(&caller));
            let context = for_caller(context, &caller);
            tokio::select! {
                biased;
                () = stop.cancelled() => left(&context.report),
                exit = run(&context, hello.command) => exit,
                // It went away: what it asked for ends here too.
                () = gone.cancelled() => return,
                () = reading => return,
            }
        }
        Some(_) | None => {
            let text =
                "✗ Another version of this program holds the profile.\n  End that one first.\n";
            let _ = frames.send(Frame::new(Tag::Err, text)).await;
            Exit::LocalData
        }
    };
    let _ = frames.send(Frame::new(Tag::Exit, [exit.number()])).await;
    drop(frames);
    let _ = timeout(PATIENCE, writing).await;
}

async fn run(context: &Context, command: super::super::args::Command) -> Exit {
    match super::super::served(context, command).await {
        Ok(exit) => exit,
        Err(stop) => {
            context.report.stop(&stop);
            stop.failure.exit
        }
    }
}

fn left(report: &Report) -> Exit {
    let stop = super::call::holder_left();
    report.stop(&stop);
    stop.failure.exit
}

async fn write_all(
    mut writer: OwnedWriteHalf,
    mut queue: mpsc::Receiver<Frame>,
    gone: CancellationToken,
) {
    while let Some(next) = queue.recv().await {
        if frame::write(&mut writer, &next).await.is_err() {
            gone.cancel();
            return;
        }
    }
}

/// Reads until the caller goes away, or says what makes no sense.
async fn read_all(
    mut reader: OwnedReadHalf,
    answers: mpsc::Sender<Option<Zeroizing<Vec<u8>>>>,
    flushed: mpsc::Sender<()>,
    caller: Arc<Caller>,
) {
    while let Ok(Some(next)) = frame::read(&mut reader).await {
        match next.tag {
            Tag::Answer if answers.try_send(Some(next.bytes)).is_ok() => {}
            Tag::NoAnswer if answers.try_send(None).is_ok() => {}
            Tag::Written if flushed.try_send(()).is_ok() => {}
            Tag::Interrupt => caller.interrupt(),
            Tag::Hello
            | Tag::Answer
            | Tag::NoAnswer
            | Tag::Out
            | Tag::Err
            | Tag::Ask
            | Tag::Exit
            | Tag::Written
            | Tag::Begun
            | Tag::Bar => return,
        }
    }
}

/// The holder's context with the caller's wishes and streams.
fn for_caller(context: Context, caller: &Arc<Caller>) -> Context {
    let facts = &caller.facts;
    let style = if facts.plain { Style::Plain } else { Style::Rich };
    let colour = if facts.coloured { Colour::On } else { Colour::Off };
    let zone = facts.zone.as_deref().and_then(|name| TimeZone::get(name).ok());
    let report = Report {
        form: if facts.json { Form::Json } else { Form::Text },
        theme: Theme { style, colour },
        zone: zone.unwrap_or_else(|| context.report.zone.clone()),
        notices: if facts.quiet { Notices::Quiet } else { Notices::Shown },
        io: Io::Of(Arc::clone(caller)),
    };
    let mut globals = context.globals.clone();
    globals.profile = Some(facts.profile.clone());
    globals.timeout = facts.timeout;
    globals.trust = facts.trust;
    globals.password_file = facts.password_file.clone();
    globals.password_fd = None;
    Context { report, globals, ..context }
}
