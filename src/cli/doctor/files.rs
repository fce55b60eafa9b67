//! What a doctor sees on disk: folders, keys, certificates, databases, room.
//!
//! Nothing is changed, and nobody is called.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::super::certs::day;
use super::super::exit::sentence;
use super::super::located::Located;
use super::super::upkeep::EXPIRY_WARNING;
use super::Check;
use crate::balancer::cluster;
use crate::home::{self, OpenError};
use crate::net::pki::{CaCert, Credentials, Role};
use crate::ops::health::Room;
use crate::placement::PlacementMap;
use crate::types::ServerId;

/// Free disk below which nothing can be stored any more.
const DISK_FULL_BYTES: u64 = 1024 * 1024;

/// A folder has to be writable by this user and closed to all others.
pub(super) fn folder(name: &str, path: &Path) -> Check {
    let shown = path.display();
    let Ok(found) = fs::metadata(path) else {
        let remedy = "Say where it is with --data DIR and --certs DIR.";
        return Check::fail(name, format!("{shown} is missing"), remedy);
    };
    if !found.is_dir() {
        return Check::fail(name, format!("{shown} is no folder"), "Choose another.");
    }
    if access(path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let remedy = format!("Give it to the user who runs the servers:  chown -R USER {shown}");
        return Check::fail(name, format!("{shown} cannot be written"), remedy);
    }
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let detail = format!("{shown} is open to other users ({mode:03o})");
        return Check::warn(name, detail, format!("Close it:  chmod 700 {shown}"));
    }
    Check::ok(name, format!("{shown}, writable and private"))
}

/// Whether others than the owner may do anything with this file.
pub(in crate::cli) fn is_open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0)
}

/// Every key file must be readable by its owner alone.
pub(super) fn keys(certs: &Path) -> Check {
    let name = "keys";
    let Ok(entries) = fs::read_dir(certs) else {
        return Check::fail(name, format!("{} cannot be read", certs.display()), "");
    };
    let mut keys: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    keys.retain(|path| path.extension().is_some_and(|e| e == "key" || e == "quic"));
    keys.sort();
    if keys.is_empty() {
        let remedy = "The first start makes them:  load_balancer 3 9000";
        return Check::fail(name, format!("no keys in {}", certs.display()), remedy);
    }
    match keys.iter().find(|path| is_open_to_others(path)) {
        Some(open) => {
            let shown = open.display();
            let remedy = format!("Close it:  chmod 600 {shown}");
            Check::fail(name, format!("{shown} can be read by other users"), remedy)
        }
        None => Check::ok(name, format!("{} key files, all private", keys.len())),
    }
}

/// The placement map, and the check that says whether it can be used.
pub(super) fn map(located: &Located) -> (Check, Option<PlacementMap>) {
    let name = "placement map";
    match located.map() {
        Ok(Some(map)) => {
            let (servers, version) = (map.servers.len(), map.version);
            (Check::ok(name, format!("{servers} servers, version {version}")), Some(map))
        }
        Ok(None) => {
            let remedy = "The first start makes it:  load_balancer 3 9000";
            let detail = format!("no {} in {}", cluster::MAP_FILE, located.data.display());
            (Check::fail(name, detail, remedy), None)
        }
        Err(error) => {
            let remedy = "Take it from a backup, or from another machine of the cluster.";
            (Check::fail(name, plain(&error), remedy), None)
        }
    }
}

/// One certificate: whole, of this cluster, the one of the map, and valid for a while.
pub(super) fn certificate(
    certs: &Path,
    role: &Role,
    map: &PlacementMap,
    ca: &CaCert,
    now_ms: u64,
) -> Check {
    let name = format!("certificate {}", role.name());
    let found = match Credentials::load(certs, role.name()) {
        Ok(found) => found,
        Err(error) => {
            let remedy = "Take it from a backup, or copy it from the machine that made it.";
            return Check::fail(name, plain(&error), remedy);
        }
    };
    if found.cluster_id() != ca.cluster_id() {
        let remedy = "Give the --certs folder that belongs to this cluster.";
        return Check::fail(name, "it is of another cluster", remedy);
    }
    let expected = match role {
        Role::Server(id) => map.server(id).map(|entry| entry.spki_sha256.clone()),
        Role::Balancer => Some(map.balancer_spki_sha256.clone()),
        Role::Operator => None,
    };
    if expected.is_some_and(|expected| expected != found.spki_sha256()) {
        let remedy = "Take the key from a backup: others trust only the one in the map.";
        return Check::fail(name, "its key is not the one in the placement map", remedy);
    }
    validity(name, &found, now_ms)
}

