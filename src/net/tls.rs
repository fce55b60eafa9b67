//! Who is trusted: TLS 1.3 with aws-lc-rs, pinned to one cluster.
//!
//! There is no switch that accepts any certificate. Meeting a cluster for the first time
//! ([`super::endpoint::discover_cluster`]) reads its id and aborts the handshake, always.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::Env;
use super::pki::{CaCert, Credentials, LeafFacts, cluster_of};
use crate::types::ClusterId;

/// Certificates of a chain that are looked at.
const CHAIN_MAX: usize = 4;

/// Why TLS could not be set up; none of these can be caused from outside.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate or its key cannot be used.
    #[error("unusable certificate or key")]
    Credentials(#[from] rustls::Error),
    /// The CA cannot be used to check others.
    #[error("unusable CA certificate")]
    Ca(#[from] rustls::server::VerifierBuilderError),
    /// No cipher suite that QUIC could begin with.
    #[error("no initial cipher suite")]
    Suite(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}

/// Whether those who connect must show a certificate of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientAuth {
    /// None is asked for.
    None,
    /// One that is shown must be right.
    Optional,
    /// No connection without.
    Required,
}

/// What the other side's certificate says, once it was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentedCert {
    /// The name: `s1`, `balancer`, `operator`.
    pub name: String,
    /// SHA-256 of its public key, in hexadecimal.
    pub spki_sha256: String,
    /// When it ends, in milliseconds since 1970.
    pub expires_unix_ms: u64,
}

/// The verified certificate of the other side, if it showed one.
pub fn presented(conn: &quinn::Connection) -> Option<PresentedCert> {
    let chain = conn.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    let facts = LeafFacts::read(chain.first()?)?;
    let LeafFacts { name, spki_sha256, begins_unix_ms: _, expires_unix_ms } = facts;
    Some(PresentedCert { name, spki_sha256, expires_unix_ms })
}

/// Until when the other side's verified certificate is valid.
pub fn presented_expiry_unix_ms(conn: &quinn::Connection) -> Option<u64> {
    let chain = conn.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    LeafFacts::read(chain.first()?).map(|leaf| leaf.expires_unix_ms)
}

/// The provider is always given: a process default could be another one.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// TLS of a listening port. No 0-RTT and no tickets: nothing is sent before a full handshake.
pub(super) fn server_config(
    env: &Env,
    credentials: &Credentials,
    alpn: &[u8],
    auth: ClientAuth,
) -> Result<QuicServerConfig, TlsError> {
    let clock = Arc::new(Clock(env.clone()));
    let mut config = rustls::ServerConfig::builder_with_details(provider(), clock)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(client_verifier(credentials, auth)?)
        .with_single_cert(credentials.chain(), credentials.key())?;
    config.alpn_protocols = vec![alpn.to_vec()];
    config.max_early_data_size = 0;
    config.send_tls13_tickets = 0;
    Ok(config.try_into()?)
}

fn client_verifier(
    credentials: &Credentials,
    auth: ClientAuth,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    if auth == ClientAuth::None {
        return Ok(Arc::new(NoClientAuth));
    }
    let roots = Arc::new(roots(credentials.ca().der())?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
    Ok(match auth {
        ClientAuth::Optional => builder.allow_unauthenticated().build()?,
        ClientAuth::Required | ClientAuth::None => builder.build()?,
    })
}

/// TLS of one outgoing connection.
pub(super) fn client_config(
    env: &Env,
    verifier: Arc<dyn ServerCertVerifier>,
    alpn: &[u8],
    credentials: Option<&Credentials>,
) -> Result<QuicClientConfig, TlsError> {
    let clock = Arc::new(Clock(env.clone()));
    let builder = rustls::ClientConfig::builder_with_details(provider(), clock)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match credentials {
        Some(own) => builder.with_client_auth_cert(own.chain(), own.key())?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    config.enable_early_data = false;
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config.try_into()?)
}

fn roots(ca: &CertificateDer<'static>) -> Result<RootCertStore, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone())?;
    Ok(roots)
}

/// The time of day as TLS sees it.
struct Clock(Env);

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(self.0.unix_ms())))
    }
}

/// Why a certificate was refused, or what it showed when it was only to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Another cluster than the pinned one, or, when discovering, the cluster.
    Cluster(ClusterId),
    /// No CA in the chain.
    NoCa,
    /// The right cluster, another name.
    Name,
    /// Not valid now.
    Time,
    /// Not signed by the CA it came with, or otherwise broken.
    Broken,
}

/// Where a verifier leaves its reason: an alert on the wire has room for none.
#[derive(Clone, Debug, Default)]
pub(super) struct Reason(Arc<Mutex<Option<Judgement>>>);

impl Reason {
    fn set(&self, judgement: Judgement) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(judgement);
    }

    pub(super) fn take(&self) -> Option<Judgement> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What a verifier is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Accepts only this cluster.
    Pinned(ClusterId),
    /// Learns the cluster's id and accepts nothing.
    Discover,
}

/// Judges a server's certificate by the pinned hash of the CA's public key.
#[derive(Debug)]
pub(super) struct ClusterVerifier {
    purpose: Purpose,
    provider: Arc<CryptoProvider>,
    reason: Reason,
}

impl ClusterVerifier {
    pub(super) fn new(purpose: Purpose) -> (Arc<Self>, Reason) {
        let reason = Reason::default();
        (Arc::new(Self { purpose, provider: provider(), reason: reason.clone() }), reason)
    }

    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Judgement> {
        let clusters =
            || others.iter().take(CHAIN_MAX).filter_map(|der| cluster_of(der).map(|id| (id, der)));
        let Purpose::Pinned(pin) = self.purpose else {
            return Err(clusters()
                .next()
                .map_or(Judgement::NoCa, |(id, _)| Judgement::Cluster(id)));
        };
        let Some((_, ca)) = clusters().find(|(id, _)| *id == pin) else {
            return Err(clusters()
                .next()
                .map_or(Judgement::NoCa, |(id, _)| Judgement::Cluster(id)));
        };
        let ca = CaCert::new(ca.clone().into_owned()).ok_or(Judgement::Broken)?;
        let roots = Arc::new(roots(ca.der()).map_err(|_| Judgement::Broken)?);
        WebPkiServerVerifier::builder_with_provider(roots, self.provider.clone())
            .build()
            .map_err(|_| Judgement::Broken)?
            .verify_server_cert(leaf, &[], name, &[], now)
            .map(|_| ())
            .map_err(|error| judgement_of(&error))
    }
}

fn judgement_of(error: &rustls::Error) -> Judgement {
    match error {
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Judgement::Name,
        rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => Judgement::Time,
        _ => Judgement::Broken,
    }
}

impl ServerCertVerifier for ClusterVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge(leaf, others, name, now).map_err(|judgement| {
            self.reason.set(judgement);
            rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
        })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::PeerIncompatible(rustls::PeerIncompatible::Tls13RequiredForQuic))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_post_quantum_hybrid_group_is_offered_first() {
        let first = provider().kx_groups.first().map(|group| group.name());
        assert_eq!(first, Some(rustls::NamedGroup::X25519MLKEM768));
    }
}
