//! Files that came, fetched and stored while messages go on being printed.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use tokio::task::JoinSet;

use crate::cli::exit::Exit;
use crate::client::{
    Author, Client, FileError, Line, LocalId, SaveTo, TransferState, TransferView,
};
use crate::ui::text::clean_line;

use super::json::Record;
use super::progress::Progress;
use super::report::{Form, Stop};
use super::{Context, failures};

/// Files that are fetched at once.
const AT_ONCE_MAX: usize = 4;

/// A file that is stored, or why it is not.
pub(super) struct Had {
    id: LocalId,
    result: Result<PathBuf, FileError>,
}

/// The files of one command.
pub(super) struct Saving<'a> {
    context: &'a Context,
    client: &'a Client,
    folder: PathBuf,
    /// The folder as it was typed.
    typed: &'a Path,
    /// Names of those that are not settled.
    open: BTreeMap<LocalId, String>,
    queue: VecDeque<LocalId>,
    running: JoinSet<Had>,
    bytes: BTreeMap<LocalId, u64>,
    progress: Progress,
    /// Files that could not be had.
    missing: usize,
}

impl<'a> Saving<'a> {
    /// Into a folder, which is made if it is not there.
    pub(super) fn into(
        context: &'a Context,
        client: &'a Client,
        typed: &'a Path,
    ) -> Result<Self, Stop> {
        let folder = context.report.io.path(typed);
        std::fs::create_dir_all(&folder).map_err(|error| {
            Stop::new(
                Exit::NotFound,
                format!("{} cannot be used: {error}.", clean_line(&typed.to_string_lossy())),
                "Name a folder: --save-dir DIR",
            )
        })?;
        let progress = Progress::new(&context.report);
        Ok(Self {
            context,
            client,
            folder,
            typed,
            open: BTreeMap::new(),
            queue: VecDeque::new(),
            running: JoinSet::new(),
            bytes: BTreeMap::new(),
            progress,
            missing: 0,
        })
    }

    /// Begins with the file of a line, if there is one: it is settled later.
    pub(super) fn add(&mut self, line: &Line) {
        let Line::Message(message) = line else { return };
        let wanted = message.author != Author::Me && !message.deleted;
        if let Some(file) = message.file.as_ref().filter(|_| wanted) {
            self.open.insert(message.id, clean_line(&file.name));
            self.queue.push_back(message.id);
            self.fill();
        }
    }

    fn fill(&mut self) {
        while self.running.len() < AT_ONCE_MAX
            && let Some(id) = self.queue.pop_front()
        {
            let (client, to) = (self.client.clone(), SaveTo::Folder(self.folder.clone()));
            self.running.spawn(async move { Had { id, result: client.save_file(id, &to).await } });
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    /// The next file that is settled; waits for ever while none is awaited.
    pub(super) async fn next(&mut self) -> Had {
        loop {
            match self.running.join_next().await {
                Some(Ok(had)) => return had,
                // It was given up.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Says what became of a file.
    pub(super) async fn settled(&mut self, had: &Had) -> Result<(), Stop> {
        self.fill();
        self.progress.rest();
        let Some(name) = self.open.remove(&had.id) else { return Ok(()) };
        match &had.result {
            Ok(path) => {
                let path = self.typed.join(path.file_name().unwrap_or_default());
                let shown = path.to_string_lossy();
                let record = Record::Saved { id: had.id.to_string(), path: &shown };
                let text = || format!("saved {}", clean_line(&shown));
                self.context.report.data(&record, text).await
            }
            Err(error) => {
                let stop = failures::file(error, &name);
                self.missed(&stop.failure.what);
                Ok(())
            }
        }
    }

    fn missed(&mut self, why: &str) {
        self.missing += 1;
        match self.context.report.form {
            Form::Text => self.context.report.io.err(why),
            Form::Json => self.context.report.notice(why),
        }
    }

    /// A file came further, or not. Says whether it did.
    pub(super) async fn heard(&mut self, view: &TransferView) -> Result<bool, Stop> {
        if !self.open.contains_key(&view.id) {
            return Ok(false);
        }
        self.progress.heard(view).await?;
        let bytes = self.bytes.entry(view.id).or_default();
        let further = view.done_bytes > *bytes || view.state == TransferState::Done;
        *bytes = view.done_bytes;
        Ok(further)
    }

    /// Time is up: what is not here now can be had another time.
    pub(super) fn give_up(&mut self) {
        self.progress.rest();
        self.running.abort_all();
        self.queue.clear();
        let open = std::mem::take(&mut self.open);
        for (id, name) in &open {
            let why = format!("{name} could not be had in time.  Later: client transfer save {id}");
            self.missed(&why);
        }
    }

    /// How the command ends, as far as files are concerned.
    pub(super) fn outcome(&self) -> Result<Exit, Stop> {
        match self.missing {
            0 => Ok(Exit::Done),
            1 => Err(missing("1 file")),
            more => Err(missing(&format!("{more} files"))),
        }
    }
}

fn missing(files: &str) -> Stop {
    Stop::new(
        Exit::Partly,
        format!("{files} could not be had."),
        "Try again: client transfer save ID     Their numbers: client history WHO --json",
    )
}
