//! Every rule of a group, one by one. All of them at once are in `model`.

use super::*;
use crate::crypto::GroupKey;
use crate::crypto::invite::{InviteKey, InviteSecret};
use crate::crypto::operation::KeyFor;
use crate::crypto::testpeople::Person;
use crate::types::ClusterId;

mod model;

const CLUSTER: ClusterId = ClusterId([1; 32]);

fn alice() -> Person {
    Person::new(&CLUSTER, "alice", 0)
}

fn bob() -> Person {
    Person::new(&CLUSTER, "bob", 1)
}

fn carol() -> Person {
    Person::new(&CLUSTER, "carol", 2)
}

fn dave() -> Person {
    Person::new(&CLUSTER, "dave", 3)
}

fn name(user: &str) -> UserName {
    UserName::canonical(user).unwrap()
}

fn group_key() -> GroupKey {
    GroupKey::from_bytes(&[5; 32]).unwrap()
}

fn created(founder: &Person, others: &[&Person]) -> Roster {
    Roster::create(&founder.create("team", others, &group_key())).unwrap()
}

/// Alice, who is the admin, Bob and Carol.
fn team() -> Roster {
    created(&alice(), &[&bob(), &carol()])
}

fn says(roster: &mut Roster, who: &Person, change: Change) -> Result<(), RosterError> {
    let operation = who.sign(roster.id(), roster.head(), change);
    let before = roster.clone();
    let result = roster.apply(&operation);
    match &result {
        Ok(()) => {
            assert_eq!((roster.head(), roster.number()), (operation.hash(), before.number() + 1));
        }
        Err(_) => assert_eq!(*roster, before, "an operation that was refused changed something"),
    }
    result
}

fn joins(roster: &mut Roster, who: &Person, invite: &InviteKey) -> Result<(), RosterError> {
    roster.apply(&who.join(roster.id(), roster.head(), invite))
}

/// A key for these, in this order. What is wrapped is none of the roster's business.
fn new_key(members: &[&str], invites: &[&InviteKey]) -> NewKey {
    let key = |user: &&str| KeyFor {
        user: name(user),
        wrapped_to: KeyId([1; 32]),
        wrapped_key: vec![1; 256].into(),
    };
    let invited = |invite: &&InviteKey| invite.wrap.wrap(invite.public(), &group_key());
    NewKey {
        key_commit: [9; 32],
        keys: members.iter().map(key).collect(),
        invited: invites.iter().map(invited).collect(),
    }
}

fn remove(user: &str, others: &[&str]) -> Change {
    Change::Remove { user: name(user), key: new_key(others, &[]) }
}

fn grant(user: &str, admin: bool) -> Change {
    Change::Grant { user: name(user), admin }
}

/// In order of public key, as a REKEY has them.
fn invite_keys(roster: &Roster, count: u8) -> Vec<InviteKey> {
    let key = |number| {
        let secret = InviteSecret::from_bytes(&[number; 16]).unwrap();
        secret.invite_key(&CLUSTER, &roster.id())
    };
    let mut keys: Vec<InviteKey> = (0..count).map(key).collect();
    keys.sort_by_key(InviteKey::public);
    keys
}

fn invite(key: &InviteKey, password: bool, uses: u32) -> Change {
    let key = key.wrap.wrap(key.public(), &group_key());
    Change::Invite(Invitation { key, password, uses })
}

fn members(roster: &Roster) -> Vec<&str> {
    roster.members().keys().map(UserName::as_str).collect()
}

#[test]
fn a_group_begins_with_its_founder_as_the_only_admin() {
    let roster = team();
    assert_eq!(members(&roster), ["alice", "bob", "carol"]);
    let founder = roster.member(&name("alice")).unwrap();
    assert_eq!((founder.identity, founder.role), (alice().identity(), Role::Admin));
    assert_eq!(roster.member(&name("bob")).map(|bob| bob.role), Some(Role::Member));
    assert!(roster.members().values().all(|member| member.since == 1));
    assert!(roster.is_admin(&name("alice")) && roster.is_last_admin(&name("alice")));
    assert!(!roster.is_admin(&name("bob")) && !roster.is_last_admin(&name("bob")));
    assert!(!roster.is_admin(&name("dave")) && !roster.is_last_admin(&name("dave")));
    assert_eq!((roster.number(), roster.key_epoch()), (1, KeyEpoch(1)));
    assert_eq!(GroupId(roster.head().0), roster.id());
    assert_eq!(roster.key_commit(), group_key().commit(&CLUSTER, &roster.id(), KeyEpoch(1)));
    assert!(!roster.key_due() && !roster.is_closed());
    assert_eq!((roster.name().as_str(), roster.title(), roster.topic()), ("team", "", ""));
}

