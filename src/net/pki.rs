//! The cluster's certificates: one CA, and 90-day leaves for servers, balancer and operator.
//!
//! Who trusts what is not decided here but in [`super::tls`]; this file only makes, stores and
//! reads. Certificates are ECDSA P-256, except in the simulator: there they are Ed25519 from the
//! node's seed, so that every handshake has the same size in every run.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pkcs8::LineEnding;
use pkcs8::der::pem;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use zeroize::Zeroizing;

use super::Env;
use super::files::{self, FileError};
use crate::types::{ClusterId, ServerId, hex};

/// The balancer's name in its certificate.
pub const BALANCER_NAME: &str = "balancer";
/// The operator's name in their certificate.
pub const OPERATOR_NAME: &str = "operator";

/// Life of the CA certificate: about ten years.
const CA_LIFE: Duration = Duration::from_secs(3652 * 24 * 3600);
/// Life of every other certificate.
const LEAF_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// Certificates are valid from before they were made: clocks differ.
const BACK_DATED: Duration = Duration::from_secs(3600);
/// Certificates in a file: a leaf and its CA, with room for another.
const CHAIN_MAX: usize = 4;

const CA_CERT_FILE: &str = "ca.pem";
const CA_KEY_FILE: &str = "ca.key";

/// Why certificates could not be made, stored or read.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file holds something else.
    #[error("{path} holds no {expected}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        expected: &'static str,
    },
    /// Two files that do not belong together.
    #[error("{} is not the key of {}", .key.display(), .certificate.display())]
    Mismatch {
        /// The key file.
        key: PathBuf,
        /// The certificate file.
        certificate: PathBuf,
    },
    /// The certificate could not be made; a bug of ours.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
}

/// Whom a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// A server: it answers clients and calls other servers.
    Server(ServerId),
    /// The balancer: it answers clients and watches servers.
    Balancer,
    /// A person with the right to stop the cluster. Only ever calls.
    Operator,
}

impl Role {
    /// The name in the certificate.
    pub fn name(&self) -> &str {
        match self {
            Self::Server(id) => id.as_str(),
            Self::Balancer => BALANCER_NAME,
            Self::Operator => OPERATOR_NAME,
        }
    }

    fn usages(&self) -> Vec<ExtendedKeyUsagePurpose> {
        let (server, client) =
            (ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth);
        match self {
            Self::Server(_) | Self::Balancer => vec![server, client],
            Self::Operator => vec![client],
        }
    }
}

/// The cluster's certificate authority. Whoever holds its key is the cluster.
pub struct Authority {
    certificate: CaCert,
    issuer: Issuer<'static, KeyPair>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({})", self.cluster_id())
    }
}

