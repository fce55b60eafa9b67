//! Forgetting: what was deleted, and what lives only for a time.
//!
//! The row of a forgotten message stays, without its text, so that its number is known. SQLite
//! writes zeros over what was there (`secure_delete`), and the log that still holds it is emptied.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rusqlite::{Transaction, params};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::api::{Event, LocalId};
use super::core::Core;
use super::files::forget_file;
use super::notes::forget_notes;
use super::store::{StoreError, bits, unbits};

/// Why a message has no text any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// Its author took it back.
    Deleted,
    /// Its time has run out.
    Expired,
}

/// Wakes the timer of [`forget_in_time`]: something begins to expire, or the core is gone.
pub(crate) struct Alarm(Arc<Notify>);

impl Alarm {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Notify::new()))
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Core {
    /// Forgets what is due. Returns how long it is until the next one.
    pub(crate) fn forget_due(&mut self) -> Result<Option<Duration>, StoreError> {
        loop {
            let now = self.now();
            let due: Vec<i64> = {
                let mut rows = self.profile.store.db().prepare_cached(
                    "SELECT id FROM lines WHERE expires_unix_ms <= ?1
                     ORDER BY expires_unix_ms LIMIT ?2",
                )?;
                let found =
                    rows.query_map(params![bits(now), FORGOTTEN_AT_ONCE], |row| row.get(0))?;
                found.collect::<Result<_, _>>()?
            };
            if due.is_empty() {
                let next: Option<i64> = self.profile.store.db().query_row(
                    "SELECT min(expires_unix_ms) FROM lines WHERE expires_unix_ms IS NOT NULL",
                    [],
                    |row| row.get(0),
                )?;
                let wait = |at: i64| Duration::from_millis(unbits(at).saturating_sub(now));
                return Ok(next.map(wait));
            }
            self.profile.store.commit(|tx| {
                due.iter().try_for_each(|&line| forget_line(tx, line, Gone::Expired))
            })?;
            self.leave_no_trace()?;
            self.emit(Event::Expired { ids: due.into_iter().map(LocalId).collect() });
        }
    }

    /// After lines were forgotten: their files go, and then the write-ahead log, which still holds
    /// what was overwritten until it is truncated.
    pub(super) fn leave_no_trace(&mut self) -> Result<(), StoreError> {
        self.remove_forgotten()?;
        let db = self.profile.store.db();
        Ok(db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
    }

    /// Something may have begun to expire.
    pub(super) fn ring(&self) {
        self.alarm.0.notify_one();
    }
}

/// The text of a message goes, and all that was said about it.
pub(super) fn forget_line(
    tx: &Transaction<'_>,
    line: i64,
    gone: Gone,
) -> Result<(), rusqlite::Error> {
    let gone = match gone {
        Gone::Deleted => 1,
        Gone::Expired => 2,
    };
    tx.prepare_cached(
        "UPDATE lines SET gone = ?2, sealed_text = x'', edited = 0, expires_unix_ms = NULL,
         shown = 2 WHERE id = ?1",
    )?
    .execute(params![line, gone])?;
    tx.prepare_cached("DELETE FROM reactions WHERE line = ?1")?.execute([line])?;
    tx.prepare_cached("UPDATE outgoing SET sealed_text = NULL WHERE line = ?1")?.execute([line])?;
    forget_file(tx, line)?;
    forget_notes(tx, line)
}

/// The life of a text begins, if it has one: it was sent, or shown.
pub(super) fn start_life(
    tx: &Transaction<'_>,
    line: i64,
    now_unix_ms: u64,
) -> Result<(), rusqlite::Error> {
    tx.prepare_cached(
        "UPDATE lines SET expires_unix_ms = ?2 + expire_ms
         WHERE id = ?1 AND expire_ms > 0 AND gone = 0 AND expires_unix_ms IS NULL",
    )?
    .execute(params![line, bits(now_unix_ms)])
    .map(drop)
}

/// Forgets in time, connected or not, for as long as the core lives.
pub(crate) async fn forget_in_time(core: Weak<Mutex<Core>>, alarm: Arc<Notify>) {
    loop {
        let next = {
            let Some(core) = core.upgrade() else { return };
            core.lock().unwrap_or_else(PoisonError::into_inner).forget_due()
        };
        match next {
            // The clock of the day may be set meanwhile: it is looked at now and then.
            Ok(Some(wait)) => tokio::select! {
                biased;
                () = alarm.notified() => {}
                () = sleep(wait.min(LOOK_INTERVAL)) => {}
            },
            Ok(None) => alarm.notified().await,
            // The disk may be full, and have room again.
            Err(error) => {
                tracing::warn!(%error, "what is due cannot be forgotten now");
                sleep(LOOK_INTERVAL).await;
            }
        }
    }
}

impl Alarm {
    /// For [`forget_in_time`].
    pub(crate) fn heard_by(&self) -> Arc<Notify> {
        Arc::clone(&self.0)
    }
}

const FORGOTTEN_AT_ONCE: i64 = 500;
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
