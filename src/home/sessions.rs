//! Sessions: one live device per user, known by where it is and by an epoch that only grows.

use super::accounts::is_active;
use super::live::Session;
use super::refusal::{No, Refusal};
use super::request::{Output, Takeover, Target, Visibility};
use super::sql::accounts::{self as rows, Account, DeviceRow, StoredSession};
use super::state::{Asker, Home};
use crate::crypto::{ResumeClaim, verify_resume};
use crate::types::{DeviceId, SessionEpoch, UserName};
use crate::wire::Code;
use crate::wire::client::{self as wire, server_frame::Body};

impl Home {
    pub(super) fn login(
        &mut self,
        asker: Asker<'_>,
        user: &UserName,
        device: DeviceId,
        takeover: Takeover,
        visibility: Visibility,
    ) -> Result<Body, No> {
        self.own(user)?;
        let account = rows::account(self.conn(), user)?.ok_or(Code::NoSuchUser)?;
        if let Some(live) = self.live.session(user)
            && live.device != device
            && takeover == Takeover::Ask
        {
            let refusal = Refusal::new(Code::AlreadyLoggedIn);
            let (since_ms, last_seen_ms) = (live.since_ms, live.last_seen_ms);
            return Err(Refusal { since_ms, last_seen_ms, ..refusal }.into());
        }
        self.begin_session(asker, user, account, device, visibility)
    }

    /// The signature names the edge that asks, so that no other edge can use it. A live session of
    /// another device is replaced: that device is active no more, or it could not be this one.
    pub(super) fn resume(
        &mut self,
        asker: Asker<'_>,
        user: &UserName,
        device: DeviceId,
        count: u64,
        signature: &[u8],
        visibility: Visibility,
    ) -> Result<Body, No> {
        self.own(user)?;
        let conn = &self.database.conn;
        let account = rows::account(conn, user)?.ok_or(Code::NoSuchUser)?;
        let server = self.edges.id(asker.place.edge).ok_or(Code::ResumeRefused)?;
        let row = rows::device(conn, account.id, device)?;
        let (state, public, used) = row.ok_or(Code::ResumeRefused)?;
        if state != DeviceRow::Active {
            return Err(Refusal::because(Code::ResumeRefused, "the device is not active").into());
        }
        if count <= used {
            return Err(Refusal::because(Code::ResumeRefused, "the count was used").into());
        }
        let claim = ResumeClaim { cluster: &self.cluster, server, user, device, count };
        verify_resume(&claim, &public, signature)
            .map_err(|_| Refusal::because(Code::ResumeRefused, "the signature does not fit"))?;
        if account.delete_at_ms.is_some() {
            let why = "the account is to be deleted; a login keeps it";
            return Err(Refusal::because(Code::ResumeRefused, why).into());
        }
        rows::set_resume_count(conn, account.id, device, count)?;
        self.begin_session(asker, user, account, device, visibility)
    }

    pub(super) fn logout(&mut self, asker: Asker<'_>) -> Result<Body, No> {
        let user = self.session(asker)?;
        rows::end_session(self.conn(), user)?;
        self.live.end_place(asker.place);
        Ok(Body::Done(wire::Done::default()))
    }

    /// Makes the caller's connection the user's one session. The connection before it is told. An
    /// account that was to be deleted stays: whoever comes here by password wants it.
    pub(super) fn begin_session(
        &mut self,
        asker: Asker<'_>,
        user: &UserName,
        account: Account,
        device: DeviceId,
        visibility: Visibility,
    ) -> Result<Body, No> {
        let conn = &self.database.conn;
        let device_known = is_active(conn, account.id, device)?;
        let edge = self.edges.id(asker.place.edge).ok_or(Code::BadState)?.to_string();
        let epoch = SessionEpoch(account.session_epoch.0 + 1);
        let stored = StoredSession { edge, sid: asker.place.sid, device };
        rows::begin_session(conn, account.id, epoch, &stored, visibility)?;
        if account.delete_at_ms.is_some() {
            rows::set_delete_at(conn, account.id, None)?;
        }
        self.replace_session(asker, user);
        self.start(asker, user, (device, epoch), visibility);
        Ok(Body::Welcome(wire::Welcome {
            session_epoch: epoch.0,
            map_version: self.map_version.0,
            bundle: account.bundle,
            device_known,
        }))
    }

    fn replace_session(&mut self, asker: Asker<'_>, user: &UserName) {
        let Some(old) = self.live.session(user).map(|session| session.place) else { return };
        if old == asker.place {
            return;
        }
        self.live.end_place(old);
        let error = Refusal::new(Code::SessionReplaced).error();
        let target = Target { sid: old.sid, open_id: 0 };
        self.out.push((old, Output::one(target, 0, Body::Error(error))));
    }

    fn start(
        &mut self,
        asker: Asker<'_>,
        user: &UserName,
        (device, epoch): (DeviceId, SessionEpoch),
        visibility: Visibility,
    ) {
        let now_ms = self.env.unix_ms();
        let (place, since_ms, last_seen_ms) = (asker.place, now_ms, now_ms);
        let session = Session { place, device, epoch, since_ms, last_seen_ms, visibility };
        self.live.begin_session(user, session);
    }

    /// The caller's name, if its connection holds that user's live session.
    ///
    /// After this home or the link to the edge broke, the session is no longer in memory; the same
    /// connection may then go on with it, as long as no later one began.
    pub(super) fn session<'a>(&mut self, asker: Asker<'a>) -> Result<&'a UserName, No> {
        let user = Self::user(asker)?;
        self.own(user)?;
        let (device, epoch) = (asker.from.device, asker.from.session_epoch);
        if let Some(live) = self.live.session(user) {
            if (live.place, live.device, live.epoch) != (asker.place, device, epoch) {
                return Err(Code::SessionReplaced.into());
            }
            self.live.seen(user, self.env.unix_ms());
            return Ok(user);
        }
        let account = rows::account(self.conn(), user)?.ok_or(Code::NoSuchUser)?;
        let edge = self.edges.id(asker.place.edge).ok_or(Code::BadState)?.to_string();
        let here = StoredSession { edge, sid: asker.place.sid, device };
        if account.session_epoch != epoch || account.session.as_ref() != Some(&here) {
            return Err(Code::SessionReplaced.into());
        }
        self.start(asker, user, (device, epoch), account.visibility);
        Ok(user)
    }
}
