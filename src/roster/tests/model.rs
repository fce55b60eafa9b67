//! Random people do random things to a group, and a second account of the rules, kept in plain
//! sets and written from the rules rather than from the code, agrees on every one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use proptest::prelude::*;
use proptest::sample::Index;

use super::super::*;
use super::{CLUSTER, group_key, name};
use crate::crypto::invite::{InviteKey, InviteSecret};
use crate::crypto::operation::{KeyFor, verify_operation};
use crate::crypto::testpeople::Person;

/// People, each with another one under the same name, and a second bundle.
const PEOPLE: usize = 7;
const INVITES: u8 = 4;

/// Who acts.
#[derive(Clone, Copy, Debug)]
struct Actor {
    person: usize,
    /// Under another identity key.
    impostor: bool,
    /// With version 2 of the bundle, not 1.
    newer: bool,
}

/// How who acts is chosen: mostly somebody who might be allowed to, or hardly anything happens.
#[derive(Clone, Copy, Debug)]
struct Choice {
    among: Among,
    at: Index,
    /// Under the other identity key than the one they are a member by.
    impostor: bool,
    /// With the other bundle than the last one.
    other_bundle: bool,
}

#[derive(Clone, Copy, Debug)]
enum Among {
    Admins,
    Members,
    Everybody,
}

/// Whether what they hand in is sound.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Sound,
    /// It follows an operation that is not the newest.
    Stale,
    AnotherGroup,
    /// One byte is another one.
    Damaged,
}

/// For whom a new key is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Keys {
    Right,
    OneMissing,
    OneTooMany,
    WrongOrder,
    /// The invitations are there although they must not be, or the other way round.
    WrongInvites,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Add { whom: usize, impostor: bool },
    Remove { whom: usize, keys: Keys },
    Join { invite: u8 },
    Leave,
    Rekey { keys: Keys },
    Grant { whom: usize, admin: bool },
    Title(u8),
    Topic(u8),
    Invite { invite: u8, password: bool, uses: u32 },
    Withdraw(Option<u8>),
    Close,
    Create,
}

fn choices() -> impl Strategy<Value = Choice> {
    let among = prop_oneof![
        5 => Just(Among::Admins),
        2 => Just(Among::Members),
        3 => Just(Among::Everybody),
    ];
    let odds = prop::bool::weighted(0.05);
    (among, any::<Index>(), odds, odds).prop_map(|(among, at, impostor, other_bundle)| Choice {
        among,
        at,
        impostor,
        other_bundle,
    })
}

fn forms() -> impl Strategy<Value = Form> {
    prop_oneof![
        20 => Just(Form::Sound),
        1 => Just(Form::Stale),
        1 => Just(Form::AnotherGroup),
        1 => Just(Form::Damaged),
    ]
}

fn keys() -> impl Strategy<Value = Keys> {
    prop_oneof![
        8 => Just(Keys::Right),
        1 => Just(Keys::OneMissing),
        1 => Just(Keys::OneTooMany),
        1 => Just(Keys::WrongOrder),
        1 => Just(Keys::WrongInvites),
    ]
}

fn whats() -> impl Strategy<Value = What> {
    let invite = || 0..INVITES;
    prop_oneof![
        40 => (0..PEOPLE, prop::bool::weighted(0.1))
            .prop_map(|(whom, impostor)| What::Add { whom, impostor }),
        20 => (0..PEOPLE, keys()).prop_map(|(whom, keys)| What::Remove { whom, keys }),
        40 => invite().prop_map(|invite| What::Join { invite }),
        10 => Just(What::Leave),
        30 => keys().prop_map(|keys| What::Rekey { keys }),
        40 => (0..PEOPLE, prop::bool::weighted(0.7))
            .prop_map(|(whom, admin)| What::Grant { whom, admin }),
        5 => (0_u8..3).prop_map(What::Title),
        5 => (0_u8..3).prop_map(What::Topic),
        40 => (invite(), prop::bool::weighted(0.3), 0_u32..4)
            .prop_map(|(invite, password, uses)| What::Invite { invite, password, uses }),
        8 => prop::option::of(invite()).prop_map(What::Withdraw),
        1 => Just(What::Close),
        2 => Just(What::Create),
    ]
}

/// Everybody there is, made once.
fn person(actor: Actor) -> &'static Person {
    static ALL: OnceLock<Vec<Person>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let one = |number: usize| {
            let user = format!("user{number}");
            let keys = [number, number + 8];
            let people = keys.map(|keys| Person::new(&CLUSTER, &user, keys));
            people.into_iter().flat_map(|one| [one.with_version(2), one].into_iter().rev())
        };
        (0..PEOPLE).flat_map(one).collect()
    });
    &all[actor.person * 4 + usize::from(actor.impostor) * 2 + usize::from(actor.newer)]
}

