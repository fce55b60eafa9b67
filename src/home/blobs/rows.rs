//! What the database says of blobs: whose they are, how much each may have, when they go.
//!
//! Part of the writer: plain and synchronous, and never waits for a file of a blob.

use std::collections::BTreeMap;

use tracing::{info, warn};

use crate::home::refusal::{Fault, No, Refusal, Severity};
use crate::home::request::HomeFailure;
use crate::home::sql::blobs::{self as rows, Going, Used};
use crate::home::sql::{RowId, accounts};
use crate::home::state::{Asker, Home};
use crate::types::{BlobId, UserName};
use crate::wire::Code;
use crate::wire::client::{self as wire, server_frame::Body};

/// Blobs whose rows, and then whose files, go at a time.
const REAP_BLOBS_MAX: usize = 64;
/// When removing is tried again after it failed for want of disk.
const REAP_RETRY_MS: u64 = 60_000;

/// Every row at the start: whether it is of a blob, not of an upload.
pub(in crate::home) type BlobRows = BTreeMap<(UserName, BlobId), bool>;

impl Home {
    /// Makes the row of an upload, if the account may have it. Of a blob that is there the row
    /// stays; of one whose file is not there (any more) it becomes that of an upload.
    pub(in crate::home) fn begin_blob(
        &mut self,
        asker: Asker<'_>,
        id: &BlobId,
        bytes: u64,
        lies_whole: bool,
    ) -> Result<Body, No> {
        let user = self.session(asker)?;
        let account = accounts::account(self.conn(), user)?.ok_or(Code::NoSuchUser)?.id;
        let row = rows::blob(self.conn(), account, id)?;
        let committed = row.is_some_and(|row| row.is_committed) && lies_whole;
        let known = row.is_some_and(|row| row.bytes == bytes);
        if committed {
            return if known {
                Ok(Body::BlobOffer(wire::BlobOffer { committed, ..wire::BlobOffer::default() }))
            } else {
                Err(Refusal::because(Code::Malformed, "the blob is there with another size").into())
            };
        }
        if !known {
            let before = row.map_or(0, |row| row.bytes);
            self.check_quota(account, before, bytes)?;
        }
        let now_ms = self.env.unix_ms();
        rows::begin(self.conn(), account, id, bytes, now_ms)?;
        self.count_bytes(row.map_or(0, |row| row.bytes), bytes);
        self.next_blob_ms = rows::next_due_ms(self.conn())?;
        Ok(Body::BlobOffer(wire::BlobOffer::default()))
    }

    /// Whether an account may have so many bytes more; `before` are of the same blob.
    fn check_quota(&self, account: RowId, before: u64, bytes: u64) -> Result<(), No> {
        let limits = &self.limits;
        let refused = |limit_bytes, used_bytes, detail| {
            let refusal = Refusal::because(Code::Quota, detail);
            Err(Refusal { limit_bytes, used_bytes, ..refusal }.into())
        };
        if bytes > limits.blob_bytes_max {
            return refused(limits.blob_bytes_max, 0, "the blob is too large");
        }
        let Used { count, bytes: used } = rows::used(self.conn(), account)?;
        if (used - before.min(used)).saturating_add(bytes) > limits.blob_user_bytes_max {
            return refused(limits.blob_user_bytes_max, used, "no room for one more blob");
        }
        if before == 0 && count >= u64::from(limits.blobs_per_user_max) {
            return refused(limits.blob_user_bytes_max, used, "too many blobs");
        }
        Ok(())
    }

    /// Makes an upload that is safe on the disk a blob. Again and again alike.
    pub(in crate::home) fn commit_blob(
        &mut self,
        asker: Asker<'_>,
        id: &BlobId,
        is_safe: bool,
    ) -> Result<Body, No> {
        let user = self.session(asker)?;
        let account = accounts::account(self.conn(), user)?.ok_or(Code::NoSuchUser)?.id;
        let row = rows::blob(self.conn(), account, id)?.ok_or(Code::NoSuchBlob)?;
        if !row.is_committed {
            if !is_safe {
                return Err(Code::NoSuchBlob.into());
            }
            rows::commit(self.conn(), account, id, self.env.unix_ms())?;
        }
        Ok(Body::Done(wire::Done::default()))
    }

