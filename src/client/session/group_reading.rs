//! Groups' logs on this connection: each is opened once, for reading and for writing.

use std::time::Duration;

use tokio::time::Instant;

use crate::types::{ChatName, GroupName, LogEpoch, Seq};
use crate::wire::Code;
use crate::wire::client::{Entry, Open, Opened, client_frame};

use super::super::Mode;
use super::super::connection::Unread;
use super::super::group_log::Arrived;
use super::super::sender::{Phase, Sender};
use super::reader::{Reader, Taken};
use super::{End, Session};

impl Session<'_> {
    /// Opens the logs of groups that we came into, and lets go of those that we are out of.
    pub(super) async fn look_at_groups(&mut self) -> Result<(), End> {
        let lost = self.core.lock().chats_lost()?;
        for chat in lost {
            self.disk(|core| core.refuse_log(&chat, Code::NotAMember)).await?;
        }
        let open = self.core.lock().groups_to_open()?;
        let is_open = |name: &GroupName| open.binary_search(name).is_ok();
        self.senders.retain(|chat, _| chat.group().is_none_or(is_open));
        self.readers.retain(|name, _| is_open(name));
        self.to_read.retain(is_open);
        if self.mode != Mode::SendAndReceive {
            return Ok(());
        }
        let is_new = |name: &GroupName| {
            !self.senders.contains_key(&ChatName::Group(name.clone()))
                && !self.to_read.contains(name)
        };
        let new: Vec<GroupName> = open.into_iter().filter(is_new).collect();
        self.to_read.extend(new);
        if self.read_next.is_none() && !self.to_read.is_empty() {
            self.read_more_groups()?;
        }
        Ok(())
    }

    /// The next few of the logs to be opened: an edge takes only so many requests a second.
    pub(super) fn read_more_groups(&mut self) -> Result<(), End> {
        self.read_next = None;
        let mut opened = 0;
        while let Some(name) = self.to_read.pop_front() {
            if !self.senders.contains_key(&ChatName::Group(name.clone())) {
                self.open_group(&name)?;
                opened += 1;
            }
            if opened == OPENED_AT_ONCE {
                self.read_next = Some(Instant::now() + OPEN_PAUSE);
                break;
            }
        }
        Ok(())
    }

    /// Opens a group's log, again or for the first time.
    pub(super) fn open_group(&mut self, name: &GroupName) -> Result<(), End> {
        let open_id = self.next_open_id();
        let chat = ChatName::Group(name.clone());
        self.senders.entry(chat).or_insert_with(|| Sender::of_group(open_id)).reopened(open_id);
        let write_only = self.mode != Mode::SendAndReceive;
        let at = self.core.lock().group_position(name)?;
        if !write_only {
            self.readers.entry(name.clone()).or_insert_with(Reader::new).reopened(open_id);
        }
        let open = Open {
            log: name.to_string(),
            open_id,
            epoch: at.epoch.0,
            cursor: at.cursor.0,
            write_only,
        };
        self.wire.push_unnumbered(client_frame::Body::Open(open)).map_err(|_| End::Lost)
    }

    /// The home opened a group's log. False when it has to be opened again.
    pub(super) async fn group_opened(
        &mut self,
        name: &GroupName,
        opened: &Opened,
    ) -> Result<bool, End> {
        if !self.readers.contains_key(name) {
            return Ok(true);
        }
        let (epoch, first) = (LogEpoch(opened.epoch), Seq(opened.first_seq));
        let head = Seq(opened.head_seq);
        let chat = ChatName::Group(name.clone());
        // No home has such a log.
        if first.0 > head.0.saturating_add(1) {
            self.pause(&chat, Code::Internal, Duration::ZERO, "");
            return Ok(false);
        }
        let position = self.disk(|core| core.group_opened(name, epoch, first)).await?;
        if position.cursor > head {
            // It never had so many, or was set back: it would push past what is not here.
            self.disk(|core| core.group_set_back(name, first)).await?;
            self.pause(&chat, Code::Internal, Duration::ZERO, "");
            return Ok(false);
        }
        if let Some(reader) = self.readers.get_mut(name) {
            reader.opened(position, head);
        }
        Ok(true)
    }

    pub(super) fn group_entry(&mut self, entry: Entry) -> Result<(), End> {
        let Some(ChatName::Group(name)) = self.current(&entry.log, entry.open_id) else {
            return Ok(());
        };
        let Some(reader) = self.readers.get_mut(&name) else { return Ok(()) };
        let arrived = if entry.operation.is_empty() {
            Arrived::Envelope(entry.envelope)
        } else {
            Arrived::Operation { number: entry.number, encoded: entry.operation }
        };
        match reader.take(entry.open_id, Seq(entry.seq), arrived) {
            Taken::Fine => Ok(()),
            Taken::Missing => self.open_group(&name),
        }
    }

    /// Stores what came to groups' logs. True when there was something.
    pub(super) async fn store_group_batches(&mut self) -> Result<bool, End> {
        let mut batches = Vec::new();
        for (name, reader) in &mut self.readers {
            if let Some((batch, moved)) = reader.take_batch() {
                batches.push((name.clone(), batch, moved));
            }
        }
        for (name, batch, moved) in &batches {
            self.disk(|core| core.store_group_entries(name, moved.epoch, batch)).await?;
            if self.readers.get_mut(name).is_some_and(|reader| reader.stored(*moved)) {
                self.push_group_cursors(Instant::now());
                self.flush().await?;
            }
        }
        Ok(!batches.is_empty())
    }

    /// Tells the homes of groups what is on this disk, as far as it is time.
    pub(super) fn push_group_cursors(&mut self, now: Instant) -> Unread {
        let mut told = Unread::Nothing;
        for (name, reader) in &mut self.readers {
            if reader.cursor_due.is_some_and(|due| due <= now)
                && let Some(cursor) = reader.cursor(|| name.to_string())
            {
                let _ = self.wire.push_unnumbered(client_frame::Body::Cursor(cursor));
                told = Unread::Something;
            }
        }
        told
    }

    /// The last word of this connection: what every home has to hear of this disk.
    pub(super) fn push_all_cursors(&mut self) -> Unread {
        for reader in self.readers.values_mut() {
            reader.cursor_due = reader.cursor_due.map(|_| Instant::now());
        }
        let of_groups = self.push_group_cursors(Instant::now());
        match self.push_cursor() {
            Unread::Nothing => of_groups,
            told => told,
        }
    }

    /// Whether every group was read to where its log ended. One whose home is away is not waited
    /// for, nor one whose home goes on contradicting itself.
    pub(super) fn groups_caught_up(&self) -> bool {
        let away = |name: &GroupName| {
            let sender = self.senders.get(&ChatName::Group(name.clone()));
            sender.is_none_or(|sender| matches!(sender.phase, Phase::Paused(_)))
        };
        // What is being fetched ends in a log to read, when somebody has brought us in.
        !self.fetches_rosters()
            && self.to_read.is_empty()
            && self.readers.iter().all(|(name, reader)| reader.is_caught_up() || away(name))
    }

    /// The home of a group knows another chain than we do.
    pub(super) fn compare_chains(&mut self, chat: &ChatName, code: Code) -> Result<(), End> {
        let Some(name) = chat.group() else {
            self.pause(chat, code, Duration::ZERO, "");
            return Ok(());
        };
        if let Some(sender) = self.senders.get_mut(chat) {
            sender.compare();
        }
        match code {
            // It has less than we have, for it was restored.
            Code::RosterBehind | Code::NoSuchGroup => self.hand_in(name),
            _ => self.fetch_roster(name),
        }
    }

    /// Something of a group's chain was asked for, and is here or cannot be had: what waited for it
    /// goes on.
    pub(super) async fn group_goes_on(&mut self, name: &GroupName) -> Result<(), End> {
        let chat = ChatName::Group(name.clone());
        if let Some(sender) = self.senders.get_mut(&chat) {
            sender.compared();
        }
        self.pump(&chat).await
    }

    /// Somebody left: nothing is sealed before the key is a new one.
    pub(super) async fn renew(&mut self, chat: &ChatName) -> Result<(), End> {
        match chat.group() {
            Some(name) => Box::pin(self.renew_key(name)).await,
            None => Ok(()),
        }
    }
}

/// Logs opened without a pause in between, and the pause.
const OPENED_AT_ONCE: usize = 16;
const OPEN_PAUSE: Duration = Duration::from_millis(500);
