//! The profile on disk: who can read it, who holds it, what survives a kill at any point.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::client::api::ChatChange;
use crate::client::profile::ProfileError;
use crate::crypto::rf1::ConversationKey;

#[test]
fn nothing_secret_is_readable_on_the_disk_and_nobody_else_may_look() {
    let (mut alice, bob) = (Desk::new("alice", 0), Peer::new("bob", 1));
    alice.knows(&bob.bundle());
    let to = alice.bundle();
    let (written, read) = ("a secret that alice wrote", "a secret that bob wrote");
    alice.writes(&bob.name, written);
    alice.writes(&bob.name, "cancelled secret");
    alice.core.log_opened(&bob.chat(), EPOCH, N(0)).unwrap();
    alice.sends(&bob.name);
    alice.gets(&[bob.writes(&to, 1, read)]);
    alice.sees();
    let (alias, half) = ("a secret alias", "a secret half written");
    alice.core.change_chat(&bob.chat(), &ChatChange::Alias(Some(alias.to_owned()))).unwrap();
    alice.core.change_chat(&bob.chat(), &ChatChange::Draft(Some(half.to_owned()))).unwrap();
    let (changed, emoji) = ("a secret second thought", "👩‍👩‍👧‍👦");
    let last = alice.core.last_own(&bob.chat()).unwrap().unwrap();
    alice.core.edit(last, changed).unwrap();
    alice.core.react(last, Some(emoji)).unwrap();
    alice.sends(&bob.name);
    let seed = alice.core.profile.device_key.seed().to_vec();
    let identity = alice.core.profile.identity().unwrap().to_pkcs8().to_vec();
    let secrets: [&[u8]; 11] = [
        alias.as_bytes(),
        half.as_bytes(),
        changed.as_bytes(),
        emoji.as_bytes(),
        written.as_bytes(),
        read.as_bytes(),
        b"cancelled secret",
        &seed,
        &identity[450..600],
        ConversationKey::as_bytes(&bob.key),
        PASSWORD.as_bytes(),
    ];
    let folder = alice.dir.path().join("p");
    assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let mut files = 0;
    for file in std::fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
        let bytes = std::fs::read(&path).unwrap();
        for secret in &secrets {
            let found = bytes.windows(secret.len()).any(|window| window == *secret);
            assert!(!found, "{} holds {}", path.display(), String::from_utf8_lossy(secret));
        }
        files += 1;
    }
    assert!(files >= 3, "database, its log, the lock");
}

#[test]
fn one_process_holds_a_profile() {
    let alice = Desk::new("alice", 0);
    let folder = alice.dir.path().join("p");
    match Profile::open(&alice.env, &folder) {
        Err(ProfileError::Locked { pid }) => assert_eq!(pid, std::process::id()),
        other => panic!("not locked: {other:?}"),
    }
    let Desk { core, dir, env, .. } = alice;
    drop(core);
    assert!(Profile::open(&env, &dir.path().join("p")).unwrap().owner().is_some());
}

#[test]
fn a_wrong_password_or_key_opens_nothing() {
    let alice = Desk::new("alice", 0);
    let right = alice.core.profile.unlock_key();
    let Desk { name: user, core, env, dir, .. } = alice;
    drop(core);
    let open = || Profile::open(&env, &dir.path().join("p")).unwrap();
    let wrong = stretch("another password", &CLUSTER, &user, StretchCost::Cheap).unwrap();
    assert!(matches!(open().unlock_stretched(&wrong), Err(ProfileError::WrongPassword)));
    for key in [&[][..], &[7; 32], &[7; 33]] {
        let refused = open().unlock_with_key(&env, key);
        assert!(matches!(refused, Err(ProfileError::WrongPassword)), "{refused:?}");
    }
    assert!(open().unlock_with_key(&env, &right).is_ok());
}

#[test]
fn a_line_that_was_being_shown_comes_again_marked_and_a_shown_one_does_not() {
    let (mut alice, bob) = (Desk::new("alice", 0), Peer::new("bob", 1));
    alice.knows(&bob.bundle());
    let to = alice.bundle();
    alice.gets(&[bob.writes(&to, 1, "one"), bob.writes(&to, 2, "two"), bob.writes(&to, 3, "x")]);
    let peeked = alice.core.unshown(9, Note::Nothing).unwrap();
    let taken = alice.core.unshown(2, Note::BeingShown).unwrap();
    assert_eq!(peeked[..2], taken[..]);
    alice.core.shown(&[taken[0].id()]).unwrap();
    let mut alice = alice.restarted(|_| ());
    assert_eq!(alice.sees(), ["bob: two (again)", "bob: x"]);
    assert!(alice.sees().is_empty());
    let of_bob = alice.core.unshown_of(&bob.chat(), 9).unwrap();
    assert!(of_bob.is_empty());
}

#[test]
fn events_that_find_no_room_lose_nothing_that_can_be_read_again() {
    let (mut alice, bob) = (Desk::new("alice", 0), Peer::new("bob", 1));
    let (sender, mut events) = mpsc::channel(1);
    let Desk { name: user, core, env, dir, clock, .. } = alice;
    let core = Core::new(env.clone(), core.profile, sender);
    alice = Desk { name: user, core, events: mpsc::channel(1).1, clock, env, dir };
    alice.knows(&bob.bundle());
    let to = alice.bundle();
    for n in 1..=5 {
        alice.gets(&[bob.writes(&to, n, "x")]);
    }
    assert_eq!(events.try_recv().unwrap(), Event::Lines);
    assert_eq!(alice.sees(), ["bob: x"; 5]);
}

