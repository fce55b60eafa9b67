//! A whole message to a group, and what tells it from one between two people.

use super::*;
use crate::types::{GroupId, GroupName, KeyEpoch, LogId, OpHash, Seq};

const GROUP: GroupId = GroupId([8; 32]);
const HEAD: OpHash = OpHash([6; 32]);
const EPOCH: KeyEpoch = KeyEpoch(3);

/// Alice writes to a group. Its key has the bytes of her key to Bob, so that nothing but the kind
/// of log tells the two kinds of message apart.
fn seal_to_group(alice: &Alice, n: u64, body: &Body) -> Result<Bytes, EnvelopeError> {
    seal_group(&GroupSealRequest {
        cluster: &CLUSTER,
        device_key: &alice.device_key,
        group: &GROUP,
        author: &user("alice"),
        device: DEVICE,
        n: N(n),
        key: &group_key(),
        key_epoch: EPOCH,
        author_identity: alice.bundle.identity(),
        author_bundle_version: 4,
        roster_head: HEAD,
        sent_at_unix_ms: 1_700_000_000_000,
        body,
    })
}

fn group_key() -> GroupKey {
    GroupKey::from_bytes(&[5; 32]).unwrap()
}

fn hi() -> Body {
    Body::Text("hi all".to_owned())
}

fn read(alice: &Alice, envelope: &[u8]) -> Result<OpenedGroupMessage, EnvelopeError> {
    let verified = verify(envelope, &CLUSTER, &alice.bundle)?;
    open_group(&verified, &group_key(), &alice.bundle.identity())
}

/// Bodies that have no sense in a group.
fn direct_only() -> [Body; 3] {
    let group = GroupName::parse("team").unwrap();
    let (id, epoch, key) = (GROUP, EPOCH, group_key());
    [
        Body::Read { device: DEVICE, n: N(1) },
        Body::Welcome(body::Welcome { group: group.clone(), id, epoch, key }),
        Body::Goodbye { group, id },
    ]
}

#[test]
fn the_group_reads_what_alice_wrote_and_servers_read_the_header() {
    let alice = Alice::new();
    let envelope = seal_to_group(&alice, 7, &hi()).unwrap();
    let header = parse_header(&envelope).unwrap();
    assert_eq!((header.kind, header.n, header.upto), (Kind::Message, N(7), N(7)));
    assert_eq!((header.log, header.key_epoch), (LogId::Group(GROUP), EPOCH));
    assert_eq!(header.key_id, Some(group_key().key().key_id(&CLUSTER)));
    assert_eq!(verify(&envelope, &CLUSTER, &alice.bundle).unwrap().wrapped(), None);

    let opened = read(&alice, &envelope).unwrap();
    let body = hi();
    let (roster_head, sent_at_unix_ms) = (HEAD, 1_700_000_000_000);
    let expected =
        OpenedGroupMessage { author_bundle_version: 4, roster_head, sent_at_unix_ms, body };
    assert_eq!(opened, expected);
}

#[test]
fn a_message_to_a_group_names_its_key_epoch_and_nothing_else_does() {
    let alice = Alice::new();
    let envelope = seal_to_group(&alice, 1, &hi()).unwrap();
    let without = alice.forge_header(&envelope, |header| header.key_epoch = 0);
    let refused = Err(EnvelopeError::Malformed("a message to a group without key epoch"));
    assert_eq!(parse_header(&without), refused);

    let (key, log) = (&alice.device_key, LogId::Group(GROUP));
    let void = seal_void(&CLUSTER, key, &log, &user("alice"), DEVICE, N(3), N(9)).unwrap();
    let header = parse_header(&void).unwrap();
    assert_eq!((header.kind, header.log, header.key_epoch), (Kind::Void, log, KeyEpoch(0)));
    assert_eq!(read(&alice, &void), Err(EnvelopeError::Malformed("a void holds no message")));
    let with = alice.forge_header(&void, |header| header.key_epoch = 1);
    assert_eq!(parse_header(&with), Err(EnvelopeError::Malformed("a key epoch in a void")));
}

#[test]
fn a_group_is_named_by_its_id_in_one_spelling() {
    let alice = Alice::new();
    let envelope = seal_to_group(&alice, 1, &hi()).unwrap();
    for log in ["#team".to_owned(), format!("#{GROUP}0"), format!("#{}", "AB".repeat(32))] {
        let forged = alice.forge_header(&envelope, |header| header.log = log);
        assert_eq!(parse_header(&forged), Err(EnvelopeError::Malformed("not a log name")));
    }
}