#[test]
fn who_makes_a_group_is_in_it_under_the_key_that_signs() {
    let create = |members: Vec<NewMember>| {
        let change = Change::Create {
            name: GroupName::canonical("team").unwrap(),
            nonce: [7; 16],
            members,
            key_commit: [9; 32],
            title: String::new(),
        };
        let (alice, operation) = (alice(), alice().operation(None, change));
        let signed = operation.sign(&CLUSTER, &alice.bundle, &alice.device_key, None).unwrap();
        let verified = crate::crypto::operation::verify_operation(&signed.encoded, &CLUSTER);
        Roster::create(&verified.unwrap())
    };
    assert!(create(vec![alice().member()]).is_ok());
    let without = create(vec![bob().member()]);
    assert_eq!(without, Err(RosterError::NotAMember(name("alice"))));
    let other = create(vec![alice().with_keys(9).member()]);
    assert_eq!(other, Err(RosterError::AnotherIdentity(name("alice"))));
}

#[test]
fn a_create_comes_first_and_only_first() {
    let mut roster = team();
    let leave = bob().sign(roster.id(), roster.head(), Change::Leave);
    assert_eq!(Roster::create(&leave), Err(RosterError::Create));
    let again = alice().create("team", &[], &group_key());
    assert_eq!(roster.apply(&again), Err(RosterError::AnotherGroup));
    let same = alice().create("team", &[&bob(), &carol()], &group_key());
    assert_eq!(same.group(), roster.id());
    assert_eq!(roster.apply(&same), Err(RosterError::Conflict));
}

#[test]
fn an_operation_follows_the_newest_one_of_its_own_group() {
    let mut roster = team();
    let first = roster.head();
    let title = |text: &str| Change::Title(text.to_owned());
    assert_eq!(says(&mut roster, &alice(), title("one")), Ok(()));
    let stale = alice().sign(roster.id(), first, title("two"));
    assert_eq!(roster.apply(&stale), Err(RosterError::Conflict));
    let ahead = alice().sign(roster.id(), OpHash([3; 32]), title("two"));
    assert_eq!(roster.apply(&ahead), Err(RosterError::Conflict));
    let elsewhere = alice().sign(GroupId([3; 32]), roster.head(), title("two"));
    assert_eq!(roster.apply(&elsewhere), Err(RosterError::AnotherGroup));
    assert_eq!(roster.title(), "one");
    // The same one a second time follows itself no more.
    let leave = bob().sign(roster.id(), roster.head(), Change::Leave);
    assert_eq!(roster.apply(&leave), Ok(()));
    assert_eq!(roster.apply(&leave), Err(RosterError::Conflict));
}

#[test]
fn only_an_admin_changes_what_is_not_their_own() {
    let mut roster = team();
    let keys = invite_keys(&roster, 1);
    assert_eq!(says(&mut roster, &alice(), invite(&keys[0], false, 0)), Ok(()));
    for change in [
        Change::Add(dave().member()),
        remove("carol", &["alice", "bob"]),
        grant("bob", true),
        Change::Title("mine".to_owned()),
        Change::Topic("mine".to_owned()),
        invite(&keys[0], true, 0),
        Change::Withdraw(None),
        Change::Withdraw(Some(keys[0].public())),
        Change::Close,
    ] {
        assert_eq!(says(&mut roster, &bob(), change.clone()), Err(RosterError::NotAnAdmin));
        let refused = says(&mut roster, &dave(), change);
        assert_eq!(refused, Err(RosterError::NotAMember(name("dave"))));
    }
    for change in [Change::Leave, Change::Rekey(new_key(&["alice", "bob", "carol"], &[&keys[0]]))] {
        let refused = says(&mut roster, &dave(), change);
        assert_eq!(refused, Err(RosterError::NotAMember(name("dave"))));
    }
}

