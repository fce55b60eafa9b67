//! The cluster on disk: made once, found again, finished when it was cut off, never made twice.

use std::io;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::net::env::{TestOptions, World};

struct Place {
    env: Env,
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { env: Env::system(), folder: tempfile::tempdir().unwrap() }
    }

    fn wanted(&self, count: u16) -> Wanted {
        Wanted {
            count,
            port: 9000,
            bind: Ipv4Addr::LOCALHOST.into(),
            data: self.folder.path().join("databases"),
            certs: self.folder.path().join("certs"),
        }
    }

    fn prepare(&self, count: u16) -> Result<Cluster, ClusterError> {
        prepare(&self.env, &self.wanted(count))
    }

    fn data(&self, name: &str) -> PathBuf {
        self.wanted(1).data.join(name)
    }
}

#[test]
fn a_second_start_finds_what_the_first_made() {
    let place = Place::new();
    let first = place.prepare(3).unwrap();
    let again = place.prepare(3).unwrap();
    assert_eq!(first.map, again.map);
    assert_eq!(first.id, again.id);
    assert_eq!(first.admission_key.as_bytes(), again.admission_key.as_bytes());
    let ports: Vec<_> =
        first.map.servers.iter().map(|s| (s.addr.port(), s.peer_addr.port())).collect();
    assert_eq!(ports, [(9001, 9101), (9002, 9102), (9003, 9103)]);
}

#[test]
fn a_start_that_was_cut_off_before_its_map_is_finished() {
    let place = Place::new();
    let whole = place.prepare(3).unwrap();
    // As it was when one database was made and the map had only its draft name.
    fs::rename(place.data(MAP_FILE), place.data(DRAFT_FILE)).unwrap();
    fs::remove_file(place.data("s2.sqlite")).unwrap();
    fs::remove_file(place.data("s3.sqlite")).unwrap();
    let kept = fs::read(place.data("s1.sqlite")).unwrap();
    let finished = place.prepare(3).unwrap();
    assert_eq!(finished.map, whole.map);
    assert!(place.data("s3.sqlite").exists() && !place.data(DRAFT_FILE).exists());
    assert_eq!(fs::read(place.data("s1.sqlite")).unwrap(), kept);
}

#[test]
fn a_start_that_was_cut_off_while_it_made_certificates_is_finished() {
    let place = Place::new();
    let whole = place.prepare(2).unwrap();
    for lost in ["placement.json", "s1.sqlite", "s2.sqlite"] {
        fs::remove_file(place.data(lost)).unwrap();
    }
    for lost in ["s2.pem", "operator.key", "admission.key", "s2.quic"] {
        fs::remove_file(place.wanted(2).certs.join(lost)).unwrap();
    }
    let finished = place.prepare(2).unwrap();
    assert_eq!(finished.id, whole.id);
    assert_eq!(finished.map.servers[0], whole.map.servers[0]);
}

#[test]
fn a_cut_off_start_for_three_is_not_a_start_for_two() {
    let place = Place::new();
    place.prepare(3).unwrap();
    fs::rename(place.data(MAP_FILE), place.data(DRAFT_FILE)).unwrap();
    assert!(matches!(place.prepare(2), Err(ClusterError::TooFew { .. })));
    assert_eq!(place.prepare(4).unwrap().map.version, 2);
}

#[test]
fn servers_that_own_data_cannot_be_left_out_and_others_can() {
    let place = Place::new();
    place.prepare(2).unwrap();
    let Err(ClusterError::TooFew { stranded, .. }) = place.prepare(1) else {
        panic!("not refused")
    };
    assert_eq!(stranded, [ServerId::numbered(2)]);
    let more = place.prepare(4).unwrap().map;
    assert_eq!((more.version, more.servers.len()), (2, 4));
    assert_eq!(more.slots, place.prepare(2).unwrap().map.slots);
}