impl Authority {
    /// Makes a new authority, and with it a new cluster.
    ///
    /// # Errors
    /// [`PkiError::Make`].
    pub fn create(env: &Env) -> Result<Self, PkiError> {
        let key = new_key(env)?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "FastChat cluster CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        date_and_number(env, &mut params, CA_LIFE);
        let certificate = params.self_signed(&key)?;
        let certificate =
            CaCert::new(certificate.der().clone()).ok_or(rcgen::Error::CouldNotParseCertificate)?;
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    /// Reads `ca.pem` and `ca.key`.
    ///
    /// # Errors
    /// [`PkiError`] names the file; [`FileError::is_missing`] tells "not made yet" from the rest.
    pub fn load(dir: &Path) -> Result<Self, PkiError> {
        let (cert_path, key_path) = (dir.join(CA_CERT_FILE), dir.join(CA_KEY_FILE));
        let certificate = CaCert::load(&cert_path)?;
        let key = read_key(&key_path)?;
        let pkcs8 = PrivatePkcs8KeyDer::from(key.as_slice());
        let key = KeyPair::try_from(&pkcs8)
            .map_err(|_| PkiError::Content { path: key_path.clone(), expected: "private key" })?;
        if Sha256::digest(rcgen::PublicKeyData::subject_public_key_info(&key))[..]
            != certificate.cluster.0
        {
            return Err(PkiError::Mismatch { key: key_path, certificate: cert_path });
        }
        let issuer = Issuer::from_ca_cert_der(&certificate.der, key)?;
        Ok(Self { certificate, issuer })
    }

    /// Writes `ca.pem` and `ca.key` (0600) into `dir`, which is created (0700) if need be.
    ///
    /// # Errors
    /// [`PkiError::File`].
    pub fn save(&self, dir: &Path) -> Result<(), PkiError> {
        files::create_private_dir(dir)?;
        let key = Zeroizing::new(self.issuer.key().serialize_pem());
        // The key first: a certificate without its key would look like a finished authority.
        files::write_private(&dir.join(CA_KEY_FILE), key.as_bytes())?;
        files::write_public(&dir.join(CA_CERT_FILE), self.certificate.pem().as_bytes())?;
        Ok(())
    }

    /// Who this cluster is: SHA-256 of the CA's public key.
    pub fn cluster_id(&self) -> ClusterId {
        self.certificate.cluster_id()
    }

    /// The certificate that everybody may know.
    pub fn certificate(&self) -> &CaCert {
        &self.certificate
    }

    /// Makes a key and a 90-day certificate.
    ///
    /// # Errors
    /// [`PkiError::Make`].
    pub fn issue(&self, env: &Env, role: &Role) -> Result<Credentials, PkiError> {
        self.certify(env, role, new_key(env)?)
    }

    /// Makes a fresh certificate for the key of `old`, so that its SPKI hash stays the same.
    ///
    /// # Errors
    /// [`PkiError::Make`].
    pub fn renew(
        &self,
        env: &Env,
        role: &Role,
        old: &Credentials,
    ) -> Result<Credentials, PkiError> {
        let pkcs8 = PrivatePkcs8KeyDer::from(old.key.as_slice());
        self.certify(env, role, KeyPair::try_from(&pkcs8)?)
    }

    fn certify(&self, env: &Env, role: &Role, key: KeyPair) -> Result<Credentials, PkiError> {
        let mut params = CertificateParams::new(vec![role.name().to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, role.name());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = role.usages();
        params.use_authority_key_identifier_extension = true;
        date_and_number(env, &mut params, LEAF_LIFE);
        let leaf = params.signed_by(&key, &self.issuer)?;
        let chain = vec![leaf.der().clone(), self.certificate.der.clone()];
        Credentials::new(chain, key.serialize_der().into())
            .ok_or(PkiError::Make(rcgen::Error::CouldNotParseCertificate))
    }
}

/// A CA certificate: what `--ca FILE` names.
#[derive(Clone)]
pub struct CaCert {
    der: CertificateDer<'static>,
    cluster: ClusterId,
}

impl fmt::Debug for CaCert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaCert({})", self.cluster)
    }
}

impl CaCert {
    /// Takes a DER certificate; none if it is no CA's.
    pub fn new(der: CertificateDer<'static>) -> Option<Self> {
        let cluster = cluster_of(&der)?;
        Some(Self { der, cluster })
    }

    /// Reads the first certificate of a PEM file.
    ///
    /// # Errors
    /// [`PkiError`] names the file.
    pub fn load(path: &Path) -> Result<Self, PkiError> {
        CertificateDer::from_pem_slice(&files::read(path)?)
            .ok()
            .and_then(Self::new)
            .ok_or_else(|| PkiError::Content { path: path.to_owned(), expected: "CA certificate" })
    }

    /// SHA-256 of its public key.
    pub fn cluster_id(&self) -> ClusterId {
        self.cluster
    }

    /// The certificate as PEM.
    pub fn pem(&self) -> String {
        pem_of(&self.der)
    }

    pub(super) fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }
}

/// A certificate with its chain and its key. Cheap to clone.
#[derive(Clone)]
pub struct Credentials {
    chain: Arc<[CertificateDer<'static>]>,
    ca: CaCert,
    /// PKCS#8 DER.
    key: Arc<Zeroizing<Vec<u8>>>,
    leaf: LeafFacts,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, {})", self.leaf.name, self.leaf.spki_sha256)
    }
}

impl Credentials {
    fn new(chain: Vec<CertificateDer<'static>>, key: Zeroizing<Vec<u8>>) -> Option<Self> {
        let leaf = LeafFacts::read(chain.first()?)?;
        let ca = chain.iter().skip(1).find_map(|der| CaCert::new(der.clone()))?;
        Some(Self { chain: chain.into(), ca, key: Arc::new(key), leaf })
    }

    /// Reads `NAME.pem` and `NAME.key`.
    ///
    /// # Errors
    /// [`PkiError`] names the file; [`FileError::is_missing`] tells "not made yet" from the rest.
    pub fn load(dir: &Path, name: &str) -> Result<Self, PkiError> {
        let (cert_path, key_path) = certificate_paths(dir, name);
        let pem = files::read(&cert_path)?;
        let key = read_key(&key_path)?;
        let pkcs8 = PrivatePkcs8KeyDer::from(key.as_slice());
        let pair = KeyPair::try_from(&pkcs8)
            .map_err(|_| PkiError::Content { path: key_path.clone(), expected: "private key" })?;
        let spki = rcgen::PublicKeyData::subject_public_key_info(&pair);
        let credentials = CertificateDer::pem_slice_iter(&pem)
            .take(CHAIN_MAX)
            .collect::<Result<Vec<_>, _>>()
            .ok()
            .and_then(|chain| Self::new(chain, key))
            .ok_or_else(|| PkiError::Content {
                path: cert_path.clone(),
                expected: "certificate with its CA",
            })?;
        if hex(&Sha256::digest(spki)) != credentials.leaf.spki_sha256 {
            return Err(PkiError::Mismatch { key: key_path, certificate: cert_path });
        }
        Ok(credentials)
    }

