//! Accounts and sessions: names, takeover, resume, bundles, who.

use super::*;

async fn who(bed: &mut Bed, from: &Caller, all: bool) -> Vec<(String, bool)> {
    let Body::WhoList(list) = bed.ask(from, HomeRequest::Who { all }).await else {
        panic!("no list")
    };
    list.users.into_iter().map(|presence| (presence.user, presence.online)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_name_is_given_once_and_the_same_sign_up_again_is_a_login() {
    let mut bed = Bed::new();
    let alice = Person::new("alice");
    let first = bed.sign_up(&alice, 1).await;
    let sign_up = |person: &Person| HomeRequest::SignUp {
        user: person.name.clone(),
        verifier: "another hash".to_owned(),
        bundle: person.signed_again(1),
        device: person.device,
        visibility: Visibility::Visible,
    };
    let Body::Welcome(welcome) = bed.ask(&stranger(1), sign_up(&alice)).await else {
        panic!("no welcome")
    };
    assert_eq!(welcome.session_epoch, first.session_epoch.0 + 1);
    let thief = Person { key: DeviceKey::from_seed(&[66; 32]), ..alice.clone() };
    assert_eq!(code(bed.ask(&stranger(2), sign_up(&thief)).await), Code::NameTaken);
    // The first hash stays.
    let stored = bed.home.verifier(&alice.name).await.unwrap().unwrap();
    assert_eq!(stored.hash, "hash of alice");
    assert_eq!(stored.bundle, alice.bundle(1));
    assert_eq!(bed.home.verifier(&name("bob")).await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn a_sign_up_needs_a_sound_first_bundle_with_its_device_active() {
    let mut bed = Bed::new();
    let alice = Person::new("alice");
    let sign_up = |bundle: Bytes, device| HomeRequest::SignUp {
        user: name("alice"),
        verifier: "hash".to_owned(),
        bundle,
        device,
        visibility: Visibility::Visible,
    };
    for (bundle, device) in [
        (alice.bundle(2), alice.device),
        (alice.bundle(1), DeviceId(5)),
        (Person::new("bob").bundle(1), Person::new("bob").device),
        (Bytes::from_static(b"junk"), alice.device),
    ] {
        let answer = bed.ask(&stranger(1), sign_up(bundle, device)).await;
        assert_eq!(code(answer), Code::BadBundle);
    }
    assert_eq!(bed.home.verifier(&alice.name).await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn another_device_is_told_of_the_live_one_and_may_take_over() {
    let mut bed = Bed::new();
    let alice = Person::new("alice");
    let old = bed.sign_up(&alice, 1).await;
    let began_ms = bed.world.unix_ms();
    bed.open(&old, "alice", 1).await;
    bed.world.now_ms.fetch_add(5_000, Ordering::Relaxed);
    assert!(!who(&mut bed, &old, false).await.is_empty());
    let laptop = alice.next_device();
    let Body::Error(error) = bed.ask(&stranger(2), laptop.login(Takeover::Ask)).await else {
        panic!("no error")
    };
    assert_eq!(error.code, Code::AlreadyLoggedIn as u32);
    assert_eq!((error.since_unix_ms, error.last_seen_unix_ms), (began_ms, began_ms + 5_000));
    bed.send(&stranger(2), 9, laptop.login(Takeover::Replace)).await;
    let seen = bed.settle().await;
    let told: Vec<SessionId> = seen.iter().map(|(to, _)| to.sid).collect();
    assert_eq!(told, [SessionId(1), SessionId(2)]);
    assert_eq!(code(seen[0].1.clone()), Code::SessionReplaced);
    let Body::Welcome(welcome) = seen[1].1.clone() else { panic!("no welcome") };
    assert!(!welcome.device_known);
    // What the old connection still sends is refused, and its Open is gone.
    assert_eq!(code(bed.ask(&old, HomeRequest::Logout).await), Code::SessionReplaced);
    let new = laptop.at(2, welcome.session_epoch);
    assert_eq!(who(&mut bed, &new, false).await, [("alice".to_owned(), true)]);
}

#[tokio::test(start_paused = true)]
async fn the_same_device_takes_over_without_asking() {
    let mut bed = Bed::new();
    let alice = Person::new("alice");
    let old = bed.sign_up(&alice, 1).await;
    bed.send(&stranger(2), 9, alice.login(Takeover::Ask)).await;
    let seen = bed.settle().await;
    assert_eq!((seen[0].0.sid, code(seen[0].1.clone())), (old.sid, Code::SessionReplaced));
    assert!(matches!(&seen[1].1, Body::Welcome(welcome) if welcome.session_epoch == 2));
    // Again over the same connection: nobody is told to close it.
    bed.send(&stranger(2), 9, alice.login(Takeover::Ask)).await;
    assert_eq!(bed.settle().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_replaced_connection_hears_nothing_more() {
    let mut bed = Bed::new();
    let (alice, bob, to_alice) = bed.alice_and_bob().await;
    bed.open(&alice, "alice", 1).await;
    bed.send(&stranger(5), 9, Person::new("alice").login(Takeover::Ask)).await;
    bed.settle().await;
    appended(bed.append(&bob, &to_alice, message("alice", &bob, 1)).await);
    assert_eq!(bed.settle().await, []);
}

#[tokio::test(start_paused = true)]
async fn a_resume_counts_once_for_this_edge_and_an_active_device() {
    let mut bed = Bed::new();
    let alice = Person::new("alice");
    bed.sign_up(&alice, 1).await;
    let Body::Welcome(welcome) = bed.ask(&stranger(1), alice.resume(7, "e1")).await else {
        panic!("no welcome")
    };
    assert_eq!((welcome.session_epoch, welcome.device_known), (2, true));
    assert_eq!(welcome.bundle, alice.bundle(1));
    bed.kill().await;
    let thief = Person { key: DeviceKey::from_seed(&[66; 32]), ..alice.clone() };
    let unknown = alice.next_device();
    for refused in [
        alice.resume(7, "e1"),
        alice.resume(6, "e1"),
        alice.resume(8, "e2"),
        thief.resume(8, "e1"),
        unknown.resume(8, "e1"),
    ] {
        assert_eq!(code(bed.ask(&stranger(3), refused).await), Code::ResumeRefused);
    }
    let nobody = Person::new("carol");
    assert_eq!(code(bed.ask(&stranger(3), nobody.resume(1, "e1")).await), Code::NoSuchUser);
    assert!(matches!(bed.ask(&stranger(3), alice.resume(8, "e1")).await, Body::Welcome(_)));
}

#[tokio::test(start_paused = true)]
async fn a_device_that_was_retired_cannot_resume_and_the_new_one_replaces_it() {
    let mut bed = Bed::new();
    let phone = Person::new("alice");
    bed.sign_up(&phone, 1).await;
    let laptop = phone.next_device();
    bed.send(&stranger(2), 9, laptop.login(Takeover::Replace)).await;
    bed.settle().await;
    let at_laptop = laptop.at(2, 2);
    let put = HomeRequest::PutBundle { bundle: laptop.bundle(2) };
    assert!(matches!(bed.ask(&at_laptop, put.clone()).await, Body::Done(_)));
    // The answer was lost: the same again is fine.
    assert!(matches!(bed.ask(&at_laptop, put).await, Body::Done(_)));
    assert_eq!(code(bed.ask(&stranger(3), phone.resume(1, "e1")).await), Code::ResumeRefused);
    // A live session of a device that is active no more is replaced by a Resume.
    bed.send(&stranger(4), 9, phone.login(Takeover::Replace)).await;
    bed.send(&stranger(5), 9, laptop.resume(1, "e1")).await;
    let seen = bed.settle().await;
    assert!(seen.iter().any(|(to, body)| to.sid == SessionId(4)
        && matches!(body, Body::Error(e) if e.code == Code::SessionReplaced as u32)));
    assert!(matches!(&seen.last().unwrap().1, Body::Welcome(welcome) if welcome.device_known));
}

#[tokio::test(start_paused = true)]
async fn a_bundle_is_the_next_version_and_there_are_so_many_a_day() {
    let limits = Limits { bundles_per_day: 3, ..Limits::default() };
    let mut bed = Bed::with(limits, TestOptions::default());
    let alice = Person::new("alice");
    let caller = bed.sign_up(&alice, 1).await;
    let put = |version| HomeRequest::PutBundle { bundle: alice.bundle(version) };
    for wrong in [3, 5] {
        assert_eq!(code(bed.ask(&caller, put(wrong)).await), Code::BadBundle);
    }
    for version in [2, 3] {
        assert!(matches!(bed.ask(&caller, put(version)).await, Body::Done(_)));
    }
    assert_eq!(code(bed.ask(&caller, put(1)).await), Code::BadBundle);
    bed.world.now_ms.fetch_add(3_600_000, Ordering::Relaxed);
    let Body::Error(error) = bed.ask(&caller, put(4)).await else { panic!("no error") };
    assert_eq!((error.code, error.retry_after_ms), (Code::SlowDown as u32, 23 * 3_600_000));
    bed.world.now_ms.fetch_add(23 * 3_600_000, Ordering::Relaxed);
    assert!(matches!(bed.ask(&caller, put(4)).await, Body::Done(_)));
    let Body::Account(account) =
        bed.ask(&caller, HomeRequest::LookUp { user: name("alice") }).await
    else {
        panic!("no account")
    };
    assert_eq!(account.bundle, alice.bundle(4));
}

#[tokio::test(start_paused = true)]
async fn a_session_outlives_a_break_of_the_home_but_not_a_later_login_or_a_logout() {
    let mut bed = Bed::new();
    let alice = Person::new("alice");
    let caller = bed.sign_up(&alice, 1).await;
    bed.kill().await;
    assert!(who(&mut bed, &caller, false).await.contains(&("alice".to_owned(), true)));
    bed.kill().await;
    // The same epoch at another connection is not that session.
    let other = Caller { sid: SessionId(2), ..caller.clone() };
    assert_eq!(code(bed.ask(&other, HomeRequest::Logout).await), Code::SessionReplaced);
    bed.send(&stranger(3), 9, alice.login(Takeover::Ask)).await;
    bed.settle().await;
    bed.kill().await;
    assert_eq!(code(bed.ask(&caller, HomeRequest::Logout).await), Code::SessionReplaced);
    let caller = alice.at(3, 2);
    assert!(matches!(bed.ask(&caller, HomeRequest::Logout).await, Body::Done(_)));
    assert_eq!(code(bed.ask(&caller, HomeRequest::Logout).await), Code::SessionReplaced);
    // The epoch of the session that ended is never given again.
    let Body::Welcome(welcome) = bed.ask(&stranger(4), alice.login(Takeover::Ask)).await else {
        panic!("no welcome")
    };
    assert_eq!(welcome.session_epoch, 3);
}

#[tokio::test(start_paused = true)]
async fn attaching_again_ends_the_earlier_link_its_sessions_and_its_waiting_calls() {
    let mut bed = Bed::new();
    let alice = Person::new("alice");
    let caller = bed.sign_up(&alice, 1).await;
    let mut other = bed.home.attach(edge("e2"));
    let bob = Person::new("bob").at(8, 1);
    // Queued before, applied after: stale.
    bed.send(&stranger(4), 9, alice.next_device().login(Takeover::Replace)).await;
    let mut earlier = std::mem::replace(&mut bed.outputs, bed.home.attach(edge("e1")));
    assert_eq!(bed.settle().await, []);
    assert!(earlier.recv().await.is_none());
    let call = Call { from: bob, rid: 5, request: HomeRequest::Who { all: false } };
    bed.home.call(&edge("e2"), call).await.unwrap();
    // Nobody of the earlier link is online, until the connection shows that it goes on.
    let output = other.recv().await.unwrap();
    assert!(matches!(output.frame.body, Some(Body::Error(_) | Body::WhoList(_))));
    assert!(who(&mut bed, &caller, false).await.contains(&("alice".to_owned(), true)));
}

#[tokio::test(start_paused = true)]
async fn who_lists_everybody_or_those_who_are_there() {
    let mut bed = Bed::new();
    let alice = bed.sign_up(&Person::new("alice"), 1).await;
    let bob = bed.sign_up(&Person::new("bob"), 2).await;
    bed.send(&bob, 0, HomeRequest::Detach).await;
    let yes = ("alice".to_owned(), true);
    assert_eq!(who(&mut bed, &alice, false).await, std::slice::from_ref(&yes));
    assert_eq!(who(&mut bed, &alice, true).await, [yes, ("bob".to_owned(), false)]);
    assert_eq!(code(bed.ask(&stranger(3), HomeRequest::Who { all: true }).await), Code::BadState);
    assert_eq!(bed.home.stats().sessions, 1);
}
