//! What is signed comes back, and nothing else does.

use proptest::prelude::*;

use super::super::group::GroupKey;
use super::super::invite::InviteSecret;
use super::super::testpeople::{Person, altered, new_key, operation_hash};
use super::*;
use crate::types::KeyEpoch;

const CLUSTER: ClusterId = ClusterId([1; 32]);
const GROUP: GroupId = GroupId([8; 32]);
const PREV: OpHash = OpHash([6; 32]);

fn alice() -> Person {
    Person::new(&CLUSTER, "alice", 0)
}

fn bob() -> Person {
    Person::new(&CLUSTER, "bob", 1)
}

fn invite_key(number: u8) -> InviteKey {
    InviteSecret::from_bytes(&[number; 16]).unwrap().invite_key(&CLUSTER, &GROUP)
}

fn create(name: &str, members: Vec<NewMember>, title: &str) -> Change {
    let (name, nonce) = (GroupName::canonical(name).unwrap(), [3; 16]);
    Change::Create { name, nonce, members, key_commit: [4; 32], title: title.to_owned() }
}

fn invitation(number: u8) -> Invitation {
    let invite = invite_key(number);
    let key = invite.wrap.wrap(invite.public(), &GroupKey::generate());
    Invitation { key, password: number == 0, uses: u32::from(number) }
}

/// One of each, but for JOIN, which needs another signature.
fn every_change() -> Vec<Change> {
    let (alice, bob) = (alice(), bob());
    let invites = [&invite_key(0), &invite_key(1)];
    let user = bob.user.clone();
    let (_, without_bob) = new_key(&CLUSTER, &GROUP, KeyEpoch(2), &[&alice], &[]);
    let (_, for_all) = new_key(&CLUSTER, &GROUP, KeyEpoch(3), &[&alice, &bob], &invites);
    vec![
        create("team", vec![alice.member(), bob.member()], "The Team"),
        Change::Add(bob.member()),
        Change::Remove { user: user.clone(), key: without_bob },
        Change::Leave,
        Change::Rekey(for_all),
        Change::Grant { user: user.clone(), admin: true },
        Change::Grant { user, admin: false },
        Change::Title(String::new()),
        Change::Title("grüß dich".to_owned()),
        Change::Topic("lunch".to_owned()),
        Change::Invite(invitation(0)),
        Change::Invite(invitation(1)),
        Change::Withdraw(Some([7; 32])),
        Change::Withdraw(None),
        Change::Close,
    ]
}

fn after(change: &Change) -> Option<(GroupId, OpHash)> {
    (!matches!(change, Change::Create { .. })).then_some((GROUP, PREV))
}

fn alices(change: Change) -> Operation {
    let after = after(&change);
    alice().operation(after, change)
}

fn alices_join(invite: &InviteKey) -> Operation {
    alices(Change::Join { identity: alice().identity(), invite: invite.public() })
}

fn sign(operation: &Operation) -> Result<Bytes, OperationError> {
    let alice = alice();
    operation.sign(&CLUSTER, &alice.bundle, &alice.device_key, None).map(|signed| signed.encoded)
}

fn refusal(encoded: &Bytes) -> Option<OperationError> {
    verify_operation(encoded, &CLUSTER).err()
}

/// What readers say of an operation that a hostile client changed and signed.
fn forged(change: Change, forge: impl FnOnce(&mut wire::Operation)) -> Option<OperationError> {
    refusal(&alice().forge(&alices(change), None, forge))
}

fn forged_change(
    change: Change,
    forge: impl FnOnce(&mut wire::operation::Change),
) -> Option<OperationError> {
    forged(change, |operation| forge(operation.change.as_mut().unwrap()))
}

