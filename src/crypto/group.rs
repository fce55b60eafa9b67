//! The key of a group: one Fernet key per epoch, committed to in the roster's chain.
//!
//! Deliberately knows no roster: which epoch counts, and for whom a key is wrapped, is the
//! caller's.

use std::fmt;

use sha2::{Digest, Sha256};

use super::context::{Context, RF1};
use super::identity::EncryptionKey;
use super::rf1::{ConversationKey, Rf1Error, WrappedKey, unwrap_labelled, wrap_labelled};
use crate::types::{ClusterId, GroupId, KeyEpoch, KeyId};

/// The key of one epoch of a group. Cleared from memory when dropped.
#[derive(Clone)]
pub struct GroupKey(ConversationKey);

impl GroupKey {
    /// Makes a key from the system generator.
    pub fn generate() -> Self {
        Self(ConversationKey::generate())
    }

    /// Takes exactly 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        ConversationKey::from_bytes(bytes).ok().map(Self)
    }

    /// The key, to be stored sealed or sent under another one.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// What the chain says of this key: a key is used only in the group and epoch it fits.
    ///
    /// In epoch 1 the group does not count: its id is the hash of the CREATE that says this.
    pub fn commit(&self, cluster: &ClusterId, group: &GroupId, epoch: KeyEpoch) -> [u8; 32] {
        let group = if epoch == KeyEpoch(1) { &[0; 32] } else { &group.0 };
        let context = Context::new(RF1, "group-key", cluster)
            .fixed(group)
            .number(epoch.0)
            .fixed(self.as_bytes());
        Sha256::digest(context.bytes()).into()
    }

    /// What CREATE says of the key of epoch 1.
    pub fn first_commit(&self, cluster: &ClusterId) -> [u8; 32] {
        self.commit(cluster, &GroupId([0; 32]), KeyEpoch(1))
    }

    /// Wraps the key for one member, bound to group, epoch and that member.
    ///
    /// # Errors
    /// [`Rf1Error::RecipientKey`] when `enc_spki` is not an RSA key we accept.
    pub fn wrap_for(
        &self,
        cluster: &ClusterId,
        group: &GroupId,
        epoch: KeyEpoch,
        member: &KeyId,
        enc_spki: &[u8],
    ) -> Result<WrappedKey, Rf1Error> {
        wrap_labelled(&self.0, &label(cluster, group, epoch, member), enc_spki)
    }

    /// Unwraps what [`Self::wrap_for`] made for us. Takes about 1 ms.
    ///
    /// # Errors
    /// [`Rf1Error::NotForThisKey`] when another of our keys is needed, else [`Rf1Error::Unwrap`].
    pub fn unwrap(
        enc_key: &EncryptionKey,
        cluster: &ClusterId,
        group: &GroupId,
        epoch: KeyEpoch,
        member: &KeyId,
        wrapped: &WrappedKey,
    ) -> Result<Self, Rf1Error> {
        unwrap_labelled(enc_key, &label(cluster, group, epoch, member), wrapped).map(Self)
    }

    /// For the envelopes.
    pub(super) fn key(&self) -> &ConversationKey {
        &self.0
    }
}

impl PartialEq for GroupKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for GroupKey {}

impl fmt::Debug for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupKey").finish_non_exhaustive()
    }
}

fn label(cluster: &ClusterId, group: &GroupId, epoch: KeyEpoch, member: &KeyId) -> Context {
    Context::new(RF1, "group-wrap", cluster).fixed(&group.0).number(epoch.0).fixed(&member.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::testkeys;

    const CLUSTER: ClusterId = ClusterId([1; 32]);
    const GROUP: GroupId = GroupId([8; 32]);

    fn key() -> GroupKey {
        GroupKey::from_bytes(&[5; 32]).unwrap()
    }

    #[test]
    fn a_wrapped_key_opens_for_its_member_group_and_epoch_only() {
        let (ours, member) = (testkeys::encryption(1), testkeys::identity(1).key_id());
        let epoch = KeyEpoch(2);
        let wrapped = key().wrap_for(&CLUSTER, &GROUP, epoch, &member, ours.spki()).unwrap();
        let opened = GroupKey::unwrap(&ours, &CLUSTER, &GROUP, epoch, &member, &wrapped);
        assert_eq!(opened, Ok(key()));

        let another = testkeys::identity(2).key_id();
        for (cluster, group, epoch, member) in [
            (ClusterId([2; 32]), GROUP, epoch, member),
            (CLUSTER, GroupId([9; 32]), epoch, member),
            (CLUSTER, GROUP, KeyEpoch(3), member),
            (CLUSTER, GROUP, epoch, another),
        ] {
            let refused = GroupKey::unwrap(&ours, &cluster, &group, epoch, &member, &wrapped);
            assert_eq!(refused, Err(Rf1Error::Unwrap), "{group} {epoch} {member}");
        }
        let theirs = testkeys::encryption(2);
        let refused = GroupKey::unwrap(&theirs, &CLUSTER, &GROUP, epoch, &member, &wrapped);
        assert!(matches!(refused, Err(Rf1Error::NotForThisKey { .. })));
    }

    #[test]
    fn a_wrapped_group_key_is_no_wrapped_conversation_key() {
        let (ours, member) = (testkeys::encryption(1), testkeys::identity(1).key_id());
        let wrapped = key().wrap_for(&CLUSTER, &GROUP, KeyEpoch(1), &member, ours.spki()).unwrap();
        let author = KeyId(GROUP.0);
        let refused = super::super::unwrap(&ours, &CLUSTER, &author, &member, &wrapped).err();
        assert_eq!(refused, Some(Rf1Error::Unwrap));
    }

    #[test]
    fn a_commitment_is_to_one_key_in_one_cluster_group_and_epoch() {
        let commit = key().commit(&CLUSTER, &GROUP, KeyEpoch(2));
        assert_eq!(commit, key().commit(&CLUSTER, &GROUP, KeyEpoch(2)));
        let another = GroupKey::from_bytes(&[6; 32]).unwrap();
        for other in [
            another.commit(&CLUSTER, &GROUP, KeyEpoch(2)),
            key().commit(&ClusterId([2; 32]), &GROUP, KeyEpoch(2)),
            key().commit(&CLUSTER, &GroupId([9; 32]), KeyEpoch(2)),
            key().commit(&CLUSTER, &GROUP, KeyEpoch(3)),
            key().commit(&CLUSTER, &GROUP, KeyEpoch(1)),
        ] {
            assert_ne!(commit, other);
        }
    }

    #[test]
    fn what_create_says_of_the_first_key_holds_in_the_group_that_it_makes() {
        let commit = key().first_commit(&CLUSTER);
        assert_eq!(commit, key().commit(&CLUSTER, &GROUP, KeyEpoch(1)));
        assert_ne!(commit, key().commit(&CLUSTER, &GROUP, KeyEpoch(2)));
        assert_ne!(commit, key().first_commit(&ClusterId([2; 32])));
        let another = GroupKey::from_bytes(&[6; 32]).unwrap();
        assert_ne!(commit, another.first_commit(&CLUSTER));
    }

    #[test]
    fn a_key_has_32_bytes_and_debug_shows_none() {
        assert_eq!(GroupKey::from_bytes(&[5; 31]), None);
        assert_eq!(GroupKey::from_bytes(&[5; 33]), None);
        assert_ne!(GroupKey::generate(), GroupKey::generate());
        assert_eq!(format!("{:?}", key()), "GroupKey { .. }");
    }
}