fn identity(whom: usize, impostor: bool) -> KeyId {
    person(Actor { person: whom, impostor, newer: false }).identity()
}

/// The second account.
#[derive(Debug, Default)]
struct Model {
    /// Name and whether it is the impostor.
    members: BTreeSet<(usize, bool)>,
    admins: BTreeSet<usize>,
    seen_newer: BTreeSet<usize>,
    /// Invitation: password, uses left (0: no bound).
    invites: BTreeMap<u8, (bool, u32)>,
    epoch: u64,
    left_since: bool,
    closed: bool,
    texts: (u8, u8),
    operations: u64,
}

impl Model {
    fn has(&self, whom: usize) -> bool {
        self.members.contains(&(whom, false)) || self.members.contains(&(whom, true))
    }

    fn actor(&self, choice: Choice) -> Actor {
        let people: Vec<usize> = match choice.among {
            Among::Admins => self.admins.iter().copied().collect(),
            Among::Members => self.members.iter().map(|(whom, _)| *whom).collect(),
            Among::Everybody => (0..PEOPLE).collect(),
        };
        let person = people[choice.at.index(people.len())];
        Actor {
            person,
            impostor: self.members.contains(&(person, true)) != choice.impostor,
            newer: self.seen_newer.contains(&person) != choice.other_bundle,
        }
    }

    fn may(&self, actor: Actor, form: Form, what: What) -> bool {
        let who = actor.person;
        let admin = self.admins.contains(&who);
        let the_member = self.members.contains(&(who, actor.impostor))
            && (actor.newer || !self.seen_newer.contains(&who));
        let other_admin = |whom: usize| self.admins.iter().any(|one| *one != whom);
        let invites_now = self.invites.keys().copied().collect::<BTreeSet<u8>>();
        form == Form::Sound
            && !self.closed
            && match what {
                What::Join { invite } => !self.has(who) && invites_now.contains(&invite),
                What::Create => false,
                What::Leave => the_member && self.members.len() > 1 && other_admin(who),
                What::Rekey { keys } => the_member && self.left_since && keys == Keys::Right,
                _ if !(the_member && admin) => false,
                What::Add { whom, impostor: _ } => !self.has(whom),
                What::Remove { whom, keys } => whom != who && self.has(whom) && keys == Keys::Right,
                What::Grant { whom, admin: true } => self.has(whom) && !self.admins.contains(&whom),
                What::Grant { whom, admin: false } => {
                    self.admins.contains(&whom) && other_admin(whom)
                }
                What::Title(text) => text != self.texts.0,
                What::Topic(text) => text != self.texts.1,
                What::Invite { invite, .. } => !invites_now.contains(&invite),
                What::Withdraw(Some(invite)) => invites_now.contains(&invite),
                What::Withdraw(None) => !invites_now.is_empty(),
                What::Close => true,
            }
    }

    fn goes(&mut self, whom: usize) {
        self.members.retain(|(one, _)| *one != whom);
        self.admins.remove(&whom);
        self.seen_newer.remove(&whom);
    }

    fn happens(&mut self, actor: Actor, what: What) {
        self.operations += 1;
        match what {
            What::Add { whom, impostor } => {
                self.members.insert((whom, impostor));
            }
            What::Remove { whom, .. } => {
                self.goes(whom);
                self.invites.clear();
                self.epoch += 1;
                self.left_since = false;
            }
            What::Join { invite } => {
                self.members.insert((actor.person, actor.impostor));
                match self.invites[&invite] {
                    (_, 1) => drop(self.invites.remove(&invite)),
                    (_, 0) => {}
                    (password, left) => drop(self.invites.insert(invite, (password, left - 1))),
                }
            }
            What::Leave => {
                self.goes(actor.person);
                self.left_since = true;
            }
            What::Rekey { .. } => {
                self.epoch += 1;
                self.left_since = false;
            }
            What::Grant { whom, admin: true } => {
                self.admins.insert(whom);
            }
            What::Grant { whom, admin: false } => {
                self.admins.remove(&whom);
            }
            What::Title(text) => self.texts.0 = text,
            What::Topic(text) => self.texts.1 = text,
            What::Invite { invite, password, uses } => {
                self.invites.retain(|_, (old, _)| !(*old && password));
                self.invites.insert(invite, (password, uses));
            }
            What::Withdraw(Some(invite)) => drop(self.invites.remove(&invite)),
            What::Withdraw(None) => self.invites.clear(),
            What::Close => {
                self.closed = true;
                self.invites.clear();
            }
            What::Create => panic!("never allowed"),
        }
        if actor.newer && self.has(actor.person) {
            self.seen_newer.insert(actor.person);
        }
    }