#[test]
fn every_change_comes_back_as_it_was() {
    let alice = alice();
    for change in every_change() {
        let operation = alices(change);
        let signed = operation.sign(&CLUSTER, &alice.bundle, &alice.device_key, None).unwrap();
        let verified = verify_operation(&signed.encoded, &CLUSTER).unwrap();
        assert_eq!(verified.operation(), &operation);
        assert_eq!(verified.bundle(), &alice.bundle);
        assert_eq!(verified.encoded(), &signed.encoded);
        assert_eq!(verified.hash(), signed.hash);
        assert_eq!(Some(signed.hash), operation_hash(&signed.encoded));
        let group = operation.group.unwrap_or(GroupId(signed.hash.0));
        assert_eq!(verified.group(), group);
    }
    let invite = invite_key(1);
    let operation = alices_join(&invite);
    let signed = operation.sign(&CLUSTER, &alice.bundle, &alice.device_key, Some(&invite));
    let verified = verify_operation(&signed.unwrap().encoded, &CLUSTER).unwrap();
    assert_eq!(verified.operation(), &operation);
}

#[test]
fn no_byte_of_an_operation_can_be_altered_left_out_or_added() {
    let alice = alice();
    let title = sign(&alices(Change::Title("x".to_owned()))).unwrap();
    let join = alice.join(GROUP, PREV, &invite_key(1)).encoded().clone();
    for encoded in [title, join] {
        for (position, altered) in altered(&encoded).enumerate() {
            assert!(verify_operation(&altered, &CLUSTER).is_err(), "{position}");
            let cut = encoded.slice(..position);
            assert!(verify_operation(&cut, &CLUSTER).is_err(), "cut at {position}");
        }
        let longer = Bytes::from([encoded.as_ref(), &[0]].concat());
        assert!(verify_operation(&longer, &CLUSTER).is_err());
    }
}

#[test]
fn an_operation_has_one_encoding_only() {
    let encoded = sign(&alices(Change::Leave)).unwrap();
    let canonical = Some(OperationError::Malformed("not in canonical encoding"));
    let unknown_field = Bytes::from([encoded.as_ref(), &[0x28, 0x01]].concat());
    assert_eq!(refusal(&unknown_field), canonical);
    let twice = Bytes::from([encoded.as_ref(), encoded.as_ref()].concat());
    assert_eq!(refusal(&twice), canonical);
}

#[test]
fn an_operation_counts_in_its_cluster_only() {
    let encoded = sign(&alices(Change::Leave)).unwrap();
    let elsewhere = ClusterId([2; 32]);
    let refused = verify_operation(&encoded, &elsewhere).err();
    assert_eq!(refused, Some(OperationError::Bundle(BundleError::WrongCluster)));
    // Even for somebody who has the same keys there.
    let there = Person::new(&elsewhere, "alice", 0);
    let signed = wire::SignedOperation::decode(encoded).unwrap();
    let bundle = there.bundle.encoded().clone();
    let moved = wire::SignedOperation { bundle, ..signed }.encode_to_vec().into();
    let refused = verify_operation(&moved, &elsewhere).err();
    assert_eq!(refused, Some(OperationError::BadSignature));
}

#[test]
fn only_the_active_device_of_the_bundle_that_comes_along_signs() {
    let (alice, operation) = (alice(), alices(Change::Leave));
    let retired = alice.with_retired_device();
    let refused = Some(OperationError::NotTheDevice(alice.device));
    assert_eq!(refusal(&retired.forge(&operation, None, |_| {})), refused);
    let other = |operation: &mut wire::Operation| operation.device = 99;
    let refused = Some(OperationError::NotTheDevice(DeviceId(99)));
    assert_eq!(refusal(&alice.forge(&operation, None, other)), refused);
    let no_device = |operation: &mut wire::Operation| operation.device = 0;
    let refused = Some(OperationError::Malformed("device 0"));
    assert_eq!(refusal(&alice.forge(&operation, None, no_device)), refused);
    let mut thief = alice;
    thief.device_key = DeviceKey::generate();
    let refused = Some(OperationError::BadSignature);
    assert_eq!(refusal(&thief.forge(&operation, None, |_| {})), refused);
}