fn validity(name: String, found: &Credentials, now_ms: u64) -> Check {
    let (begins_ms, ends_ms) = (found.begins_unix_ms(), found.expires_unix_ms());
    let renew = "Renew it:  load_balancer certs rotate";
    if now_ms < begins_ms {
        let detail = format!("not valid before {}, and it is {}", day(begins_ms), day(now_ms));
        return Check::fail(name, detail, "Set this machine's clock.");
    }
    if ends_ms <= now_ms {
        return Check::fail(name, format!("expired on {}", day(ends_ms)), renew);
    }
    let left_ms = ends_ms - now_ms;
    let detail = format!("{} days, until {}", left_ms / (24 * 3_600_000), day(ends_ms));
    if u128::from(left_ms) < EXPIRY_WARNING.as_millis() {
        return Check::warn(name, detail, renew);
    }
    Check::ok(name, detail)
}

/// A database: ours, of a known version, undamaged.
pub(super) fn database(data: &Path, id: &ServerId) -> Check {
    let path = cluster::database_path(data, id);
    let name = format!("database {id}");
    match home::inspect(&path) {
        Ok(found) => {
            let mb = fs::metadata(&path).map_or(0, |file| file.len()) / 1_000_000;
            Check::ok(name, format!("{} accounts, {mb} MB, undamaged", found.accounts))
        }
        Err(error) => {
            let remedy = match &error {
                OpenError::Newer { .. } => "Use the version of the program that wrote it.",
                OpenError::Damaged { .. } | OpenError::NotOurs(_) => {
                    "Keep the file, and restore a backup."
                }
                _ => "Check that the file is there, and who owns it.",
            };
            Check::fail(name, plain(&error), remedy)
        }
    }
}

/// Room for what is still to come.
pub(super) fn disk(data: &Path) -> Check {
    let name = "disk";
    let Some(room) = Room::at(data) else {
        return Check::warn(name, "the system does not say how much is free", "");
    };
    room_for(name, room)
}

fn room_for(name: &str, room: Room) -> Check {
    let detail = format!("{} MB of {} MB free", room.free_bytes >> 20, room.total_bytes >> 20);
    let remedy = "Make room: what cannot be stored is refused.";
    if room.free_bytes < DISK_FULL_BYTES {
        Check::fail(name, detail, remedy)
    } else if room.is_nearly_full() {
        Check::warn(name, detail, remedy)
    } else {
        Check::ok(name, detail)
    }
}

