//! The cluster on disk: certificates, keys, the placement map and one database per server.
//!
//! The first start makes them, every later one finds them. The map under its final name is the
//! commit point: a start that is killed before it leaves a draft, and the next start finishes that.
//! Nothing is ever deleted here, and no database is ever made again.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::admission::AdmissionKey;
use crate::home;
use crate::limits;
use crate::net::Env;
use crate::net::files::{self, FileError};
use crate::net::keys::{QuicKeys, QuicKeysError};
use crate::net::pki::{Authority, BALANCER_NAME, Credentials, OPERATOR_NAME, PkiError, Role};
use crate::placement::{MapError, PlacementMap, ServerEntry};
use crate::types::{ClusterId, ServerId};

/// The placement map, in the data folder.
pub const MAP_FILE: &str = "placement.json";
/// The map of a first start that is not finished.
const DRAFT_FILE: &str = "placement.json.draft";
/// The file that a balancer holds, so that no second one runs on the same data.
pub const LOCK_FILE: &str = "balancer.pid";
/// The key of the admission tickets, in the certificate folder.
pub const ADMISSION_FILE: &str = "admission.key";

/// What cluster is wanted, and where it is kept.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Servers, from 1 to [`limits::SERVERS_MAX`].
    pub count: u16,
    /// The balancer's UDP port; servers follow it.
    pub port: u16,
    /// The address that balancer and servers listen on. May be unspecified (`0.0.0.0`).
    pub bind: IpAddr,
    /// Map and databases.
    pub data: PathBuf,
    /// Certificates and keys.
    pub certs: PathBuf,
}

