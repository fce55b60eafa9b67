//! Files: sent, looked at, stored, stopped, and how far they are.

use std::path::PathBuf;

use tokio::time::{Duration, Instant, timeout};

use crate::client::{
    Cancelled, ChatView, Client, Contact, FileDraft, FileError, FileView, Line, LocalId,
    MessageState, MessageView, SaveTo, TransferState, TransferView,
};
use crate::net::files::create_private_dir;
use crate::types::ChatName;
use crate::ui::commands::Sending;
use crate::ui::files::{self, Said, opener};
use crate::ui::input::Above;
use crate::ui::pictures::Room;
use crate::ui::say::{self, Place};
use crate::ui::screen::{Previews, Screen};

use super::{Answer, Effect, Session, TrustPolicy};

/// Files that are awaited, to be stored or looked at, at once.
const SAVES_MAX: usize = 32;

/// Where files come from and go to.
#[derive(Clone, Debug, Default)]
pub struct Folders {
    /// What `~` means.
    pub home: Option<PathBuf>,
    /// Where `/save` stores what is given no place.
    pub downloads: PathBuf,
    /// Where `/open` keeps what it shows, for this session; nobody else can enter it.
    pub opened: PathBuf,
    /// What opens files; `None`: their paths are said.
    pub opener: Option<PathBuf>,
}

/// What becomes of a file when it is here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Stay,
    Open,
}

impl Session {
    /// Sends files to the current chat, one message each.
    pub(super) fn send_files(&mut self, sending: Sending) {
        let Some(chat) = self.chat.clone() else {
            return self.mistake("Choose a chat first: /to WHO");
        };
        if self.options.trust == TrustPolicy::Verified
            && let Some(user) = self.not_verified(&chat)
        {
            return self.mistake(&format!(
                "{user} is not verified, and --trust verified was asked for; nothing was sent. \
                 Compare: /verify {user}"
            ));
        }
        let home = self.options.folders.home.clone();
        let drafts: Vec<FileDraft> = sending
            .files
            .iter()
            .enumerate()
            .map(|(index, typed)| FileDraft {
                caption: if index == 0 { sending.caption.clone() } else { String::new() },
                picture: sending.picture,
                ..FileDraft::of(files::expanded(typed, home.as_deref()))
            })
            .collect();
        self.reply(Above::Keep, String::new());
        self.request(move |client, screen| async move {
            let mut taken = Vec::new();
            let mut refused = Vec::new();
            // One after the other: they arrive in the order in which they were named.
            for draft in drafts {
                match client.send_file(&chat, draft).await {
                    Ok(id) => taken.push(id),
                    Err(error) => {
                        let told = say::file_error(&error, &chat, Place::Line);
                        refused.push(screen.told(&told));
                    }
                }
            }
            let effect = Effect::Files { taken, refused: refused.len() };
            Answer { text: refused.join("\n"), effect }
        });
    }

    /// Files were taken: each is a line of one's own now.
    pub(super) fn files_taken(&mut self, taken: &[LocalId], refused: usize) {
        self.piped.mistakes += refused;
        for id in taken {
            let message = match self.env.in_place(|| self.client.message(*id)) {
                Ok(Some(message)) => message,
                Ok(None) => continue,
                Err(error) => {
                    self.complain(&say::request_error(&error, None));
                    continue;
                }
            };
            self.view.unread.remove(&message.chat);
            if let Some(state) = &message.state {
                self.receipts.shown(message.id, &message.chat, state);
                if self.is_piped() {
                    self.follow_piped(message.id, &message.chat, state);
                }
            }
            self.screen.width = self.terminal.columns();
            let line = self.screen.line(&Line::Message(message));
            self.terminal.notice(line);
        }
        self.show_title();
    }

    /// It may have moved before it was known here.
    fn follow_piped(&mut self, id: LocalId, chat: &ChatName, state: &MessageState) {
        match state {
            MessageState::Sent | MessageState::Delivered | MessageState::Read => {
                self.piped.sent += 1;
            }
            MessageState::Refused(refusal) => {
                self.piped.refused.push((chat.clone(), *refusal));
            }
            MessageState::Cancelled => {}
            MessageState::Uploading | MessageState::Waiting | MessageState::Pending => {
                self.unsent.insert(id);
            }
        }
    }

