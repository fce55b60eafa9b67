//! What a client makes of a group's chain and of what others say about groups; without a network.

use super::*;
use crate::client::api::Standing;
use crate::client::groups::TookOperation;
use crate::crypto::envelope::Welcome;
use crate::crypto::group::GroupKey;
use crate::crypto::operation::{Change, NewMember, VerifiedOperation};
use crate::crypto::testpeople::{Person, new_key};
use crate::roster::Roster;
use crate::types::{GroupId, KeyEpoch};

/// Bob's desk; Alice, who can write to him and sign operations; and a group that she makes.
struct Scene {
    bob: Desk,
    alice: Peer,
    admin: Person,
    key: GroupKey,
    chain: Vec<VerifiedOperation>,
    letters: u64,
}

fn team() -> GroupName {
    GroupName::parse("team").unwrap()
}

impl Scene {
    /// Bob is in it from the first operation on; Carol too.
    fn new() -> Self {
        let (mut bob, alice) = (Desk::new("bob", 2), Peer::new("alice", 1));
        let (admin, carol) = (Person::new(&CLUSTER, "alice", 1), Person::new(&CLUSTER, "carol", 3));
        bob.knows(&alice.bundle());
        let key = GroupKey::generate();
        let himself = Person::new(&CLUSTER, "bob", 2);
        let create = admin.create("team", &[&himself, &carol], &key);
        Self { bob, alice, admin, key, chain: vec![create], letters: 0 }
    }

    fn id(&self) -> GroupId {
        self.chain[0].group()
    }

    fn roster(&self) -> Roster {
        let mut roster = Roster::create(&self.chain[0]).unwrap();
        self.chain[1..].iter().for_each(|operation| roster.apply(operation).unwrap());
        roster
    }

    /// Alice does this, and everybody but Bob knows.
    fn changed(&mut self, change: Change) {
        let prev = self.chain.last().unwrap().hash();
        self.chain.push(self.admin.sign(self.id(), prev, change));
        self.roster();
    }

    fn put_out(&mut self, user: &str, remaining: &[&Person]) -> GroupKey {
        let epoch = KeyEpoch(self.roster().key_epoch().0 + 1);
        let (key, new) = new_key(&CLUSTER, &self.id(), epoch, remaining, &[]);
        self.changed(Change::Remove { user: name(user), key: new });
        key
    }

    fn welcome(&self) -> Welcome {
        Welcome { group: team(), id: self.id(), epoch: KeyEpoch(1), key: self.key.clone() }
    }

    fn says(&mut self, body: &Body) {
        self.letters += 1;
        let letter = self.alice.seals_with(&self.bob.bundle(), self.letters, body, |_| ());
        self.bob.gets(&[letter]);
    }

    fn welcomed(&mut self) {
        self.says(&Body::Welcome(self.welcome()));
    }

    /// The home shows Bob the operation of this number, at the seq ten times as high, and his log
    /// comes to it.
    fn shows(&mut self, number: usize) -> TookOperation {
        let encoded = self.chain[number - 1].encoded().clone();
        let (number, seq) = (number as u64, Seq(10 * number as u64));
        let took = self.bob.core.take_operation(&team(), number, seq, &encoded).unwrap();
        if matches!(took, TookOperation::Applied | TookOperation::Known) {
            self.bob.core.operation_came(&team(), number, seq).unwrap();
        }
        took
    }

    fn shows_all(&mut self) {
        for number in 1..=self.chain.len() {
            let took = self.shows(number);
            assert!(matches!(took, TookOperation::Applied | TookOperation::Known), "{took:?}");
        }
    }

    fn standing(&mut self) -> Option<Standing> {
        self.bob.core.group(&team()).unwrap().map(|group| group.standing)
    }

    fn has_key(&self, epoch: u64) -> Option<GroupKey> {
        self.bob.core.group_key(&self.id(), KeyEpoch(epoch)).unwrap()
    }
}