/// Why there is no cluster to start.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A port would be past 65535.
    #[error("{servers} servers from port {port} need ports up to {highest}; the last is 65535")]
    PortRange {
        /// Servers wanted.
        servers: u16,
        /// First port.
        port: u16,
        /// Highest port needed.
        highest: u32,
    },
    /// None, or more than there are ports between clients' and peers'.
    #[error("{0} servers; from 1 to {max} are possible", max = limits::SERVERS_MAX)]
    Count(u16),
    /// Servers that own data would not be started.
    #[error("{} servers asked for, but {} own accounts", .wanted, names(.stranded))]
    TooFew {
        /// Servers asked for.
        wanted: u16,
        /// Servers the map has.
        present: u16,
        /// Those whose data would be out of reach.
        stranded: Vec<ServerId>,
    },
    /// Databases without a map: they belong to something else, or the map was lost.
    #[error("{database} is there, but {map} is missing", database = .database.display(), map = .map.display())]
    NoMap {
        /// One of them.
        database: PathBuf,
        /// Where the map should be.
        map: PathBuf,
    },
    /// The map names a database that is gone.
    #[error("{} is missing", .0.display())]
    NoDatabase(PathBuf),
    /// Data without the authority that its accounts were made under.
    #[error("{} is missing, but {} belongs to a cluster", .ca.display(), .data.display())]
    NoAuthority {
        /// Where the CA's key should be.
        ca: PathBuf,
        /// The data folder.
        data: PathBuf,
    },
    /// A certificate of another cluster.
    #[error("{name} in {certs} is of cluster {got}, expected {expected}", certs = .certs.display())]
    ForeignCertificate {
        /// The certificate.
        name: String,
        /// The folder.
        certs: PathBuf,
        /// Its cluster.
        got: ClusterId,
        /// The cluster of `ca.pem`.
        expected: ClusterId,
    },
    /// The map cannot be understood.
    #[error("{} is damaged", .path.display())]
    MapSyntax {
        /// The file.
        path: PathBuf,
        /// Where.
        source: serde_json::Error,
    },
    /// The map says something impossible.
    #[error("{} is damaged", .path.display())]
    Map {
        /// The file.
        path: PathBuf,
        /// What.
        source: MapError,
    },
    /// The key of the admission tickets has another length.
    #[error("{} is damaged: {got} bytes, expected 32", .path.display())]
    AdmissionKey {
        /// The file.
        path: PathBuf,
        /// Its length.
        got: usize,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A certificate cannot be made or read.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// QUIC keys cannot be made or read.
    #[error(transparent)]
    QuicKeys(#[from] QuicKeysError),
    /// A database cannot be made.
    #[error(transparent)]
    Database(#[from] home::CreateError),
}

fn names(servers: &[ServerId]) -> String {
    servers.iter().map(ServerId::as_str).collect::<Vec<_>>().join(", ")
}

/// A cluster that is whole on disk.
#[derive(Debug)]
pub struct Cluster {
    /// Who it is.
    pub id: ClusterId,
    /// Who owns what.
    pub map: PlacementMap,
    /// The balancer's certificate.
    pub credentials: Credentials,
    /// The balancer's QUIC keys.
    pub quic_keys: QuicKeys,
    /// For tickets.
    pub admission_key: AdmissionKey,
}

/// The file of a server's database.
pub fn database_path(data: &Path, id: &ServerId) -> PathBuf {
    data.join(format!("{id}.sqlite"))
}

/// The file that a server's process holds while it lives.
pub fn pid_path(data: &Path, id: &ServerId) -> PathBuf {
    data.join(format!("{id}.pid"))
}

/// Reads and checks the placement map. `None` when there is none.
///
/// # Errors
/// [`ClusterError`] when it cannot be read or is damaged.
pub fn read_map(data: &Path) -> Result<Option<PlacementMap>, ClusterError> {
    read_map_file(&data.join(MAP_FILE))
}

/// Reads the admission key. `None` when there is none.
///
/// # Errors
/// [`ClusterError`] when it cannot be read or is damaged.
pub fn read_admission_key(certs: &Path) -> Result<Option<AdmissionKey>, ClusterError> {
    let path = certs.join(ADMISSION_FILE);
    let Some(bytes) = optional(files::read(&path).map(Zeroizing::new))? else { return Ok(None) };
    let key = AdmissionKey::from_bytes(&bytes);
    key.map(Some).ok_or(ClusterError::AdmissionKey { path, got: bytes.len() })
}

/// Finds the cluster that is wanted, or makes what is missing of it.
///
/// The caller holds the lock of the data folder. Killed at any moment and called again, it
/// finishes.
///
/// # Errors
/// [`ClusterError`]; nothing that was there has been changed then.
pub fn prepare(env: &Env, wanted: &Wanted) -> Result<Cluster, ClusterError> {
    check_ports(wanted)?;
    files::create_private_dir(&wanted.data)?;
    files::create_private_dir(&wanted.certs)?;
    let known = Known::read(&wanted.data)?;
    if let Known::Complete(map) = &known {
        refuse_too_few(wanted, map)?;
    }
    let authority = authority(env, wanted, &known)?;
    let entries = entries(env, wanted, &authority)?;
    let balancer = credentials(env, wanted, &authority, &Role::Balancer, BALANCER_NAME)?;
    credentials(env, wanted, &authority, &Role::Operator, OPERATOR_NAME)?;
    let quic_keys = QuicKeys::load_or_create(env, &wanted.certs, BALANCER_NAME)?;
    let admission_key = admission_key(env, wanted)?;
    let id = authority.cluster_id();
    let old = match known {
        Known::Complete(map) => map,
        Known::Draft(map) => finish_first_start(env, wanted, id, map)?,
        Known::Nothing => {
            let map = PlacementMap::deal(entries.clone(), balancer.spki_sha256());
            write_map(&wanted.data.join(DRAFT_FILE), &map)?;
            finish_first_start(env, wanted, id, map)?
        }
    };
    refuse_too_few(wanted, &old)?;
    let map = bring_up_to_date(env, wanted, id, old, entries, balancer.spki_sha256())?;
    Ok(Cluster { id, map, credentials: balancer, quic_keys, admission_key })
}

/// The address of a server's client port: its number counts from 1.
fn client_port(wanted: &Wanted, number: u16) -> u16 {
    wanted.port.saturating_add(number)
}

/// Judges the numbers alone: how many servers, and whether their ports exist.
///
/// # Errors
/// [`ClusterError::Count`] or [`ClusterError::PortRange`].
pub fn check_ports(wanted: &Wanted) -> Result<(), ClusterError> {
    let Wanted { count, port, .. } = *wanted;
    if count == 0 || count > limits::SERVERS_MAX {
        return Err(ClusterError::Count(count));
    }
    let highest = u32::from(port) + u32::from(limits::PEER_PORT_OFFSET) + u32::from(count);
    if highest > u32::from(u16::MAX) {
        return Err(ClusterError::PortRange { servers: count, port, highest });
    }
    Ok(())
}

/// What the data folder says.
enum Known {
    /// A finished cluster.
    Complete(PlacementMap),
    /// A first start that was interrupted: no server has run, no account exists.
    Draft(PlacementMap),
    /// Nothing at all.
    Nothing,
}

impl Known {
    fn read(data: &Path) -> Result<Self, ClusterError> {
        if let Some(map) = read_map(data)? {
            return Ok(Self::Complete(map));
        }
        if let Some(map) = read_map_file(&data.join(DRAFT_FILE))? {
            return Ok(Self::Draft(map));
        }
        let numbers = 1..=limits::SERVERS_MAX;
        let mut databases = numbers.map(|number| database_path(data, &ServerId::numbered(number)));
        match databases.find(|path| path.exists()) {
            Some(database) => Err(ClusterError::NoMap { database, map: data.join(MAP_FILE) }),
            None => Ok(Self::Nothing),
        }
    }
}

fn read_map_file(path: &Path) -> Result<Option<PlacementMap>, ClusterError> {
    let Some(text) = optional(files::read(path))? else { return Ok(None) };
    let map: PlacementMap = serde_json::from_slice(&text)
        .map_err(|source| ClusterError::MapSyntax { path: path.to_owned(), source })?;
    map.check().map_err(|source| ClusterError::Map { path: path.to_owned(), source })?;
    Ok(Some(map))
}

fn write_map(path: &Path, map: &PlacementMap) -> Result<(), ClusterError> {
    let mut text = serde_json::to_vec(map)
        .map_err(|source| ClusterError::MapSyntax { path: path.to_owned(), source })?;
    text.push(b'\n');
    Ok(files::write_public(path, &text)?)
}

fn optional<T>(read: Result<T, FileError>) -> Result<Option<T>, FileError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(missing) if missing.is_missing() => Ok(None),
        Err(other) => Err(other),
    }
}