/// An error as the middle of a line.
pub(super) fn plain(error: &dyn std::error::Error) -> String {
    sentence(error).trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use crate::net::{Authority, Env};
    use crate::placement::ServerEntry;

    struct Bed {
        folder: tempfile::TempDir,
        authority: Authority,
        map: PlacementMap,
        env: Env,
    }

    fn s1() -> Role {
        Role::Server(ServerId::numbered(1))
    }

    impl Bed {
        fn new() -> Self {
            let (folder, env) = (tempfile::tempdir().unwrap(), Env::system());
            let authority = Authority::create(&env).unwrap();
            authority.save(folder.path()).unwrap();
            let server = authority.issue(&env, &s1()).unwrap();
            server.save(folder.path(), "s1").unwrap();
            let entry = ServerEntry {
                id: ServerId::numbered(1),
                addr: ([127, 0, 0, 1], 0).into(),
                peer_addr: ([127, 0, 0, 1], 0).into(),
                spki_sha256: server.spki_sha256(),
            };
            let map = PlacementMap::deal(vec![entry], String::new());
            Self { folder, authority, map, env }
        }

        fn certificate(&self, days_ahead: u64) -> Check {
            let now_ms = self.env.unix_ms() + days_ahead * 24 * 3_600_000;
            let ca = self.authority.certificate();
            certificate(self.folder.path(), &s1(), &self.map, ca, now_ms)
        }
    }

    #[test]
    fn a_certificate_is_warned_of_fourteen_days_before_its_end() {
        let bed = Bed::new();
        assert_eq!(bed.certificate(0).verdict, Verdict::Ok);
        assert_eq!(bed.certificate(75).verdict, Verdict::Ok);
        assert_eq!(bed.certificate(77).verdict, Verdict::Warn);
        let expired = bed.certificate(91);
        assert_eq!(expired.verdict, Verdict::Fail);
        assert!(expired.detail.starts_with("expired on "), "{}", expired.detail);
        assert!(expired.remedy.contains("certs rotate"), "{}", expired.remedy);
    }

    #[test]
    fn a_clock_that_is_behind_is_named_as_such() {
        let bed = Bed::new();
        let ca = bed.authority.certificate();
        let check = certificate(bed.folder.path(), &s1(), &bed.map, ca, 1_000);
        assert_eq!(check.verdict, Verdict::Fail);
        assert!(check.detail.contains("1970-01-01") && check.remedy.contains("clock"), "{check:?}");
    }

    #[test]
    fn another_key_than_the_maps_and_another_cluster_are_seen() {
        let mut bed = Bed::new();
        bed.map.servers[0].spki_sha256 = "0".repeat(64);
        assert_eq!(bed.certificate(0).verdict, Verdict::Fail);
        let other = Authority::create(&bed.env).unwrap();
        let ca = other.certificate();
        let check = certificate(bed.folder.path(), &s1(), &bed.map, ca, bed.env.unix_ms());
        assert!(check.detail.contains("another cluster"), "{check:?}");
    }

    #[test]
    fn a_key_or_folder_that_others_can_read_is_seen_with_its_mode() {
        let bed = Bed::new();
        let dir = bed.folder.path();
        let chmod = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        assert_eq!(keys(dir).verdict, Verdict::Ok);
        chmod(&dir.join("s1.key"), 0o640);
        let check = keys(dir);
        assert_eq!(check.verdict, Verdict::Fail);
        assert!(check.detail.contains("s1.key") && check.remedy.contains("chmod 600"), "{check:?}");
        chmod(dir, 0o700);
        assert_eq!(folder("data", dir).verdict, Verdict::Ok);
        chmod(dir, 0o755);
        let check = folder("data", dir);
        assert_eq!(check.verdict, Verdict::Warn);
        assert!(check.detail.contains("755"), "{check:?}");
        assert_eq!(folder("data", &dir.join("none")).verdict, Verdict::Fail);
    }

    #[test]
    fn little_room_is_a_warning_and_none_a_failure() {
        let room = |free_bytes| Room { free_bytes, total_bytes: 100 << 20 };
        assert_eq!(room_for("disk", room(50 << 20)).verdict, Verdict::Ok);
        assert_eq!(room_for("disk", room(4 << 20)).verdict, Verdict::Warn);
        assert_eq!(room_for("disk", room(1)).verdict, Verdict::Fail);
    }

    #[test]
    fn a_damaged_database_is_told_from_a_missing_one() {
        let bed = Bed::new();
        let (dir, id) = (bed.folder.path(), ServerId::numbered(1));
        assert!(database(dir, &id).detail.contains("no database"));
        let path = cluster::database_path(dir, &id);
        let cluster = bed.authority.cluster_id();
        home::create(&bed.env, &path, &id, &cluster, &bed.map.slots_of(&id)).unwrap();
        let whole = database(dir, &id);
        assert_eq!(whole.verdict, Verdict::Ok, "{whole:?}");
        let mut bytes = fs::read(&path).unwrap();
        for byte in bytes.iter_mut().skip(4096) {
            *byte = 0xaa;
        }
        fs::write(&path, bytes).unwrap();
        let damaged = database(dir, &id);
        assert_eq!(damaged.verdict, Verdict::Fail);
        assert!(damaged.remedy.contains("backup"), "{damaged:?}");
    }
}