    /// A transfer came further, or not.
    pub(super) fn transfer(&mut self, view: &TransferView) {
        match self.steps.heard(view, Instant::now()) {
            None => {}
            Some(Said::Notice(text)) => self.notice(&text),
            Some(Said::Trouble(told)) => {
                // What is refused for good is said with the message that is not sent.
                let message = self.env.in_place(|| self.client.message(view.id)).ok().flatten();
                let state = message.and_then(|message| message.state);
                if !matches!(state, Some(MessageState::Refused(_))) {
                    self.complain(&told);
                }
            }
        }
    }

    /// Why the file of a message that is refused was not sent, if that is why.
    pub(super) fn file_failure(&self, message: &MessageView) -> Option<say::Told> {
        let file = message.file.as_ref()?;
        let TransferState::Failed(failure) = file.transfer else { return None };
        let view = self.client.transfer(message.id).ok().flatten()?;
        Some(say::transfer_failure(failure, &view))
    }

    pub(super) fn transfers(&mut self) {
        match self.env.in_place(|| self.client.transfers()) {
            Ok(all) if all.is_empty() => {
                let line = self.screen.notice("no files are on their way");
                self.reply(Above::Keep, line);
            }
            Ok(all) => {
                let rows: Vec<String> = all.iter().map(files::row).collect();
                self.reply(Above::Keep, rows.join("\n"));
            }
            Err(error) => self.failed(&error, None),
        }
    }

    /// Stops a file, or takes back a message that still waits.
    pub(super) fn cancel(&mut self, id: LocalId) {
        let Some(message) = self.one(id) else { return };
        let on_its_way = message.file.as_deref().filter(|file| is_on_its_way(file));
        if let Some(file) = on_its_way {
            let name = crate::ui::text::clean_line(&file.name);
            let text = match message.state {
                Some(_) => format!("{name} is not sent"),
                None => format!("{name} is dropped; to have it after all: /save {id}"),
            };
            return match self.env.in_place(|| self.client.cancel_transfer(id)) {
                Ok(()) => {
                    let line = self.screen.notice(&text);
                    self.reply(Above::Keep, line);
                }
                Err(error) => self.file_failed(&error, &message.chat),
            };
        }
        match self.env.in_place(|| self.client.cancel(id)) {
            Ok(Cancelled::Yes) => {
                let line = self.screen.notice(&format!("message {id} will not be sent"));
                self.reply(Above::Keep, line);
            }
            Ok(Cancelled::TooLate) => {
                self.mistake(&format!(
                    "Message {id} is sent, or has ended before. To delete it: /delete {id}"
                ));
            }
            Ok(Cancelled::NoSuchMessage) => {
                self.mistake(&format!("There is no message {id} of yours."));
            }
            Err(error) => self.failed(&error, None),
        }
    }

    fn file_failed(&mut self, error: &FileError, chat: &ChatName) {
        self.piped.mistakes += 1;
        let line = self.screen.told(&say::file_error(error, chat, Place::Line));
        self.reply(Above::Keep, line);
    }

    /// Goes on with the file of a message, if that is what it waits for. Says whether it was.
    pub(super) fn retry_file(&mut self, message: &MessageView) -> bool {
        let waits = message.file.as_ref().is_some_and(|file| {
            matches!(file.transfer, TransferState::Paused | TransferState::Failed(_))
        });
        if !waits {
            return false;
        }
        match self.env.in_place(|| self.client.resume_transfer(message.id)) {
            Ok(()) => self.reply(Above::Keep, String::new()),
            Err(error) => self.file_failed(&error, &message.chat),
        }
        true
    }

    // --- stored, looked at ---

    pub(super) fn save(&mut self, id: LocalId, path: Option<&str>) {
        let to = match path {
            None => SaveTo::Folder(self.options.folders.downloads.clone()),
            Some(typed) => {
                let path = files::expanded(typed, self.options.folders.home.as_deref());
                SaveTo::typed(&path)
            }
        };
        self.have(id, to, Then::Stay);
    }