#[test]
fn a_welcome_is_believed_when_the_chain_says_so() {
    let mut scene = Scene::new();
    scene.welcomed();
    assert_eq!(scene.standing(), Some(Standing::Joining));
    assert_eq!(scene.has_key(1), None, "nothing says yet that it fits");
    assert_eq!(scene.bob.sees(), [""; 0]);
    assert!(scene.bob.core.groups.wanted.contains(&team()), "its roster is to be fetched");
    scene.shows_all();
    assert_eq!(scene.standing(), Some(Standing::Member));
    assert_eq!(scene.has_key(1), Some(scene.key.clone()));
    let seen = scene.bob.sees();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen[0].starts_with("alice* alice Added { user: ") && seen[0].contains("bob"));
    assert!(seen[1].starts_with("#team* alice Created"), "{seen:?}");
    // After a restart it is all still so.
    scene.bob = scene.bob.restarted(|_| ());
    assert_eq!(scene.standing(), Some(Standing::Member));
    let view = scene.bob.core.group_view(&team()).unwrap().unwrap();
    assert_eq!((view.members.len(), view.changes), (3, 1));
}

#[test]
fn a_key_that_does_not_fit_the_chain_is_never_taken() {
    let mut scene = Scene::new();
    let wrong = Welcome { key: GroupKey::generate(), ..scene.welcome() };
    scene.says(&Body::Welcome(wrong.clone()));
    scene.shows_all();
    assert_eq!(scene.has_key(1), None);
    scene.says(&Body::Welcome(wrong));
    assert_eq!(scene.has_key(1), None);
    scene.welcomed();
    assert_eq!(scene.has_key(1), Some(scene.key.clone()));
}

#[test]
fn another_group_under_a_known_name_is_trouble_where_it_was_said() {
    let mut scene = Scene::new();
    scene.welcomed();
    scene.shows_all();
    scene.bob.sees();
    scene.says(&Body::Welcome(Welcome { id: GroupId([5; 32]), ..scene.welcome() }));
    assert_eq!(scene.bob.sees(), ["alice! AnotherGroup"]);
    scene.says(&Body::Goodbye { group: team(), id: GroupId([5; 32]) });
    assert_eq!(scene.bob.sees(), ["alice! AnotherGroup"]);
    assert_eq!(scene.standing(), Some(Standing::Member));
    let id = scene.id();
    assert!(scene.bob.core.is_this_group(&team(), &id.0).unwrap());
    assert!(!scene.bob.core.is_this_group(&team(), &[5; 32]).unwrap());
    assert_eq!(scene.bob.sees(), ["#team! AnotherGroup"]);
    assert_eq!(scene.standing(), Some(Standing::Forked));
}

#[test]
fn a_group_that_only_its_welcome_knows_is_forgotten() {
    let mut scene = Scene::new();
    scene.says(&Body::Welcome(Welcome { id: GroupId([5; 32]), ..scene.welcome() }));
    assert!(!scene.bob.core.is_this_group(&team(), &scene.id().0).unwrap());
    assert_eq!((scene.standing(), scene.bob.sees()), (None, vec!["alice! AnotherGroup".into()]));
    // And one that he is not in.
    scene.welcomed();
    let create = {
        let carol = Person::new(&CLUSTER, "carol", 3);
        scene.admin.create("team", &[&carol], &scene.key)
    };
    scene.says(&Body::Welcome(Welcome { id: create.group(), ..scene.welcome() }));
    scene.bob.core.roster_fetched(&team(), crate::client::groups::Fetched::Refused).unwrap();
    assert_eq!(scene.standing(), None);
}

#[test]
fn who_is_blocked_or_under_a_key_that_nobody_accepted_brings_nobody_in() {
    let mut scene = Scene::new();
    scene.bob.core.set_contact(&name("alice"), Contact::Blocked).unwrap();
    scene.welcomed();
    assert_eq!(scene.standing(), None);
    let mut scene = Scene::new();
    let mallory = Peer { name: name("alice"), ..Peer::new("mallory", 9) };
    scene.bob.core.learn(&name("alice"), &mallory.bundle(), Contact::Request).unwrap();
    let welcome = Body::Welcome(scene.welcome());
    let letter = mallory.seals_with(&scene.bob.bundle(), 1, &welcome, |_| ());
    scene.bob.gets(&[letter]);
    assert_eq!(scene.standing(), None);
}

