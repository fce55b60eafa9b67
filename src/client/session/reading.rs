//! The own log on this connection: entries in, cursor out.

use std::time::Duration;

use tokio::time::Instant;

use crate::net::env::Bug;
use crate::types::{LogEpoch, Seq, UserName};
use crate::wire::client::{Entry, Open, Opened, client_frame};

use super::super::api::Event;
use super::super::connection::Unread;
use super::super::core::Core;
use super::reader::Taken;
use super::{End, Session};

impl Session<'_> {
    pub(super) fn open_own(&mut self) {
        let open_id = self.next_open_id();
        let (log, position) = {
            let core = self.core.lock();
            (core.own_log(), core.position().unwrap_or_default())
        };
        self.own.reopened(open_id);
        let open = Open {
            log: log.to_string(),
            open_id,
            epoch: position.epoch.0,
            cursor: position.cursor.0,
            write_only: false,
        };
        // Fails only for a frame over the limit, which this is not.
        let _ = self.wire.push_unnumbered(client_frame::Body::Open(open));
    }

    pub(super) async fn own_opened(&mut self, opened: &Opened) -> Result<(), End> {
        let (epoch, first) = (LogEpoch(opened.epoch), Seq(opened.first_seq));
        let head = Seq(opened.head_seq);
        // No home has such a log.
        if first.0 > head.0.saturating_add(1) {
            self.own.reopen_at = Some(Instant::now() + OWN_LOG_PAUSE);
            return Ok(());
        }
        let position = self.disk(|core| core.inbox_opened(epoch, first)).await?;
        if position.cursor > head {
            // It never had so many, or was set back: it would push past what is not here.
            self.disk(|core| core.inbox_set_back(first)).await?;
            self.own.reopen_at = Some(Instant::now() + OWN_LOG_PAUSE);
            return Ok(());
        }
        self.own.opened(position, head);
        self.open_entries().await
    }

    pub(super) fn entry(&mut self, entry: Entry) -> Result<(), End> {
        let (open_id, seq) = (entry.open_id, Seq(entry.seq));
        if open_id != self.own.open_id {
            return self.group_entry(entry);
        }
        if self.own.take(open_id, seq, entry.envelope) == Taken::Missing {
            self.open_own();
        }
        Ok(())
    }

    pub(super) async fn store_batch(&mut self) -> Result<(), End> {
        let of_groups = self.store_group_batches().await?;
        let Some((batch, moved)) = self.own.take_batch() else {
            return if of_groups { self.open_entries().await } else { Ok(()) };
        };
        if self.env.has_bug(Bug::ClientAckBeforeCommit) {
            self.own.at = Some(moved);
            self.push_cursor();
            self.flush().await?;
        }
        self.disk(|core| core.store_entries(moved.epoch, &batch)).await?;
        if self.own.stored(moved) {
            self.push_cursor();
            self.flush().await?;
        }
        self.open_entries().await
    }

    /// Tells the home what is on this disk.
    pub(super) fn push_cursor(&mut self) -> Unread {
        let log = || self.core.lock().own_log().to_string();
        let Some(cursor) = self.own.cursor(log) else { return Unread::Nothing };
        let _ = self.wire.push_unnumbered(client_frame::Body::Cursor(cursor));
        Unread::Something
    }

    pub(super) async fn open_entries(&mut self) -> Result<(), End> {
        loop {
            let report = self.disk(|core| core.open_entries(OPENED_AT_ONCE)).await?;
            for (author, device) in report.need_bundle {
                let devices = self.asked.entry(author.clone()).or_default();
                if devices.insert(device) {
                    self.look_up(author, None)?;
                }
            }
            for group in report.need_roster {
                self.want_roster(group);
            }
            if report.foreign {
                self.rolled_back().await?;
            }
            if report.over_budget {
                let later = Instant::now() + UNWRAP_PAUSE;
                self.ask_again.get_or_insert(later);
            }
            if !report.progress {
                break;
            }
        }
        let stale: Vec<UserName> = self.core.lock().stale_bundles.iter().cloned().collect();
        for user in stale {
            if !self.is_asked(&user) {
                self.look_up(user, None)?;
            }
        }
        self.fetch_wanted()?;
        // A message may have told that somebody knows an old bundle of ours.
        self.look().await?;
        self.note_caught_up().await
    }

    pub(super) async fn note_caught_up(&mut self) -> Result<(), End> {
        if self.caught_up || !self.own.is_caught_up() || !self.groups_caught_up() {
            return Ok(());
        }
        let waiting = self.ask_again.is_none() && !self.asked.is_empty();
        if !waiting {
            self.caught_up = true;
            self.emit(Event::CaughtUp);
            // Not before: what waited at the home may have been sealed to the key before this one.
            self.disk(Core::destroy_old_keys).await?;
            self.follow_contacts()?;
        }
        Ok(())
    }
}

const OPENED_AT_ONCE: usize = 64;
/// Before the own log, or a bundle that could not be had, is asked for again.
pub(super) const OWN_LOG_PAUSE: Duration = Duration::from_millis(500);
/// Before an author who used up their unwraps is looked at again.
const UNWRAP_PAUSE: Duration = Duration::from_secs(60);
