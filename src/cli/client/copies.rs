//! `backup` and `restore`: a profile as one file, and back.

use std::fs;
use std::path::Path;

use crate::cli::exit::{Exit, sentence};
use crate::client::backup::{self, BackupError};
use crate::client::{Mode, Profile};
use crate::ui::time;

use super::json::Record;
use super::open;
use super::report::{Outcome, Stop};
use super::{Context, failures};

/// `client backup FILE`.
pub(super) async fn backup(context: &Context, file: &Path) -> Outcome {
    let session = open::session(context, Mode::Offline).await?;
    let done = session.client.backup(&context.report.io.path(file)).await;
    session.end().await;
    let manifest = done.map_err(|error| failed(&error))?;
    let path = file.display().to_string();
    let text =
        || format!("{} is copied to {path}. It opens with the password of today.", manifest.user);
    context.report.data(&Record::File { path: &path }, text).await?;
    Ok(Exit::Done)
}

fn failed(error: &BackupError) -> Stop {
    let (exit, remedy) = match error {
        BackupError::Write { .. } => (Exit::LocalData, "A file that is there is never replaced."),
        BackupError::Read { .. } => (Exit::NotFound, "See that it is there and yours."),
        BackupError::Damaged(_) => (Exit::LocalData, "Nothing was changed. Take another copy."),
    };
    Stop::new(exit, sentence(error), remedy)
}

/// `client restore FILE`.
pub(super) async fn restore(context: &Context, file: &Path, force: bool) -> Outcome {
    let now = context.env.unix_ms();
    let temporary = context.places.hidden(&format!("restore-{}", std::process::id()));
    context.places.make().map_err(|error| {
        Stop::new(Exit::LocalData, format!("Cannot make the folder of profiles: {error}."), "")
    })?;
    let (from, to) = (file.to_owned(), temporary.clone());
    let unpacked = context.env.blocking(move || backup::unpack(&from, &to)).await;
    let unpacked = unpacked.map_err(|error| failed(&error))?;
    let manifest = unpacked.manifest.clone();
    let name = context.globals.profile.clone().unwrap_or_else(|| manifest.user.clone());
    let folder = context.places.folder(&name);
    let mut aside = None;
    if folder.exists() {
        // Whoever holds it would go on writing into it.
        let there = Profile::open(&context.env, &folder)
            .map_err(|error| failures::profile(error, &name))?;
        if there.owner().is_some() && !force {
            return Err(Stop::new(
                Exit::LocalData,
                format!("There is a profile {name} already. Nothing was changed."),
                "Another name: client restore FILE -p NAME     In its place: --force",
            ));
        }
        context.places.lock(&name);
        let old = context.places.hidden(&format!("{name}-replaced-{now}"));
        fs::rename(&folder, &old).map_err(|error| {
            Stop::new(Exit::LocalData, format!("Cannot move {}: {error}.", folder.display()), "")
        })?;
        aside = Some(old);
    }
    if let Err(error) = unpacked.place(&folder) {
        if let Some(old) = &aside {
            let _ = fs::rename(old, &folder);
        }
        return Err(failed(&error));
    }
    if let Some(old) = &aside {
        context.report.notice(&format!("The profile that was there: {}", old.display()));
    }
    let made = time::moment(manifest.made_unix_ms, now, &context.report.zone);
    let record = Record::Restored {
        user: manifest.user.to_string(),
        profile: name.to_string(),
        made_at: time::rfc3339(manifest.made_unix_ms),
    };
    let text = || {
        format!(
            "{} is here as of {made}, with the password of then. Unlock it:  client -p {name} login",
            manifest.user
        )
    };
    context.report.data(&record, text).await?;
    Ok(Exit::Done)
}