#[test]
fn key_files_of_an_earlier_account_are_never_overwritten() {
    let (env, _) = still_env(1);
    let dir = tempfile::tempdir().unwrap();
    let profile = Profile::open(&env, dir.path()).unwrap();
    std::fs::write(dir.path().join("identity.pem"), "all that is left").unwrap();
    profile.set_pem_aside(42).unwrap();
    profile.set_pem_aside(43).unwrap();
    let kept = std::fs::read_to_string(dir.path().join("identity.pem.42")).unwrap();
    assert_eq!(kept, "all that is left");
    assert!(!dir.path().join("identity.pem").exists());
}

/// Puts the database back to its first form, with all that it can hold.
fn to_version_1(folder: &std::path::Path) {
    let path = folder.join("profile.sqlite");
    let now = folder.join("now.sqlite");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE;").unwrap();
    drop(db);
    std::fs::rename(&path, &now).unwrap();
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(include_str!("../migrations/001_init.sql")).unwrap();
    db.execute("ATTACH ?1 AS now", [now.to_str().unwrap()]).unwrap();
    let names = |sql: &str| -> Vec<String> {
        let mut rows = db.prepare(sql).unwrap();
        let found = rows.query_map([], |row| row.get(0)).unwrap();
        found.collect::<Result<_, _>>().unwrap()
    };
    let tables = names(
        "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'",
    );
    for table in tables {
        let columns = names(&format!("SELECT name FROM pragma_table_info('{table}', 'main')"));
        let columns = columns.join(", ");
        db.execute_batch(&format!(
            "INSERT INTO main.{table} ({columns}) SELECT {columns} FROM now.{table}"
        ))
        .unwrap();
    }
    db.execute_batch("DETACH now; PRAGMA user_version = 1;").unwrap();
    std::fs::remove_file(now).unwrap();
}

#[test]
fn a_profile_of_the_first_version_opens_and_goes_on_where_it_was() {
    let (mut alice, mut bob) = (Desk::new("alice", 0), Desk::new("bob", 1));
    alice.knows(&bob.bundle());
    bob.knows(&alice.bundle());
    alice.core.log_opened(&bob.chat(), EPOCH, N(0)).unwrap();
    bob.core.log_opened(&alice.chat(), EPOCH, N(0)).unwrap();
    let pending = alice.writes(&bob.name, "pending");
    let sealed = alice.sends(&bob.name);
    let waiting = alice.writes(&bob.name, "waiting");
    bob.writes(&alice.name, "unread");
    let got: Vec<Bytes> = bob.sends(&alice.name).into_iter().map(|o| o.envelope).collect();
    alice.gets(&got);
    let mut alice = alice.restarted(to_version_1);
    let version: i64 = alice
        .core
        .profile
        .store
        .db()
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    assert_eq!(version, 5);
    assert_eq!(alice.sees(), ["bob: unread"]);
    let states = [pending, waiting].map(|id| alice.state(id));
    assert_eq!(states, [MessageState::Pending, MessageState::Waiting]);
    assert_eq!(alice.sends(&bob.name)[0].envelope, sealed[0].envelope);
    // And it can do what it could not before.
    let unread = alice.newest(&bob.name);
    assert!(!unread.deleted && !unread.edited && unread.reactions.is_empty());
    alice.core.react(unread.id, Some("x")).unwrap();
    alice.core.edit(pending, "changed").unwrap();
    bob.gets(&alice.sends(&bob.name).into_iter().map(|o| o.envelope).collect::<Vec<_>>());
}

#[test]
fn between_the_steps_of_a_new_password_both_open_the_profile_and_after_them_one() {
    let mut alice = Desk::new("alice", 0);
    let old = stretched(&alice.name);
    let new = stretch("another password", &CLUSTER, &alice.name, StretchCost::Cheap).unwrap();
    let texts = ["identity for the new one", "encryption for the new one"];
    let pem = texts.map(|text| zeroize::Zeroizing::new(text.to_owned()));
    let folder = alice.dir.path().join("p");
    alice.core.profile.write_pem("identity", "encryption").unwrap();
    let files = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    alice.core.profile.begin_password(&new, Some(&pem)).unwrap();
    assert_eq!(files("identity.pem").as_deref(), Some("identity"));
    let Desk { core, env, dir, .. } = alice;
    drop(core);
    let open = || Profile::open(&env, &dir.path().join("p")).unwrap();
    // Killed here, either password opens it; the one that the home takes settles it.
    assert!(open().unlock_stretched(&old).is_ok() && open().unlock_stretched(&new).is_ok());
    open().unlock_stretched(&new).unwrap().settle_password(&old).unwrap();
    assert!(open().unlock_stretched(&old).is_ok() && open().unlock_stretched(&new).is_err());
    assert_eq!(files("identity.pem.next"), None);
    let mut profile = open().unlock_stretched(&old).unwrap();
    profile.begin_password(&new, Some(&pem)).unwrap();
    profile.settle_password(&new).unwrap();
    drop(profile);
    assert!(open().unlock_stretched(&old).is_err() && open().unlock_stretched(&new).is_ok());
    assert_eq!(files("identity.pem").as_deref(), Some(texts[0]));
    assert_eq!(files("encryption.pem").as_deref(), Some(texts[1]));
    // Killed after the last commit, and before one of the files was put in place.
    std::fs::rename(folder.join("encryption.pem"), folder.join("encryption.pem.next")).unwrap();
    let mut profile = open().unlock_stretched(&new).unwrap();
    let pending =
        |tx: &rusqlite::Transaction<'_>| super::super::store::set_meta(tx, "pem_pending", b"1");
    profile.store.commit(pending).unwrap();
    drop(profile);
    drop(open().unlock_stretched(&new).unwrap());
    assert_eq!(files("encryption.pem").as_deref(), Some(texts[1]));
    assert_eq!(files("encryption.pem.next"), None);
}
