//! Key bundles: which keys belong to a name, signed by the name's identity key.
//!
//! Deliberately knows no version but the one at hand: "is it newer?" and "is this the identity we
//! pinned?" are asked by the home and the client, who remember.

use std::collections::BTreeSet;
use std::ops::Deref;

use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};

use super::context::{ANY_SUITE, Context};
use super::device;
use super::identity::{IdentityKey, KeyError, check_public, verify_pss};
use super::{SUITE_RF1, SUITES_MAX};
use crate::limits::{BUNDLE_BYTES_MAX, BUNDLE_DEVICES_MAX};
use crate::types::{ClusterId, DeviceId, KeyId, UserName};
use crate::wire::client as wire;

/// Why a bundle is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Over [`BUNDLE_BYTES_MAX`].
    #[error("a bundle of {0} bytes, at most {BUNDLE_BYTES_MAX} allowed")]
    TooLarge(usize),
    /// Not an encoding of a bundle, or a field without sense.
    #[error("malformed bundle: {0}")]
    Malformed(&'static str),
    /// Made for another cluster.
    #[error("a bundle of another cluster")]
    WrongCluster,
    /// Made for another name.
    #[error("a bundle of another user")]
    WrongUser,
    /// The identity key is not usable.
    #[error("the identity key is not usable")]
    IdentityKey(#[source] KeyError),
    /// The encryption key is not usable.
    #[error("the encryption key is not usable")]
    EncryptionKey(#[source] KeyError),
    /// One key for two jobs.
    #[error("the encryption key is the identity key, expected another one")]
    OneKeyForBoth,
    /// Over [`BUNDLE_DEVICES_MAX`].
    #[error("a bundle of {0} devices, at most {BUNDLE_DEVICES_MAX} allowed")]
    TooManyDevices(usize),
    /// Two devices of one number.
    #[error("device {0} stands twice in the bundle")]
    DuplicateDevice(DeviceId),
    /// A device key that is no point of the curve, or one of small order.
    #[error("device {0} has a weak key")]
    WeakDeviceKey(DeviceId),
    /// More than one device in use.
    #[error("{0} active devices, at most 1 allowed")]
    ActiveDevices(usize),
    /// Suite 1 is not among those understood.
    #[error("the bundle does not name suite 1")]
    NoCommonSuite,
    /// Signed by another key than the identity key inside.
    #[error("the bundle's signature does not fit its identity key")]
    BadSignature,
}

/// Whether a device may write and log in, or is kept for reading what it wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceState {
    /// The device in use.
    Active,
    /// A former one.
    Retired,
}

/// One device of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundleDevice {
    /// Its number, never 0.
    pub device: DeviceId,
    /// Its public key.
    pub ed25519: [u8; 32],
    /// In use, or kept for reading.
    pub state: DeviceState,
}

/// The keys of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The cluster in which it counts.
    pub cluster: ClusterId,
    /// The name.
    pub user: UserName,
    /// Counts the bundles of this identity, from 1.
    pub version: u64,
    /// The identity key, SubjectPublicKeyInfo in DER.
    pub identity_spki: Bytes,
    /// The encryption key, SubjectPublicKeyInfo in DER.
    pub enc_spki: Bytes,
    /// The devices, at most one of them active.
    pub devices: Vec<BundleDevice>,
    /// The suites understood; 1 is always among them.
    pub suites: Vec<u32>,
}

impl Bundle {
    /// Signs the bundle with the identity key it names, and encodes it.
    ///
    /// # Errors
    /// Everything that [`verify_bundle`] would refuse, so that nothing is sent in vain.
    pub fn sign(&self, key: &IdentityKey) -> Result<Bytes, BundleError> {
        self.check()?;
        if key.spki() != self.identity_spki {
            return Err(BundleError::BadSignature);
        }
        let bundle = Bytes::from(self.to_wire().encode_to_vec());
        let signature = key
            .sign(signed_text(&self.cluster, &bundle).bytes())
            .map_err(|_| BundleError::BadSignature)?;
        let encoded = wire::SignedBundle { bundle, signature: signature.into() }.encode_to_vec();
        if encoded.len() > BUNDLE_BYTES_MAX {
            return Err(BundleError::TooLarge(encoded.len()));
        }
        Ok(encoded.into())
    }

    /// The fingerprint: id of the identity key.
    pub fn identity(&self) -> KeyId {
        KeyId::of_spki(&self.identity_spki)
    }

    /// The id of the encryption key.
    pub fn encryption_key_id(&self) -> KeyId {
        KeyId::of_spki(&self.enc_spki)
    }

    /// The device with this number, active or retired.
    pub fn device(&self, device: DeviceId) -> Option<&BundleDevice> {
        self.devices.iter().find(|known| known.device == device)
    }