#[test]
fn a_member_is_one_identity_and_never_an_older_bundle() {
    let mut roster = team();
    let another = Err(RosterError::AnotherIdentity(name("bob")));
    assert_eq!(says(&mut roster, &bob().with_keys(9), Change::Leave), another);
    assert_eq!(says(&mut roster, &alice(), grant("bob", true)), Ok(()));
    let title = |text: &str| Change::Title(text.to_owned());
    assert_eq!(says(&mut roster, &bob().with_version(3), title("one")), Ok(()));
    assert_eq!(says(&mut roster, &bob().with_version(2), title("two")), another);
    assert_eq!(says(&mut roster, &bob().with_version(3), title("two")), Ok(()));
    assert_eq!(says(&mut roster, &bob().with_version(4), title("three")), Ok(()));
    // So from CREATE and from a JOIN on, not only from what came after.
    let alice2 = alice().with_version(2);
    let mut roster = created(&alice2, &[]);
    let refused = says(&mut roster, &alice(), title("one"));
    assert_eq!(refused, Err(RosterError::AnotherIdentity(name("alice"))));
    let keys = invite_keys(&roster, 1);
    assert_eq!(says(&mut roster, &alice2, invite(&keys[0], false, 0)), Ok(()));
    assert_eq!(joins(&mut roster, &bob().with_version(2), &keys[0]), Ok(()));
    assert_eq!(says(&mut roster, &bob(), Change::Leave), another);
}

#[test]
fn who_is_added_is_a_member_from_then_on_under_the_identity_that_was_named() {
    let mut roster = team();
    assert_eq!(says(&mut roster, &alice(), Change::Add(dave().member())), Ok(()));
    let member = roster.member(&name("dave")).unwrap();
    assert_eq!((member.role, member.since), (Role::Member, 2));
    let refused = says(&mut roster, &alice(), Change::Add(dave().member()));
    assert_eq!(refused, Err(RosterError::AlreadyAMember(name("dave"))));
    let refused = says(&mut roster, &dave().with_keys(9), Change::Leave);
    assert_eq!(refused, Err(RosterError::AnotherIdentity(name("dave"))));
    assert_eq!(says(&mut roster, &dave(), Change::Leave), Ok(()));
    // Back again, under a new identity: the old one signs nothing any more.
    let again = dave().with_keys(9);
    assert_eq!(says(&mut roster, &alice(), Change::Add(again.member())), Ok(()));
    assert_eq!(roster.member(&name("dave")).map(|dave| dave.since), Some(4));
    let refused = says(&mut roster, &dave(), Change::Leave);
    assert_eq!(refused, Err(RosterError::AnotherIdentity(name("dave"))));
    assert_eq!(says(&mut roster, &again, Change::Leave), Ok(()));
}

#[test]
fn who_is_removed_signs_nothing_until_they_are_added_again() {
    let mut roster = team();
    let epoch = roster.key_epoch();
    assert_eq!(says(&mut roster, &alice(), remove("bob", &["alice", "carol"])), Ok(()));
    assert_eq!(members(&roster), ["alice", "carol"]);
    assert_eq!((roster.key_epoch().0, roster.key_commit()), (epoch.0 + 1, [9; 32]));
    let refused = says(&mut roster, &bob(), Change::Leave);
    assert_eq!(refused, Err(RosterError::NotAMember(name("bob"))));
    assert_eq!(says(&mut roster, &alice(), Change::Add(bob().member())), Ok(()));
    assert_eq!(says(&mut roster, &bob(), Change::Leave), Ok(()));
}

#[test]
fn a_removal_brings_a_key_for_exactly_those_who_remain() {
    let mut roster = team();
    for keys in [
        [].as_slice(),
        &["alice"],
        &["carol", "alice"],
        &["alice", "bob", "carol"],
        &["alice", "alice", "carol"],
        &["alice", "carol", "dave"],
    ] {
        let refused = says(&mut roster, &alice(), remove("bob", keys));
        assert_eq!(refused, Err(RosterError::WrongKeys), "{keys:?}");
    }
    let invites = invite_keys(&roster, 1);
    assert_eq!(says(&mut roster, &alice(), invite(&invites[0], false, 0)), Ok(()));
    let key = new_key(&["alice", "carol"], &[&invites[0]]);
    let with_invites = Change::Remove { user: name("bob"), key };
    assert_eq!(says(&mut roster, &alice(), with_invites), Err(RosterError::WrongKeys));
    let refused = says(&mut roster, &alice(), remove("dave", &["alice", "bob", "carol"]));
    assert_eq!(refused, Err(RosterError::NoSuchMember(name("dave"))));
}

