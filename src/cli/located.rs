//! Where the files of a cluster are: in the folders of one machine, or in one of several.
//!
//! Deliberately opens nothing but the file that says so.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::operator::Folders;
use crate::balancer::cluster::{self, reachable};
use crate::balancer::folders::{ClusterFile, FoldersError, folder_of};
use crate::net::pki::BALANCER_NAME;
use crate::placement::PlacementMap;
use crate::types::ServerId;

/// A cluster's files, as far as they are on this machine.
pub(super) struct Located {
    /// Databases, pid files, the log level.
    pub(super) data: PathBuf,
    /// Certificates and keys.
    pub(super) certs: PathBuf,
    /// From a `cluster.toml`; else it lies in the data folder.
    map: Option<PlacementMap>,
    /// Where the balancer answers, if the `cluster.toml` is the balancer's.
    balancer: Option<SocketAddr>,
    /// The server whose folder it is.
    pub(super) server: Option<ServerId>,
}

impl Located {
    /// Reads the `cluster.toml`, if one was given.
    ///
    /// # Errors
    /// [`FoldersError`]: it cannot be read or understood.
    pub(super) fn find(folders: &Folders<'_>) -> Result<Self, FoldersError> {
        let Some(path) = folders.cluster else {
            let (data, certs) = (folders.data.to_owned(), folders.certs.to_owned());
            return Ok(Self { data, certs, map: None, balancer: None, server: None });
        };
        let file = ClusterFile::read(path)?;
        let is_balancer = file.id == BALANCER_NAME;
        Ok(Self {
            data: file.data_folder(path),
            certs: folder_of(path).to_owned(),
            balancer: is_balancer.then_some(file.listen),
            server: ServerId::parse(&file.id).ok().filter(|_| !is_balancer),
            map: Some(file.placement),
        })
    }

    /// Whether everything of the cluster should be here.
    pub(super) fn is_one_machine(&self) -> bool {
        self.map.is_none()
    }

    /// The placement map; `None` when there is none.
    ///
    /// # Errors
    /// [`cluster::ClusterError`]: it cannot be read or is damaged.
    pub(super) fn map(&self) -> Result<Option<PlacementMap>, cluster::ClusterError> {
        match &self.map {
            Some(map) => Ok(Some(map.clone())),
            None => cluster::read_map(&self.data),
        }
    }

    /// Where the balancer answers: on one machine, on the port before the first server's. `None`
    /// where nothing here says so.
    pub(super) fn balancer(&self, map: &PlacementMap) -> Option<SocketAddr> {
        let one_machine = || {
            let first = map.servers.first().filter(|_| self.map.is_none())?;
            Some(SocketAddr::new(first.addr.ip(), first.addr.port().checked_sub(1)?))
        };
        let found = self.balancer.or_else(one_machine)?;
        Some(SocketAddr::new(reachable(found.ip()), found.port()))
    }
}
