//! A cluster on several machines, on disk: one folder for each, to be carried there.
//!
//! A folder holds all that its process needs and nothing that another one needs: the authority's
//! key stays with the balancer. What exists is never written over, and databases are made on the
//! machines themselves.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::cluster::{self, ADMISSION_FILE, Cluster, ClusterError};
use super::hosts::{Host, Hosts};
use crate::home;
use crate::net::files::{self, FileError};
use crate::net::pki::{Authority, BALANCER_NAME, Credentials, OPERATOR_NAME, PkiError, Role};
use crate::net::{CaCert, Env, QuicKeys};
use crate::placement::{MapError, PlacementMap, ServerEntry};
use crate::types::{ClusterId, ServerId};

/// What each folder says about itself and the others.
pub const CLUSTER_FILE: &str = "cluster.toml";
/// Where a server keeps its database unless its file says otherwise.
const DATA_FOLDER: &str = "data";

/// A `cluster.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterFile {
    /// Whose folder it is: a server's name, or `balancer`.
    pub id: String,
    /// Where that process listens for clients.
    pub listen: SocketAddr,
    /// Where it listens for other servers and the balancer. Not for the balancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_listen: Option<SocketAddr>,
    /// Where it keeps what it writes. A relative path begins at the folder of this file.
    pub data: PathBuf,
    /// The same in every folder.
    pub placement: PlacementMap,
}

/// Why folders cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum FoldersError {
    /// Something is there that would be written over.
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    /// Not a `cluster.toml`.
    #[error("not a cluster file: {path}: {detail}", path = .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What, and where.
        detail: String,
    },
    /// The placement map says something impossible.
    #[error("the placement map in {} cannot be used", .path.display())]
    Map {
        /// The file.
        path: PathBuf,
        /// What.
        source: MapError,
    },
    /// It is another process's folder.
    #[error("{path} is the folder of {got}, not of {expected}", path = .path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        got: String,
        /// Whose it should be.
        expected: String,
    },
    /// A key or certificate that should be there is not.
    #[error("{} is missing", .0.display())]
    Missing(PathBuf),
    /// As for a cluster on one machine.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A certificate cannot be made or read.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// QUIC keys cannot be made or read.
    #[error(transparent)]
    QuicKeys(#[from] crate::net::keys::QuicKeysError),
    /// The database cannot be made.
    #[error(transparent)]
    Database(#[from] home::CreateError),
}

impl ClusterFile {
    /// Reads a `cluster.toml` and checks its map.
    ///
    /// # Errors
    /// [`FoldersError`].
    pub fn read(path: &Path) -> Result<Self, FoldersError> {
        let bytes = files::read(path)?;
        let syntax = |detail: String| FoldersError::Syntax { path: path.to_owned(), detail };
        let text = String::from_utf8(bytes).map_err(|error| syntax(error.to_string()))?;
        let file: Self = toml::from_str(&text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = 1 + text.get(..at).unwrap_or_default().matches('\n').count();
            syntax(format!("line {line}: {}", error.message().replace('\n', " ")))
        })?;
        let path = path.to_owned();
        file.placement.check().map_err(|source| FoldersError::Map { path, source })?;
        Ok(file)
    }

    fn write(&self, folder: &Path) -> Result<(), FoldersError> {
        let path = folder.join(CLUSTER_FILE);
        let syntax = |error: toml::ser::Error| FoldersError::Syntax {
            path: path.clone(),
            detail: error.to_string(),
        };
        let text = toml::to_string(self).map_err(syntax)?;
        let head = "# Made by load_balancer init. The placement is the same in all folders.\n";
        files::write_public(&path, format!("{head}{text}").as_bytes())?;
        Ok(())
    }

    /// The folder of what this process writes; `path` is where this file was read.
    pub fn data_folder(&self, path: &Path) -> PathBuf {
        folder_of(path).join(&self.data)
    }

    /// Makes sure that this is the folder of that process.
    ///
    /// # Errors
    /// [`FoldersError::Other`].
    pub fn belongs_to(&self, path: &Path, expected: &str) -> Result<(), FoldersError> {
        if self.id == expected {
            return Ok(());
        }
        let (path, got) = (path.to_owned(), self.id.clone());
        Err(FoldersError::Other { path, got, expected: expected.to_owned() })
    }
}

/// The folder a file lies in.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