#[test]
fn a_message_of_one_kind_is_never_opened_as_the_other() {
    let alice = Alice::new();
    let binding = |field| Some(EnvelopeError::BadBinding(field));
    let to_group = seal_to_group(&alice, 1, &hi()).unwrap();
    let verified = verify(&to_group, &CLUSTER, &alice.bundle).unwrap();
    let opened = open(&verified, &alice.key, &alice.bundle.identity(), &alice.bob_identity);
    assert_eq!(opened.err(), binding("log"));

    let to_bob = verify(&alice.text("hi"), &CLUSTER, &alice.bundle).unwrap();
    let opened = open_group(&to_bob, &group_key(), &alice.bundle.identity());
    assert_eq!(opened.err(), binding("log"));

    // The outside of one around the inside of the other.
    let around_a_group_message = alice.forge_inner(&alice.text("hi"), |inner| {
        inner.roster_head = Bytes::copy_from_slice(&HEAD.0);
    });
    let refused = alice.read(&around_a_group_message);
    assert_eq!(refused.err(), binding("roster head"));
    for (field, change) in [
        ("recipient", (|inner| inner.recipient_identity = vec![1; 32].into()) as Change),
        ("recipient", |inner| inner.recipient_bundle_version = 1),
        ("roster head", |inner| inner.roster_head = Bytes::new()),
        ("roster head", |inner| inner.roster_head = vec![6; 33].into()),
        ("author", |inner| inner.author_identity = vec![1; 32].into()),
        ("header", |inner| inner.header_hash = vec![1; 32].into()),
    ] {
        let forged = alice.forge_inner(&to_group, change);
        assert_eq!(read(&alice, &forged).err(), binding(field), "{field}");
    }
}

type Change = fn(&mut wire::Inner);

#[test]
fn a_message_of_one_group_does_not_pass_for_one_of_another_or_of_another_epoch() {
    let alice = Alice::new();
    let envelope = seal_to_group(&alice, 1, &hi()).unwrap();
    let changes: [fn(&mut wire::Header); 3] = [
        |header| header.log = format!("#{}", GroupId([9; 32])),
        |header| header.key_epoch = 4,
        |header| header.n = 2,
    ];
    for change in changes {
        let forged = alice.forge_header(&envelope, change);
        assert_eq!(read(&alice, &forged), Err(EnvelopeError::BadBinding("header")));
    }
    let verified = verify(&envelope, &CLUSTER, &alice.bundle).unwrap();
    let refused = open_group(&verified, &GroupKey::generate(), &alice.bundle.identity());
    assert_eq!(refused, Err(EnvelopeError::WrongKey));
    let refused = open_group(&verified, &group_key(), &alice.bob_identity);
    assert_eq!(refused, Err(EnvelopeError::BadBinding("author")));
}

#[test]
fn no_key_travels_in_a_message_to_a_group() {
    let alice = Alice::new();
    let envelope = seal_to_group(&alice, 1, &hi()).unwrap();
    let forged = alice.forge_payload(&envelope, |payload| {
        payload.wrapped_key = vec![1; 384].into();
        payload.wrapped_to = vec![1; 32].into();
    });
    assert_eq!(read(&alice, &forged), Err(EnvelopeError::BadBinding("wrapped key")));
}

#[test]
fn a_body_stands_only_where_it_has_sense() {
    let alice = Alice::new();
    let misplaced = EnvelopeError::BadBinding("type");
    for body in direct_only() {
        assert_eq!(seal_to_group(&alice, 1, &body), Err(misplaced.clone()), "{body:?}");
        let (kind, bytes) = body.encode().unwrap();
        let forged = alice.forge_inner(&seal_to_group(&alice, 1, &hi()).unwrap(), |inner| {
            (inner.r#type, inner.body) = (kind.into(), bytes);
        });
        assert_eq!(read(&alice, &forged), Err(misplaced.clone()), "{body:?}");
        assert_eq!(alice.read(&alice.seal(1, &body).unwrap()).unwrap().body, body);
    }
    let body = Body::ReadGroup { seq: Seq(5) };
    assert_eq!(alice.seal(1, &body), Err(misplaced.clone()));
    let (kind, bytes) = body.encode().unwrap();
    let forged = alice.forge_inner(&alice.text("hi"), |inner| {
        (inner.r#type, inner.body) = (kind.into(), bytes);
    });
    assert_eq!(alice.read(&forged), Err(misplaced));
    assert_eq!(read(&alice, &seal_to_group(&alice, 1, &body).unwrap()).unwrap().body, body);
}

#[test]
fn a_message_is_not_sealed_to_the_log_of_the_other_kind() {
    let alice = Alice::new();
    let (author, body) = (user("alice"), hi());
    let direct = SealRequest {
        cluster: &CLUSTER,
        device_key: &alice.device_key,
        log: &LogId::Group(GROUP),
        author: &author,
        device: DEVICE,
        n: N(1),
        key: &alice.key,
        wrapped: None,
        author_identity: alice.bundle.identity(),
        recipient_identity: alice.bob_identity,
        author_bundle_version: 4,
        recipient_bundle_version: 6,
        sent_at_unix_ms: 0,
        body: &body,
    };
    let refused = Err(EnvelopeError::Malformed("a message to a group without key epoch"));
    assert_eq!(seal(&direct), refused);
    assert!(matches!(seal_to_group(&alice, 0, &body), Err(EnvelopeError::Malformed(_))));
}

#[test]
fn no_byte_of_a_message_to_a_group_can_be_altered() {
    let alice = Alice::new();
    let envelope = seal_to_group(&alice, 1, &hi()).unwrap();
    for position in 0..envelope.len() {
        let mut altered = envelope.to_vec();
        altered[position] ^= 1;
        assert!(verify(&altered, &CLUSTER, &alice.bundle).is_err(), "{position}");
    }
}