    /// For whom a new key is, when `without` goes.
    fn new_key(&self, without: Option<usize>, keys: Keys, world: &World) -> NewKey {
        let mut users: Vec<usize> = self.members.iter().map(|(whom, _)| *whom).collect();
        users.retain(|whom| Some(*whom) != without);
        users.sort_unstable();
        let mut invites: Vec<u8> = match without {
            Some(_) => Vec::new(),
            None => self.invites.keys().copied().collect(),
        };
        match keys {
            Keys::Right => {}
            Keys::OneMissing => drop(users.pop()),
            Keys::OneTooMany => users.push(PEOPLE),
            Keys::WrongOrder if users.len() > 1 => users.reverse(),
            Keys::WrongOrder => users.push(PEOPLE),
            Keys::WrongInvites if invites.is_empty() => invites.push(0),
            Keys::WrongInvites => drop(invites.pop()),
        }
        let wrapped = |whom: usize| KeyFor {
            user: name(&format!("user{whom}")),
            wrapped_to: KeyId([1; 32]),
            wrapped_key: vec![1; 256].into(),
        };
        let mut invited: Vec<InvitedKey> = invites.iter().map(|one| world.invited(*one)).collect();
        invited.sort_by_key(|invited| invited.invite);
        let keys = users.into_iter().map(wrapped).collect();
        NewKey { key_commit: [u8::try_from(self.epoch % 256).unwrap(); 32], keys, invited }
    }
}

/// The group and what was handed in.
struct World {
    roster: Roster,
    invites: Vec<InviteKey>,
    /// From CREATE on.
    chain: Vec<VerifiedOperation>,
}

impl World {
    fn new() -> Self {
        let founder = person(Actor { person: 0, impostor: false, newer: false });
        let others = [1, 2, 3].map(|person| Actor { person, impostor: false, newer: false });
        let first = founder.create("team", &others.map(person), &group_key());
        let roster = Roster::create(&first).unwrap();
        let invite = |number| {
            let secret = InviteSecret::from_bytes(&[number; 16]).unwrap();
            secret.invite_key(&CLUSTER, &roster.id())
        };
        Self { invites: (0..INVITES).map(invite).collect(), roster, chain: vec![first] }
    }

    fn invited(&self, invite: u8) -> InvitedKey {
        let key = &self.invites[usize::from(invite)];
        key.wrap.wrap(key.public(), &group_key())
    }

    fn change(&self, actor: Actor, what: What, model: &Model) -> Change {
        let user = |whom: usize| name(&format!("user{whom}"));
        let key = |invite: u8| self.invites[usize::from(invite)].public();
        let text = |text: u8| "x".repeat(usize::from(text));
        match what {
            What::Add { whom, impostor } => {
                Change::Add(NewMember { user: user(whom), identity: identity(whom, impostor) })
            }
            What::Remove { whom, keys } => {
                let key = model.new_key(Some(whom), keys, self);
                Change::Remove { user: user(whom), key }
            }
            What::Join { invite } => {
                let identity = identity(actor.person, actor.impostor);
                Change::Join { identity, invite: key(invite) }
            }
            What::Leave => Change::Leave,
            What::Rekey { keys } => Change::Rekey(model.new_key(None, keys, self)),
            What::Grant { whom, admin } => Change::Grant { user: user(whom), admin },
            What::Title(title) => Change::Title(text(title)),
            What::Topic(topic) => Change::Topic(text(topic)),
            What::Invite { invite, password, uses } => {
                let key = self.invited(invite);
                Change::Invite(Invitation { key, password, uses })
            }
            What::Withdraw(invite) => Change::Withdraw(invite.map(key)),
            What::Close => Change::Close,
            What::Create => {
                let Change::Create { members: _, name, nonce, key_commit, title } =
                    self.chain[0].operation().change.clone()
                else {
                    panic!("the first is a CREATE");
                };
                let member = person(actor).member();
                Change::Create { members: vec![member], name, nonce, key_commit, title }
            }
        }
    }