    /// Writes `NAME.key` (0600) and `NAME.pem` into `dir`, which is created (0700) if need be.
    ///
    /// # Errors
    /// [`PkiError::File`].
    pub fn save(&self, dir: &Path, name: &str) -> Result<(), PkiError> {
        files::create_private_dir(dir)?;
        let (cert_path, key_path) = certificate_paths(dir, name);
        let key = pem::encode_string("PRIVATE KEY", LineEnding::LF, &self.key)
            .map(Zeroizing::new)
            .unwrap_or_default();
        files::write_private(&key_path, key.as_bytes())?;
        let chain: String = self.chain.iter().map(pem_of).collect();
        files::write_public(&cert_path, chain.as_bytes())?;
        Ok(())
    }

    /// SHA-256 of the certificate's public key, in hexadecimal.
    pub fn spki_sha256(&self) -> String {
        self.leaf.spki_sha256.clone()
    }

    /// The name in the certificate.
    pub fn name(&self) -> &str {
        &self.leaf.name
    }

    /// The cluster that issued it.
    pub fn cluster_id(&self) -> ClusterId {
        self.ca.cluster_id()
    }

    /// When it began, in milliseconds since 1970.
    pub fn begins_unix_ms(&self) -> u64 {
        self.leaf.begins_unix_ms
    }

    /// Whether it is time to renew it: two thirds of its life are over.
    pub fn is_due(&self, now_unix_ms: u64) -> bool {
        let life_ms = self.leaf.expires_unix_ms.saturating_sub(self.leaf.begins_unix_ms);
        self.leaf.expires_unix_ms.saturating_sub(now_unix_ms) < life_ms / 3
    }

    /// When it ends, in milliseconds since 1970.
    pub fn expires_unix_ms(&self) -> u64 {
        self.leaf.expires_unix_ms
    }

    pub(super) fn ca(&self) -> &CaCert {
        &self.ca
    }

    /// The same certificate, shown with the CA of a cluster that did not issue it: an attack.
    #[cfg(test)]
    pub(super) fn with_ca_shown(&self, ca: &CaCert) -> Self {
        let chain = self.chain.iter().take(1).cloned().chain([ca.der.clone()]).collect();
        Self { chain, ..self.clone() }
    }

    pub(super) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.to_vec()
    }

    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.to_vec()).into()
    }
}

/// What a leaf certificate says of its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeafFacts {
    pub(super) name: String,
    pub(super) spki_sha256: String,
    pub(super) begins_unix_ms: u64,
    pub(super) expires_unix_ms: u64,
}

impl LeafFacts {
    /// Reads a DER certificate; none if it does not parse or names nobody.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let certificate = parse(der)?;
        let name =
            certificate.subject_alternative_name().ok()??.value.general_names.iter().find_map(
                |name| match name {
                    GeneralName::DNSName(name) => Some((*name).to_owned()),
                    _ => None,
                },
            )?;
        let validity = certificate.validity();
        let begins_s = u64::try_from(validity.not_before.timestamp()).ok()?;
        let expires_s = u64::try_from(validity.not_after.timestamp()).ok()?;
        Some(Self {
            name,
            spki_sha256: hex(&Sha256::digest(certificate.public_key().raw)),
            begins_unix_ms: begins_s.saturating_mul(1000),
            expires_unix_ms: expires_s.saturating_mul(1000),
        })
    }
}

/// SHA-256 of a certificate's public key, if it is a CA's.
pub(super) fn cluster_of(der: &[u8]) -> Option<ClusterId> {
    let certificate = parse(der)?;
    certificate.is_ca().then(|| ClusterId(Sha256::digest(certificate.public_key().raw).into()))
}

fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    x509_parser::parse_x509_certificate(der).ok().map(|(_, certificate)| certificate)
}

fn certificate_paths(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")))
}

fn read_key(path: &Path) -> Result<Zeroizing<Vec<u8>>, PkiError> {
    let pem = Zeroizing::new(files::read(path)?);
    PrivatePkcs8KeyDer::from_pem_slice(&pem)
        .map(|key| Zeroizing::new(key.secret_pkcs8_der().to_vec()))
        .map_err(|_| PkiError::Content { path: path.to_owned(), expected: "private key" })
}

fn pem_of(der: &CertificateDer<'static>) -> String {
    // Fails only for labels or lengths that a certificate cannot have.
    pem::encode_string("CERTIFICATE", LineEnding::LF, der).unwrap_or_default()
}

