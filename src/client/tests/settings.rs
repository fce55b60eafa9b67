//! What the owner sets, and finding things again.

use super::conversations::{said, talk, two};
use super::*;
use crate::client::api::{
    AccountChange, AccountSettings, ChatChange, ChatSettings, Notify, RequestError, Trust,
};
use crate::client::search::{Search, Searched};
use crate::limits::{ALIAS_BYTES_MAX, TEXT_BYTES_MAX};

fn found(desk: &Desk, text: &str, chat: Option<&ChatName>, max: usize) -> Vec<String> {
    let mut search = Search::default();
    while desk.core.search_on(text, chat, max, &mut search).unwrap() == Searched::More {}
    desk.core.found(&search).unwrap().iter().map(words).collect()
}

#[test]
fn what_is_set_is_kept_and_what_is_not_follows_the_account() {
    let mut alice = Desk::new("alice", 0);
    let bob = ChatName::Person(name("bob"));
    assert_eq!(alice.core.chat_settings(&bob).unwrap(), ChatSettings::default());
    assert_eq!(alice.core.account_settings().unwrap(), AccountSettings::default());
    for change in [
        ChatChange::Alias(Some("Robert".to_owned())),
        ChatChange::Notify(Some(Notify::Mentions)),
        ChatChange::MutedUntil(Some(u64::MAX)),
        ChatChange::Receipts(Some(false)),
        ChatChange::Typing(Some(true)),
        ChatChange::Expire(Some(Duration::from_secs(60))),
        ChatChange::Draft(Some("half a".to_owned())),
        ChatChange::Closed(true),
    ] {
        alice.core.change_chat(&bob, &change).unwrap();
    }
    for change in [
        AccountChange::Receipts(false),
        AccountChange::Typing(false),
        AccountChange::Invisible(true),
        AccountChange::Notify(Notify::None),
    ] {
        alice.core.change_account(change).unwrap();
    }
    let mut alice = alice.restarted(|_| ());
    let settings = ChatSettings {
        alias: Some("Robert".to_owned()),
        notify: Some(Notify::Mentions),
        muted_until_unix_ms: Some(u64::MAX),
        receipts: Some(false),
        typing: Some(true),
        expire: Some(Duration::from_secs(60)),
        draft: Some("half a".to_owned()),
        closed: true,
    };
    assert_eq!(alice.core.chat_settings(&bob).unwrap(), settings);
    let account = alice.core.account_settings().unwrap();
    let set =
        AccountSettings { receipts: false, typing: false, invisible: true, notify: Notify::None };
    assert_eq!(account, set);
    assert!(!alice.core.receipts_on(&name("carol").into()).unwrap());
    assert!(alice.core.typing_on(&bob).unwrap());
    alice.core.change_chat(&bob, &ChatChange::Draft(None)).unwrap();
    alice.core.change_chat(&bob, &ChatChange::Typing(None)).unwrap();
    assert_eq!(alice.core.chat_settings(&bob).unwrap().draft, None);
    assert!(!alice.core.typing_on(&bob).unwrap());
}

#[test]
fn an_alias_names_one_person_and_has_a_bound_as_has_a_draft() {
    let mut alice = Desk::new("alice", 0);
    let [bob, carol] = ["bob", "carol"].map(|user| ChatName::Person(name(user)));
    let alias = |text: &str| ChatChange::Alias(Some(text.to_owned()));
    alice.core.change_chat(&bob, &alias("Bär")).unwrap();
    assert_eq!(alice.core.by_alias(" bÄR ").unwrap(), Some(bob.clone()));
    alice.core.change_chat(&carol, &alias("bär")).unwrap();
    assert_eq!(alice.core.by_alias("Bär").unwrap(), Some(carol.clone()));
    assert_eq!(alice.core.chat_settings(&bob).unwrap().alias, None);
    assert_eq!(alice.core.by_alias("nobody").unwrap(), None);
    alice.core.change_chat(&bob, &alias(&"x".repeat(ALIAS_BYTES_MAX))).unwrap();
    let too_long = alice.core.change_chat(&bob, &alias(&"x".repeat(ALIAS_BYTES_MAX + 1)));
    let (got, max) = (ALIAS_BYTES_MAX + 1, ALIAS_BYTES_MAX);
    assert_eq!(too_long, Err(RequestError::TooLong { got, max }));
    let draft = |bytes| ChatChange::Draft(Some("x".repeat(bytes)));
    alice.core.change_chat(&bob, &draft(TEXT_BYTES_MAX)).unwrap();
    assert!(alice.core.change_chat(&bob, &draft(TEXT_BYTES_MAX + 1)).is_err());
}

