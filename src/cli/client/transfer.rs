//! `transfer`: files on their way, seen and moved from a shell.

use std::collections::BTreeSet;
use std::path::Path;

use tokio::time::{Duration, Instant, timeout_at};

use crate::cli::exit::Exit;
use crate::client::{
    Client, Direction, Event, FileError, LocalId, Mode, SaveTo, TransferState, TransferView,
};
use crate::ui::files;
use crate::ui::text::clean_line;

use super::args::{Goal, Transfer};
use super::batch::Batch;
use super::files::kept;
use super::json::{Record, TransferLine};
use super::open::Session;
use super::places::downloads;
use super::progress::Progress;
use super::report::{Form, Outcome, Stop};
use super::{Context, failures, open};

/// An event that was lost is made up for by looking again this often.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Runs one of them.
pub(super) async fn run(context: &Context, what: &Transfer) -> Outcome {
    let mode = match what {
        Transfer::List | Transfer::Cancel { .. } => Mode::Offline,
        Transfer::Resume { .. } | Transfer::Save { .. } => Mode::SendOnly,
    };
    let mut session = open::session(context, mode).await?;
    let outcome = match what {
        Transfer::List => list(context, &session.client).await,
        Transfer::Cancel { id } => cancel(context, &session.client, LocalId(*id)).await,
        Transfer::Resume { id } => resume(context, &mut session, id.map(LocalId)).await,
        Transfer::Save { id, path } => {
            save(context, &mut session, LocalId(*id), path.as_deref()).await
        }
    };
    session.end().await;
    outcome
}

async fn list(context: &Context, client: &Client) -> Outcome {
    let all = client.transfers().map_err(|error| failures::request(&error, None))?;
    if all.is_empty() && context.report.form == Form::Text {
        context.report.notice("No files are on their way.");
    }
    for view in &all {
        let record = Record::Transfer(TransferLine::new(view));
        context.report.data(&record, || files::row(view)).await?;
    }
    Ok(Exit::Done)
}

/// Stops one. Also what `client cancel` does with a message whose file is on its way.
pub(super) async fn cancel(context: &Context, client: &Client, id: LocalId) -> Outcome {
    let view = known(client, id)?;
    client.cancel_transfer(id).map_err(|error| failures::file(&error, &view.chat))?;
    let name = clean_line(&view.name);
    let text = || match view.direction {
        Direction::Up => format!("{name} will not be sent."),
        Direction::Down => format!("What had come of {name} is dropped."),
    };
    context.report.data(&Record::Cancelled { id: id.to_string() }, text).await?;
    Ok(Exit::Done)
}

fn known(client: &Client, id: LocalId) -> Result<TransferView, Stop> {
    let view = client.transfer(id).map_err(|error| failures::request(&error, None))?;
    view.ok_or_else(|| failures::file(&FileError::NoFile(id), &""))
}

// --- going on ---

async fn resume(context: &Context, session: &mut Session, id: Option<LocalId>) -> Outcome {
    let client = session.client.clone();
    let wanted = match id {
        Some(id) => vec![known(&client, id)?],
        None => {
            let all = client.transfers().map_err(|error| failures::request(&error, None))?;
            let (failed, go_on): (Vec<_>, Vec<_>) =
                all.into_iter().partition(|view| matches!(view.state, TransferState::Failed(_)));
            for view in &failed {
                context.report.notice(&files::row(view));
            }
            go_on
        }
    };
    let wanted: Vec<TransferView> =
        wanted.into_iter().filter(|view| view.state != TransferState::Done).collect();
    if wanted.is_empty() {
        context.report.notice("No file waits to go on.");
        return Ok(Exit::Done);
    }
    let mut up = Batch::new(context, &client, Goal::Sent);
    let mut down = BTreeSet::new();
    for view in wanted {
        let resumed = client.resume_transfer(view.id);
        resumed.map_err(|error| failures::file(&error, &view.chat))?;
        match view.direction {
            Direction::Up => up.adopt(view.id, view.chat),
            Direction::Down => drop(down.insert(view.id)),
        }
    }
    let through = async {
        up.settle(&mut session.events, 0).await?;
        let fetched = if down.is_empty() {
            Ok(Exit::Done)
        } else {
            fetched(context, &client, session, down.clone()).await
        };
        Ok::<_, Stop>(fetched)
    };
    let fetched = tokio::select! {
        biased;
        fetched = through => fetched?,
        () = context.report.io.interrupted() => {
            let stop = up.uploading();
            return Err(stop.unwrap_or_else(|| Stop::quiet(Exit::Interrupted)));
        }
    };
    let has_ups = up.has_any();
    match (up.outcome(), fetched) {
        (Ok(_), fetched) if !has_ups => fetched,
        (sent, Ok(_)) if down.is_empty() => sent,
        (Ok(_), Ok(_)) => Ok(Exit::Done),
        (Err(stop), _) | (_, Err(stop)) => {
            Err(Stop::new(Exit::Partly, stop.failure.what, stop.failure.remedy))
        }
    }
}