    /// The device in use.
    pub fn active_device(&self) -> Option<&BundleDevice> {
        self.devices.iter().find(|known| known.state == DeviceState::Active)
    }

    fn check(&self) -> Result<(), BundleError> {
        if self.version == 0 {
            return Err(BundleError::Malformed("version 0"));
        }
        check_public(&self.identity_spki).map_err(BundleError::IdentityKey)?;
        check_public(&self.enc_spki).map_err(BundleError::EncryptionKey)?;
        // Equal keys have equal bytes: `check_public` takes one encoding only.
        if self.identity_spki == self.enc_spki {
            return Err(BundleError::OneKeyForBoth);
        }
        if self.suites.len() > SUITES_MAX {
            return Err(BundleError::Malformed("too many suites"));
        }
        if !self.suites.contains(&SUITE_RF1) {
            return Err(BundleError::NoCommonSuite);
        }
        self.check_devices()
    }

    fn check_devices(&self) -> Result<(), BundleError> {
        if self.devices.len() > BUNDLE_DEVICES_MAX {
            return Err(BundleError::TooManyDevices(self.devices.len()));
        }
        let mut seen = BTreeSet::new();
        for device in &self.devices {
            if device.device == DeviceId(0) {
                return Err(BundleError::Malformed("device 0"));
            }
            if !seen.insert(device.device) {
                return Err(BundleError::DuplicateDevice(device.device));
            }
            if !device::is_sound(&device.ed25519) {
                return Err(BundleError::WeakDeviceKey(device.device));
            }
        }
        let active = self.devices.iter().filter(|known| known.state == DeviceState::Active);
        match active.count() {
            0 | 1 => Ok(()),
            several => Err(BundleError::ActiveDevices(several)),
        }
    }

    fn to_wire(&self) -> wire::Bundle {
        let devices = self.devices.iter().map(|device| wire::Device {
            device: device.device.0,
            ed25519: Bytes::copy_from_slice(&device.ed25519),
            state: match device.state {
                DeviceState::Active => wire::DeviceState::DeviceActive,
                DeviceState::Retired => wire::DeviceState::DeviceRetired,
            }
            .into(),
        });
        wire::Bundle {
            cluster_id: Bytes::copy_from_slice(&self.cluster.0),
            user: self.user.to_string(),
            bundle_version: self.version,
            identity_spki: self.identity_spki.clone(),
            enc_spki: self.enc_spki.clone(),
            devices: devices.collect(),
            suites: self.suites.clone(),
        }
    }

    fn from_wire(bundle: wire::Bundle) -> Result<Self, BundleError> {
        let malformed = BundleError::Malformed;
        if bundle.devices.len() > BUNDLE_DEVICES_MAX {
            return Err(BundleError::TooManyDevices(bundle.devices.len()));
        }
        let devices = bundle.devices.into_iter().map(|device| {
            Ok(BundleDevice {
                device: DeviceId(device.device),
                ed25519: device
                    .ed25519
                    .as_ref()
                    .try_into()
                    .map_err(|_| malformed("a device key is not 32 bytes"))?,
                state: match wire::DeviceState::try_from(device.state) {
                    Ok(wire::DeviceState::DeviceActive) => DeviceState::Active,
                    Ok(wire::DeviceState::DeviceRetired) => DeviceState::Retired,
                    Ok(wire::DeviceState::DeviceUnspecified) | Err(_) => {
                        return Err(malformed("unknown state of a device"));
                    }
                },
            })
        });
        Ok(Self {
            cluster: ClusterId::from_bytes(&bundle.cluster_id)
                .ok_or(malformed("the cluster id is not 32 bytes"))?,
            user: UserName::canonical(&bundle.user)
                .map_err(|_| malformed("the user is not a canonical name"))?,
            version: bundle.bundle_version,
            devices: devices.collect::<Result<_, BundleError>>()?,
            identity_spki: bundle.identity_spki,
            enc_spki: bundle.enc_spki,
            suites: bundle.suites,
        })
    }
}

/// A bundle that passed [`verify_bundle`]; it exists in no other way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedBundle {
    bundle: Bundle,
    encoded: Bytes,
}

impl VerifiedBundle {
    /// The signed bundle as it came, to be stored and passed on.
    pub fn encoded(&self) -> &Bytes {
        &self.encoded
    }
}

impl Deref for VerifiedBundle {
    type Target = Bundle;

    fn deref(&self) -> &Bundle {
        &self.bundle
    }
}