#[test]
fn nobody_removes_themselves() {
    let mut roster = team();
    assert_eq!(says(&mut roster, &alice(), grant("bob", true)), Ok(()));
    let oneself = remove("alice", &["bob", "carol"]);
    assert_eq!(says(&mut roster, &alice(), oneself.clone()), Err(RosterError::Oneself));
    assert_eq!(says(&mut roster, &bob(), oneself), Ok(()));
}

#[test]
fn a_removal_ends_every_invitation() {
    let mut roster = team();
    let keys = invite_keys(&roster, 2);
    assert_eq!(says(&mut roster, &alice(), invite(&keys[0], false, 0)), Ok(()));
    assert_eq!(says(&mut roster, &alice(), invite(&keys[1], true, 0)), Ok(()));
    assert_eq!(says(&mut roster, &alice(), remove("bob", &["alice", "carol"])), Ok(()));
    assert!(roster.invites().is_empty() && roster.password().is_none());
    for key in &keys {
        assert_eq!(joins(&mut roster, &dave(), key), Err(RosterError::NoSuchInvite));
    }
}

#[test]
fn after_somebody_left_a_member_renews_the_key_and_only_then() {
    let mut roster = team();
    let keys = invite_keys(&roster, 2);
    assert_eq!(says(&mut roster, &alice(), invite(&keys[0], false, 0)), Ok(()));
    assert_eq!(says(&mut roster, &alice(), invite(&keys[1], false, 0)), Ok(()));
    let both = [&keys[0], &keys[1]];
    let rekey = |members: &[&str], invites: &[&InviteKey]| Change::Rekey(new_key(members, invites));
    let early = says(&mut roster, &bob(), rekey(&["alice", "bob", "carol"], &both));
    assert_eq!(early, Err(RosterError::NotDue));
    assert_eq!(says(&mut roster, &carol(), Change::Leave), Ok(()));
    assert!(roster.key_due());
    assert_eq!((roster.key_epoch(), roster.invites().len()), (KeyEpoch(1), 2));
    for (members, invites) in [
        (["alice", "bob", "carol"].as_slice(), both.as_slice()),
        (&["alice"], &both),
        (&["bob", "alice"], &both),
        (&["alice", "bob"], &[]),
        (&["alice", "bob"], &[&keys[1]]),
        (&["alice", "bob"], &[&keys[1], &keys[0]]),
        (&["alice", "bob"], &[&keys[0], &keys[0], &keys[1]]),
    ] {
        let refused = says(&mut roster, &bob(), rekey(members, invites));
        assert_eq!(refused, Err(RosterError::WrongKeys), "{members:?} {invites:?}");
    }
    let change = rekey(&["alice", "bob"], &both);
    let Change::Rekey(NewKey { invited, .. }) = &change else { panic!("a REKEY") };
    let renewed = invited.clone();
    assert_eq!(says(&mut roster, &bob(), change.clone()), Ok(()));
    assert_eq!((roster.key_epoch(), roster.key_due()), (KeyEpoch(2), false));
    assert_eq!(roster.key_commit(), [9; 32]);
    let live: Vec<_> = roster.invites().values().map(|invite| invite.key.clone()).collect();
    assert_eq!(live, renewed);
    assert_eq!(says(&mut roster, &bob(), change), Err(RosterError::NotDue));
    // A removal renews it as well.
    assert_eq!(says(&mut roster, &alice(), Change::Add(carol().member())), Ok(()));
    assert_eq!(says(&mut roster, &carol(), Change::Leave), Ok(()));
    assert_eq!(says(&mut roster, &alice(), remove("bob", &["alice"])), Ok(()));
    assert!(!roster.key_due());
}

