//! One's own bundle: rotation, an old copy of the database, a home that forgot.

use super::*;
use crate::client::answers::Answered;
use crate::client::core::NewBundle;
use crate::crypto::envelope::parse_header;

fn keys_held(desk: &Desk) -> i64 {
    let db = desk.core.profile.store.db();
    db.query_row("SELECT count(*) FROM encryption_keys", [], |row| row.get(0)).unwrap()
}

fn offered(desk: &mut Desk) -> Option<VerifiedBundle> {
    let bundle = desk.core.bundle_to_offer().unwrap()?;
    Some(verify_bundle(&bundle, &CLUSTER, &desk.name).unwrap())
}

/// The home takes what is offered, and says so.
fn taken(desk: &mut Desk) -> VerifiedBundle {
    let bundle = offered(desk).unwrap();
    desk.core.adopt_next_bundle().unwrap();
    bundle
}

#[test]
fn an_encryption_key_is_replaced_after_30_days_and_destroyed_30_days_later() {
    let mut alice = Desk::new("alice", 0);
    let (bob, old) = (Peer::new("bob", 1), alice.bundle());
    alice.knows(&bob.bundle());
    alice.later(30 * DAY_MS);
    assert!(offered(&mut alice).is_none());
    alice.later(1);
    let new = offered(&mut alice).unwrap();
    assert_eq!((new.version, new.identity()), (2, old.identity()));
    assert_ne!(new.encryption_key_id(), old.encryption_key_id());
    assert_eq!(offered(&mut alice), Some(new.clone()), "the same until the home has it");

    // As long as the home does not have it, the old key is the current one.
    alice.later(40 * DAY_MS);
    alice.core.destroy_old_keys().unwrap();
    alice.gets(&[bob.writes(&old, 1, "one")]);
    alice.core.adopt_next_bundle().unwrap();
    assert_eq!(alice.bundle(), new);
    alice.later(29 * DAY_MS);
    alice.core.destroy_old_keys().unwrap();
    let late = Peer { device_key: bob.device_key.clone(), ..Peer::new("bob", 1) };
    alice.gets(&[late.writes(&old, 2, "two")]);
    assert_eq!(alice.sees(), ["bob: one", "bob: two"]);

    alice.later(2 * DAY_MS);
    // What waits for its author's bundle is not read yet; what waits for a key is.
    let carol = Peer::new("carol", 2);
    alice.stores(EPOCH, &[carol.writes(&old, 1, "from carol")]);
    alice.core.destroy_old_keys().unwrap();
    assert_eq!(keys_held(&alice), 2);
    alice.knows(&carol.bundle());
    alice.opens();
    let text = Body::Text("never".to_owned());
    let keyless = Peer { device_key: bob.device_key.clone(), ..Peer::new("bob", 1) };
    alice.gets(&[keyless.seals_with(&old, 3, &text, |letter| letter.wrapped = None)]);
    assert_eq!(alice.sees(), ["carol: from carol", "bob! NoKey"]);
    alice.core.destroy_old_keys().unwrap();
    assert_eq!(keys_held(&alice), 1);
}

#[test]
fn an_answer_that_was_lost_is_made_up_for_by_the_next_welcome() {
    let mut alice = Desk::new("alice", 0);
    alice.later(31 * DAY_MS);
    let planned = offered(&mut alice).unwrap();
    alice.core.welcomed(planned.encoded()).unwrap();
    assert_eq!(alice.bundle(), planned);
    assert!(offered(&mut alice).is_none());
    assert_eq!(keys_held(&alice), 2);
}

#[test]
fn a_home_that_forgot_versions_is_brought_up_to_what_peers_have_seen() {
    let mut alice = Desk::new("alice", 0);
    let first = alice.bundle();
    for _ in 0..3 {
        alice.core.plan_bundle(NewBundle::NewEncryptionKey).unwrap();
        alice.core.adopt_next_bundle().unwrap();
    }
    let last = alice.bundle();
    assert_eq!(last.version, 4);
    alice.core.welcomed(first.encoded()).unwrap();
    assert_eq!(alice.bundle(), last, "no way back");
    let step = offered(&mut alice).unwrap();
    assert_eq!((step.version, &step.enc_spki), (2, &last.enc_spki));
    alice.core.welcomed(step.encoded()).unwrap();
    let step = offered(&mut alice).unwrap();
    alice.core.welcomed(step.encoded()).unwrap();
    assert_eq!(offered(&mut alice), Some(last.clone()), "what peers hold, byte for byte");
    alice.core.welcomed(last.encoded()).unwrap();
    assert!(offered(&mut alice).is_none());
}

#[test]
fn a_new_device_after_a_restore_is_newer_than_all_that_peers_have_seen() {
    let mut alice = Desk::new("alice", 0);
    let first = alice.bundle();
    let mut bob = Desk::new("bob", 1);
    alice.core.plan_bundle(NewBundle::NewEncryptionKey).unwrap();
    alice.core.adopt_next_bundle().unwrap();
    alice.core.plan_bundle(NewBundle::NewEncryptionKey).unwrap();
    bob.knows(&taken(&mut alice));
    alice.core.plan_bundle_after(&first, NewBundle::NewDevice).unwrap();
    let steps = alice.core.steps_to_planned(&first).unwrap();
    let steps: Vec<u64> = steps
        .iter()
        .map(|bundle| verify_bundle(bundle, &CLUSTER, &alice.name).unwrap().version)
        .collect();
    assert_eq!(steps, [2, 3]);
    let new = taken(&mut alice);
    assert_eq!(new.version, 4);
    bob.knows(&new);
    let known = bob.core.person(&alice.name).unwrap().unwrap().bundle.clone().unwrap();
    assert_eq!(known.active_device().unwrap().device, alice.core.profile.device);
}

