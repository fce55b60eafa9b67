//! A person in front of a client.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use super::world::diary;
use crate::client::{
    Client, Direction, Event, Line, LocalId, MessageState, SaveTo, TransferState, TransferView,
};
use crate::net::Env;
use crate::testkit::checkers::Diary;
use crate::testkit::net::SimNet;
use crate::types::UserName;

/// In groups, one line of so many is reacted to.
const GROUP_REACTIONS: i64 = 5;

/// A person in front of a client: sees what is shown, and remembers.
pub(super) struct Screen {
    pub(super) env: Env,
    pub(super) name: UserName,
    pub(super) client: Client,
    pub(super) diary: Arc<Mutex<Diary>>,
    pub(super) net: SimNet,
    /// Where files are stored.
    pub(super) saved: PathBuf,
}

impl Screen {
    pub(super) async fn watch(self, mut events: mpsc::Receiver<Event>) {
        // What an earlier life left unshown.
        self.show().await;
        while let Some(event) = events.recv().await {
            self.net.note(&format!("{} {event:?}", self.name));
            match event {
                Event::Lines => self.show().await,
                Event::State { id, state: MessageState::Sent, .. } => {
                    if let Ok(Some(message)) = self.client.message(id) {
                        let mut diary = diary(&self.diary);
                        diary.told_sent(&message.text);
                        if let Some(id) = &message.wire_id {
                            diary.told_stored(&self.name, &message.chat, id, &message.text);
                        }
                    }
                }
                Event::Transfer { view } => self.save(&view).await,
                _ => {}
            }
        }
    }

    /// What has come is stored, once.
    async fn save(&self, view: &TransferView) {
        let is_here = view.direction == Direction::Down && view.state == TransferState::Done;
        if is_here && !self.saved.join(&view.name).exists() {
            // A client that stops stores nothing more: somebody does so at the end.
            let _ = self.client.save_file(view.id, &SaveTo::Folder(self.saved.clone())).await;
        }
    }

    /// What people do beside writing takes numbers of its own, and none from the texts.
    fn answer(&self, lines: &[Line]) {
        for line in lines {
            // A client that stops takes nothing more, as if the person had not done it.
            let _ = self.client.mark_read(line.chat());
            if let Line::Message(message) = line
                && let Some(file) = &message.file
                && file.transfer == TransferState::NotFetched
            {
                let _ = self.client.resume_transfer(message.id);
            }
            // In a group everybody answers everybody: not every time.
            if line.chat().person().is_some() || line.id().0 % GROUP_REACTIONS == 0 {
                let _ = self.client.react(line.id(), Some("+"));
            }
        }
    }

    async fn show(&self) {
        while let Ok(lines) = self.client.take_unshown(16) {
            if lines.is_empty() {
                return;
            }
            // A kill here: they were not on the screen yet, and come again.
            self.env.disk_pause().await;
            for line in &lines {
                if let Line::Trouble { .. } = line {
                    self.net.note(&format!("{} sees {line:?}", self.name));
                }
                diary(&self.diary).saw(&self.name, line);
            }
            // A kill here: they were, and come again marked.
            self.env.disk_pause().await;
            let ids: Vec<LocalId> = lines.iter().map(Line::id).collect();
            if self.client.mark_shown(&ids).is_err() {
                return;
            }
            self.answer(&lines);
        }
    }
}
