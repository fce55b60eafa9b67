//! Which server owns which name: name -> slot -> server, and the versioned map that says so.
//!
//! Pure: the map is read and written by `balancer::cluster`; nothing here touches a file.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::limits;
use crate::types::{GroupName, LogName, MapVersion, ServerId, SlotId, UserName};

/// The slot of a user: an account and its inbox share it, so they share a home.
///
/// `SHA-256("fastchat-slot-v1" | kind | canonical name)[0..2] mod 1024`, kind `user`.
pub fn slot_of_user(user: &UserName) -> SlotId {
    slot_of(b"user", user.as_str())
}

/// The slot of a group: as a user's, kind `group`.
pub fn slot_of_group(group: &GroupName) -> SlotId {
    slot_of(b"group", group.as_str())
}

fn slot_of(kind: &[u8], name: &str) -> SlotId {
    let mut hash = Sha256::new();
    hash.update(b"fastchat-slot-v1");
    hash.update(kind);
    hash.update(name.as_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    let [high, low, ..] = digest;
    SlotId(u16::from_be_bytes([high, low]) % limits::SLOTS)
}

/// The slot of a log.
pub fn slot_of_log(log: &LogName) -> SlotId {
    match log {
        LogName::Inbox(owner) => slot_of_user(owner),
        LogName::Group(group) => slot_of_group(group),
    }
}

/// One server as every other process finds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerEntry {
    /// Its name, also in its certificate.
    #[serde(with = "text_id")]
    pub id: ServerId,
    /// Where clients reach it (UDP).
    pub addr: SocketAddr,
    /// Where other servers reach it (UDP).
    pub peer_addr: SocketAddr,
    /// SHA-256 of its certificate's SPKI, in hexadecimal; a peer with another is refused.
    pub spki_sha256: String,
}

/// The placement map: the same on every server and the balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlacementMap {
    /// Only grows.
    pub version: u64,
    /// SHA-256 of the balancer certificate's SPKI: it may watch servers on their peer ports.
    pub balancer_spki_sha256: String,
    /// In order of number.
    pub servers: Vec<ServerEntry>,
    /// For each of the 1024 slots the index of its server in `servers`.
    pub slots: Vec<u16>,
}

/// Why a placement map cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// Not exactly one owner per slot.
    #[error("the map has {0} slots, expected {expected}", expected = limits::SLOTS)]
    SlotCount(usize),
    /// A slot points at a server that is not there.
    #[error("slot {0} belongs to server number {1}, which the map does not have")]
    NoSuchServer(u16, u16),
    /// Two servers of one name.
    #[error("the map has server {0} twice")]
    Twice(ServerId),
}

impl PlacementMap {
    /// Deals the slots to `servers` in turn, as version 1.
    pub fn deal(servers: Vec<ServerEntry>, balancer_spki_sha256: String) -> Self {
        let count = u16::try_from(servers.len()).unwrap_or(u16::MAX).max(1);
        let slots = (0..limits::SLOTS).map(|slot| slot % count).collect();
        Self { version: 1, balancer_spki_sha256, servers, slots }
    }

    /// Checks what a file cannot be trusted to hold.
    ///
    /// # Errors
    /// [`MapError`] names the first thing that is wrong.
    pub fn check(&self) -> Result<(), MapError> {
        if self.slots.len() != usize::from(limits::SLOTS) {
            return Err(MapError::SlotCount(self.slots.len()));
        }
        for (slot, &server) in (0u16..).zip(&self.slots) {
            if usize::from(server) >= self.servers.len() {
                return Err(MapError::NoSuchServer(slot, server));
            }
        }
        for (index, server) in self.servers.iter().enumerate() {
            if self.servers.iter().take(index).any(|other| other.id == server.id) {
                return Err(MapError::Twice(server.id.clone()));
            }
        }
        Ok(())
    }

    /// The version as a type.
    pub fn map_version(&self) -> MapVersion {
        MapVersion(self.version)
    }

    /// The server that owns a slot. `None` only for a map that fails [`Self::check`].
    pub fn home_of_slot(&self, slot: SlotId) -> Option<&ServerEntry> {
        let index = self.slots.get(usize::from(slot.0))?;
        self.servers.get(usize::from(*index))
    }

    /// The home of a user.
    pub fn home_of_user(&self, user: &UserName) -> Option<&ServerEntry> {
        self.home_of_slot(slot_of_user(user))
    }

    /// The entry of a server.
    pub fn server(&self, id: &ServerId) -> Option<&ServerEntry> {
        self.servers.iter().find(|server| server.id == *id)
    }

    /// The slots a server owns.
    pub fn slots_of(&self, id: &ServerId) -> Vec<SlotId> {
        (0u16..)
            .zip(&self.slots)
            .filter(|(_, owner)| {
                self.servers.get(usize::from(**owner)).is_some_and(|s| s.id == *id)
            })
            .map(|(slot, _)| SlotId(slot))
            .collect()
    }
}

mod text_id {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::types::ServerId;

    pub(super) fn serialize<S: Serializer>(id: &ServerId, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(id.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<ServerId, D::Error> {
        ServerId::parse(&String::deserialize(input)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u16) -> ServerEntry {
        ServerEntry {
            id: ServerId::numbered(number),
            addr: SocketAddr::from(([127, 0, 0, 1], 9000 + number)),
            peer_addr: SocketAddr::from(([127, 0, 0, 1], 9100 + number)),
            spki_sha256: String::new(),
        }
    }

    #[test]
    fn every_slot_has_one_owner_and_the_shares_are_even() {
        let map = PlacementMap::deal((1..=3).map(entry).collect(), String::new());
        assert_eq!(map.check(), Ok(()));
        let shares: Vec<usize> =
            map.servers.iter().map(|server| map.slots_of(&server.id).len()).collect();
        assert_eq!(shares, [342, 341, 341]);
    }

    #[test]
    fn the_slot_of_a_name_never_changes() {
        // Fixed by the format: a change of these numbers would strand every account.
        let slot = |name| slot_of_user(&UserName::canonical(name).unwrap()).0;
        assert_eq!([slot("alice"), slot("bob"), slot("carol")], [120, 500, 372]);
    }

    #[test]
    fn a_group_has_a_slot_of_its_own() {
        let slot = |name| slot_of_log(&LogName::canonical(name).unwrap()).0;
        assert_eq!([slot("@alice"), slot("@bob")], [120, 500]);
        assert_eq!([slot("#alice"), slot("#team")], [679, 841]);
    }

    #[test]
    fn a_damaged_map_is_refused() {
        let good = PlacementMap::deal((1..=2).map(entry).collect(), String::new());
        let mut short = good.clone();
        short.slots.pop();
        assert_eq!(short.check(), Err(MapError::SlotCount(1023)));
        let mut wild = good.clone();
        wild.slots[5] = 2;
        assert_eq!(wild.check(), Err(MapError::NoSuchServer(5, 2)));
        let mut twice = good;
        twice.servers[1].id = ServerId::numbered(1);
        assert_eq!(twice.check(), Err(MapError::Twice(ServerId::numbered(1))));
    }
}
