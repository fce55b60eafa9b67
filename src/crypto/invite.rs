//! Invitations to a group: what a link or a password yields, and the proof of it.
//!
//! A secret of 128 random bits, or a password stretched with the group's id, yields an Ed25519 key
//! that proves the invitation and a key that opens the group's key. Neither secret nor keys ever go
//! to a server: only the public half and signatures do.

use std::fmt;

use hkdf::Hkdf;
use rsa::rand_core::{OsRng, RngCore};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::context::{ANY_SUITE, Context};
use super::device::{self, DeviceKey, SignatureError};
use super::fernet_raw;
use super::group::GroupKey;
use super::operation::InvitedKey;
use super::secret::{SecretError, StretchCost, argon2id};
use crate::types::{ClusterId, DeviceId, GroupId, UserName};

/// What a link holds, or what comes out of a password. Cleared from memory when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct InviteSecret(Vec<u8>);

impl InviteSecret {
    /// Bytes of a link's secret.
    pub const BYTES: usize = 16;

    /// 128 random bits from the system generator.
    pub fn generate() -> Self {
        let mut secret = vec![0; Self::BYTES];
        OsRng.fill_bytes(&mut secret);
        Self(secret)
    }

    /// Takes what [`Self::as_bytes`] gave for a link.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == Self::BYTES).then(|| Self(bytes.to_vec()))
    }

    /// For a link.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Stretches a group's password (NFC) with the group's id.
    ///
    /// [`StretchCost::Full`] takes 64 MiB and 0.15 s: not for an async thread.
    ///
    /// # Errors
    /// [`SecretError::PasswordTooLong`], or [`SecretError::OutOfMemory`].
    pub fn of_password(
        password: &str,
        group: &GroupId,
        cost: StretchCost,
    ) -> Result<Self, SecretError> {
        argon2id(password, &group.0, cost).map(|stretched| Self(stretched.to_vec()))
    }

    /// The keys that it yields, for one group of one cluster.
    pub fn invite_key(&self, cluster: &ClusterId, group: &GroupId) -> InviteKey {
        let seed = self.expand("invite-key", cluster, group);
        InviteKey {
            sign: DeviceKey::from_seed(&seed),
            wrap: WrapKey(*self.expand("invite-wrap", cluster, group)),
        }
    }

    fn expand(&self, purpose: &str, cluster: &ClusterId, group: &GroupId) -> Zeroizing<[u8; 32]> {
        let info = Context::new(ANY_SUITE, purpose, cluster).fixed(&group.0);
        let mut out = Zeroizing::new([0; 32]);
        #[expect(
            clippy::expect_used,
            reason = "HKDF-SHA256 yields up to 8160 bytes; we ask for 32"
        )]
        Hkdf::<Sha256>::new(None, &self.0).expand(info.bytes(), out.as_mut()).expect("32 bytes");
        out
    }
}

impl fmt::Debug for InviteSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InviteSecret").finish_non_exhaustive()
    }
}

/// The key that opens the group's key for who was invited. Cleared from memory when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct WrapKey([u8; 32]);

impl fmt::Debug for WrapKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrapKey").finish_non_exhaustive()
    }
}

impl WrapKey {
    /// What the chain holds for this invitation under `key`.
    pub fn wrap(&self, invite: [u8; 32], key: &GroupKey) -> InvitedKey {
        InvitedKey {
            invite,
            sealed_wrap_key: fernet_raw::seal(key.as_bytes(), &self.0).into(),
            wrapped_key: fernet_raw::seal(&self.0, key.as_bytes()).into(),
        }
    }

    /// The wrap key of an invitation, as a member who has the group's key reads it.
    pub fn unseal(invited: &InvitedKey, key: &GroupKey) -> Option<Self> {
        let bytes = fernet_raw::open(key.as_bytes(), &invited.sealed_wrap_key)?;
        bytes.as_slice().try_into().ok().map(Self)
    }

    /// The group's key, as who was invited reads it. It counts only if it fits the commitment of
    /// its epoch.
    pub fn unwrap(&self, invited: &InvitedKey) -> Option<GroupKey> {
        let bytes = fernet_raw::open(&self.0, &invited.wrapped_key)?;
        GroupKey::from_bytes(&bytes)
    }
}