#[test]
fn there_is_always_somebody_who_can_change_the_group() {
    let mut roster = team();
    assert_eq!(says(&mut roster, &alice(), Change::Leave), Err(RosterError::LastAdmin));
    let down = says(&mut roster, &alice(), grant("alice", false));
    assert_eq!(down, Err(RosterError::LastAdmin));
    assert_eq!(says(&mut roster, &alice(), grant("bob", true)), Ok(()));
    assert!(!roster.is_last_admin(&name("alice")) && roster.is_admin(&name("bob")));
    assert_eq!(says(&mut roster, &alice(), Change::Leave), Ok(()));
    assert!(roster.is_last_admin(&name("bob")));
    assert_eq!(says(&mut roster, &bob(), Change::Leave), Err(RosterError::LastAdmin));
    // Two admins, each takes it back from the other: the second one is none any more.
    assert_eq!(says(&mut roster, &bob(), grant("carol", true)), Ok(()));
    assert_eq!(says(&mut roster, &bob(), grant("carol", false)), Ok(()));
    assert_eq!(says(&mut roster, &carol(), grant("bob", false)), Err(RosterError::NotAnAdmin));
    assert_eq!(says(&mut roster, &carol(), Change::Leave), Ok(()));
    assert_eq!(says(&mut roster, &bob(), Change::Leave), Err(RosterError::LastMember));
    assert_eq!(says(&mut roster, &bob(), Change::Close), Ok(()));
}

#[test]
fn a_change_that_changes_nothing_is_refused() {
    let mut roster = team();
    let nothing = Err(RosterError::Nothing);
    assert_eq!(says(&mut roster, &alice(), grant("alice", true)), nothing);
    assert_eq!(says(&mut roster, &alice(), grant("bob", false)), nothing);
    let nobody = says(&mut roster, &alice(), grant("dave", true));
    assert_eq!(nobody, Err(RosterError::NoSuchMember(name("dave"))));
    let (title, topic) = (Change::Title("T".to_owned()), Change::Topic("t".to_owned()));
    assert_eq!(says(&mut roster, &alice(), Change::Title(String::new())), nothing);
    assert_eq!(says(&mut roster, &alice(), Change::Topic(String::new())), nothing);
    assert_eq!(says(&mut roster, &alice(), title.clone()), Ok(()));
    assert_eq!(says(&mut roster, &alice(), topic.clone()), Ok(()));
    assert_eq!((roster.title(), roster.topic()), ("T", "t"));
    assert_eq!(says(&mut roster, &alice(), title), nothing);
    assert_eq!(says(&mut roster, &alice(), topic), nothing);
}

#[test]
fn an_invitation_lets_in_as_many_as_it_says() {
    let mut roster = created(&alice(), &[]);
    let keys = invite_keys(&roster, 3);
    assert_eq!(says(&mut roster, &alice(), invite(&keys[0], false, 2)), Ok(()));
    assert_eq!(says(&mut roster, &alice(), invite(&keys[1], false, 0)), Ok(()));
    let uses = |roster: &Roster, key: &InviteKey| {
        roster.live_invite(&key.public()).map(|invite| invite.uses_left)
    };
    assert_eq!(uses(&roster, &keys[0]), Some(Some(2)));
    assert_eq!(joins(&mut roster, &bob(), &keys[0]), Ok(()));
    let member = roster.member(&name("bob")).unwrap();
    assert_eq!((member.role, member.since, member.identity), (Role::Member, 4, bob().identity()));
    assert_eq!(uses(&roster, &keys[0]), Some(Some(1)));
    // Who is in already takes no place.
    let refused = joins(&mut roster, &bob(), &keys[0]);
    assert_eq!(refused, Err(RosterError::AlreadyAMember(name("bob"))));
    assert_eq!(uses(&roster, &keys[0]), Some(Some(1)));
    assert_eq!(joins(&mut roster, &carol(), &keys[0]), Ok(()));
    assert_eq!(uses(&roster, &keys[0]), None);
    assert_eq!(joins(&mut roster, &dave(), &keys[0]), Err(RosterError::NoSuchInvite));
    assert_eq!(joins(&mut roster, &dave(), &keys[2]), Err(RosterError::NoSuchInvite));
    assert_eq!(joins(&mut roster, &dave(), &keys[1]), Ok(()));
    assert_eq!(uses(&roster, &keys[1]), Some(None));
}

