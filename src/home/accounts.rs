//! Accounts: names, bundles, block lists, and who is there.

use prost::Message as _;
use rusqlite::Connection;

use super::refusal::{Fault, No, Refusal};
use super::request::Visibility;
use super::sql::accounts::{self as rows, BundleQuota, DeviceRow};
use super::sql::{self, RowId};
use super::state::{Asker, Home};
use crate::crypto::{Bundle, DeviceState, verify_bundle};
use crate::limits::WHO_USERS_MAX;
use crate::types::{DeviceId, LogName, UserName};
use crate::wire::Code;
use crate::wire::client::{self as wire, server_frame::Body};

/// The window of the bundle quota.
const DAY_MS: u64 = 24 * 3600 * 1000;
/// Names one account may block.
const BLOCKS_MAX: usize = 1_000;

impl Home {
    pub(super) fn look_up(&self, user: &UserName) -> Result<Body, No> {
        self.own(user)?;
        let account = rows::account(self.conn(), user)?.ok_or(Code::NoSuchUser)?;
        Ok(Body::Account(wire::Account { user: user.to_string(), bundle: account.bundle }))
    }

    pub(super) fn sign_up(
        &mut self,
        asker: Asker<'_>,
        user: &UserName,
        verifier: &str,
        bundle: &[u8],
        device: DeviceId,
        visibility: Visibility,
    ) -> Result<Body, No> {
        self.own(user)?;
        let conn = &self.database.conn;
        if let Some(account) = rows::account(conn, user)? {
            // The answer to the first one was lost. Whoever passed it on has checked the password.
            if says_the_same(&account.bundle, bundle) && is_active(conn, account.id, device)? {
                return self.begin_session(asker, user, account, device, visibility);
            }
            return Err(Code::NameTaken.into());
        }
        if rows::is_gone(conn, user)? {
            return Err(Code::NameTaken.into());
        }
        let bundle = verify_bundle(bundle, &self.cluster, user)
            .map_err(|_| Refusal::new(Code::BadBundle))?;
        if bundle.version != 1 {
            return Err(Refusal::because(Code::BadBundle, "the first version is 1").into());
        }
        if bundle.active_device().map(|active| active.device) != Some(device) {
            return Err(Refusal::because(Code::BadBundle, "this device is not active in it").into());
        }
        let now_ms = self.env.unix_ms();
        let id = rows::insert_account(conn, user, verifier, bundle.encoded(), now_ms)?;
        put_devices(conn, id, &bundle)?;
        sql::logs::insert_log(conn, id, crate::types::LogEpoch(self.env.random_id()))?;
        let account = rows::account(conn, user)?.ok_or(Code::Internal)?;
        self.begin_session(asker, user, account, device, visibility)
    }

    pub(super) fn put_bundle(&mut self, asker: Asker<'_>, bundle: &[u8]) -> Result<Body, No> {
        let user = self.session(asker)?;
        let conn = &self.database.conn;
        let account = rows::account(conn, user)?.ok_or(Code::NoSuchUser)?;
        // The answer to the first one was lost.
        if says_the_same(&account.bundle, bundle) {
            return Ok(Body::Done(wire::Done::default()));
        }
        let bundle = verify_bundle(bundle, &self.cluster, user)
            .map_err(|_| Refusal::new(Code::BadBundle))?;
        if account.bundle_version.checked_add(1) != Some(bundle.version) {
            return Err(Refusal::because(Code::BadBundle, "not the next version").into());
        }
        let quota = next_put(account.quota, self.env.unix_ms(), self.limits.bundles_per_day)?;
        rows::replace_bundle(conn, account.id, bundle.encoded(), bundle.version, quota)?;
        rows::drop_devices(conn, account.id)?;
        put_devices(conn, account.id, &bundle)?;
        Ok(Body::Done(wire::Done::default()))
    }

    pub(super) fn block(
        &mut self,
        asker: Asker<'_>,
        author: &UserName,
        blocked: bool,
    ) -> Result<Body, No> {
        let user = self.session(asker)?;
        let conn = &self.database.conn;
        let log = self.logs.get(conn, &LogName::inbox(user.clone()))?.ok_or(Code::NoSuchUser)?;
        if !blocked {
            rows::unblock(conn, log.id, author)?;
            log.blocked.remove(author);
        } else if !log.blocked.contains(author) {
            if log.blocked.len() >= BLOCKS_MAX {
                return Err(Refusal::because(Code::Forbidden, "1,000 names are blocked").into());
            }
            rows::block(conn, log.id, author)?;
            log.blocked.insert(author.clone());
        }
        self.live.note_change(user);
        Ok(Body::Done(wire::Done::default()))
    }

    /// The users of this home. Edges ask every home: only the caller's own can check the session.
    /// Whoever blocks the caller is away.
    pub(super) fn who(&mut self, asker: Asker<'_>, all: bool) -> Result<Body, No> {
        let caller = Self::user(asker)?;
        if self.owns(caller) {
            self.session(asker)?;
        }
        let conn = &self.database.conn;
        let mut users = Vec::new();
        if all {
            for user in rows::names(conn, WHO_USERS_MAX + 1)? {
                let name = UserName::canonical(&user).map_err(Fault::from)?;
                let online =
                    self.live.is_online(&name) && !rows::blocks_author(conn, &name, caller)?;
                users.push(wire::Presence { user, online });
            }
        } else {
            for user in self.live.online() {
                if users.len() > WHO_USERS_MAX {
                    break;
                }
                if !rows::blocks_author(conn, user, caller)? {
                    users.push(wire::Presence { user: user.to_string(), online: true });
                }
            }
        }
        let truncated = users.len() > WHO_USERS_MAX;
        users.truncate(WHO_USERS_MAX);
        Ok(Body::WhoList(wire::WhoList { users, truncated, missing: Vec::new() }))
    }
}

/// Whether a device is active in its account's current bundle.
pub(super) fn is_active(conn: &Connection, account: RowId, device: DeviceId) -> Result<bool, No> {
    let row = rows::device(conn, account, device)?;
    Ok(row.is_some_and(|(state, _, _)| state == DeviceRow::Active))
}

/// Whether two signed bundles hold the same keys. A signature has other bytes each time it is made.
fn says_the_same(stored: &[u8], given: &[u8]) -> bool {
    let signed = |bytes: &[u8]| wire::SignedBundle::decode(bytes).map(|signed| signed.bundle);
    stored == given || matches!((signed(stored), signed(given)), (Ok(a), Ok(b)) if a == b)
}

fn put_devices(conn: &Connection, account: RowId, bundle: &Bundle) -> Result<(), No> {
    for device in &bundle.devices {
        let state = match device.state {
            DeviceState::Active => DeviceRow::Active,
            DeviceState::Retired => DeviceRow::Retired,
        };
        rows::put_device(conn, account, device.device, &device.ed25519, state)?;
    }
    Ok(())
}

fn next_put(quota: BundleQuota, now_ms: u64, puts_max: u32) -> Result<BundleQuota, No> {
    let ends_ms = quota.day_ms.saturating_add(DAY_MS);
    // A clock that was set back begins a new day, or the quota would last until it caught up.
    if now_ms >= ends_ms || now_ms < quota.day_ms {
        return Ok(BundleQuota { day_ms: now_ms, puts: 1 });
    }
    if quota.puts >= puts_max {
        return Err(Refusal::later(Code::SlowDown, ends_ms - now_ms).into());
    }
    Ok(BundleQuota { puts: quota.puts + 1, ..quota })
}