#[test]
fn a_bundle_of_somebody_else_or_another_one_of_the_author_does_not_fit() {
    let alice = alice();
    let by_bob = bob().forge(&alices(Change::Leave), None, |_| {});
    let refused = Some(OperationError::Bundle(BundleError::WrongUser));
    assert_eq!(refusal(&by_bob), refused);
    // The bundle is signed along: who passes an operation on cannot put a newer one beside it.
    let encoded = sign(&alices(Change::Leave)).unwrap();
    let signed = wire::SignedOperation::decode(encoded).unwrap();
    let bundle = alice.with_version(2).bundle.encoded().clone();
    let newer = wire::SignedOperation { bundle, ..signed }.encode_to_vec().into();
    assert_eq!(refusal(&newer), Some(OperationError::BadSignature));
}

#[test]
fn a_join_is_of_its_author_and_signed_by_the_invitation() {
    let (alice, invite) = (alice(), invite_key(1));
    let operation = alices_join(&invite);
    let forge = |operation: &Operation, invite: Option<&InviteKey>| {
        refusal(&alice.forge(operation, invite, |_| {}))
    };
    assert_eq!(forge(&operation, Some(&invite)), None);
    assert_eq!(forge(&operation, None), Some(OperationError::BadSignature));
    assert_eq!(forge(&operation, Some(&invite_key(2))), Some(OperationError::BadSignature));
    let change = Change::Join { identity: bob().identity(), invite: invite.public() };
    let refused = Some(OperationError::Malformed("a JOIN under another identity"));
    assert_eq!(forge(&alices(change), Some(&invite)), refused);
    let refused = Some(OperationError::Malformed("an invitation's signature"));
    for change in every_change() {
        assert_eq!(forge(&alices(change), Some(&invite)), refused);
    }
    // Nor is anything of that signed.
    let refused = operation.sign(&CLUSTER, &alice.bundle, &alice.device_key, None);
    assert_eq!(refused, Err(OperationError::BadSignature));
}

#[test]
fn group_and_prev_stand_in_every_operation_but_the_first() {
    let refused = Some(OperationError::Malformed("group and prev"));
    let create = || create("team", vec![alice().member()], "");
    assert_eq!(forged(create(), |operation| operation.group = vec![8; 32].into()), refused);
    assert_eq!(forged(create(), |operation| operation.prev = vec![8; 32].into()), refused);
    for change in every_change().into_iter().skip(1) {
        let without = |operation: &mut wire::Operation| operation.group = Bytes::new();
        assert_eq!(forged(change.clone(), without), refused);
        let without = |operation: &mut wire::Operation| operation.prev = Bytes::new();
        assert_eq!(forged(change.clone(), without), refused);
        let short = |operation: &mut wire::Operation| operation.prev.truncate(31);
        assert!(matches!(forged(change, short), Some(OperationError::Malformed(_))));
    }
    let nothing = forged(Change::Leave, |operation| operation.change = None);
    assert_eq!(nothing, Some(OperationError::Malformed("no change that is known here")));
}

#[test]
fn a_title_and_a_topic_fit_up_to_their_limit() {
    let text = |bytes: usize| "x".repeat(bytes);
    let (title, topic) = (limits::TITLE_BYTES_MAX, limits::TOPIC_BYTES_MAX);
    let members = || vec![alice().member()];
    for change in [
        Change::Title(text(title)),
        Change::Topic(text(topic)),
        create(&text(32), members(), &text(title)),
    ] {
        assert!(sign(&alices(change)).is_ok());
    }
    let refused = Err(OperationError::Malformed("a title or topic is too long"));
    for change in [
        Change::Title(text(title + 1)),
        Change::Topic(text(topic + 1)),
        create("team", members(), &text(title + 1)),
    ] {
        assert_eq!(sign(&alices(change)), refused);
    }
}