/// A server that owns slots has to run, or its users cannot log in.
fn refuse_too_few(wanted: &Wanted, map: &PlacementMap) -> Result<(), ClusterError> {
    let stranded: Vec<ServerId> = map
        .servers
        .iter()
        .skip(usize::from(wanted.count))
        .filter(|server| !map.slots_of(&server.id).is_empty())
        .map(|server| server.id.clone())
        .collect();
    if stranded.is_empty() {
        return Ok(());
    }
    let present = u16::try_from(map.servers.len()).unwrap_or(u16::MAX);
    Err(ClusterError::TooFew { wanted: wanted.count, present, stranded })
}

/// The authority of the cluster. A new one is made only where no account can exist yet.
fn authority(env: &Env, wanted: &Wanted, known: &Known) -> Result<Authority, ClusterError> {
    match Authority::load(&wanted.certs) {
        Ok(authority) => return Ok(authority),
        Err(PkiError::File(error)) if error.is_missing() => {}
        Err(other) => return Err(other.into()),
    }
    match known {
        Known::Nothing => {
            let authority = Authority::create(env)?;
            authority.save(&wanted.certs)?;
            Ok(authority)
        }
        Known::Complete(_) | Known::Draft(_) => Err(ClusterError::NoAuthority {
            ca: wanted.certs.join("ca.key"),
            data: wanted.data.clone(),
        }),
    }
}