/// A key pair: from the system in life, from the node's seed in the simulator.
fn new_key(env: &Env) -> Result<KeyPair, rcgen::Error> {
    if !env.is_simulated() {
        return KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256);
    }
    // PKCS#8 of an Ed25519 key is this prefix and the seed (RFC 8410).
    let mut der = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    let mut seed = [0; 32];
    env.fill(&mut seed);
    der.extend_from_slice(&seed);
    KeyPair::from_pkcs8_der_and_sign_algo(
        &PrivatePkcs8KeyDer::from(der.as_slice()),
        &rcgen::PKCS_ED25519,
    )
}

fn date_and_number(env: &Env, params: &mut CertificateParams, life: Duration) {
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_millis(env.unix_ms());
    params.not_before = now - BACK_DATED;
    params.not_after = now + life;
    // Always 16 bytes and positive: the size of a certificate does not depend on chance.
    let mut serial = [0; 16];
    env.fill(&mut serial);
    if let Some(first) = serial.first_mut() {
        *first = *first & 0x3f | 0x40;
    }
    params.serial_number = Some(SerialNumber::from_slice(&serial));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s1() -> Role {
        Role::Server(ServerId::numbered(1))
    }

    #[test]
    fn what_was_saved_is_loaded_and_its_keys_are_private() {
        let env = Env::system();
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("certs");
        let missing = Authority::load(&dir).unwrap_err();
        assert!(matches!(missing, PkiError::File(error) if error.is_missing()));
        let authority = Authority::create(&env).unwrap();
        authority.save(&dir).unwrap();
        let loaded = Authority::load(&dir).unwrap();
        assert_eq!(loaded.cluster_id(), authority.cluster_id());
        assert_eq!(CaCert::load(&dir.join("ca.pem")).unwrap().cluster_id(), authority.cluster_id());
        let issued = loaded.issue(&env, &s1()).unwrap();
        issued.save(&dir, "s1").unwrap();
        let read = Credentials::load(&dir, "s1").unwrap();
        assert_eq!(read.spki_sha256(), issued.spki_sha256());
        assert_eq!((read.name(), read.cluster_id()), ("s1", authority.cluster_id()));
        #[cfg(unix)]
        for (file, mode) in [("ca.key", 0o600), ("s1.key", 0o600), ("ca.pem", 0o644)] {
            use std::os::unix::fs::PermissionsExt;
            let rights = std::fs::metadata(dir.join(file)).unwrap().permissions().mode();
            assert_eq!(rights & 0o777, mode, "{file}");
        }
    }

    #[test]
    fn files_that_do_not_belong_together_are_refused_with_their_names() {
        let env = Env::system();
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let authority = Authority::create(&env).unwrap();
        authority.save(dir).unwrap();
        authority.issue(&env, &s1()).unwrap().save(dir, "s1").unwrap();
        authority.issue(&env, &Role::Balancer).unwrap().save(dir, "balancer").unwrap();
        std::fs::copy(dir.join("balancer.key"), dir.join("s1.key")).unwrap();
        let error = Credentials::load(dir, "s1").unwrap_err();
        assert!(matches!(error, PkiError::Mismatch { .. }), "{error}");
        std::fs::copy(dir.join("balancer.key"), dir.join("ca.key")).unwrap();
        assert!(matches!(Authority::load(dir), Err(PkiError::Mismatch { .. })));
        std::fs::write(dir.join("s1.pem"), "nothing").unwrap();
        let error = Credentials::load(dir, "s1").unwrap_err();
        assert!(error.to_string().contains("s1.pem"), "{error}");
        assert!(matches!(error, PkiError::Content { .. }), "{error}");
    }

    #[test]
    fn a_certificate_lasts_ninety_days_and_began_an_hour_ago() {
        let env = Env::system();
        let credentials = Authority::create(&env).unwrap().issue(&env, &s1()).unwrap();
        let validity = parse(&credentials.chain()[0]).unwrap().validity().clone();
        let lasts = validity.not_after.timestamp() - validity.not_before.timestamp();
        assert_eq!(lasts, 90 * 24 * 3600 + 3600);
        let ahead = credentials.expires_unix_ms() - env.unix_ms();
        assert!(ahead.abs_diff(90 * 24 * 3_600_000) < 60_000);
    }

    #[test]
    fn a_leaf_is_no_cluster() {
        let env = Env::system();
        let credentials = Authority::create(&env).unwrap().issue(&env, &s1()).unwrap();
        assert!(CaCert::new(credentials.chain()[0].clone()).is_none());
        assert!(CaCert::new(CertificateDer::from(vec![1, 2, 3])).is_none());
    }
}