#[test]
fn names_ids_and_keys_have_their_form() {
    use wire::operation::Change as Wire;
    type Forge = fn(&mut Wire);
    let members = || vec![alice().member(), bob().member()];
    let changes = every_change();
    let remove = || changes[2].clone();
    let cases: [(Change, Forge); 11] = [
        (create("team", members(), ""), |change| {
            let Wire::Create(create) = change else { panic!() };
            create.name = "#team".to_owned();
        }),
        (create("team", members(), ""), |change| {
            let Wire::Create(create) = change else { panic!() };
            create.nonce = vec![1; 15].into();
        }),
        (create("team", members(), ""), |change| {
            let Wire::Create(create) = change else { panic!() };
            create.key_commit = Bytes::new();
        }),
        (create("team", members(), ""), |change| {
            let Wire::Create(create) = change else { panic!() };
            create.members.reverse();
        }),
        (create("team", members(), ""), |change| {
            let Wire::Create(create) = change else { panic!() };
            create.members[1] = create.members[0].clone();
        }),
        (Change::Add(bob().member()), |change| {
            let Wire::Add(member) = change else { panic!() };
            member.user = "Bob".to_owned();
        }),
        (Change::Add(bob().member()), |change| {
            let Wire::Add(member) = change else { panic!() };
            member.identity = Bytes::new();
        }),
        (remove(), |change| {
            let Wire::Remove(remove) = change else { panic!() };
            remove.key = None;
        }),
        (remove(), |change| {
            let Wire::Remove(remove) = change else { panic!() };
            remove.key.as_mut().unwrap().keys[0].wrapped_to = Bytes::new();
        }),
        (Change::Invite(invitation(1)), |change| {
            let Wire::Invite(invite) = change else { panic!() };
            invite.invite = Bytes::new();
        }),
        (Change::Withdraw(Some([7; 32])), |change| {
            let Wire::Withdraw(withdraw) = change else { panic!() };
            withdraw.invite = vec![7; 31].into();
        }),
    ];
    for (index, (change, forge)) in cases.into_iter().enumerate() {
        let refused = forged_change(change, forge);
        assert!(matches!(refused, Some(OperationError::Malformed(_))), "{index} {refused:?}");
    }
}

fn many(count: usize) -> Vec<NewMember> {
    let others = (1..count).map(|number| NewMember {
        user: UserName::canonical(&format!("user{number:028}")).unwrap(),
        identity: KeyId([9; 32]),
    });
    let members = [alice().member()].into_iter().chain(others);
    members.collect()
}

#[test]
fn a_group_begins_with_at_most_256_members() {
    let full = create("team", many(limits::GROUP_MEMBERS_MAX), &"x".repeat(128));
    assert!(sign(&alices(full)).is_ok());
    let too_many = create("team", many(limits::GROUP_MEMBERS_MAX + 1), "");
    let refused = Err(OperationError::Malformed("too many members"));
    assert_eq!(sign(&alices(too_many)), refused);
}

#[test]
fn a_new_key_for_a_full_group_and_all_its_invitations_fits_and_there_is_an_end() {
    let keys = |bytes: usize| -> Vec<KeyFor> {
        let key = |member: NewMember| KeyFor {
            user: member.user,
            wrapped_to: member.identity,
            wrapped_key: vec![1; bytes].into(),
        };
        many(limits::GROUP_MEMBERS_MAX).into_iter().map(key).collect()
    };
    let invites = 0..u8::try_from(limits::GROUP_INVITES_MAX).unwrap();
    let invited = |number| invitation(number).key;
    let rekey = |bytes| {
        let invited = invites.clone().map(invited).collect();
        Change::Rekey(NewKey { key_commit: [4; 32], keys: keys(bytes), invited })
    };
    let longest_keys_there_are = 512;
    assert!(sign(&alices(rekey(longest_keys_there_are))).is_ok());
    let refused = sign(&alices(rekey(600)));
    assert!(matches!(refused, Err(OperationError::TooLarge(_))), "{refused:?}");
}

proptest! {
    #[test]
    fn bytes_from_anywhere_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(verify_operation(&Bytes::from(bytes.clone()), &CLUSTER).is_err());
        let signed = wire::SignedOperation {
            operation: bytes.into(),
            bundle: Bytes::new(),
            signature: Bytes::from_static(&[0; 64]),
            invite_signature: Bytes::new(),
        };
        prop_assert!(verify_operation(&signed.encode_to_vec().into(), &CLUSTER).is_err());
    }
}