/// Finds, renews or makes a certificate. Renewal keeps the key, and so the hash in the map.
fn credentials(
    env: &Env,
    wanted: &Wanted,
    authority: &Authority,
    role: &Role,
    name: &str,
) -> Result<Credentials, ClusterError> {
    let certs = wanted.certs.as_path();
    let found = match Credentials::load(certs, name) {
        Ok(found) => found,
        Err(PkiError::File(error)) if error.is_missing() => {
            let made = authority.issue(env, role)?;
            made.save(certs, name)?;
            return Ok(made);
        }
        Err(other) => return Err(other.into()),
    };
    if found.cluster_id() != authority.cluster_id() {
        return Err(ClusterError::ForeignCertificate {
            name: name.to_owned(),
            certs: certs.to_owned(),
            got: found.cluster_id(),
            expected: authority.cluster_id(),
        });
    }
    if !found.is_due(env.unix_ms()) {
        return Ok(found);
    }
    let renewed = authority.renew(env, role, &found)?;
    renewed.save(certs, name)?;
    Ok(renewed)
}

/// Certificates and map entries of the servers that are wanted.
fn entries(
    env: &Env,
    wanted: &Wanted,
    authority: &Authority,
) -> Result<Vec<ServerEntry>, ClusterError> {
    let entry = |number| {
        let id = ServerId::numbered(number);
        let role = Role::Server(id.clone());
        let credentials = credentials(env, wanted, authority, &role, id.as_str())?;
        QuicKeys::load_or_create(env, &wanted.certs, id.as_str())?;
        let port = client_port(wanted, number);
        Ok(ServerEntry {
            id,
            addr: SocketAddr::new(wanted.bind, port),
            peer_addr: SocketAddr::new(
                reachable(wanted.bind),
                port.saturating_add(limits::PEER_PORT_OFFSET),
            ),
            spki_sha256: credentials.spki_sha256(),
        })
    };
    (1..=wanted.count).map(entry).collect()
}

/// Where a process of this machine reaches another that listens on `bind`.
pub fn reachable(bind: IpAddr) -> IpAddr {
    match bind {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => bind,
    }
}

fn admission_key(env: &Env, wanted: &Wanted) -> Result<AdmissionKey, ClusterError> {
    if let Some(key) = read_admission_key(&wanted.certs)? {
        return Ok(key);
    }
    let mut bytes = Zeroizing::new([0; 32]);
    env.fill(bytes.as_mut_slice());
    let path = wanted.certs.join(ADMISSION_FILE);
    files::write_private(&path, bytes.as_slice())?;
    AdmissionKey::from_bytes(bytes.as_slice()).ok_or(ClusterError::AdmissionKey { path, got: 32 })
}

/// Makes the databases of a first start, then gives the map its final name.
fn finish_first_start(
    env: &Env,
    wanted: &Wanted,
    cluster: ClusterId,
    map: PlacementMap,
) -> Result<PlacementMap, ClusterError> {
    for server in &map.servers {
        create_database(env, wanted, cluster, &map, &server.id)?;
    }
    // A rename that a power cut undoes is made again: the databases are there already.
    let (draft, path) = (wanted.data.join(DRAFT_FILE), wanted.data.join(MAP_FILE));
    fs::rename(draft, &path).map_err(|source| FileError { action: "write", path, source })?;
    Ok(map)
}

fn create_database(
    env: &Env,
    wanted: &Wanted,
    cluster: ClusterId,
    map: &PlacementMap,
    id: &ServerId,
) -> Result<(), ClusterError> {
    let path = database_path(&wanted.data, id);
    if !path.exists() {
        home::create(env, &path, id, &cluster, &map.slots_of(id))?;
    }
    Ok(())
}

/// Lays what is wanted over the map: addresses, certificates, more servers. Slots stay where they
/// are. A change is a new version.
fn bring_up_to_date(
    env: &Env,
    wanted: &Wanted,
    cluster: ClusterId,
    old: PlacementMap,
    servers: Vec<ServerEntry>,
    balancer_spki_sha256: String,
) -> Result<PlacementMap, ClusterError> {
    let mut map = PlacementMap { servers, balancer_spki_sha256, ..old.clone() };
    for server in &map.servers {
        if old.server(&server.id).is_none() {
            create_database(env, wanted, cluster, &map, &server.id)?;
        }
        let path = database_path(&wanted.data, &server.id);
        if !path.exists() {
            return Err(ClusterError::NoDatabase(path));
        }
    }
    if map != old {
        map.version += 1;
        write_map(&wanted.data.join(MAP_FILE), &map)?;
    }
    Ok(map)
}

#[cfg(test)]
mod tests;