/// Waits until files are here.
async fn fetched(
    context: &Context,
    client: &Client,
    session: &mut Session,
    mut open: BTreeSet<LocalId>,
) -> Outcome {
    let mut progress = Progress::new(&context.report);
    let mut bad = Vec::new();
    let mut bytes = 0;
    let mut deadline = Instant::now() + context.globals.timeout;
    while !open.is_empty() {
        let mut come = 0;
        for id in open.clone() {
            let view = known(client, id)?;
            come += view.done_bytes;
            match view.state {
                TransferState::Done => {
                    open.remove(&id);
                    progress.rest();
                    if context.report.form == Form::Text {
                        let (name, record) = (clean_line(&view.name), Record::Notice { text: "" });
                        let text = || format!("{name} is here: client transfer save {id}");
                        context.report.data(&record, text).await?;
                    }
                }
                TransferState::Failed(failure) => {
                    open.remove(&id);
                    bad.push(failures::transfer(failure, &view));
                }
                _ if Instant::now() >= deadline => {
                    open.remove(&id);
                    bad.push(kept(&view, Exit::Unreachable, "It does not come.", false));
                }
                _ => {}
            }
        }
        if come > bytes {
            bytes = come;
            deadline = Instant::now() + context.globals.timeout;
        }
        let soon = deadline.min(Instant::now() + LOOK_AGAIN);
        match timeout_at(soon, session.events.recv()).await {
            Ok(Some(Event::Transfer { view })) if open.contains(&view.id) => {
                progress.heard(&view).await?;
            }
            Ok(Some(_)) | Err(_) => {}
            Ok(None) if open.is_empty() => {}
            Ok(None) => return Err(Stop::quiet(Exit::Internal)),
        }
    }
    match bad.pop() {
        None => Ok(Exit::Done),
        Some(last) => {
            for stop in &bad {
                context.report.io.err(&stop.failure.what);
            }
            Err(last)
        }
    }
}

// --- stored ---

async fn save(
    context: &Context,
    session: &mut Session,
    id: LocalId,
    path: Option<&Path>,
) -> Outcome {
    let client = session.client.clone();
    let view = known(&client, id)?;
    let to = match path {
        None => SaveTo::Folder(context.report.io.path(&downloads())),
        Some(path) => SaveTo::typed(&context.report.io.path(path)),
    };
    let mut progress = Progress::new(&context.report);
    let saving = client.save_file(id, &to);
    tokio::pin!(saving);
    let mut bytes = 0;
    let mut deadline = Instant::now() + context.globals.timeout;
    let saved = loop {
        tokio::select! {
            biased;
            saved = &mut saving => break saved,
            () = context.report.io.interrupted() => return Err(Stop::quiet(Exit::Interrupted)),
            event = timeout_at(deadline, session.events.recv()) => match event {
                Ok(Some(Event::Transfer { view })) if view.id == id => {
                    progress.heard(&view).await?;
                    if view.done_bytes > bytes {
                        bytes = view.done_bytes;
                        deadline = Instant::now() + context.globals.timeout;
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => return Err(Stop::quiet(Exit::Internal)),
                Err(_) => {
                    let view = known(&client, id)?;
                    let why = "There was no answer in time.";
                    return Err(kept(&view, Exit::Unreachable, why, context.held.is_some()));
                }
            },
        }
    };
    progress.rest();
    let saved = saved.map_err(|error| match error {
        FileError::Transfer(failure) => failures::transfer(failure, &view),
        other => failures::file(&other, &view.chat),
    })?;
    let shown = saved.to_string_lossy();
    let record = Record::Saved { id: id.to_string(), path: &shown };
    context.report.data(&record, || format!("saved {}", clean_line(&shown))).await?;
    Ok(Exit::Done)
}
