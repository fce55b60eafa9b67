//! Texts that go away by themselves: when their time begins, and that nothing is left of them.

use super::conversations::{talk, two};
use super::*;
use crate::client::api::{ChatChange, Draft};
use crate::client::core::SharedCore;
use crate::limits::{EXPIRE_MAX, EXPIRE_MIN};

const LIFE: Duration = Duration::from_secs(60);

fn fleeting(text: &str) -> Draft {
    Draft { expire: Some(LIFE), ..Draft::text(text) }
}

fn texts_left(desk: &Desk) -> i64 {
    let db = desk.core.profile.store.db();
    db.query_row("SELECT count(*) FROM lines WHERE length(sealed_text) > 0", [], |row| row.get(0))
        .unwrap()
}

#[test]
fn both_sides_forget_a_text_when_its_time_has_run_from_sending_and_from_showing() {
    let (mut alice, mut bob) = two();
    let hers = alice.core.queue_draft(&bob.chat(), &fleeting("read and burn")).unwrap();
    assert_eq!(alice.message(hers).expires_unix_ms, None, "it waits, and its time with it");
    talk(&mut alice, &mut bob);
    let due = alice.message(hers).expires_unix_ms.unwrap();
    assert_eq!(due, alice.env.unix_ms() + 60_000);
    bob.later(90_000);
    assert_eq!(bob.core.forget_due().unwrap(), None, "nobody has read it yet");
    assert_eq!(bob.sees(), ["alice: read and burn"]);
    let his = bob.newest(&alice.name).id;

    alice.later(59_999);
    assert_eq!(alice.core.forget_due().unwrap(), Some(Duration::from_millis(1)));
    alice.core.react(hers, Some("x")).unwrap();
    alice.later(1);
    alice.told();
    assert_eq!(alice.core.forget_due().unwrap(), None);
    assert_eq!(alice.told(), [Event::Expired { ids: vec![hers] }]);
    assert!(alice.core.line(hers).unwrap().is_none());
    assert!(alice.core.history(&bob.chat(), 9).unwrap().is_empty());
    assert_eq!(texts_left(&alice), 0);
    assert_eq!(talk(&mut alice, &mut bob), 0, "nothing is left to be said about it");

    bob.later(60_000);
    bob.told();
    bob.core.forget_due().unwrap();
    assert_eq!(bob.told(), [Event::Expired { ids: vec![his] }]);
    assert_eq!(texts_left(&bob), 0);
    assert!(bob.core.chats().unwrap().is_empty());
    // Its number is still known.
    alice.writes(&bob.name, "next");
    talk(&mut alice, &mut bob);
    assert_eq!(bob.sees(), ["alice: next"]);
}

#[test]
fn what_came_due_while_nothing_ran_is_forgotten_at_the_start() {
    let (mut alice, mut bob) = two();
    alice.core.queue_draft(&bob.chat(), &fleeting("soon gone")).unwrap();
    talk(&mut alice, &mut bob);
    let alice = alice.restarted(|_| ());
    alice.later(DAY_MS);
    let mut alice = alice.restarted(|_| ());
    alice.core.forget_due().unwrap();
    assert_eq!(texts_left(&alice), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_forgets_in_time_by_itself() {
    let (mut alice, mut bob) = two();
    let id = alice.core.queue_draft(&bob.chat(), &fleeting("soon gone")).unwrap();
    let Desk { core, mut events, clock, env, name: _, dir: _dir } = alice;
    let core = SharedCore::new(core);
    core.keep_forgetting(&env);
    tokio::task::yield_now().await;
    // Its time begins while the timer sleeps.
    let sealed = {
        let mut core = core.lock();
        core.seal_waiting(&bob.chat(), 64).unwrap();
        core.unanswered(&bob.chat(), N(1), 9).unwrap()
    };
    core.lock().log_appended(&bob.chat(), N(1), &hash(&sealed[0].envelope)).unwrap();
    bob.gets(&[sealed[0].envelope.clone()]);
    while events.try_recv().is_ok() {}
    tokio::task::yield_now().await;
    clock.0.fetch_add(60_000, Ordering::Relaxed);
    let event = tokio::time::timeout(Duration::from_secs(61), events.recv()).await.unwrap();
    assert_eq!(event, Some(Event::Expired { ids: vec![id] }));
    drop(core);
    assert_eq!(events.recv().await, None, "the timer does not keep the profile");
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_forgotten_is_forgotten_when_the_disk_takes_it() {
    let (mut alice, mut bob) = two();
    let id = alice.core.queue_draft(&bob.chat(), &fleeting("soon gone")).unwrap();
    talk(&mut alice, &mut bob);
    alice.later(DAY_MS);
    alice.told();
    let full = "CREATE TEMP TRIGGER full BEFORE UPDATE ON main.lines
                BEGIN SELECT raise(ABORT, 'full'); END";
    alice.core.profile.store.db().execute_batch(full).unwrap();
    let Desk { core, mut events, env, dir: _dir, .. } = alice;
    let core = SharedCore::new(core);
    core.keep_forgetting(&env);
    for _ in 0..9 {
        tokio::task::yield_now().await;
    }
    assert!(events.try_recv().is_err());
    core.lock().profile.store.db().execute_batch("DROP TRIGGER temp.full").unwrap();
    let event = tokio::time::timeout(Duration::from_secs(61), events.recv()).await.unwrap();
    assert_eq!(event, Some(Event::Expired { ids: vec![id] }));
}

#[test]
fn a_chats_life_is_that_of_its_texts_and_lies_within_bounds() {
    let (mut alice, mut bob) = two();
    alice.core.change_chat(&bob.chat(), &ChatChange::Expire(Some(Duration::ZERO))).unwrap();
    let settings = alice.core.chat_settings(&bob.chat()).unwrap();
    assert_eq!(settings.expire, Some(EXPIRE_MIN));
    let id = alice.writes(&bob.name, "a second");
    let longest = Draft { expire: Some(Duration::MAX), ..Draft::text("a year") };
    let long = alice.core.queue_draft(&bob.chat(), &longest).unwrap();
    talk(&mut alice, &mut bob);
    assert_eq!(bob.sees(), ["alice: a second", "alice: a year"]);
    let left = |id| alice.message(id).expires_unix_ms.unwrap() - alice.env.unix_ms();
    assert_eq!(u128::from(left(id)), EXPIRE_MIN.as_millis());
    assert_eq!(u128::from(left(long)), EXPIRE_MAX.as_millis());
}

#[test]
fn a_deleted_text_does_not_expire_a_second_time() {
    let (mut alice, mut bob) = two();
    let id = alice.core.queue_draft(&bob.chat(), &fleeting("x")).unwrap();
    talk(&mut alice, &mut bob);
    alice.core.delete(id).unwrap();
    alice.told();
    alice.later(DAY_MS);
    assert_eq!(alice.core.forget_due().unwrap(), None);
    assert!(alice.told().is_empty() && alice.message(id).deleted);
}