    /// Forgets a blob or an upload; its file goes afterwards.
    pub(in crate::home) fn drop_blob(&mut self, asker: Asker<'_>, id: &BlobId) -> Result<Body, No> {
        let user = self.session(asker)?;
        let account = accounts::account(self.conn(), user)?.ok_or(Code::NoSuchUser)?.id;
        if let Some(row) = rows::blob(self.conn(), account, id)? {
            rows::delete(self.conn(), account, id)?;
            self.count_bytes(row.bytes, 0);
        }
        Ok(Body::Done(wire::Done::default()))
    }

    /// Whether there is a row.
    pub(in crate::home) fn has_blob(
        &self,
        owner: &UserName,
        id: &BlobId,
    ) -> Result<bool, HomeFailure> {
        rows::is_known(self.conn(), owner, id).map_err(|error| Fault::from(error).fatal())
    }

    /// Every row, for the look at the folder before anything is served.
    pub(in crate::home) fn blob_rows(&self) -> Result<BlobRows, Fault> {
        let mut all = BlobRows::new();
        for (owner, id, is_committed) in rows::all(self.conn())? {
            all.insert((UserName::canonical(&owner)?, id), is_committed);
        }
        Ok(all)
    }

    /// Forgets uploads that nobody finished and blobs whose time has come, a few at a time. Their
    /// files go afterwards, and before that nothing more is forgotten.
    pub(in crate::home) fn reap_blobs(&mut self) -> Result<(), HomeFailure> {
        let now_ms = self.env.unix_ms();
        if self.sweeping || self.next_blob_ms.is_none_or(|at_ms| at_ms > now_ms) {
            return Ok(());
        }
        let Err(fault) = self.try_reap_blobs(now_ms) else { return Ok(()) };
        self.rollback()?;
        match fault.severity() {
            Severity::Full => {
                warn!("the disk is full: old blobs stay for now");
                self.next_blob_ms = Some(now_ms.saturating_add(REAP_RETRY_MS));
                Ok(())
            }
            Severity::Operation => Err(HomeFailure::Storage("deleting blobs".to_owned())),
            Severity::Fatal(failure) => Err(failure),
        }
    }

    fn try_reap_blobs(&mut self, now_ms: u64) -> Result<(), Fault> {
        self.execute("BEGIN IMMEDIATE")?;
        let due = rows::due(self.conn(), now_ms, REAP_BLOBS_MAX)?;
        let gone = self.forget_blobs(due)?;
        let next = rows::next_due_ms(self.conn())?;
        self.execute("COMMIT")?;
        self.next_blob_ms = next;
        info!(count = gone.len(), "uploads or blobs were old enough to go");
        self.gone_blobs.extend(gone);
        Ok(())
    }

    /// Forgets some of an account's blobs, inside the caller's transaction; none: no more are left.
    pub(in crate::home) fn take_blobs_of(
        &mut self,
        account: RowId,
    ) -> Result<Vec<(UserName, BlobId)>, Fault> {
        let some = rows::some_of(self.conn(), account, REAP_BLOBS_MAX)?;
        self.forget_blobs(some)
    }

    fn forget_blobs(&mut self, going: Vec<Going>) -> Result<Vec<(UserName, BlobId)>, Fault> {
        let mut gone = Vec::with_capacity(going.len());
        for Going { account, owner, id, bytes } in going {
            rows::delete(self.conn(), account, &id)?;
            self.count_bytes(bytes, 0);
            gone.push((UserName::canonical(&owner)?, id));
        }
        Ok(gone)
    }

    /// Bytes of all blobs and uploads.
    pub(in crate::home) fn blob_bytes(&mut self) -> Result<u64, HomeFailure> {
        if let Some(bytes) = self.blob_bytes {
            return Ok(bytes);
        }
        let bytes = rows::all_bytes(self.conn()).map_err(|error| Fault::from(error).fatal())?;
        self.blob_bytes = Some(bytes);
        Ok(bytes)
    }

    /// Something had so many bytes before and has so many now.
    fn count_bytes(&mut self, before: u64, now: u64) {
        let counted = self.blob_bytes.map(|all| all.saturating_sub(before).saturating_add(now));
        self.blob_bytes = counted;
    }
}