/// What proves an invitation, and what it opens.
#[derive(Clone, Debug)]
pub struct InviteKey {
    sign: DeviceKey,
    /// Opens the group's key.
    pub wrap: WrapKey,
}

impl InviteKey {
    /// How the invitation stands in the chain.
    pub fn public(&self) -> [u8; 32] {
        self.sign.public()
    }

    /// Proves the invitation to the group's home, over its nonce.
    pub fn prove(&self, claim: &InviteClaim<'_>) -> [u8; 64] {
        self.sign.sign(&claim.context())
    }

    pub(super) fn sign(&self, context: &Context) -> [u8; 64] {
        self.sign.sign(context)
    }
}

/// What an invitation's key signs so that the group's home shows the chain.
#[derive(Clone, Copy, Debug)]
pub struct InviteClaim<'a> {
    /// The cluster.
    pub cluster: &'a ClusterId,
    /// Which group.
    pub group: &'a GroupId,
    /// From the home, for this session.
    pub nonce: &'a [u8; 32],
    /// Who wants to join.
    pub user: &'a UserName,
    /// With which device.
    pub device: DeviceId,
}

impl InviteClaim<'_> {
    fn context(&self) -> Context {
        Context::new(ANY_SUITE, "invite-proof", self.cluster)
            .fixed(&self.group.0)
            .fixed(self.nonce)
            .name(self.user.as_str())
            .number(self.device.0)
    }
}

