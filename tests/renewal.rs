//! Certificates and limits replaced while servers run: nobody is dropped, who comes sees the new,
//! and what has expired is refused. The clock of a cluster is moved months ahead.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod raw;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fastchat::limits::Limits;
use fastchat::net::pki::Role;
use fastchat::net::{ConnectError, Env, Target, presented};
use fastchat::types::ServerId;
use fastchat::wire::Code;
use fastchat::wire::client::Who;
use fastchat::wire::client::client_frame::Body as Ask;
use fastchat::wire::client::server_frame::Body as Answer;
use raw::Cluster;

const DAY_MS: u64 = 24 * 3_600_000;

/// As `load_balancer` does it: a fresh certificate for the same key.
fn renew(cluster: &Cluster, number: u16) {
    let live = &cluster.live[usize::from(number) - 1];
    let role = Role::Server(ServerId::numbered(number));
    let old = live.now();
    assert!(old.is_due(cluster.env.unix_ms()));
    let new = cluster.authority.renew(&cluster.env, &role, &old).unwrap();
    assert_eq!(new.spki_sha256(), old.spki_sha256(), "the map would not fit any more");
    live.replace(new);
}

async fn is_served(session: &mut raw::Raw) -> bool {
    matches!(session.ask(Ask::Who(Who { all: true })).await, Answer::WhoList(_))
}

#[tokio::test]
async fn sessions_and_links_outlive_renewal_and_an_expired_certificate_is_refused() {
    let ahead = Arc::new(AtomicU64::new(0));
    let env = Env::system_ahead(Arc::clone(&ahead));
    let mut cluster = Cluster::start_in(&env, 2).await;
    let mut alice = cluster.person(&cluster.name_at(1, "alice"), 0);
    let mut session = cluster.sign_up(1, &mut alice).await;
    assert!(!cluster.live[0].now().is_due(env.unix_ms()), "a new one is not due");

    ahead.store(61 * DAY_MS, Ordering::Relaxed);
    renew(&cluster, 1);
    let renewed_ms = cluster.live[0].now().expires_unix_ms();
    // Taken into use by a task of the server.
    let seen = async {
        loop {
            let shown = presented(&cluster.connect(1).await).unwrap();
            if shown.expires_unix_ms == renewed_ms {
                break;
            }
        }
    };
    tokio::time::timeout(raw::LONG, seen).await.expect("the new certificate is never shown");
    assert!(is_served(&mut session).await, "renewal ended a session");

    // The old certificates end. Server 2 never got a new one.
    ahead.store(95 * DAY_MS, Ordering::Relaxed);
    assert!(is_served(&mut session).await, "a session ends with the certificate it began with");
    cluster.connect(1).await;
    let refused = cluster.try_connect(2, Target::Client).await.unwrap_err();
    assert!(matches!(refused, ConnectError::Expired), "{refused}");

    // With a new one it is let in everywhere again, also by the other server.
    let role = Role::Server(ServerId::numbered(2));
    let old = cluster.live[1].now();
    cluster.live[1].replace(cluster.authority.renew(&env, &role, &old).unwrap());
    cluster.stop(1).await;
    cluster.restart(1).await;
    let mut bob = cluster.person(&cluster.name_at(2, "bob"), 1);
    let mut through_one = cluster.sign_up(1, &mut bob).await;
    through_one.opened(&bob.log(), 1, 0).await;
}

#[tokio::test]
async fn changed_limits_hold_for_what_comes_and_end_nothing_that_is_there() {
    let cluster = Cluster::start(1, Limits::default()).await;
    let (mut alice, mut bob) = (cluster.person("alice", 0), cluster.person("bob", 1));
    let mut alices = cluster.sign_up(1, &mut alice).await;
    let mut bobs = cluster.sign_up(1, &mut bob).await;
    let to_bob = alices.opened(&bob.log(), 1, 0).await;
    let send = |n| alice.junk(&bob.log(), &to_bob, n);
    alices.send(0, send(1)).await;
    assert!(matches!(alices.next().await, Answer::Appended(_)));

    let changed =
        Limits { inbox_author_entries_max: 1, connections_per_ip_max: 2, ..Limits::default() };
    cluster.live_limits.replace(changed);
    // Taken by a task of the server, edge and home one after the other.
    let mut n = 2;
    loop {
        alices.send(0, send(n)).await;
        match alices.next().await {
            Answer::Appended(_) => n += 1,
            Answer::Refused(refused) => {
                assert_eq!(refused.code, Code::MailboxFull as u32);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    let third = cluster.connect(1).await;
    assert_eq!(raw::close_code(&third).await, Some(Code::ServerFull));
    assert!(is_served(&mut alices).await && is_served(&mut bobs).await);
}