    /// Hands in an operation, and says whether it applied.
    fn hand_in(&mut self, actor: Actor, form: Form, change: Change, at: Index) -> bool {
        let who = person(actor);
        let first = matches!(change, Change::Create { .. });
        let invite = match &change {
            Change::Join { invite, .. } => {
                self.invites.iter().find(|key| key.public() == *invite).cloned()
            }
            _ => None,
        };
        let group = match form {
            Form::AnotherGroup => GroupId([9; 32]),
            _ => self.roster.id(),
        };
        let prev = match form {
            Form::Stale if self.chain.len() > 1 => {
                self.chain[at.index(self.chain.len() - 1)].hash()
            }
            Form::Stale => OpHash([9; 32]),
            _ => self.roster.head(),
        };
        let operation = who.operation((!first).then_some((group, prev)), change);
        let signed = operation.sign(&CLUSTER, &who.bundle, &who.device_key, invite.as_ref());
        let signed = signed.unwrap().encoded;
        if form == Form::Damaged {
            let mut damaged = signed.to_vec();
            damaged[at.index(signed.len())] ^= 1;
            assert!(verify_operation(&damaged.into(), &CLUSTER).is_err());
            return false;
        }
        let operation = verify_operation(&signed, &CLUSTER).unwrap();
        let before = self.roster.clone();
        let applied = self.roster.apply(&operation).is_ok();
        if applied {
            self.chain.push(operation);
        } else {
            assert_eq!(self.roster, before, "what was refused changed something");
        }
        applied
    }

    fn agrees_with(&self, model: &Model) {
        let roster = &self.roster;
        let members: BTreeSet<(UserName, KeyId)> =
            roster.members().iter().map(|(user, one)| (user.clone(), one.identity)).collect();
        let expected = model
            .members
            .iter()
            .map(|(whom, impostor)| (name(&format!("user{whom}")), identity(*whom, *impostor)));
        assert_eq!(members, expected.collect());
        for whom in 0..PEOPLE {
            let user = name(&format!("user{whom}"));
            assert_eq!(roster.is_admin(&user), model.admins.contains(&whom));
            let last = model.admins.len() == 1 && model.admins.contains(&whom);
            assert_eq!(roster.is_last_admin(&user), last);
        }
        assert!(model.closed || !model.admins.is_empty(), "nobody can change the group");
        assert!(members.len() <= limits::GROUP_MEMBERS_MAX);
        let invites: BTreeMap<[u8; 32], (bool, u32)> = roster
            .invites()
            .iter()
            .map(|(key, one)| (*key, (one.password, one.uses_left.unwrap_or(0))))
            .collect();
        let expected = model.invites.iter();
        let expected =
            expected.map(|(one, left)| (self.invites[usize::from(*one)].public(), *left));
        assert_eq!(invites, expected.collect());
        assert!(invites.values().filter(|(password, _)| *password).count() <= 1);
        assert_eq!(roster.key_epoch(), KeyEpoch(model.epoch));
        assert_eq!((roster.key_due(), roster.is_closed()), (model.left_since, model.closed));
        let texts = (roster.title().len(), roster.topic().len());
        assert_eq!(texts, (model.texts.0.into(), model.texts.1.into()));
        assert_eq!(roster.number(), model.operations);
        assert_eq!(Some(roster.head()), self.chain.last().map(VerifiedOperation::hash));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn only_what_the_rules_allow_happens_and_the_chain_tells_all_of_it(
        steps in prop::collection::vec((choices(), forms(), whats(), any::<Index>()), 1..150),
    ) {
        let mut world = World::new();
        let mut model = Model { epoch: 1, operations: 1, ..Model::default() };
        model.members.extend([(0, false), (1, false), (2, false), (3, false)]);
        model.admins.insert(0);
        for (mut choice, form, what, at) in steps {
            if let What::Join { .. } = what {
                choice.among = Among::Everybody;
            }
            let actor = model.actor(choice);
            let may = model.may(actor, form, what);
            let change = world.change(actor, what, &model);
            prop_assert_eq!(world.hand_in(actor, form, change, at), may, "{:?} {:?}", actor, what);
            if may {
                model.happens(actor, what);
            }
            world.agrees_with(&model);
        }
        // Whoever reads the chain later comes to the same group.
        let (first, rest) = world.chain.split_first().unwrap();
        let mut again = Roster::create(first).unwrap();
        for operation in rest {
            let operation = verify_operation(operation.encoded(), &CLUSTER).unwrap();
            prop_assert_eq!(again.apply(&operation), Ok(()));
        }
        prop_assert_eq!(again, world.roster);
    }
}
