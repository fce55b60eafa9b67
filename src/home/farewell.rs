//! Passwords that change and accounts that go: with a time to think it over, and for good.
//!
//! A name is never given out again, so its row stays. What hangs on it goes bit by bit between
//! batches, for an inbox may be large.

use tracing::{info, warn};

use super::refusal::{Fault, No, Refusal, Severity};
use super::request::HomeFailure;
use super::sql::{self, accounts as rows};
use super::state::{Asker, Home};
use crate::types::{LogName, UserName};
use crate::wire::Code;
use crate::wire::client::{self as wire, server_frame::Body};

/// When to try again after the verifier changed between its proof and this request.
const PROVEN_AGAIN_MS: u64 = 1_000;
/// SQLite compares signed numbers.
const TIME_MAX_MS: u64 = i64::MAX.unsigned_abs();
/// Accounts buried in one transaction.
const BURIALS_MAX: usize = 64;
/// Entries of gone accounts deleted in one transaction.
const GONE_ENTRIES_MAX: u64 = 1_000;
/// When a burial that failed for want of disk is tried again.
const BURIAL_RETRY_MS: u64 = 60_000;

/// When the background has to look after deleted accounts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextLook {
    /// Something is left that can go now.
    Soon,
    /// The next account is due at this time of day.
    At(u64),
}

impl Home {
    /// Takes another verifier, if the one that was proven is still the account's.
    pub(super) fn change_password(
        &mut self,
        asker: Asker<'_>,
        proven: &str,
        verifier: &str,
    ) -> Result<Body, No> {
        let user = self.proven(asker, proven)?;
        rows::set_verifier(self.conn(), user, verifier)?;
        Ok(Body::Done(wire::Done::default()))
    }

    /// Sets the time of deletion and ends the session. A repeat keeps the first time.
    pub(super) fn delete_account(&mut self, asker: Asker<'_>, proven: &str) -> Result<Body, No> {
        let user = self.proven(asker, proven)?;
        let account = rows::account(self.conn(), user)?.ok_or(Code::NoSuchUser)?;
        let fresh_ms = self.env.unix_ms().saturating_add(self.limits.account_grace_ms);
        let at_ms = account.delete_at_ms.unwrap_or(fresh_ms.min(TIME_MAX_MS));
        rows::set_delete_at(self.conn(), account.id, Some(at_ms))?;
        rows::end_session(self.conn(), user)?;
        self.live.end_place(asker.place);
        let earliest = self.next_deletion_ms.map_or(at_ms, |next| next.min(at_ms));
        self.next_deletion_ms = Some(earliest);
        Ok(Body::Done(wire::Done { at_unix_ms: at_ms }))
    }

    /// The caller's name, if it holds the session and the proven verifier is still its own.
    fn proven<'a>(&mut self, asker: Asker<'a>, proven: &str) -> Result<&'a UserName, No> {
        let user = self.session(asker)?;
        let stored = rows::verifier(self.conn(), user)?.ok_or(Code::NoSuchUser)?;
        if stored.0 != proven {
            return Err(Refusal::later(Code::Busy, PROVEN_AGAIN_MS).into());
        }
        Ok(user)
    }

    /// Buries the accounts whose time has come: from here on there is nobody of that name.
    pub(super) fn bury_due(&mut self) -> Result<(), HomeFailure> {
        let now_ms = self.env.unix_ms();
        while self.next_deletion_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            let Err(fault) = self.bury(now_ms) else { continue };
            self.rollback()?;
            match fault.severity() {
                Severity::Full => {
                    warn!("the disk is full: deleted accounts stay for now");
                    self.next_deletion_ms = Some(now_ms.saturating_add(BURIAL_RETRY_MS));
                }
                Severity::Operation => {
                    return Err(HomeFailure::Storage("deleting an account".to_owned()));
                }
                Severity::Fatal(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    fn bury(&mut self, now_ms: u64) -> Result<(), Fault> {
        self.execute("BEGIN IMMEDIATE")?;
        let due = rows::due_deletions(self.conn(), now_ms, BURIALS_MAX)?;
        for (account, _) in &due {
            rows::bury(self.conn(), *account)?;
        }
        let next = rows::next_deletion_ms(self.conn())?;
        self.execute("COMMIT")?;
        self.next_deletion_ms = next;
        for (_, name) in due {
            let log = LogName::inbox(UserName::canonical(&name)?);
            self.logs.forget(&log);
            self.reapable.remove(&log);
            self.gone_left = true;
            info!("an account was deleted");
        }
        Ok(())
    }

    /// Deletes some of what gone accounts left behind.
    pub(super) fn reap_gone(&mut self) -> Result<(), HomeFailure> {
        if !self.gone_left || self.sweeping {
            return Ok(());
        }
        let done = self.without_foreign_keys(Self::try_reap_gone).map_err(Fault::fatal)?;
        if done.is_err() {
            self.blob_bytes = None;
        }
        match done.map_err(Fault::severity) {
            Ok(()) => Ok(()),
            Err(Severity::Full) => {
                warn!("the disk is full: what deleted accounts left stays until the next start");
                self.gone_left = false;
                Ok(())
            }
            Err(Severity::Operation) => Err(HomeFailure::Storage("deleting a log".to_owned())),
            Err(Severity::Fatal(failure)) => Err(failure),
        }
    }

    /// SQLite would look through all entries for each producer that goes; theirs are gone.
    fn without_foreign_keys(
        &mut self,
        work: fn(&mut Self) -> Result<(), Fault>,
    ) -> Result<Result<(), Fault>, Fault> {
        self.conn().pragma_update(None, "foreign_keys", false)?;
        let done = work(self);
        if !self.conn().is_autocommit() {
            self.execute("ROLLBACK")?;
        }
        self.conn().pragma_update(None, "foreign_keys", true)?;
        Ok(done)
    }

    fn try_reap_gone(&mut self) -> Result<(), Fault> {
        self.execute("BEGIN IMMEDIATE")?;
        let log = sql::logs::gone_logs(self.conn(), 1)?.first().copied();
        let mut blobs = Vec::new();
        if let Some(log) = log {
            // The log last: by it the account is found again.
            blobs = self.take_blobs_of(log)?;
        }
        if let Some(log) = log.filter(|_| blobs.is_empty()) {
            let count = sql::logs::delete_some_entries(self.conn(), log, GONE_ENTRIES_MAX)?;
            if count < GONE_ENTRIES_MAX {
                sql::logs::delete_log(self.conn(), log)?;
            }
        }
        self.execute("COMMIT")?;
        self.gone_left = log.is_some();
        self.gone_blobs.extend(blobs);
        Ok(())
    }

    /// When this has to be looked at again, if at all.
    pub(super) fn next_look(&self) -> Option<NextLook> {
        if self.gone_left && !self.sweeping {
            return Some(NextLook::Soon);
        }
        let old = self.has_days.then(|| self.next_old_ms());
        let blobs = self.next_blob_ms.filter(|_| !self.sweeping);
        [self.next_deletion_ms, old, blobs].into_iter().flatten().min().map(NextLook::At)
    }
}