/// Checks an encoded `SignedBundle`: form, limits, cluster, name, every key, the signature.
///
/// # Errors
/// [`BundleError`] says what is wrong.
pub fn verify_bundle(
    encoded: &[u8],
    cluster: &ClusterId,
    user: &UserName,
) -> Result<VerifiedBundle, BundleError> {
    if encoded.len() > BUNDLE_BYTES_MAX {
        return Err(BundleError::TooLarge(encoded.len()));
    }
    let encoded = Bytes::copy_from_slice(encoded);
    let signed = wire::SignedBundle::decode(encoded.clone())
        .map_err(|_| BundleError::Malformed("not a SignedBundle"))?;
    // One signed bundle, one encoding: what is compared and stored cannot be varied unsigned.
    if signed.encode_to_vec() != encoded {
        return Err(BundleError::Malformed("not in canonical encoding"));
    }
    let bundle = wire::Bundle::decode(signed.bundle.clone())
        .map_err(|_| BundleError::Malformed("not a Bundle"))?;
    let bundle = Bundle::from_wire(bundle)?;
    if bundle.cluster != *cluster {
        return Err(BundleError::WrongCluster);
    }
    if bundle.user != *user {
        return Err(BundleError::WrongUser);
    }
    bundle.check()?;
    let text = signed_text(cluster, &signed.bundle);
    verify_pss(&bundle.identity_spki, text.bytes(), &signed.signature)
        .map_err(|_| BundleError::BadSignature)?;
    Ok(VerifiedBundle { bundle, encoded })
}