#[test]
fn contacts_are_those_who_were_accepted_or_blocked() {
    let (mut alice, bob) = (Desk::new("alice", 0), Peer::new("bob", 1));
    alice.core.learn(&bob.name, &bob.bundle(), Contact::Request).unwrap();
    assert!(alice.core.contacts().unwrap().is_empty());
    alice.core.set_contact(&bob.name, Contact::Accepted).unwrap();
    alice.core.set_contact(&name("carol"), Contact::Accepted).unwrap();
    alice.core.set_contact(&name("dave"), Contact::Blocked).unwrap();
    alice.core.change_chat(&bob.chat(), &ChatChange::Alias(Some("B".to_owned()))).unwrap();
    let contacts = alice.core.contacts().unwrap();
    let seen: Vec<_> = contacts.iter().map(|c| (c.user.as_str(), c.trust, c.contact)).collect();
    assert_eq!(
        seen,
        [
            ("bob", Trust::Pinned, Contact::Accepted),
            ("carol", Trust::Unknown, Contact::Accepted),
            ("dave", Trust::Unknown, Contact::Blocked),
        ]
    );
    assert_eq!(contacts[0].alias.as_deref(), Some("B"));
    alice.core.remove_contact(&bob.name).unwrap();
    assert_eq!(alice.core.contacts().unwrap().len(), 2);
    assert_eq!(alice.core.by_alias("B").unwrap(), None);
    let to = alice.bundle();
    alice.gets(&[bob.writes(&to, 1, "who are you?")]);
    assert!(alice.told().contains(&Event::Request { from: bob.name.clone() }));
}

#[test]
fn a_closed_chat_is_out_of_the_list_until_something_is_written_in_it() {
    let (mut alice, mut bob) = two();
    said(&mut alice, &mut bob, "hi");
    let close = |desk: &mut Desk, chat: &UserName| {
        desk.core.change_chat(&chat.clone().into(), &ChatChange::Closed(true)).unwrap();
        desk.core.chats().unwrap().len()
    };
    assert_eq!((close(&mut alice, &bob.name), close(&mut bob, &alice.name)), (0, 0));
    alice.writes(&bob.name, "one more thing");
    talk(&mut alice, &mut bob);
    assert_eq!(alice.core.chats().unwrap().len(), 1);
    assert_eq!(bob.core.chats().unwrap().len(), 1);
    assert!(!bob.core.chat_settings(&alice.chat()).unwrap().closed);
    assert_eq!(close(&mut bob, &alice.name), 1, "what is unread is listed");
}

#[test]
fn texts_are_found_again_by_word_and_by_day() {
    let (mut alice, bob) = (Desk::new("alice", 0), Peer::new("bob", 1));
    let carol = Peer::new("carol", 2);
    alice.knows(&bob.bundle());
    alice.knows(&carol.bundle());
    let to = alice.bundle();
    alice.gets(&[bob.writes(&to, 1, "Äpfel und Birnen"), carol.writes(&to, 1, "äpfel")]);
    alice.later(DAY_MS);
    let day = alice.env.unix_ms();
    let mine = alice.writes(&bob.name, "keine ÄPFEL");
    assert_eq!(found(&alice, "äpfel", None, 9).len(), 3);
    let with_bob = found(&alice, "äpfel", Some(&bob.chat()), 9);
    assert_eq!(with_bob, ["bob: Äpfel und Birnen", "bob: keine ÄPFEL"]);
    assert_eq!(found(&alice, "äpfel", None, 1), ["bob: keine ÄPFEL"], "the newest");
    assert!(found(&alice, "kirschen", None, 9).is_empty());
    let since = |from, max| alice.core.since(&bob.chat(), from, max).unwrap().len();
    assert_eq!((since(0, 9), since(day, 9), since(day + 1, 9), since(0, 1)), (2, 1, 0, 1));
    alice.core.delete(mine).unwrap();
    assert_eq!(found(&alice, "äpfel", None, 9).len(), 2);
}

#[test]
fn a_search_goes_on_through_more_than_one_page() {
    let (mut alice, bob) = (Desk::new("alice", 0), Peer::new("bob", 1));
    alice.knows(&bob.bundle());
    alice.writes(&bob.name, "the needle");
    let sealed = alice.core.profile.key.seal(b"hay");
    alice
        .core
        .profile
        .store
        .commit(|tx| {
            for _ in 0..1_200 {
                tx.execute(
                    "INSERT INTO lines (chat, kind, sealed_text, at_unix_ms, sent_at_unix_ms,
                     state, shown) VALUES ('bob', 1, ?1, 1, 1, -1, 2)",
                    [&sealed],
                )?;
            }
            Ok::<_, rusqlite::Error>(())
        })
        .unwrap();
    assert_eq!(found(&alice, "needle", None, 9), ["bob: the needle"]);
    assert_eq!(found(&alice, "hay", None, 700).len(), 700);
}

#[test]
fn a_key_that_is_to_be_rotated_is_rotated_at_the_next_contact_and_once() {
    let mut alice = Desk::new("alice", 0);
    let before = alice.core.own_keys().unwrap();
    assert_eq!((before.bundle_version, before.devices), (1, 1));
    assert!(alice.core.bundle_to_offer().unwrap().is_none());
    alice.core.want_new_key().unwrap();
    let mut alice = alice.restarted(|_| ());
    alice.later(5);
    assert!(alice.core.bundle_to_offer().unwrap().is_some());
    alice.core.adopt_next_bundle().unwrap();
    let after = alice.core.own_keys().unwrap();
    assert_eq!(after.bundle_version, 2);
    assert_eq!(after.identity, before.identity);
    assert_ne!(after.encryption_key, before.encryption_key);
    assert_eq!(after.encryption_made_unix_ms, before.encryption_made_unix_ms + 5);
    assert!(alice.core.bundle_to_offer().unwrap().is_none());
}
