//! People with keys that everybody knows, for tests of groups: they sign operations, right ones and
//! hostile ones. They do not exist in release builds.
//!
//! Deliberately no roster: who may do what is for the code under test to say.

#![expect(clippy::expect_used, reason = "for tests; what fails here is a mistake of the test")]

use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};

use super::group::GroupKey;
use super::identity::EncryptionKey;
use super::invite::InviteKey;
use super::operation::{
    Change, InvitedKey, KeyFor, NewKey, NewMember, Operation, VerifiedOperation, signed_text,
    verify_operation,
};
use super::{
    Bundle, BundleDevice, DeviceKey, DeviceState, SUITE_RF1, VerifiedBundle, testkeys,
    verify_bundle,
};
use crate::types::{ClusterId, DeviceId, GroupId, GroupName, KeyEpoch, KeyId, OpHash, UserName};
use crate::wire::client as wire;

/// Somebody with an identity key, a device and a bundle. Making one takes an RSA signature.
#[derive(Clone, Debug)]
pub struct Person {
    /// Their name.
    pub user: UserName,
    /// The number of their device, one more than that of their keys.
    pub device: DeviceId,
    /// The key of that device.
    pub device_key: DeviceKey,
    /// Their bundle; the device is active in it.
    pub bundle: VerifiedBundle,
    number: usize,
}

impl Person {
    /// Somebody of this name with the keys of this number, see [`testkeys`]; bundle version 1.
    pub fn new(cluster: &ClusterId, user: &str, number: usize) -> Self {
        Self::with(cluster, user, number, 1, DeviceState::Active)
    }

    /// The same keys in a bundle of this version.
    pub fn with_version(&self, version: u64) -> Self {
        let cluster = &self.bundle.cluster;
        Self::with(cluster, self.user.as_str(), self.number, version, DeviceState::Active)
    }

    /// The same keys, but the device is retired in the bundle.
    pub fn with_retired_device(&self) -> Self {
        let (cluster, version) = (&self.bundle.cluster, self.bundle.version);
        Self::with(cluster, self.user.as_str(), self.number, version, DeviceState::Retired)
    }

    /// Somebody else under the same name.
    pub fn with_keys(&self, number: usize) -> Self {
        let (cluster, version) = (&self.bundle.cluster, self.bundle.version);
        Self::with(cluster, self.user.as_str(), number, version, DeviceState::Active)
    }

    fn with(
        cluster: &ClusterId,
        user: &str,
        number: usize,
        version: u64,
        state: DeviceState,
    ) -> Self {
        let user = UserName::canonical(user).expect("a user name");
        let (identity, encryption) = (testkeys::identity(number), testkeys::encryption(number));
        let small = u8::try_from(number).expect("a small number");
        let device_key = DeviceKey::from_seed(&[small; 32]);
        let device = DeviceId(u64::from(small) + 1);
        let bundle = Bundle {
            cluster: *cluster,
            user: user.clone(),
            version,
            identity_spki: identity.spki().to_vec().into(),
            enc_spki: encryption.spki().to_vec().into(),
            devices: vec![BundleDevice { device, ed25519: device_key.public(), state }],
            suites: vec![SUITE_RF1],
        };
        let bundle = bundle.sign(&identity).expect("a bundle");
        let bundle = verify_bundle(&bundle, cluster, &user).expect("a bundle");
        Self { user, device, device_key, bundle, number }
    }

    /// Their fingerprint.
    pub fn identity(&self) -> KeyId {
        self.bundle.identity()
    }

    /// Their encryption key, which opens what is wrapped for them.
    pub fn encryption(&self) -> EncryptionKey {
        testkeys::encryption(self.number)
    }

    /// As a CREATE or an ADD names them.
    pub fn member(&self) -> NewMember {
        NewMember { user: self.user.clone(), identity: self.identity() }
    }

    /// Makes a group of themselves and `others`, with the key of epoch 1.
    pub fn create(&self, name: &str, others: &[&Self], key: &GroupKey) -> VerifiedOperation {
        let mut members: Vec<_> = others.iter().copied().chain([self]).map(Self::member).collect();
        members.sort_by(|a, b| a.user.cmp(&b.user));
        self.sign_with(
            None,
            Change::Create {
                name: GroupName::canonical(name).expect("a group name"),
                nonce: [7; 16],
                members,
                key_commit: key.first_commit(&self.bundle.cluster),
                title: String::new(),
            },
            None,
        )
    }

