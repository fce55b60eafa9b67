//! What nobody but the two people can read: keys, bundles, envelopes.
//!
//! Deliberately no IO, no clock and no memory of what was seen before.

pub mod bundle;
mod context;
pub mod device;
pub mod envelope;
mod fernet_raw;
pub mod identity;
mod padding;
mod pem;
pub mod rf1;
pub mod safety;
pub mod secret;
#[cfg(feature = "testkit")]
pub mod testkeys;

pub use bundle::{Bundle, BundleDevice, BundleError, DeviceState, VerifiedBundle, verify_bundle};
pub use device::{DeviceKey, ResumeClaim, SignatureError, verify_resume};
pub use envelope::{
    Body, EnvelopeError, HeaderInfo, Kind, OpenedMessage, SealRequest, VerifiedEnvelope, open,
    parse_header, seal, seal_void, verify,
};
pub use identity::{EncryptionKey, IdentityKey, KeyError};
pub use rf1::{ConversationKey, Rf1Error, WrappedKey, unwrap, wrap};
pub use safety::{SafetyNumber, safety_number};
pub use secret::{DbKey, SecretError, StretchCost, Stretched, VaultKey, stretch};

/// The number of suite 1 in headers and bundles.
pub const SUITE_RF1: u32 = 1;

/// Suites that one bundle may name.
const SUITES_MAX: usize = 16;
