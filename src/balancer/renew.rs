//! Certificates of a cluster, renewed while it runs: a fresh one for the same key, by its CA.
//!
//! The key stays, and with it the hash in the placement map. Whoever uses a certificate has to read
//! it again afterwards; deliberately tells nobody.

use std::path::Path;

use crate::net::Env;
use crate::net::pki::{Authority, Credentials, Role};
use crate::placement::PlacementMap;

use super::cluster::ClusterError;

/// Which certificates are renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those of which two thirds of their life are over.
    Due,
    /// All.
    All,
}

/// Everybody in this cluster who has a certificate.
pub fn roles(map: &PlacementMap) -> Vec<Role> {
    let servers = map.servers.iter().map(|server| Role::Server(server.id.clone()));
    servers.chain([Role::Balancer, Role::Operator]).collect()
}

/// Renews certificates in `certs`, one file after the other, each whole or as it was. Says whose.
///
/// # Errors
/// [`ClusterError`]: the CA's key is not here, or a file cannot be read or written.
pub fn renew(
    env: &Env,
    certs: &Path,
    map: &PlacementMap,
    which: Which,
) -> Result<Vec<Role>, ClusterError> {
    let mut renewed = Vec::new();
    let mut authority = None;
    for role in roles(map) {
        // On a machine of several, the certificates of other machines' servers are not here.
        if !certs.join(format!("{}.pem", role.name())).exists() {
            continue;
        }
        let found = Credentials::load(certs, role.name())?;
        if which == Which::Due && !found.is_due(env.unix_ms()) {
            continue;
        }
        let authority = match &mut authority {
            Some(authority) => authority,
            none => none.insert(Authority::load(certs)?),
        };
        authority.renew(env, &role, &found)?.save(certs, role.name())?;
        renewed.push(role);
    }
    Ok(renewed)
}