#[test]
fn an_invitation_is_taken_back_alone_or_with_all_others() {
    let mut roster = team();
    let keys = invite_keys(&roster, 3);
    let none = Err(RosterError::NoSuchInvite);
    assert_eq!(says(&mut roster, &alice(), Change::Withdraw(None)), none);
    for key in &keys {
        assert_eq!(says(&mut roster, &alice(), invite(key, false, 0)), Ok(()));
    }
    let twice = says(&mut roster, &alice(), invite(&keys[0], true, 1));
    assert_eq!(twice, Err(RosterError::InviteTwice));
    let one = Change::Withdraw(Some(keys[0].public()));
    assert_eq!(says(&mut roster, &alice(), one.clone()), Ok(()));
    assert_eq!(says(&mut roster, &alice(), one), none);
    assert_eq!(joins(&mut roster, &dave(), &keys[0]), none);
    assert_eq!(roster.invites().len(), 2);
    assert_eq!(says(&mut roster, &alice(), Change::Withdraw(None)), Ok(()));
    assert!(roster.invites().is_empty());
}

#[test]
fn a_password_replaces_the_one_before_even_among_16_invitations() {
    let mut roster = team();
    let most = u8::try_from(limits::GROUP_INVITES_MAX).unwrap();
    let keys = invite_keys(&roster, most + 1);
    for (index, key) in keys[..usize::from(most)].iter().enumerate() {
        assert_eq!(says(&mut roster, &alice(), invite(key, index == 0, 0)), Ok(()));
    }
    assert_eq!(roster.password().map(|invite| invite.key.invite), Some(keys[0].public()));
    let last = &keys[usize::from(most)];
    let too_many = says(&mut roster, &alice(), invite(last, false, 0));
    assert_eq!(too_many, Err(RosterError::TooMany("invitations")));
    assert_eq!(says(&mut roster, &alice(), invite(last, true, 0)), Ok(()));
    assert_eq!(roster.password().map(|invite| invite.key.invite), Some(last.public()));
    assert_eq!(roster.invites().len(), usize::from(most));
    assert_eq!(joins(&mut roster, &dave(), &keys[0]), Err(RosterError::NoSuchInvite));
}

#[test]
fn a_full_group_takes_nobody_until_somebody_goes() {
    let (alice, bob) = (alice(), bob());
    let member = |number: usize| NewMember {
        user: name(&format!("user{number}")),
        identity: KeyId([3; 32]),
    };
    let mut roster = created(&alice, &[&bob]);
    let keys = invite_keys(&roster, 1);
    assert_eq!(says(&mut roster, &alice, invite(&keys[0], false, 5)), Ok(()));
    for number in roster.members().len()..limits::GROUP_MEMBERS_MAX {
        assert_eq!(says(&mut roster, &alice, Change::Add(member(number))), Ok(()));
    }
    assert_eq!(roster.members().len(), 256);
    let refused = says(&mut roster, &alice, Change::Add(member(0)));
    assert_eq!(refused, Err(RosterError::TooMany("members")));
    assert_eq!(joins(&mut roster, &dave(), &keys[0]), Err(RosterError::TooMany("members")));
    assert_eq!(says(&mut roster, &bob, Change::Leave), Ok(()));
    assert_eq!(joins(&mut roster, &dave(), &keys[0]), Ok(()));
}

#[test]
fn a_closed_group_changes_no_more() {
    let mut roster = team();
    let keys = invite_keys(&roster, 1);
    assert_eq!(says(&mut roster, &alice(), invite(&keys[0], false, 0)), Ok(()));
    assert_eq!(says(&mut roster, &alice(), Change::Close), Ok(()));
    assert!(roster.is_closed() && roster.invites().is_empty());
    for change in [Change::Leave, Change::Close, Change::Add(dave().member())] {
        assert_eq!(says(&mut roster, &alice(), change), Err(RosterError::Closed));
    }
    assert_eq!(joins(&mut roster, &dave(), &keys[0]), Err(RosterError::Closed));
    assert_eq!(members(&roster), ["alice", "bob", "carol"]);
}