fn signed_text(cluster: &ClusterId, bundle: &[u8]) -> Context {
    Context::new(ANY_SUITE, "bundle", cluster).fixed(&Sha256::digest(bundle).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::DeviceKey;
    use crate::crypto::testkeys;

    const CLUSTER: ClusterId = ClusterId([1; 32]);

    fn alice() -> UserName {
        UserName::canonical("alice").unwrap()
    }

    fn device(number: u64, state: DeviceState) -> BundleDevice {
        let ed25519 = DeviceKey::from_seed(&[number.to_le_bytes()[0]; 32]).public();
        BundleDevice { device: DeviceId(number), ed25519, state }
    }

    fn bundle() -> Bundle {
        Bundle {
            cluster: CLUSTER,
            user: alice(),
            version: 3,
            identity_spki: testkeys::identity(0).spki().to_vec().into(),
            enc_spki: testkeys::encryption(0).spki().to_vec().into(),
            devices: vec![device(1, DeviceState::Retired), device(2, DeviceState::Active)],
            suites: vec![SUITE_RF1, 2],
        }
    }

    /// Signs whatever it is given, as a hostile client can.
    fn signed(bundle: &wire::Bundle) -> Vec<u8> {
        let bundle = Bytes::from(bundle.encode_to_vec());
        let text = signed_text(&CLUSTER, &bundle);
        let signature = testkeys::identity(0).sign(text.bytes()).unwrap().into();
        wire::SignedBundle { bundle, signature }.encode_to_vec()
    }

    fn refusal(change: impl FnOnce(&mut wire::Bundle)) -> Option<BundleError> {
        let mut bundle = bundle().to_wire();
        change(&mut bundle);
        verify_bundle(&signed(&bundle), &CLUSTER, &alice()).err()
    }

    #[test]
    fn a_signed_bundle_comes_back_as_it_was() {
        let encoded = bundle().sign(&testkeys::identity(0)).unwrap();
        let verified = verify_bundle(&encoded, &CLUSTER, &alice()).unwrap();
        assert_eq!(*verified, bundle());
        assert_eq!(verified.encoded(), &encoded);
        assert_eq!(verified.identity(), testkeys::identity(0).key_id());
        assert_eq!(verified.encryption_key_id(), testkeys::encryption(0).key_id());
        assert_eq!(verified.active_device().unwrap().device, DeviceId(2));
        assert_eq!(verified.device(DeviceId(1)).unwrap().state, DeviceState::Retired);
        assert_eq!(verified.device(DeviceId(3)), None);
        assert_eq!(refusal(|_| ()), None, "the helper itself makes a good bundle");
    }

    #[test]
    fn a_bundle_counts_for_one_cluster_user_and_identity_only() {
        let encoded = bundle().sign(&testkeys::identity(0)).unwrap();
        let elsewhere = ClusterId([2; 32]);
        let refused = verify_bundle(&encoded, &elsewhere, &alice()).err();
        assert_eq!(refused, Some(BundleError::WrongCluster));
        let bob = UserName::canonical("bob").unwrap();
        let refused = verify_bundle(&encoded, &CLUSTER, &bob).err();
        assert_eq!(refused, Some(BundleError::WrongUser));
        let refused = bundle().sign(&testkeys::identity(1)).err();
        assert_eq!(refused, Some(BundleError::BadSignature));
        let other = testkeys::identity(1).spki().to_vec();
        let refused = refusal(|bundle| bundle.identity_spki = other.into());
        assert_eq!(refused, Some(BundleError::BadSignature));
    }

    #[test]
    fn no_byte_of_a_bundle_can_be_altered() {
        let encoded = bundle().sign(&testkeys::identity(0)).unwrap();
        for position in 0..encoded.len() {
            let mut altered = encoded.to_vec();
            altered[position] ^= 1;
            assert!(verify_bundle(&altered, &CLUSTER, &alice()).is_err(), "{position}");
        }
        // A field that no version knows, outside of what is signed.
        let longer = [encoded.as_ref(), &[0x18, 0x01]].concat();
        let refused = verify_bundle(&longer, &CLUSTER, &alice()).err();
        assert_eq!(refused, Some(BundleError::Malformed("not in canonical encoding")));
    }

    #[test]
    fn unusable_keys_are_refused() {
        let identity = testkeys::identity(0).spki().to_vec();
        let refused = refusal(|bundle| bundle.enc_spki = identity.into());
        assert_eq!(refused, Some(BundleError::OneKeyForBoth));
        let refused = refusal(|bundle| bundle.enc_spki = Bytes::from_static(b"x"));
        assert_eq!(refused, Some(BundleError::EncryptionKey(KeyError::NotAPublicKey)));
        let refused = refusal(|bundle| bundle.identity_spki = Bytes::new());
        assert_eq!(refused, Some(BundleError::IdentityKey(KeyError::NotAPublicKey)));
    }

    #[test]
    fn impossible_devices_are_refused() {
        let refused = refusal(|bundle| bundle.devices[0].device = 2);
        assert_eq!(refused, Some(BundleError::DuplicateDevice(DeviceId(2))));
        let refused = refusal(|bundle| bundle.devices[0].device = 0);
        assert_eq!(refused, Some(BundleError::Malformed("device 0")));
        let active = wire::DeviceState::DeviceActive.into();
        let refused = refusal(|bundle| bundle.devices[0].state = active);
        assert_eq!(refused, Some(BundleError::ActiveDevices(2)));
        for state in [0, 3] {
            let refused = refusal(|bundle| bundle.devices[0].state = state);
            assert_eq!(refused, Some(BundleError::Malformed("unknown state of a device")));
        }
        let mut weak = [0; 32];
        weak[0] = 1;
        let refused = refusal(|bundle| bundle.devices[0].ed25519 = weak.to_vec().into());
        assert_eq!(refused, Some(BundleError::WeakDeviceKey(DeviceId(1))));
        let refused = refusal(|bundle| bundle.devices[0].ed25519 = Bytes::from_static(&[1; 31]));
        assert_eq!(refused, Some(BundleError::Malformed("a device key is not 32 bytes")));
    }

    #[test]
    fn a_bundle_holds_32_devices_and_16_suites_and_no_more() {
        let with = |count: usize| -> Vec<BundleDevice> {
            (1..=count as u64).map(|number| device(number, DeviceState::Retired)).collect()
        };
        let largest = Bundle {
            devices: with(BUNDLE_DEVICES_MAX),
            suites: (1..=SUITES_MAX as u32).collect(),
            ..bundle()
        };
        let encoded = largest.sign(&testkeys::identity(0)).unwrap();
        assert!(verify_bundle(&encoded, &CLUSTER, &alice()).is_ok());

        let more = Bundle { devices: with(BUNDLE_DEVICES_MAX + 1), ..bundle() };
        let refused = BundleError::TooManyDevices(BUNDLE_DEVICES_MAX + 1);
        assert_eq!(more.sign(&testkeys::identity(0)), Err(refused.clone()));
        let devices = more.to_wire().devices;
        assert_eq!(refusal(|bundle| bundle.devices = devices), Some(refused));
        let suites = (1..=SUITES_MAX as u32 + 1).collect();
        let refused = refusal(|bundle| bundle.suites = suites);
        assert_eq!(refused, Some(BundleError::Malformed("too many suites")));
    }

    #[test]
    fn size_version_suites_and_names_are_judged() {
        let long = vec![0; BUNDLE_BYTES_MAX + 1];
        let refused = verify_bundle(&long, &CLUSTER, &alice()).err();
        assert_eq!(refused, Some(BundleError::TooLarge(BUNDLE_BYTES_MAX + 1)));
        let refused = refusal(|bundle| bundle.bundle_version = 0);
        assert_eq!(refused, Some(BundleError::Malformed("version 0")));
        let refused = refusal(|bundle| bundle.suites = vec![2]);
        assert_eq!(refused, Some(BundleError::NoCommonSuite));
        let refused = refusal(|bundle| bundle.user = "Alice".to_owned());
        assert_eq!(refused, Some(BundleError::Malformed("the user is not a canonical name")));
        let refused = verify_bundle(&[], &CLUSTER, &alice()).err();
        assert_eq!(
            refused,
            Some(BundleError::Malformed("the cluster id is not 32 bytes")),
            "nothing at all"
        );
    }
}
