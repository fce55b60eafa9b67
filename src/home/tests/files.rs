//! The file: made once, checked at every open, never recreated or deleted.

use super::groups::open_of;
use super::*;

fn path(bed: &Bed) -> PathBuf {
    bed.folder.path().join("s1.db")
}

async fn closed() -> Bed {
    let mut bed = Bed::new();
    let (_, bob, to_alice) = bed.alice_and_bob().await;
    for n in 1..=50 {
        bed.send(&bob, 0, to_alice.append(message("alice", &bob, n))).await;
    }
    bed.home.stop().await;
    bed
}

/// Opens and expects a refusal that leaves the file as it was.
#[track_caller]
fn refuse(bed: &Bed, config: HomeConfig) -> OpenError {
    let before = std::fs::read(&config.database).ok();
    let database = config.database.clone();
    let Err(error) = HomeHandle::open(&bed.env, config) else { panic!("opened") };
    assert_eq!(std::fs::read(database).ok(), before);
    error
}

#[tokio::test(start_paused = true)]
async fn a_missing_database_is_an_error_and_is_not_made() {
    let bed = closed().await;
    let database = bed.folder.path().join("none.db");
    let error = refuse(&bed, HomeConfig { database: database.clone(), ..bed.config() });
    assert!(matches!(error, OpenError::Missing(_)));
    assert!(!database.exists());
}

#[tokio::test(start_paused = true)]
async fn a_damaged_database_is_refused_and_kept() {
    let bed = closed().await;
    let mut bytes = std::fs::read(path(&bed)).unwrap();
    let pages = bytes.len() / 4096;
    for page in 2..pages {
        bytes[page * 4096..page * 4096 + 64].fill(0xA5);
    }
    std::fs::write(path(&bed), &bytes).unwrap();
    let error = refuse(&bed, bed.config());
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("is damaged: "));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_not_ours_is_refused_and_kept() {
    let bed = closed().await;
    std::fs::write(path(&bed), b"a love letter").unwrap();
    assert!(matches!(refuse(&bed, bed.config()), OpenError::NotOurs(_)));
    std::fs::write(path(&bed), b"").unwrap();
    assert!(matches!(refuse(&bed, bed.config()), OpenError::NotOurs(_)));
}