#[test]
fn another_address_is_a_new_version_and_any_address_is_reached_on_loopback() {
    let place = Place::new();
    place.prepare(1).unwrap();
    let any = Wanted { bind: Ipv4Addr::UNSPECIFIED.into(), ..place.wanted(1) };
    let map = prepare(&place.env, &any).unwrap().map;
    assert_eq!(map.version, 2);
    assert_eq!(map.servers[0].addr, "0.0.0.0:9001".parse().unwrap());
    assert_eq!(map.servers[0].peer_addr, "127.0.0.1:9101".parse().unwrap());
}

#[test]
fn nothing_is_made_again_that_may_hold_accounts() {
    let place = Place::new();
    place.prepare(2).unwrap();
    fs::rename(place.data("s2.sqlite"), place.data("away")).unwrap();
    assert!(matches!(place.prepare(2), Err(ClusterError::NoDatabase(_))));
    fs::rename(place.data("away"), place.data("s2.sqlite")).unwrap();

    fs::rename(place.data(MAP_FILE), place.data("away")).unwrap();
    assert!(matches!(place.prepare(2), Err(ClusterError::NoMap { .. })));
    fs::write(place.data(MAP_FILE), "{").unwrap();
    assert!(matches!(place.prepare(2), Err(ClusterError::MapSyntax { .. })));
    fs::rename(place.data("away"), place.data(MAP_FILE)).unwrap();

    fs::remove_file(place.wanted(2).certs.join("ca.key")).unwrap();
    assert!(matches!(place.prepare(2), Err(ClusterError::NoAuthority { .. })));
}

#[test]
fn certificates_of_another_cluster_are_refused() {
    let (place, other) = (Place::new(), Place::new());
    place.prepare(1).unwrap();
    other.prepare(1).unwrap();
    for file in ["s1.pem", "s1.key"] {
        fs::copy(other.wanted(1).certs.join(file), place.wanted(1).certs.join(file)).unwrap();
    }
    assert!(matches!(place.prepare(1), Err(ClusterError::ForeignCertificate { .. })));
}

#[test]
fn a_server_whose_key_is_lost_gets_another_and_the_map_says_so() {
    let place = Place::new();
    let old = place.prepare(1).unwrap().map;
    fs::remove_file(place.wanted(1).certs.join("s1.key")).unwrap();
    let map = place.prepare(1).unwrap().map;
    assert_eq!(map.version, 2);
    assert_ne!(map.servers[0].spki_sha256, old.servers[0].spki_sha256);
}

/// The operating system, some days later.
struct Later {
    days: u64,
}

impl World for Later {
    fn runtime(&self) -> Arc<dyn quinn::Runtime> {
        Env::system().runtime()
    }
    fn bind(&self, addr: SocketAddr) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        Env::system().bind(addr)
    }
    fn unix_ms(&self) -> u64 {
        Env::system().unix_ms() + self.days * 24 * 3600 * 1000
    }
    fn disk_pause(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }
    fn is_simulated(&self) -> bool {
        false
    }
}

#[test]
fn a_certificate_is_renewed_in_its_last_30_days_and_keeps_its_key() {
    let place = Place::new();
    let first = place.prepare(1).unwrap();
    let expiry = |certs: &Path| Credentials::load(certs, "s1").unwrap().expires_unix_ms();
    let certs = place.wanted(1).certs;
    let made = expiry(&certs);
    let later = |days| {
        let killed = CancellationToken::new();
        Env::simulated(Arc::new(Later { days }), 1, killed, TestOptions::default())
    };
    prepare(&later(59), &place.wanted(1)).unwrap();
    assert_eq!(expiry(&certs), made);
    let renewed = prepare(&later(61), &place.wanted(1)).unwrap();
    assert!(expiry(&certs) > made);
    assert_eq!(renewed.map, first.map);
    assert_eq!(renewed.id, first.id);
}

#[test]
fn numbers_at_the_limit_are_taken_and_past_it_refused() {
    let place = Place::new();
    let judge = |count, port| check_ports(&Wanted { port, ..place.wanted(count) });
    assert!(judge(99, 65535 - 199).is_ok());
    assert!(matches!(judge(99, 65535 - 198), Err(ClusterError::PortRange { .. })));
    assert!(matches!(judge(100, 9000), Err(ClusterError::Count(100))));
    assert!(matches!(judge(0, 9000), Err(ClusterError::Count(0))));
}
