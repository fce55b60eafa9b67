//! Who is let in, and what those who are not are told.

use super::*;
use crate::wire::Code;

#[tokio::test(start_paused = true)]
async fn a_client_of_another_cluster_is_told_which_one_answered() {
    let lab = Lab::new();
    let _server = lab.serve(ListenKind::Client);
    let pin = Authority::create(&lab.caller).unwrap().cluster_id();
    let refused = lab.dial("s1", Target::Client, &pin, None).await;
    let Err(ConnectError::WrongCluster { got }) = refused else { panic!("{refused:?}") };
    assert_eq!(got, lab.authority.cluster_id());
}

#[tokio::test(start_paused = true)]
async fn a_server_cannot_pose_as_another_of_its_cluster() {
    let lab = Lab::new();
    let _server = lab.serve(ListenKind::Client);
    let refused = lab.dial("s2", Target::Client, &lab.authority.cluster_id(), None).await;
    let Err(ConnectError::WrongName { expected }) = refused else { panic!("{refused:?}") };
    assert_eq!(expected, "s2");
}

#[tokio::test(start_paused = true)]
async fn showing_the_pinned_ca_does_not_help_a_certificate_it_did_not_sign() {
    let mut lab = Lab::new();
    let foreign = Authority::create(&lab.server.env).unwrap();
    let forged = foreign.issue(&lab.server.env, &s1()).unwrap();
    lab.server.credentials = forged.with_ca_shown(lab.authority.certificate());
    let _server = lab.serve(ListenKind::Client);
    let refused = lab.connect().await;
    assert!(matches!(refused, Err(ConnectError::BadCertificate)), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_refused_before_its_time_and_after_it() {
    const DAY_MS: i64 = 24 * 3_600_000;
    let lab = Lab::new();
    let _server = lab.serve(ListenKind::Client);
    for (skew, valid) in
        [(-2 * 3_600_000, false), (-1_800_000, true), (89 * DAY_MS, true), (91 * DAY_MS, false)]
    {
        lab.net.skew(host(2), skew);
        let outcome = lab.connect().await;
        let expired = matches!(outcome, Err(ConnectError::Expired));
        assert_eq!(expired, !valid, "{skew} ms: {outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_protocol_is_refused_in_the_handshake() {
    let lab = Lab::new();
    let _server = lab.serve(ListenKind::Client);
    let refused = lab.dial("s1", Target::Balancer, &lab.authority.cluster_id(), None).await;
    assert!(matches!(refused, Err(ConnectError::Protocol)), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn first_use_learns_the_cluster_and_never_connects() {
    let mut lab = Lab::new();
    lab.server.credentials = lab.authority.issue(&lab.server.env, &Role::Balancer).unwrap();
    let server = lab.serve(ListenKind::Balancer);
    let learned = discover_cluster(&lab.caller, &lab.endpoint, server_addr()).await.unwrap();
    assert_eq!(learned, lab.authority.cluster_id());
    server.wait_idle().await;
    assert_eq!(lab.endpoint.open_connections(), 0);
    let nobody = (host(3), PORT).into();
    let silent = discover_cluster(&lab.caller, &lab.endpoint, nobody).await;
    assert!(matches!(silent, Err(ConnectError::Unreachable(_))), "{silent:?}");
}

/// Connects to a peer port and says what the server made of it.
async fn call_peer_port(lab: &Lab, own: Option<&Credentials>) -> Option<PresentedCert> {
    let server = lab.server.listen(server_addr(), ListenKind::Peer);
    let mut gate = AcceptGate::new(&lab.server.limits);
    let pin = lab.authority.cluster_id();
    let call = lab.dial("s1", Target::Peer, &pin, own);
    let answer = async {
        let handshake = gate.admit(server.accept().await?)?;
        let conn = handshake.finish().await?;
        presented(&conn)
    };
    let (conn, seen) = tokio::join!(call, answer);
    if seen.is_none()
        && let Ok(conn) = conn
    {
        // The caller's handshake is over before the server judges: it is told by the close.
        let closed = conn.closed().await;
        assert!(matches!(closed, quinn::ConnectionError::ConnectionClosed(_)), "{closed:?}");
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn a_peer_port_takes_only_certificates_of_its_cluster() {
    let env = Lab::new().caller;
    let foreign = Authority::create(&env).unwrap().issue(&env, &s1()).unwrap();
    assert_eq!(call_peer_port(&Lab::new(), None).await, None);
    assert_eq!(call_peer_port(&Lab::new(), Some(&foreign)).await, None);

    let lab = Lab::new();
    let own = lab.authority.issue(&lab.caller, &Role::Server(ServerId::numbered(2))).unwrap();
    let seen = call_peer_port(&lab, Some(&own)).await.unwrap();
    assert_eq!((seen.name.as_str(), seen.spki_sha256), ("s2", own.spki_sha256()));
}

#[tokio::test(start_paused = true)]
async fn the_balancer_knows_the_operator_and_lets_others_in_without_a_name() {
    let mut lab = Lab::new();
    lab.server.credentials = lab.authority.issue(&lab.server.env, &Role::Balancer).unwrap();
    let operator = lab.authority.issue(&lab.caller, &Role::Operator).unwrap();
    let server = lab.server.listen(server_addr(), ListenKind::Balancer);
    let pin = lab.authority.cluster_id();
    for (own, name) in [(None, None), (Some(&operator), Some("operator".to_owned()))] {
        let target = Target::Balancer;
        let (caller, answered) = lab.meet_as("balancer", target, &pin, own, &server).await;
        assert_eq!(presented(&answered).map(|cert| cert.name), name);
        assert_eq!(presented(&caller).unwrap().name, "balancer");
    }
}

#[tokio::test(start_paused = true)]
async fn an_operators_certificate_cannot_be_used_to_serve() {
    let mut lab = Lab::new();
    lab.server.credentials = lab.authority.issue(&lab.server.env, &Role::Operator).unwrap();
    let _server = lab.serve(ListenKind::Client);
    let refused = lab.dial("operator", Target::Client, &lab.authority.cluster_id(), None).await;
    assert!(matches!(refused, Err(ConnectError::BadCertificate)), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_renewed_certificate_is_put_into_use_without_dropping_a_connection() {
    let lab = Lab::new();
    let server = lab.serve(ListenKind::Client);
    let old = lab.connect().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let renewed = lab.authority.renew(&lab.server.env, &s1(), &lab.server.credentials).unwrap();
    assert_eq!(renewed.spki_sha256(), lab.server.credentials.spki_sha256());
    assert!(renewed.expires_unix_ms() > lab.server.credentials.expires_unix_ms());
    let (env, keys, limits) = (&lab.server.env, &lab.server.keys, &lab.server.limits);
    let config = endpoint::server_config(env, ListenKind::Client, &renewed, keys, limits).unwrap();
    server.set_server_config(Some(config));
    talk(&lab.connect().await.unwrap()).await;
    talk(&old).await;
}

#[tokio::test(start_paused = true)]
async fn a_close_carries_its_code() {
    let lab = Lab::new();
    let server = lab.server.listen(server_addr(), ListenKind::Client);
    let (conn, answered) = lab.meet(&server).await;
    endpoint::close(&answered, Code::ServerFull, "no room");
    assert_eq!(endpoint::close_code(&conn.closed().await), Some(Code::ServerFull));
}