#[test]
fn a_bundle_that_somebody_else_made_is_never_ones_own() {
    let mut alice = Desk::new("alice", 0);
    let own = alice.bundle();
    let mut fake = Peer::new("alice", 5);
    (fake.version, fake.device) = (9, alice.core.profile.device);
    alice.core.welcomed(fake.bundle().encoded()).unwrap();
    alice.core.welcomed(b"junk").unwrap();
    alice.core.welcomed(Peer::new("bob", 0).bundle().encoded()).unwrap();
    assert_eq!(alice.bundle(), own);
    // The right identity with another key for this device: made by a second copy of the profile.
    let mut copy = Peer::new("alice", 0);
    (copy.version, copy.device) = (9, alice.core.profile.device);
    alice.core.welcomed(copy.bundle().encoded()).unwrap();
    assert_eq!(alice.bundle(), own);
    assert!(offered(&mut alice).is_none());
}

#[test]
fn the_last_version_there_is_cannot_be_followed_and_says_so() {
    let mut alice = Desk::new("alice", 0);
    let mut last = Peer::new("alice", 0);
    last.version = u64::MAX;
    let last = last.bundle();
    assert!(alice.core.plan_bundle_after(&last, NewBundle::NewDevice).is_err());
    assert!(alice.core.steps_to_planned(&last).unwrap().is_empty());
}

#[test]
fn an_old_copy_of_the_database_becomes_another_device_and_uses_no_number_twice() {
    let mut alice = Desk::new("alice", 0);
    let bob = Peer::new("bob", 1);
    alice.knows(&bob.bundle());
    alice.core.log_opened(&bob.chat(), EPOCH, N(0)).unwrap();
    alice.writes(&bob.name, "one");
    let one = alice.sends(&bob.name);
    alice.core.log_appended(&bob.chat(), N(1), &hash(&one[0].envelope)).unwrap();
    let old = alice.dir.path().join("old.sqlite");
    alice.core.profile.store.db().execute("VACUUM INTO ?1", [old.to_str().unwrap()]).unwrap();
    // Life goes on: another encryption key, another text.
    alice.core.plan_bundle(NewBundle::NewEncryptionKey).unwrap();
    let newest = taken(&mut alice);
    alice.writes(&bob.name, "two");
    let two = alice.sends(&bob.name);
    assert_eq!(two.last().unwrap().n, N(2));
    let device = alice.core.profile.device;

    let mut alice = alice.restarted(|folder| {
        for name in ["profile.sqlite-wal", "profile.sqlite-shm"] {
            let _ = std::fs::remove_file(folder.join(name));
        }
        std::fs::copy(&old, folder.join("profile.sqlite")).unwrap();
    });
    alice.core.welcomed(newest.encoded()).unwrap();
    let waits = alice.writes(&bob.name, "three");
    assert_eq!(alice.core.log_opened(&bob.chat(), EPOCH, N(2)).unwrap(), Answered::Foreign);
    alice.core.plan_bundle(NewBundle::NewDevice).unwrap();
    let new = taken(&mut alice);
    assert_ne!(alice.core.profile.device, device);
    assert!(alice.told().contains(&Event::RolledBack));
    // The key that the newest bundle named is lost: this one names one that is here.
    assert_ne!(new.encryption_key_id(), newest.encryption_key_id());
    let late = bob.writes(&new, 1, "for the new key");
    alice.gets(&[late]);
    assert_eq!(alice.sees(), ["bob: for the new key"]);

    // Bob is told, and what waited goes out under the numbers of the new device.
    assert_eq!(alice.core.log_opened(&bob.chat(), EPOCH, N(0)).unwrap(), Answered::Stored);
    let sent = alice.sends(&bob.name);
    let headers: Vec<_> = sent.iter().map(|o| parse_header(&o.envelope).unwrap()).collect();
    let numbers: Vec<u64> = headers.iter().map(|h| h.n.0).collect();
    assert_eq!(numbers, [1, 2]);
    assert!(headers.iter().all(|h| h.device == alice.core.profile.device));
    assert_eq!(alice.state(waits), MessageState::Pending);
}

#[test]
fn what_the_home_is_known_to_have_is_not_sent_again_by_the_new_device() {
    let mut alice = Desk::new("alice", 0);
    let bob = Peer::new("bob", 1);
    alice.knows(&bob.bundle());
    alice.core.log_opened(&bob.chat(), EPOCH, N(0)).unwrap();
    let first = alice.writes(&bob.name, "one");
    assert_eq!(alice.sends(&bob.name).len(), 1);
    // A copy was made here; the original sent this and one more.
    assert_eq!(alice.core.log_opened(&bob.chat(), EPOCH, N(2)).unwrap(), Answered::Foreign);
    alice.core.plan_bundle(NewBundle::NewDevice).unwrap();
    taken(&mut alice);
    assert_eq!(alice.state(first), MessageState::Sent);
}

#[test]
fn resuming_counts_only_up_and_can_leave_all_used_ones_behind() {
    let mut alice = Desk::new("alice", 0);
    let first = alice.core.next_resume_count().unwrap();
    assert!(alice.core.next_resume_count().unwrap() > first);
    alice.core.skip_resume_counts().unwrap();
    let far = alice.core.next_resume_count().unwrap();
    assert!(far > first + u64::from(u32::MAX));
    let mut alice = alice.restarted(|_| ());
    assert!(alice.core.next_resume_count().unwrap() > far);
}
