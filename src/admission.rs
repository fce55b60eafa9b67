//! Admission tickets: the balancer's "this person may sign up or log in at that server, once, now".
//!
//! A load gate, not a security boundary: whoever holds the key can issue, and every server holds
//! it. Pure: the time of day and the nonce come in. Deliberately not needed for `Resume`.

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use prost::Message;
use sha2::Sha256;

use crate::limits;
use crate::net::Env;
use crate::types::ServerId;
use crate::wire::balancer::Ticket;

/// Bytes of a ticket's nonce.
const NONCE_BYTES: usize = 16;

/// The HMAC-SHA256 key that the balancer and every server share. On disk it has mode 0600.
#[derive(Clone)]
pub struct AdmissionKey([u8; 32]);

impl AdmissionKey {
    /// Takes exactly 32 random bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The key itself, for the file it is kept in.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Issues a ticket for one sign-up or password login at `server`, good for
    /// [`limits::TICKET_LIFE`].
    pub fn issue(&self, env: &Env, server: &ServerId) -> Bytes {
        let mut nonce = [0; NONCE_BYTES];
        env.fill(&mut nonce);
        let life_ms = u64::try_from(limits::TICKET_LIFE.as_millis()).unwrap_or(u64::MAX);
        let mut ticket = Ticket {
            server: server.to_string(),
            expires_unix_ms: env.unix_ms().saturating_add(life_ms),
            nonce: Bytes::copy_from_slice(&nonce),
            mac: Bytes::new(),
        };
        ticket.mac = Bytes::copy_from_slice(&self.mac(&ticket).finalize().into_bytes());
        ticket.encode_to_vec().into()
    }

    /// Starts the code over everything but the code itself.
    fn mac(&self, ticket: &Ticket) -> Hmac<Sha256> {
        let bare = Ticket { mac: Bytes::new(), ..ticket.clone() };
        #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any key length");
        mac.update(&bare.encode_to_vec());
        mac
    }
}

impl fmt::Debug for AdmissionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(_) = self;
        f.write_str("AdmissionKey(..)")
    }
}

/// Why a ticket does not admit. The person is told only `TICKET_INVALID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Nothing was given, or not a ticket.
    #[error("missing or not a ticket")]
    Malformed,
    /// Not issued under this cluster's key, or changed since.
    #[error("the ticket's code does not fit")]
    Forged,
    /// Issued for another server.
    #[error("the ticket is for another server")]
    OtherServer,
    /// Older than its life.
    #[error("the ticket has expired")]
    Expired,
    /// Used before, here.
    #[error("the ticket was used before")]
    Used,
    /// More live tickets than [`limits::TICKETS_REMEMBERED_MAX`] were used; none can be taken
    /// without forgetting one, which could then be used again.
    #[error("too many tickets in use")]
    Full,
}

/// A server's side: lets each good ticket pass once.
#[derive(Debug)]
pub struct TicketGate {
    key: AdmissionKey,
    server: ServerId,
    /// Used tickets by expiry, so that the expired ones stand in front.
    used: BTreeSet<(u64, [u8; NONCE_BYTES])>,
}

impl TicketGate {
    /// A gate of `server` that knows of no used ticket. (A restart forgets: a ticket lives a
    /// minute and guards load only.)
    pub fn new(key: AdmissionKey, server: ServerId) -> Self {
        Self { key, server, used: BTreeSet::new() }
    }

    /// Judges a ticket and, when it is good, uses it up.
    ///
    /// # Errors
    /// [`TicketError`] says what is wrong; nothing is used up then.
    pub fn check(&mut self, ticket: &[u8], now_unix_ms: u64) -> Result<(), TicketError> {
        let ticket = Ticket::decode(ticket).map_err(|_| TicketError::Malformed)?;
        let nonce: [u8; NONCE_BYTES] =
            ticket.nonce.as_ref().try_into().map_err(|_| TicketError::Malformed)?;
        self.key.mac(&ticket).verify_slice(&ticket.mac).map_err(|_| TicketError::Forged)?;
        if ticket.server != self.server.as_str() {
            return Err(TicketError::OtherServer);
        }
        if ticket.expires_unix_ms <= now_unix_ms {
            return Err(TicketError::Expired);
        }
        self.used = self.used.split_off(&(now_unix_ms, [0; NONCE_BYTES]));
        let entry = (ticket.expires_unix_ms, nonce);
        if self.used.contains(&entry) {
            return Err(TicketError::Used);
        }
        if self.used.len() >= limits::TICKETS_REMEMBERED_MAX {
            return Err(TicketError::Full);
        }
        self.used.insert(entry);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> AdmissionKey {
        AdmissionKey::from_bytes(&[7; 32]).unwrap()
    }

    fn gate(number: u16) -> TicketGate {
        TicketGate::new(key(), ServerId::numbered(number))
    }

    #[test]
    fn a_ticket_admits_once_and_only_at_its_server() {
        let env = Env::system();
        let ticket = key().issue(&env, &ServerId::numbered(1));
        let now = env.unix_ms();
        assert_eq!(gate(2).check(&ticket, now), Err(TicketError::OtherServer));
        let mut gate = gate(1);
        assert_eq!(gate.check(&ticket, now), Ok(()));
        assert_eq!(gate.check(&ticket, now), Err(TicketError::Used));
        let another = key().issue(&env, &ServerId::numbered(1));
        assert_eq!(gate.check(&another, now), Ok(()));
    }

    #[test]
    fn an_expired_ticket_is_refused_and_forgotten() {
        let env = Env::system();
        let ticket = key().issue(&env, &ServerId::numbered(1));
        let now = env.unix_ms();
        let mut gate = gate(1);
        assert_eq!(gate.check(&ticket, now), Ok(()));
        assert_eq!(gate.check(&ticket, now + 61_000), Err(TicketError::Expired));
        let fresh = Ticket { expires_unix_ms: now + 120_000, ..Ticket::decode(ticket).unwrap() };
        let mac = key().mac(&fresh).finalize().into_bytes();
        let fresh = Ticket { mac: Bytes::copy_from_slice(&mac), ..fresh };
        assert_eq!(gate.check(&fresh.encode_to_vec(), now + 61_000), Ok(()));
        assert_eq!(gate.used.len(), 1);
    }

    #[test]
    fn a_changed_foreign_or_missing_ticket_is_refused() {
        let env = Env::system();
        let now = env.unix_ms();
        let mut gate = gate(1);
        assert_eq!(gate.check(b"", now), Err(TicketError::Malformed));
        assert_eq!(gate.check(&[0xff; 40], now), Err(TicketError::Malformed));
        let foreign = AdmissionKey::from_bytes(&[8; 32]).unwrap();
        let ticket = foreign.issue(&env, &ServerId::numbered(1));
        assert_eq!(gate.check(&ticket, now), Err(TicketError::Forged));
        let good = key().issue(&env, &ServerId::numbered(1));
        let longer =
            Ticket { expires_unix_ms: now + 1_000_000, ..Ticket::decode(good.clone()).unwrap() };
        assert_eq!(gate.check(&longer.encode_to_vec(), now), Err(TicketError::Forged));
        assert_eq!(gate.check(&good, now), Ok(()));
    }

    #[test]
    fn the_key_is_not_in_its_debug_text() {
        assert_eq!(format!("{:?}", key()), "AdmissionKey(..)");
    }
}