    /// Signs a change that follows the operation `prev` of `group`. Not for CREATE and JOIN.
    pub fn sign(&self, group: GroupId, prev: OpHash, change: Change) -> VerifiedOperation {
        self.sign_with(Some((group, prev)), change, None)
    }

    /// Signs their JOIN by an invitation.
    pub fn join(&self, group: GroupId, prev: OpHash, invite: &InviteKey) -> VerifiedOperation {
        let change = Change::Join { identity: self.identity(), invite: invite.public() };
        self.sign_with(Some((group, prev)), change, Some(invite))
    }

    fn sign_with(
        &self,
        after: Option<(GroupId, OpHash)>,
        change: Change,
        invite: Option<&InviteKey>,
    ) -> VerifiedOperation {
        let operation = self.operation(after, change);
        let cluster = &self.bundle.cluster;
        let signed = operation.sign(cluster, &self.bundle, &self.device_key, invite);
        let signed = signed.expect("an operation that can be signed");
        verify_operation(&signed.encoded, cluster).expect("an operation that was signed")
    }

    /// An operation of theirs, not signed. `after`: the group and its newest operation, but in a
    /// CREATE.
    pub fn operation(&self, after: Option<(GroupId, OpHash)>, change: Change) -> Operation {
        Operation {
            group: after.map(|(group, _prev)| group),
            prev: after.map(|(_group, prev)| prev),
            author: self.user.clone(),
            device: self.device,
            at_unix_ms: 1_700_000_000_000,
            change,
        }
    }

    /// Changes an operation and signs whatever came out, as a hostile client can: with the device's
    /// key, and `invite`'s if there is one.
    pub fn forge(
        &self,
        operation: &Operation,
        invite: Option<&InviteKey>,
        change: impl FnOnce(&mut wire::Operation),
    ) -> Bytes {
        let mut forged = operation.to_wire();
        change(&mut forged);
        let operation = Bytes::from(forged.encode_to_vec());
        let text = signed_text(&self.bundle.cluster, &operation, self.bundle.encoded());
        let signature = Bytes::copy_from_slice(&self.device_key.sign(&text));
        let invite_signature = invite.map(|invite| Bytes::copy_from_slice(&invite.sign(&text)));
        let signed = wire::SignedOperation {
            operation,
            bundle: self.bundle.encoded().clone(),
            signature,
            invite_signature: invite_signature.unwrap_or_default(),
        };
        signed.encode_to_vec().into()
    }
}

/// The next key of a group, for exactly these people and the invitations with these keys.
pub fn new_key(
    cluster: &ClusterId,
    group: &GroupId,
    epoch: KeyEpoch,
    people: &[&Person],
    invites: &[&InviteKey],
) -> (GroupKey, NewKey) {
    let key = GroupKey::generate();
    let wrap = |person: &&Person| {
        let (identity, encryption) = (person.identity(), person.encryption());
        let wrapped = key.wrap_for(cluster, group, epoch, &identity, encryption.spki());
        let wrapped = wrapped.expect("a key that can be wrapped to");
        let (user, wrapped_key) = (person.user.clone(), wrapped.bytes.into());
        KeyFor { user, wrapped_to: wrapped.to, wrapped_key }
    };
    let mut keys: Vec<KeyFor> = people.iter().map(wrap).collect();
    keys.sort_by(|a, b| a.user.cmp(&b.user));
    let mut invited: Vec<InvitedKey> =
        invites.iter().map(|invite| invite.wrap.wrap(invite.public(), &key)).collect();
    invited.sort_by_key(|invited| invited.invite);
    let new = NewKey { key_commit: key.commit(cluster, group, epoch), keys, invited };
    (key, new)
}

/// Every copy of `bytes` with one byte altered.
pub fn altered(bytes: &Bytes) -> impl Iterator<Item = Bytes> {
    let bytes = bytes.clone();
    (0..bytes.len()).map(move |position| {
        let mut altered = bytes.to_vec();
        if let Some(byte) = altered.get_mut(position) {
            *byte ^= 1;
        }
        altered.into()
    })
}

/// The id that an encoded operation has: also of one that nobody verified.
pub fn operation_hash(encoded: &Bytes) -> Option<OpHash> {
    let signed = wire::SignedOperation::decode(encoded.clone()).ok()?;
    Some(OpHash(Sha256::digest(&signed.operation).into()))
}
