//! First contact with a cluster: whom do we talk to?
//!
//! With `--ca` the answer is known beforehand; on a terminal it is shown and asked; else the
//! command stops and says what was seen. Nothing but a broken-off handshake happens before that.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::cli::exit::Exit;
use crate::client::account::{self, Cluster, Where};
use crate::net::Env;
use crate::types::ClusterId;
use crate::ui::lists::short_fingerprint;

use super::ask;
use super::failures;
use super::report::Stop;

/// The cluster at `at`: the one that `--ca` names, or the one a person agrees to.
pub(super) async fn cluster(env: &Env, at: &Where, ca: Option<&str>) -> Result<Cluster, Stop> {
    if let Some(ca) = ca {
        return Ok(Cluster { at: at.clone(), id: named(ca)? });
    }
    let id = discovered(env, at).await?;
    let place = failures::address(at);
    if !ask::possible() {
        return Err(Stop::new(
            Exit::KeyRefused,
            format!("The cluster at {place} is not known yet. Its fingerprint: {id}"),
            format!("If that is what its operator told you, add: --ca {id}"),
        ));
    }
    ask::tell(&format!(
        "The cluster at {place} shows the fingerprint\n  {id}\nIts operator sees it in the join line \
         that load_balancer prints."
    ));
    if ask::yes("Is that it? It is trusted from now on.")? {
        Ok(Cluster { at: at.clone(), id })
    } else {
        Err(Stop::new(
            Exit::KeyRefused,
            "The cluster is not trusted; nothing was sent to it.",
            "Ask its operator for the join line.",
        ))
    }
}

async fn discovered(env: &Env, at: &Where) -> Result<ClusterId, Stop> {
    account::discover(env, at).await.map_err(|error| match error {
        account::AccountError::Unreachable => failures::unreachable(at),
        other => Stop::new(
            Exit::Unreachable,
            format!("{} does not answer as a balancer: {other}.", failures::address(at)),
            "Is the address right?",
        ),
    })
}

/// What `--ca` names: a fingerprint, or the certificate in a PEM file.
fn named(ca: &str) -> Result<ClusterId, Stop> {
    if let Some(id) = ClusterId::parse(ca.trim()) {
        return Ok(id);
    }
    let path = Path::new(ca);
    let pem = std::fs::read(path).map_err(|error| {
        let looks_like_digits = ca.chars().all(|c| c.is_ascii_hexdigit() || c == ':');
        let what = if looks_like_digits && !ca.contains('/') {
            format!("--ca {ca} has {} hexadecimal digits; a fingerprint has 64.", digits(ca))
        } else {
            format!("Cannot read the certificate {ca}: {error}.")
        };
        Stop::new(Exit::Usage, what, "Copy the join line that load_balancer prints.")
    })?;
    of_pem(&pem).ok_or_else(|| {
        Stop::new(
            Exit::Usage,
            format!("{ca} holds no certificate in PEM form."),
            "Name the cluster's ca.pem, or its fingerprint.",
        )
    })
}

fn digits(ca: &str) -> usize {
    ca.chars().filter(|c| *c != ':').count()
}

/// The cluster whose CA is the first certificate of a PEM text.
fn of_pem(pem: &[u8]) -> Option<ClusterId> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem).ok()?;
    let certificate = pem.parse_x509().ok()?;
    Some(ClusterId(Sha256::digest(certificate.public_key().raw).into()))
}

/// `127.0.0.1:9000 (certificate a1:b2:…:9f)`.
pub(super) fn described(cluster: &Cluster) -> String {
    let short = short_fingerprint(&cluster.id.to_string());
    format!("{} (certificate {short})", failures::address(&cluster.at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::lists::fingerprint;

    #[test]
    fn a_fingerprint_or_a_pem_file_names_the_same_cluster() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["x".into()]).unwrap();
        let certificate = certificate.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, certificate.pem()).unwrap();
        let id = named(path.to_str().unwrap()).unwrap();
        assert_eq!(named(&id.to_string()).unwrap(), id);
        assert_eq!(named(&fingerprint(&id.to_string())).unwrap(), id);
    }

    #[test]
    fn what_is_neither_says_what_it_should_be() {
        let stop = named("5f2ce1").unwrap_err();
        assert!(stop.failure.what.contains("6 hexadecimal digits"), "{stop:?}");
        assert_eq!(stop.failure.exit, Exit::Usage);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, "no").unwrap();
        assert!(named(path.to_str().unwrap()).unwrap_err().failure.what.contains("PEM"));
    }
}