/// Makes a new cluster: a folder per server and one for the balancer, all inside `out`.
///
/// # Errors
/// [`FoldersError`]; when `out` exists, nothing was written.
pub fn make(env: &Env, hosts: &Hosts, out: &Path) -> Result<ClusterId, FoldersError> {
    if out.exists() {
        return Err(FoldersError::Exists(out.to_owned()));
    }
    files::create_private_dir(out)?;
    let authority = Authority::create(env)?;
    let mut admission = Zeroizing::new([0; 32]);
    env.fill(admission.as_mut_slice());
    let maker = Maker { env, authority: &authority, admission: admission.as_slice(), out };

    let mut entries = Vec::new();
    for host in &hosts.servers {
        let role = Role::Server(host.id.clone());
        let credentials = maker.folder(host.id.as_str(), &role)?;
        let Host { id, addr, peer_addr, .. } = host.clone();
        let spki_sha256 = credentials.spki_sha256();
        entries.push(ServerEntry { id, addr, peer_addr, spki_sha256 });
    }
    let balancer = maker.folder(BALANCER_NAME, &Role::Balancer)?;
    let folder = out.join(BALANCER_NAME);
    authority.save(&folder)?;
    authority.issue(env, &Role::Operator)?.save(&folder, OPERATOR_NAME)?;

    // Last: a folder without it is not taken for a whole one.
    let placement = PlacementMap::deal(entries, balancer.spki_sha256());
    let file = |id: &str, listen, peer_listen, data: &str| ClusterFile {
        id: id.to_owned(),
        listen,
        peer_listen,
        data: data.into(),
        placement: placement.clone(),
    };
    for host in &hosts.servers {
        let id = host.id.as_str();
        file(id, host.listen, Some(host.peer_listen), DATA_FOLDER).write(&out.join(id))?;
    }
    file(BALANCER_NAME, hosts.balancer, None, ".").write(&folder)?;
    Ok(authority.cluster_id())
}

struct Maker<'a> {
    env: &'a Env,
    authority: &'a Authority,
    admission: &'a [u8],
    out: &'a Path,
}

impl Maker<'_> {
    /// What every folder has: certificate and key, QUIC keys, the authority's certificate, the
    /// admission key.
    fn folder(&self, name: &str, role: &Role) -> Result<Credentials, FoldersError> {
        let folder = self.out.join(name);
        files::create_private_dir(&folder)?;
        let credentials = self.authority.issue(self.env, role)?;
        credentials.save(&folder, name)?;
        QuicKeys::load_or_create(self.env, &folder, name)?;
        files::write_public(&folder.join(CA_FILE), self.authority.certificate().pem().as_bytes())?;
        files::write_private(&folder.join(ADMISSION_FILE), self.admission)?;
        Ok(credentials)
    }
}

/// The authority's certificate, in every folder.
pub const CA_FILE: &str = "ca.pem";

/// Makes the database of a server on its own machine, once.
///
/// # Errors
/// [`FoldersError`]; an existing database is left alone.
pub fn create_database(env: &Env, path: &Path, id: &ServerId) -> Result<PathBuf, FoldersError> {
    let file = ClusterFile::read(path)?;
    file.belongs_to(path, id.as_str())?;
    let ca = CaCert::load(&folder_of(path).join(CA_FILE))?;
    let data = file.data_folder(path);
    files::create_private_dir(&data)?;
    let database = cluster::database_path(&data, id);
    home::create(env, &database, id, &ca.cluster_id(), &file.placement.slots_of(id))?;
    Ok(database)
}

/// Opens the balancer's folder. Its own certificate and the operator's are renewed in their last
/// 30 days; it has the authority's key.
///
/// # Errors
/// [`FoldersError`].
pub fn open_balancer(env: &Env, path: &Path) -> Result<Cluster, FoldersError> {
    let file = ClusterFile::read(path)?;
    file.belongs_to(path, BALANCER_NAME)?;
    let folder = folder_of(path);
    let authority = Authority::load(folder)?;
    let credentials = renewed(env, &authority, folder, BALANCER_NAME, &Role::Balancer)?;
    renewed(env, &authority, folder, OPERATOR_NAME, &Role::Operator)?;
    let admission_key = cluster::read_admission_key(folder)?
        .ok_or_else(|| FoldersError::Missing(folder.join(ADMISSION_FILE)))?;
    Ok(Cluster {
        id: authority.cluster_id(),
        map: file.placement,
        credentials,
        quic_keys: QuicKeys::load_or_create(env, folder, BALANCER_NAME)?,
        admission_key,
    })
}

fn renewed(
    env: &Env,
    authority: &Authority,
    folder: &Path,
    name: &str,
    role: &Role,
) -> Result<Credentials, FoldersError> {
    let found = Credentials::load(folder, name)?;
    if !found.is_due(env.unix_ms()) {
        return Ok(found);
    }
    let renewed = authority.renew(env, role, &found)?;
    renewed.save(folder, name)?;
    Ok(renewed)
}