/// Checks what [`InviteKey::prove`] made. Whether the invitation lives is the caller's to check.
///
/// # Errors
/// [`SignatureError`] for anything but 64 bytes that fit a sound public key.
pub fn verify_invite(
    claim: &InviteClaim<'_>,
    public: &[u8; 32],
    signature: &[u8],
) -> Result<(), SignatureError> {
    device::verify(&claim.context(), public, signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId([1; 32]);
    const GROUP: GroupId = GroupId([8; 32]);

    fn link() -> InviteSecret {
        InviteSecret::from_bytes(&[3; InviteSecret::BYTES]).unwrap()
    }

    fn password(text: &str, group: &GroupId) -> InviteSecret {
        InviteSecret::of_password(text, group, StretchCost::Cheap).unwrap()
    }

    /// Whether what was wrapped by one side opens for the other, who proves the same invitation.
    fn same(ours: &InviteKey, theirs: &InviteKey) -> bool {
        let key = GroupKey::generate();
        let opened = theirs.wrap.unwrap(&ours.wrap.wrap(ours.public(), &key));
        let opens = opened == Some(key);
        assert_eq!(opens, ours.public() == theirs.public(), "one key fits and the other does not");
        opens
    }

    #[test]
    fn a_link_yields_the_same_keys_on_both_sides() {
        let made = InviteSecret::generate();
        assert_eq!(made.as_bytes().len(), InviteSecret::BYTES);
        let taken = InviteSecret::from_bytes(made.as_bytes()).unwrap();
        assert!(same(&made.invite_key(&CLUSTER, &GROUP), &taken.invite_key(&CLUSTER, &GROUP)));
        for length in [0, 15, 17, 32] {
            assert!(InviteSecret::from_bytes(&vec![1; length]).is_none(), "{length}");
        }
    }

    #[test]
    fn a_password_yields_the_same_keys_on_both_sides() {
        let ours = password("caf\u{e9} at eight", &GROUP).invite_key(&CLUSTER, &GROUP);
        let theirs = password("cafe\u{301} at eight", &GROUP).invite_key(&CLUSTER, &GROUP);
        assert!(same(&ours, &theirs));
        let wrong = password("cafe at eight", &GROUP).invite_key(&CLUSTER, &GROUP);
        assert!(!same(&ours, &wrong));
        let too_long = "x".repeat(5_000);
        let refused = InviteSecret::of_password(&too_long, &GROUP, StretchCost::Cheap);
        assert!(matches!(refused, Err(SecretError::PasswordTooLong(_))), "{refused:?}");
    }

    #[test]
    fn another_group_cluster_or_secret_yields_other_keys() {
        let (group, cluster) = (GroupId([9; 32]), ClusterId([2; 32]));
        let ours = link().invite_key(&CLUSTER, &GROUP);
        assert!(!same(&ours, &link().invite_key(&CLUSTER, &group)));
        assert!(!same(&ours, &link().invite_key(&cluster, &GROUP)));
        assert!(!same(&ours, &InviteSecret::generate().invite_key(&CLUSTER, &GROUP)));
        // The stretched password alone is another one in another group.
        let stretched = [password("pw", &GROUP), password("pw", &group)];
        assert_ne!(stretched[0].as_bytes(), stretched[1].as_bytes());
    }

    #[test]
    fn a_proof_fits_one_nonce_group_user_and_device_only() {
        let key = link().invite_key(&CLUSTER, &GROUP);
        let (alice, bob) =
            (UserName::canonical("alice").unwrap(), UserName::canonical("bob").unwrap());
        let (cluster, group) = (ClusterId([2; 32]), GroupId([9; 32]));
        let claim = InviteClaim {
            cluster: &CLUSTER,
            group: &GROUP,
            nonce: &[4; 32],
            user: &alice,
            device: DeviceId(5),
        };
        let proof = key.prove(&claim);
        assert_eq!(verify_invite(&claim, &key.public(), &proof), Ok(()));
        for other in [
            InviteClaim { cluster: &cluster, ..claim },
            InviteClaim { group: &group, ..claim },
            InviteClaim { nonce: &[5; 32], ..claim },
            InviteClaim { user: &bob, ..claim },
            InviteClaim { device: DeviceId(6), ..claim },
        ] {
            let verdict = verify_invite(&other, &key.public(), &proof);
            assert_eq!(verdict, Err(SignatureError), "{other:?}");
        }
        let another = InviteSecret::generate().invite_key(&CLUSTER, &GROUP).public();
        assert_eq!(verify_invite(&claim, &another, &proof), Err(SignatureError));
        assert_eq!(verify_invite(&claim, &key.public(), &proof[1..]), Err(SignatureError));
        assert_eq!(verify_invite(&claim, &key.public(), &[]), Err(SignatureError));
    }

    #[test]
    fn a_member_wraps_the_next_key_for_an_invitation_whose_secret_they_never_saw() {
        let invite = link().invite_key(&CLUSTER, &GROUP);
        let (first, second) = (GroupKey::generate(), GroupKey::generate());
        let in_chain = invite.wrap.wrap(invite.public(), &first);
        let member = WrapKey::unseal(&in_chain, &first).unwrap();
        let renewed = member.wrap(in_chain.invite, &second);
        assert_eq!(renewed.invite, invite.public());
        assert_eq!(invite.wrap.unwrap(&renewed), Some(second.clone()));
        assert!(WrapKey::unseal(&renewed, &second).is_some());

        // Nothing opens for a key that is not its own.
        assert!(WrapKey::unseal(&renewed, &first).is_none());
        let stranger = InviteSecret::generate().invite_key(&CLUSTER, &GROUP);
        assert_eq!(stranger.wrap.unwrap(&renewed), None);
        let mut swapped = renewed.clone();
        std::mem::swap(&mut swapped.sealed_wrap_key, &mut swapped.wrapped_key);
        assert_eq!(invite.wrap.unwrap(&swapped), None);
        assert!(WrapKey::unseal(&swapped, &second).is_none());
    }

    #[test]
    fn what_is_wrapped_has_32_bytes() {
        let (key, wrap) = (GroupKey::generate(), WrapKey([7; 32]));
        let short = InvitedKey {
            invite: [1; 32],
            sealed_wrap_key: fernet_raw::seal(key.as_bytes(), &[1; 31]).into(),
            wrapped_key: fernet_raw::seal(&wrap.0, &[1; 31]).into(),
        };
        assert!(WrapKey::unseal(&short, &key).is_none());
        assert_eq!(wrap.unwrap(&short), None);
    }

    #[test]
    fn debug_shows_neither_secret_nor_key() {
        let secret = link();
        assert_eq!(format!("{secret:?}"), "InviteSecret { .. }");
        let key = secret.invite_key(&CLUSTER, &GROUP);
        let shown = "InviteKey { sign: DeviceKey { .. }, wrap: WrapKey { .. } }";
        assert_eq!(format!("{key:?}"), shown);
    }
}