    pub(super) fn open_file(&mut self, id: LocalId) {
        // One folder per message: what is opened twice is not there twice.
        let folder = self.options.folders.opened.join(id.to_string());
        let made = self.env.in_place(|| {
            let _ = std::fs::remove_dir_all(&folder);
            create_private_dir(&folder)
        });
        match made {
            Ok(()) => self.have(id, SaveTo::Folder(folder), Then::Open),
            Err(error) => self.mistake(&format!("{error}. Use: /save {id}")),
        }
    }

    /// Stores a file when it is here, which may be much later.
    fn have(&mut self, id: LocalId, to: SaveTo, then: Then) {
        let Some(message) = self.one(id) else { return };
        if message.file.is_none() {
            return self.file_failed(&FileError::NoFile(id), &message.chat);
        }
        if self.saving >= SAVES_MAX {
            return self.mistake("Wait for the earlier files first. All: /transfers");
        }
        self.saving += 1;
        self.reply(Above::Keep, String::new());
        // Nobody waits at a pipe.
        let patience = self.is_piped().then_some(self.options.timeout);
        let opener = self.options.folders.opener.clone().filter(|_| !self.is_piped());
        let (client, screen) = (self.client.clone(), self.screen.clone());
        let answers = self.answers.clone();
        self.env.spawn(async move {
            let had = stored(&client, id, &to, patience).await;
            let (text, failed) = match had {
                Ok(path) => (outcome(&screen, then, opener.as_deref(), &path), false),
                Err(None) => {
                    let text = format!("{id} is not here yet; it comes by itself: /save {id}");
                    (screen.warning(&text), true)
                }
                Err(Some(error)) => {
                    let told = say::file_error(&error, &message.chat, Place::Line);
                    (screen.told(&told), true)
                }
            };
            let _ = answers.send(Answer { text, effect: Effect::Saved { failed } }).await;
        });
    }

    // --- pictures ---

    /// Whether the picture of a line may be shown: not those of people whom nobody accepted.
    pub(super) fn previews(&self, line: &Line) -> Previews {
        let Some(way) = self.options.pictures else { return Previews::Hidden };
        let Line::Message(message) = line else { return Previews::Hidden };
        let has_one = message.file.as_ref().is_some_and(|file| !file.thumbnail.is_empty());
        if !has_one {
            return Previews::Hidden;
        }
        let chats = self.env.in_place(|| self.client.chats()).unwrap_or_default();
        let asks = |it: &ChatView| it.chat == message.chat && it.contact == Contact::Request;
        if chats.iter().any(asks) {
            Previews::Hidden
        } else {
            Previews::Shown(way, Room::of_terminal())
        }
    }
}

/// Whether there is anything to be stopped.
fn is_on_its_way(file: &FileView) -> bool {
    match file.transfer {
        TransferState::Waiting(_)
        | TransferState::Running
        | TransferState::Paused
        | TransferState::Failed(_) => true,
        TransferState::NotFetched | TransferState::Done => false,
    }
}

/// Stores a file; `None` as the error: it did not come in time.
async fn stored(
    client: &Client,
    id: LocalId,
    to: &SaveTo,
    patience: Option<Duration>,
) -> Result<PathBuf, Option<FileError>> {
    let saving = client.save_file(id, to);
    match patience {
        None => saving.await.map_err(Some),
        Some(patience) => match timeout(patience, saving).await {
            Ok(saved) => saved.map_err(Some),
            Err(_) => Err(None),
        },
    }
}

/// What is said of a file that is here now; opens it.
fn outcome(
    screen: &Screen,
    then: Then,
    program: Option<&std::path::Path>,
    path: &std::path::Path,
) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let shown = crate::ui::text::clean_line(&path.to_string_lossy());
    if then == Then::Stay {
        return screen.notice(&format!("saved {shown}"));
    }
    // The folder is closed to others anyway.
    let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600));
    match program {
        Some(_) if opener::is_program(path) => screen.notice(&format!(
            "it is here: {shown}   It could run when it is opened: look at it first."
        )),
        Some(program) => match opener::open(program, path) {
            Ok(()) => screen.notice(&format!("opened {shown}")),
            Err(error) => {
                screen.warning(&format!("It is here, but cannot be opened ({error}): {shown}"))
            }
        },
        None => screen.notice(&format!("it is here: {shown}")),
    }
}