#[test]
fn operations_are_taken_in_order_once_and_a_gap_waits() {
    let mut scene = Scene::new();
    scene.welcomed();
    scene.changed(Change::Title("A".into()));
    scene.changed(Change::Title("B".into()));
    assert_eq!(scene.shows(2), TookOperation::NeedsRoster);
    assert_eq!(scene.shows(1), TookOperation::Applied);
    assert_eq!(scene.shows(3), TookOperation::NeedsRoster);
    assert_eq!(scene.shows(2), TookOperation::Applied);
    assert_eq!(scene.shows(2), TookOperation::Known);
    assert_eq!(scene.shows(3), TookOperation::Applied);
    let at = |scene: &mut Scene, seq| {
        let roster = scene.bob.core.roster_at(&team(), Seq(seq)).unwrap();
        roster.map(|roster| roster.title().to_owned())
    };
    assert_eq!(at(&mut scene, 9), None);
    assert_eq!(at(&mut scene, 19).as_deref(), Some(""));
    assert_eq!(at(&mut scene, 20).as_deref(), Some("A"));
    assert_eq!(at(&mut scene, 99).as_deref(), Some("B"));
}

#[test]
fn a_second_history_ends_the_belief_in_a_group() {
    for late in [false, true] {
        let mut scene = Scene::new();
        scene.welcomed();
        scene.changed(Change::Title("A".into()));
        scene.shows_all();
        scene.bob.sees();
        let (number, prev) =
            if late { (2, scene.chain[0].hash()) } else { (3, scene.chain[0].hash()) };
        let other = scene.admin.sign(scene.id(), prev, Change::Title("C".into()));
        let mut take = |number: u64| {
            let (core, encoded) = (&mut scene.bob.core, other.encoded());
            core.take_operation(&team(), number, Seq(30), encoded).unwrap()
        };
        assert_eq!(take(number), TookOperation::Forked);
        assert_eq!(take(number), TookOperation::Forked);
        assert_eq!(scene.bob.sees(), ["#team! Forked"], "said once");
        scene.changed(Change::Title("B".into()));
        assert_eq!(scene.shows(3), TookOperation::Forked);
        assert_eq!(scene.standing(), Some(Standing::Forked));
    }
}

#[test]
fn a_new_key_comes_out_of_the_operation_that_opens_its_epoch() {
    let mut scene = Scene::new();
    scene.welcomed();
    let (admin, himself) = (scene.admin.clone(), Person::new(&CLUSTER, "bob", 2));
    let key = scene.put_out("carol", &[&admin, &himself]);
    scene.shows_all();
    assert_eq!(scene.has_key(2), Some(key));
    // One that is wrapped for him and does not fit what the operation says is none.
    let (_, mut lying) = new_key(&CLUSTER, &scene.id(), KeyEpoch(3), &[&admin], &[]);
    let (_, other) = new_key(&CLUSTER, &scene.id(), KeyEpoch(3), &[&admin, &himself], &[]);
    lying.keys = other.keys;
    let dora = Person::new(&CLUSTER, "dora", 4);
    scene.changed(Change::Add(dora.member()));
    scene.changed(Change::Remove { user: name("dora"), key: lying });
    scene.shows_all();
    assert_eq!(scene.has_key(3), None);
}

#[test]
fn who_is_put_out_is_told_where_it_was_said_once_the_chain_says_so() {
    for goodbye_first in [true, false] {
        let mut scene = Scene::new();
        scene.welcomed();
        scene.shows_all();
        scene.bob.sees();
        let (admin, carol) = (scene.admin.clone(), Person::new(&CLUSTER, "carol", 3));
        let goodbye = Body::Goodbye { group: team(), id: scene.id() };
        if goodbye_first {
            scene.says(&goodbye);
            assert_eq!(scene.bob.sees(), [""; 0], "the chain does not say so yet");
        }
        scene.put_out("bob", &[&admin, &carol]);
        scene.shows_all();
        assert_eq!(scene.standing(), Some(Standing::Removed));
        if !goodbye_first {
            scene.says(&goodbye);
        }
        let seen = scene.bob.sees();
        assert_eq!(seen.len(), 2, "{seen:?}");
        // Where it was said it stands as soon as the chain says so.
        let chain_first = usize::from(goodbye_first);
        assert!(seen[chain_first].starts_with("#team* alice Removed"), "{seen:?}");
        assert!(seen[1 - chain_first].starts_with("alice* alice Removed"), "{seen:?}");
    }
}