/// Renews every certificate in the folders that [`make`] made in `out`, whatever time is left.
/// Keys stay as they are, so nothing else has to change. Returns the certificates.
///
/// # Errors
/// [`FoldersError`].
pub fn renew(env: &Env, out: &Path) -> Result<Vec<PathBuf>, FoldersError> {
    let folder = out.join(BALANCER_NAME);
    let file = ClusterFile::read(&folder.join(CLUSTER_FILE))?;
    let authority = Authority::load(&folder)?;
    let mut roles = vec![
        (folder.clone(), BALANCER_NAME.to_owned(), Role::Balancer),
        (folder, OPERATOR_NAME.to_owned(), Role::Operator),
    ];
    roles.extend(file.placement.servers.into_iter().map(|server| {
        (out.join(server.id.as_str()), server.id.to_string(), Role::Server(server.id))
    }));
    let mut made = Vec::new();
    for (folder, name, role) in roles {
        let found = Credentials::load(&folder, &name)?;
        authority.renew(env, &role, &found)?.save(&folder, &name)?;
        made.push(folder.join(format!("{name}.pem")));
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const HOSTS: &str = "\
        balancer = { listen = \"127.0.0.1:9600\" }\n\
        [[server]]\nid = \"s1\"\nlisten = \"127.0.0.2:9601\"\npeer_listen = \"127.0.0.2:9602\"\n\
        [[server]]\nid = \"north-2\"\nlisten = \"127.0.0.3:9601\"\npeer_listen = \"127.0.0.3:9602\"\n";

    fn made() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("cluster");
        make(&Env::system(), &Hosts::parse(HOSTS).unwrap(), &out).unwrap();
        (folder, out)
    }

    #[test]
    fn each_folder_has_what_its_process_needs_and_only_the_balancers_has_the_authority() {
        let (_folder, out) = made();
        let names = |folder: &str| {
            let entries = fs::read_dir(out.join(folder)).unwrap();
            let mut names: Vec<String> =
                entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        let north = ["admission.key", "ca.pem", "cluster.toml"];
        let own = ["north-2.key", "north-2.pem", "north-2.quic"];
        assert_eq!(names("north-2"), [&north[..], &own[..]].concat());
        let balancer = names("balancer");
        for needed in ["ca.key", "operator.key", "operator.pem", "balancer.key", "ca.pem"] {
            assert!(balancer.contains(&needed.to_owned()), "{balancer:?}");
        }
        for folder in ["s1", "north-2", "balancer"] {
            for name in names(folder) {
                let mode = fs::metadata(out.join(folder).join(&name)).unwrap().permissions().mode();
                let is_secret = name.ends_with(".key") || name.ends_with(".quic");
                assert_eq!(mode & 0o777, if is_secret { 0o600 } else { 0o644 }, "{name}");
            }
        }
        let read = |folder: &str| ClusterFile::read(&out.join(folder).join(CLUSTER_FILE)).unwrap();
        assert_eq!(read("s1").placement, read("balancer").placement);
        assert_eq!(read("s1").peer_listen, Some("127.0.0.2:9602".parse().unwrap()));
    }

    #[test]
    fn what_is_there_is_never_written_over() {
        let (_folder, out) = made();
        let key = fs::read(out.join("balancer/ca.key")).unwrap();
        let again = make(&Env::system(), &Hosts::parse(HOSTS).unwrap(), &out);
        assert!(matches!(again, Err(FoldersError::Exists(path)) if path == out));
        assert_eq!(fs::read(out.join("balancer/ca.key")).unwrap(), key);

        let (env, file, id) =
            (Env::system(), out.join("s1").join(CLUSTER_FILE), ServerId::numbered(1));
        let database = create_database(&env, &file, &id).unwrap();
        assert_eq!(database, out.join("s1/data/s1.sqlite"));
        let again = create_database(&env, &file, &id);
        assert!(matches!(again, Err(FoldersError::Database(home::CreateError::Exists(_)))));
        let other = create_database(&env, &file, &ServerId::numbered(2));
        assert!(matches!(other, Err(FoldersError::Other { .. })));
    }

    #[test]
    fn the_balancers_folder_opens_and_a_servers_does_not_open_as_one() {
        let (_folder, out) = made();
        let env = Env::system();
        let cluster = open_balancer(&env, &out.join("balancer").join(CLUSTER_FILE)).unwrap();
        assert_eq!(cluster.map.balancer_spki_sha256, cluster.credentials.spki_sha256());
        let other = open_balancer(&env, &out.join("s1").join(CLUSTER_FILE));
        assert!(matches!(other, Err(FoldersError::Other { .. })));
    }

    #[test]
    fn renewed_certificates_have_the_keys_of_the_map() {
        let (_folder, out) = made();
        let renewed = renew(&Env::system(), &out).unwrap();
        assert_eq!(renewed.len(), 4);
        let file = ClusterFile::read(&out.join("s1").join(CLUSTER_FILE)).unwrap();
        for server in &file.placement.servers {
            let id = server.id.as_str();
            let shown = Credentials::load(&out.join(id), id).unwrap().spki_sha256();
            assert_eq!(shown, server.spki_sha256);
        }
    }

    #[test]
    fn a_damaged_cluster_file_is_named_with_its_line() {
        let (_folder, out) = made();
        let path = out.join("s1").join(CLUSTER_FILE);
        let good = fs::read_to_string(&path).unwrap();
        fs::write(&path, good.replacen("listen", "lisen", 1)).unwrap();
        let said = ClusterFile::read(&path).unwrap_err().to_string();
        assert!(said.contains("line 3: unknown field `lisen`"), "{said}");
        fs::write(&path, good.replacen("version = 1", "version = 1\nslots = [1]", 1)).unwrap();
        assert!(ClusterFile::read(&path).is_err());
    }
}