#[tokio::test(start_paused = true)]
async fn a_database_serves_only_its_own_cluster_server_and_slots() {
    let bed = closed().await;
    let config = || bed.config();
    let cluster = ClusterId([8; 32]);
    let error = refuse(&bed, HomeConfig { cluster, ..config() });
    assert!(matches!(error, OpenError::OtherCluster { .. }));
    let server = ServerId::numbered(2);
    let error = refuse(&bed, HomeConfig { server, ..config() });
    assert!(matches!(error, OpenError::OtherServer { .. }));
    let error = refuse(&bed, HomeConfig { map: map(2), ..config() });
    assert!(matches!(error, OpenError::OtherSlots { missing: 0, extra: 512, .. }));
    let text = error.to_string();
    assert!(text.ends_with("of the placement map: 0 missing, 512 too many"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn two_homes_cannot_serve_one_file() {
    let bed = Bed::new();
    assert!(matches!(refuse(&bed, bed.config()), OpenError::InUse(_)));
    bed.home.stop().await;
    HomeHandle::open(&bed.env, bed.config()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_database_is_made_once_and_whole() {
    let bed = closed().await;
    let s1 = ServerId::numbered(1);
    let again = create(&bed.env, &path(&bed), &s1, &cluster(), &[]);
    assert!(matches!(again, Err(CreateError::Exists(_))));
    // What an attempt that was cut short left behind does not matter; a lost file's log does.
    let fresh = bed.folder.path().join("s2.db");
    std::fs::write(bed.folder.path().join("s2.db.new"), b"half").unwrap();
    create(&bed.env, &fresh, &s1, &cluster(), &[]).unwrap();
    std::fs::rename(&fresh, bed.folder.path().join("s3.db")).unwrap();
    std::fs::write(bed.folder.path().join("s2.db-wal"), b"of the lost file").unwrap();
    let orphan = create(&bed.env, &fresh, &s1, &cluster(), &[]);
    assert!(matches!(orphan, Err(CreateError::Exists(_))));
    let nowhere = bed.folder.path().join("no/such/folder.db");
    let nowhere = create(&bed.env, &nowhere, &s1, &cluster(), &[]);
    assert!(matches!(nowhere, Err(CreateError::Io(..))));
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(bed.folder.path().join("s3.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(start_paused = true)]
async fn a_server_without_slots_has_a_database_and_refuses_every_name() {
    let mut bed = closed().await;
    let mut wider = map(3).as_ref().clone();
    wider.slots.fill(1);
    let database = bed.folder.path().join("empty.db");
    create(&bed.env, &database, &ServerId::numbered(1), &cluster(), &[]).unwrap();
    let config = HomeConfig { database, map: Arc::new(wider), ..bed.config() };
    bed.home = HomeHandle::open(&bed.env, config).unwrap();
    bed.outputs = bed.home.attach(edge("e1"));
    let request = HomeRequest::LookUp { user: name("alice") };
    assert_eq!(code(bed.ask(&stranger(1), request).await), Code::WrongHome);
}

#[tokio::test(start_paused = true)]
async fn a_newer_or_changed_schema_is_refused() {
    let bed = closed().await;
    let conn = rusqlite::Connection::open(path(&bed)).unwrap();
    conn.execute("UPDATE migrations SET sha256 = zeroblob(32)", []).unwrap();
    drop(conn);
    let error = refuse(&bed, bed.config());
    assert!(matches!(error, OpenError::Migration { version: 1, .. }));
    let conn = rusqlite::Connection::open(path(&bed)).unwrap();
    conn.pragma_update(None, "user_version", 99).unwrap();
    drop(conn);
    let error = refuse(&bed, bed.config());
    assert!(matches!(error, OpenError::Newer { got: 99, .. }));
}

/// `testdata/v1.sql` is a dump of a file of version 1 in which Bob wrote to Alice. It is never
/// made anew: a change of the schema is a new migration, and this file must still open.
#[tokio::test(start_paused = true)]
async fn a_database_of_version_1_opens() {
    let mut bed = closed().await;
    let database = bed.folder.path().join("v1.db");
    let conn = rusqlite::Connection::open(&database).unwrap();
    conn.execute_batch(include_str!("testdata/v1.sql")).unwrap();
    drop(conn);
    bed.home = HomeHandle::open(&bed.env, HomeConfig { database, ..bed.config() }).unwrap();
    bed.outputs = bed.home.attach(edge("e1"));
    let bob = Person::new("bob");
    let Body::Welcome(welcome) = bed.ask(&stranger(2), bob.resume(10, "e1")).await else {
        panic!("no welcome")
    };
    let opened = bed.open(&bob.at(2, welcome.session_epoch), "alice", 1).await;
    assert_eq!((opened.head_seq, opened.last_n, opened.delivered_n), (3, 3, 2));
    let alice = Person::new("alice");
    let Body::Welcome(welcome) = bed.ask(&stranger(1), alice.resume(10, "e1")).await else {
        panic!("no welcome")
    };
    // What version 3 brought works in it, and every row is where those that refer to it look.
    let from = alice.at(1, welcome.session_epoch);
    let team = bed.team_of(&alice, &from, "team", &["alice", "bob"]).await;
    assert_eq!(bed.open_team(&from, &team, 1).await.opened.head_seq, 1);
    let conn = rusqlite::Connection::open(bed.folder.path().join("v1.db")).unwrap();
    assert!(!conn.prepare("PRAGMA foreign_key_check").unwrap().exists([]).unwrap());
    let logs = "SELECT group_concat(id) FROM (SELECT id FROM logs ORDER BY id)";
    let ids: String = conn.query_row(logs, [], |row| row.get(0)).unwrap();
    assert_eq!(ids, "-1,1,2");
}

/// `testdata/v2.sql` is the same file after the second migration: Alice has asked to be deleted,
/// and Carol is gone.
#[tokio::test(start_paused = true)]
async fn a_database_of_version_2_opens_and_has_groups() {
    let mut bed = closed().await;
    let database = path(&bed);
    std::fs::remove_file(&database).unwrap();
    let conn = rusqlite::Connection::open(&database).unwrap();
    conn.execute_batch(include_str!("testdata/v2.sql")).unwrap();
    drop(conn);
    bed.reopen();
    let (alice, bob) = (Person::new("alice"), Person::new("bob"));
    let carol = HomeRequest::LookUp { user: name("carol") };
    assert_eq!(code(bed.ask(&stranger(3), carol).await), Code::NoSuchUser);
    // Whoever is to be deleted comes back with the password only.
    assert_eq!(code(bed.ask(&stranger(1), alice.resume(10, "e1")).await), Code::ResumeRefused);
    let Body::Welcome(welcome) = bed.ask(&stranger(1), alice.login(Takeover::Replace)).await else {
        panic!("no welcome")
    };
    let at_alice = alice.at(1, welcome.session_epoch);
    let Body::Welcome(welcome) = bed.ask(&stranger(2), bob.resume(10, "e1")).await else {
        panic!("no welcome")
    };
    let at_bob = bob.at(2, welcome.session_epoch);
    let opened = bed.open(&at_bob, "alice", 1).await;
    assert_eq!((opened.head_seq, opened.last_n, opened.delivered_n), (3, 3, 2));
    let mut team = bed.team_of(&alice, &at_alice, "team", &["alice", "bob"]).await;
    let open = bed.open_team(&at_bob, &team, 1).await;
    appended(bed.ask_quietly(&at_bob, open.append(team.message(&at_bob, 1))).await);
    let remove = team.remove(&alice, "bob");
    bed.change(&at_alice, &mut team, &remove).await;
    // And all of it is still there, with what was there before.
    bed.kill().await;
    assert_eq!(bed.chain(&at_alice, &team).await, [(1, 1), (2, 3)]);
    assert_eq!(bed.open_team(&at_alice, &team, 2).await.opened.head_seq, 3);
    let own = bed.ask_quietly(&at_alice, open_of(&inbox("alice"), 3, 0, 0)).await;
    let Body::Opened(own) = own else { panic!("{own:?}") };
    assert_eq!(own.head_seq, 3);
    let is_hers = |output: &Output| match &output.frame.body {
        Some(Body::Entry(entry)) if entry.log == "@alice" => Some(entry.seq),
        _ => None,
    };
    // She had read two of the three.
    assert_eq!(bed.settle_all().await.iter().filter_map(is_hers).next_back(), Some(3));
    let conn = rusqlite::Connection::open(&database).unwrap();
    assert!(!conn.prepare("PRAGMA foreign_key_check").unwrap().exists([]).unwrap());
}

/// `testdata/v4.sql` is the same file after two more migrations.
#[tokio::test(start_paused = true)]
async fn a_database_of_version_4_opens_and_has_blobs() {
    let mut bed = closed().await;
    let database = path(&bed);
    std::fs::remove_file(&database).unwrap();
    let conn = rusqlite::Connection::open(&database).unwrap();
    conn.execute_batch(include_str!("testdata/v4.sql")).unwrap();
    drop(conn);
    bed.reopen();
    let (alice, bob) = (Person::new("alice"), Person::new("bob"));
    // Whoever is to be deleted comes back with the password only.
    let Body::Welcome(welcome) = bed.ask(&stranger(1), alice.login(Takeover::Replace)).await else {
        panic!("no welcome")
    };
    let at_alice = alice.at(1, welcome.session_epoch);
    let Body::Welcome(welcome) = bed.ask(&stranger(2), bob.resume(10, "e1")).await else {
        panic!("no welcome")
    };
    let at_bob = bob.at(2, welcome.session_epoch);
    let opened = bed.open(&at_bob, "alice", 1).await;
    assert_eq!((opened.head_seq, opened.last_n, opened.delivered_n), (3, 3, 2));
    bed.shares_a_blob(&at_alice, &at_bob).await;
    let conn = rusqlite::Connection::open(&database).unwrap();
    assert!(!conn.prepare("PRAGMA foreign_key_check").unwrap().exists([]).unwrap());
}

#[test]
fn every_text_of_an_error_reads_well() {
    let path = PathBuf::from("databases/s1.db");
    let expected = ClusterId([0; 32]);
    let texts = [
        OpenError::Missing(path.clone()).to_string(),
        OpenError::InUse(path.clone()).to_string(),
        OpenError::NotOurs(path.clone()).to_string(),
        OpenError::Damaged { path: path.clone(), detail: "row missing".to_owned() }.to_string(),
        OpenError::Newer { path: path.clone(), got: 3, known: 1 }.to_string(),
        OpenError::Migration { path: path.clone(), version: 1 }.to_string(),
        OpenError::OtherServer {
            path: path.clone(),
            got: "s2".to_owned(),
            expected: ServerId::numbered(1),
        }
        .to_string(),
        OpenError::OtherSlots { path: path.clone(), missing: 3, extra: 4 }.to_string(),
        CreateError::Exists(path.clone()).to_string(),
        HomeFailure::Panicked.to_string(),
        HomeGone.to_string(),
    ];
    assert_eq!(
        texts,
        [
            "there is no database at databases/s1.db",
            "databases/s1.db is in use by another process",
            "databases/s1.db is not a database of this program",
            "databases/s1.db is damaged: row missing",
            "databases/s1.db has version 3, this program knows up to 1",
            "migration 1 of databases/s1.db is another than the one known here",
            "databases/s1.db belongs to server s2, expected s1",
            "databases/s1.db does not own the slots of the placement map: 3 missing, 4 too many",
            "databases/s1.db exists already",
            "the writer panicked",
            "this server's home has stopped",
        ]
    );
    let other = OpenError::OtherCluster { path, got: "00".to_owned(), expected };
    assert!(other.to_string().starts_with("databases/s1.db belongs to cluster 00, expected 00"));
}
