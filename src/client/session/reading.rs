//! The own log on this connection: entries in, cursor out.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits;
use crate::net::env::Bug;
use crate::types::{LogEpoch, Seq, UserName};
use crate::wire::client::{Cursor, Entry, Open, Opened, client_frame};

use super::super::api::Event;
use super::super::connection::Unread;
use super::super::core::Core;
use super::super::inbox::Position;
use super::{End, Session};

impl Session<'_> {
    pub(super) fn open_own(&mut self) {
        let open_id = self.next_open_id();
        let (log, position) = {
            let core = self.core.lock();
            (core.own_log(), core.position().unwrap_or_default())
        };
        self.own.open_id = open_id;
        self.own.at = None;
        self.own.reopen_at = None;
        self.own.batch.clear();
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
        self.own.batch.clear();
        if position.cursor > head {
            // It never had so many, or was set back: it would push past what is not here.
            self.disk(|core| core.inbox_set_back(first)).await?;
            self.own.reopen_at = Some(Instant::now() + OWN_LOG_PAUSE);
            return Ok(());
        }
        self.own.at = Some(position);
        self.own.head = head;
        self.own.cursor_told = position.cursor;
        self.open_entries().await
    }

    pub(super) fn entry(&mut self, entry: Entry) {
        let (seq, envelope) = (Seq(entry.seq), entry.envelope);
        let Some(at) = self.own.at.filter(|_| entry.open_id == self.own.open_id) else { return };
        let last = self.own.batch.last().map_or(at.cursor, |(last, _)| *last);
        match seq.0.cmp(&last.0.saturating_add(1)) {
            // Behind the last number there is: a home that counts so far makes it up.
            _ if last.0 == u64::MAX => {}
            std::cmp::Ordering::Equal => self.own.batch.push((seq, envelope)),
            // Something is missing: the home tells it again from the cursor.
            std::cmp::Ordering::Greater => self.open_own(),
            std::cmp::Ordering::Less => {}
        }
    }

    pub(super) async fn store_batch(&mut self) -> Result<(), End> {
        let batch = std::mem::take(&mut self.own.batch);
        let (Some(at), Some((last, _))) = (self.own.at, batch.last()) else { return Ok(()) };
        let moved = Position { epoch: at.epoch, cursor: *last };
        if self.env.has_bug(Bug::ClientAckBeforeCommit) {
            self.own.at = Some(moved);
            self.push_cursor();
            self.flush().await?;
        }
        self.disk(|core| core.store_entries(at.epoch, &batch)).await?;
        self.own.at = Some(moved);
        let due = self.own.cursor_sent.map_or_else(Instant::now, |at| at + limits::CURSOR_INTERVAL);
        if due <= Instant::now() {
            self.push_cursor();
            self.flush().await?;
        } else {
            self.own.cursor_due = Some(due);
        }
        self.open_entries().await
    }

    /// Tells the home what is on this disk.
    pub(super) fn push_cursor(&mut self) -> Unread {
        self.own.cursor_due = None;
        let Some(at) = self.own.at else { return Unread::Nothing };
        if at.cursor <= self.own.cursor_told {
            return Unread::Nothing;
        }
        self.own.cursor_told = at.cursor;
        self.own.cursor_sent = Some(Instant::now());
        let log = self.core.lock().own_log().to_string();
        let cursor =
            Cursor { log, open_id: self.own.open_id, epoch: at.epoch.0, upto: at.cursor.0 };
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
        let there = self.own.at.is_some_and(|at| at.cursor >= self.own.head);
        let waiting = self.ask_again.is_none() && !self.asked.is_empty();
        if there && !waiting && !self.own.caught_up {
            self.own.caught_up = true;
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