#[test]
fn what_happened_while_somebody_was_out_is_no_line_of_theirs() {
    let mut scene = Scene::new();
    scene.welcomed();
    let (admin, carol) = (scene.admin.clone(), Person::new(&CLUSTER, "carol", 3));
    let key = scene.put_out("bob", &[&admin, &carol]);
    scene.shows_all();
    scene.bob.sees();
    scene.changed(Change::Title("Without bob".into()));
    let identity = scene.bob.bundle().identity();
    scene.changed(Change::Add(NewMember { user: name("bob"), identity }));
    scene.says(&Body::Welcome(Welcome { epoch: KeyEpoch(2), key: key.clone(), ..scene.welcome() }));
    assert_eq!(scene.standing(), Some(Standing::Joining));
    scene.shows_all();
    assert_eq!(scene.standing(), Some(Standing::Member));
    assert_eq!(scene.has_key(2), Some(key));
    let seen = scene.bob.sees();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen.iter().all(|line| line.contains("Added")), "{seen:?}");
    let from = scene.bob.core.group(&team()).unwrap().unwrap().from;
    assert_eq!(from, Seq(40), "the operation that brought him in again");
}

#[test]
fn under_another_identity_somebody_is_not_in_the_group() {
    let mut scene = Scene::new();
    let other = Person::new(&CLUSTER, "bob", 7);
    let carol = Person::new(&CLUSTER, "carol", 3);
    scene.chain = vec![scene.admin.create("team", &[&other, &carol], &scene.key)];
    scene.welcomed();
    scene.shows_all();
    assert_eq!(scene.standing(), Some(Standing::Joining));
    scene.bob.core.roster_fetched(&team(), crate::client::groups::Fetched::Whole).unwrap();
    assert_eq!(scene.standing(), None, "nobody confirms it");
}

/// Bob makes a group with Alice.
fn making() -> (Scene, Bytes) {
    let mut scene = Scene::new();
    let alice = scene.bob.core.as_member(&name("alice")).unwrap();
    let create = scene.bob.core.plan_group(&team(), &[alice], "").unwrap();
    (scene, create)
}

#[test]
fn who_is_brought_in_is_told_when_the_chain_has_it_and_not_before() {
    let (mut scene, create) = making();
    assert_eq!(scene.standing(), Some(Standing::Making));
    assert!(scene.bob.sends(&name("alice")).is_empty());
    scene.bob = scene.bob.restarted(|_| ());
    let unsettled = scene.bob.core.unsettled_groups().unwrap();
    assert_eq!(unsettled, [(team(), Some(create.clone()))], "to be handed in again");
    let took = scene.bob.core.take_operation(&team(), 1, Seq(1), &create).unwrap();
    assert_eq!((took, scene.standing()), (TookOperation::Applied, Some(Standing::Member)));
    assert!(scene.bob.core.unsettled_groups().unwrap().is_empty());
    // It survives a restart, and says the key.
    scene.bob = scene.bob.restarted(|_| ());
    let sent = scene.bob.sends(&name("alice"));
    assert_eq!(sent.len(), 1);
    let alice = Desk::new("alice", 1);
    let mut alice = alice;
    alice.knows(&scene.bob.bundle());
    alice.gets(&[sent[0].envelope.clone()]);
    let group = alice.core.group(&team()).unwrap().unwrap();
    assert_eq!(group.standing, Standing::Joining);
    let id = group.id;
    alice.core.take_operation(&team(), 1, Seq(1), &create).unwrap();
    let keys = [&alice, &scene.bob].map(|desk| desk.core.group_key(&id, KeyEpoch(1)).unwrap());
    assert!(keys[0].is_some() && keys[0] == keys[1]);
    // The same operation again, from the log: nobody is told twice.
    scene.bob.core.take_operation(&team(), 1, Seq(1), &create).unwrap();
    assert_eq!(scene.bob.sends(&name("alice")).len(), 1);
}

#[test]
fn a_making_that_is_refused_for_good_leaves_nothing() {
    let (mut scene, _) = making();
    let id = scene.bob.core.group(&team()).unwrap().unwrap().id;
    scene.bob.core.making_refused(&team(), crate::wire::Code::HomeDown).unwrap();
    assert_eq!(scene.standing(), Some(Standing::Making));
    scene.bob.core.making_refused(&team(), crate::wire::Code::NameTaken).unwrap();
    assert_eq!(scene.standing(), None);
    let db = scene.bob.core.profile.store.db();
    let left: i64 = db
        .query_row("SELECT count(*) FROM key_candidates WHERE grp = ?1", [id.0], |r| r.get(0))
        .unwrap();
    assert_eq!(left, 0);
}
