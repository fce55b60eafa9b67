//! What holds across the files of this room: a whole message, and everything that can be done to
//! one on its way.

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;
use sha2::{Digest, Sha256};

use super::*;
use crate::limits::{ENVELOPE_BYTES_MAX, TEXT_BYTES_MAX};
use crate::types::{ClusterId, DeviceId, KeyId, LogId, N, UserName};
use crate::wire::client as wire;

mod groups;

const CLUSTER: ClusterId = ClusterId([1; 32]);
const DEVICE: DeviceId = DeviceId(77);

fn user(name: &str) -> UserName {
    UserName::canonical(name).unwrap()
}

/// Alice, who writes to Bob.
struct Alice {
    device_key: DeviceKey,
    key: ConversationKey,
    bundle: VerifiedBundle,
    bob_identity: KeyId,
}

impl Alice {
    fn new() -> Self {
        let device_key = DeviceKey::from_seed(&[9; 32]);
        let bundle = alice_bundle(&device_key, DeviceState::Active);
        let key = ConversationKey::from_bytes(&[5; 32]).unwrap();
        Self { device_key, key, bundle, bob_identity: testkeys::identity(1).key_id() }
    }

    fn seal(&self, n: u64, body: &Body) -> Result<Bytes, EnvelopeError> {
        let bob = testkeys::encryption(1);
        let (from, to) = (self.bundle.identity(), self.bob_identity);
        let wrapped = wrap(&self.key, &CLUSTER, &from, &to, bob.spki()).unwrap();
        seal(&SealRequest {
            cluster: &CLUSTER,
            device_key: &self.device_key,
            log: &LogId::Inbox(user("bob")),
            author: &user("alice"),
            device: DEVICE,
            n: N(n),
            key: &self.key,
            wrapped: Some(&wrapped),
            author_identity: from,
            recipient_identity: to,
            author_bundle_version: 4,
            recipient_bundle_version: 6,
            sent_at_unix_ms: 1_700_000_000_000,
            body,
        })
    }

    fn text(&self, text: &str) -> Bytes {
        self.seal(1, &Body::Text(text.to_owned())).unwrap()
    }

    fn void(&self, n: u64, upto: u64) -> Result<Bytes, EnvelopeError> {
        let log = LogId::Inbox(user("bob"));
        seal_void(&CLUSTER, &self.device_key, &log, &user("alice"), DEVICE, N(n), N(upto))
    }

    /// What Bob does with it.
    fn read(&self, envelope: &[u8]) -> Result<OpenedMessage, EnvelopeError> {
        let verified = verify(envelope, &CLUSTER, &self.bundle)?;
        open(&verified, &self.key, &self.bundle.identity(), &self.bob_identity)
    }

    /// Changes an envelope and signs it again, as a hostile client can.
    fn forge(&self, envelope: &[u8], change: impl FnOnce(&mut wire::Envelope)) -> Vec<u8> {
        let mut envelope = wire::Envelope::decode(envelope).unwrap();
        change(&mut envelope);
        let text = context::Context::new(context::RF1, "envelope", &CLUSTER)
            .fixed(&Sha256::digest(&envelope.header).into())
            .fixed(&Sha256::digest(&envelope.payload).into());
        envelope.signature = self.device_key.sign(&text).to_vec().into();
        envelope.encode_to_vec()
    }

    fn forge_header(&self, envelope: &[u8], change: impl FnOnce(&mut wire::Header)) -> Vec<u8> {
        self.forge(envelope, |envelope| {
            let mut header = wire::Header::decode(envelope.header.clone()).unwrap();
            change(&mut header);
            envelope.header = header.encode_to_vec().into();
        })
    }

    fn forge_payload(&self, envelope: &[u8], change: impl FnOnce(&mut wire::Payload)) -> Vec<u8> {
        self.forge(envelope, |envelope| {
            let mut payload = wire::Payload::decode(envelope.payload.clone()).unwrap();
            change(&mut payload);
            envelope.payload = payload.encode_to_vec().into();
        })
    }

    fn forge_inner(&self, envelope: &[u8], change: impl FnOnce(&mut wire::Inner)) -> Vec<u8> {
        self.forge_payload(envelope, |payload| {
            let plain = self.key.open(&payload.token).unwrap();
            let mut inner = wire::Inner::decode(plain.as_slice()).unwrap();
            change(&mut inner);
            payload.token = self.key.seal(&inner.encode_to_vec()).into();
        })
    }
}

fn alice_bundle(device_key: &DeviceKey, state: DeviceState) -> VerifiedBundle {
    let identity = testkeys::identity(0);
    let bundle = Bundle {
        cluster: CLUSTER,
        user: user("alice"),
        version: 4,
        identity_spki: identity.spki().to_vec().into(),
        enc_spki: testkeys::encryption(0).spki().to_vec().into(),
        devices: vec![BundleDevice { device: DEVICE, ed25519: device_key.public(), state }],
        suites: vec![SUITE_RF1],
    };
    verify_bundle(&bundle.sign(&identity).unwrap(), &CLUSTER, &user("alice")).unwrap()
}

#[test]
fn bob_reads_what_alice_wrote_and_servers_read_the_header() {
    let alice = Alice::new();
    let envelope = alice.text("hi");
    let header = parse_header(&envelope).unwrap();
    assert_eq!(header.kind, Kind::Message);
    assert_eq!((header.n, header.upto), (N(1), N(1)));
    assert_eq!((header.author.as_str(), header.device), ("alice", DEVICE));
    assert_eq!(header.log, LogId::Inbox(user("bob")));
    assert_eq!(header.key_id, Some(alice.key.key_id(&CLUSTER)));

    let verified = verify(&envelope, &CLUSTER, &alice.bundle).unwrap();
    assert_eq!(verified.header(), &header);
    assert_eq!(verified.digest(), <[u8; 32]>::from(Sha256::digest(&envelope)));
    let wrapped = verified.wrapped().unwrap();
    let (from, to) = (alice.bundle.identity(), alice.bob_identity);
    let key = unwrap(&testkeys::encryption(1), &CLUSTER, &from, &to, &wrapped).unwrap();
    let opened = open(&verified, &key, &from, &to).unwrap();
    assert_eq!(opened.body, Body::Text("hi".to_owned()));
    assert_eq!((opened.author_bundle_version, opened.recipient_bundle_version), (4, 6));
    assert_eq!(opened.sent_at_unix_ms, 1_700_000_000_000);
}

#[test]
fn a_retired_device_is_still_read() {
    let mut alice = Alice::new();
    alice.bundle = alice_bundle(&alice.device_key, DeviceState::Retired);
    assert!(alice.read(&alice.text("hi")).is_ok());
}

#[test]
fn a_void_takes_its_numbers_and_holds_nothing() {
    let alice = Alice::new();
    let envelope = alice.void(3, 9).unwrap();
    let verified = verify(&envelope, &CLUSTER, &alice.bundle).unwrap();
    assert_eq!(verified.header().kind, Kind::Void);
    assert_eq!((verified.header().n, verified.header().upto), (N(3), N(9)));
    assert_eq!(verified.header().key_id, None);
    assert_eq!(verified.wrapped(), None);
    assert_eq!(alice.read(&envelope), Err(EnvelopeError::Malformed("a void holds no message")));
    assert_eq!(alice.void(9, 3), Err(EnvelopeError::Malformed("upto below n")));
    assert_eq!(alice.void(0, 3), Err(EnvelopeError::Malformed("n or device is 0")));
}

#[test]
fn a_bundle_travels_like_a_text() {
    let alice = Alice::new();
    let body = Body::Bundle(alice.bundle.encoded().clone());
    assert_eq!(alice.read(&alice.seal(2, &body).unwrap()).unwrap().body, body);
}

#[test]
fn a_body_of_a_later_version_is_told_apart_and_never_made() {
    let alice = Alice::new();
    let later = alice.forge_inner(&alice.text("hi"), |inner| inner.r#type = 99);
    assert_eq!(alice.read(&later).unwrap().body, Body::Unknown(99));
    assert!(matches!(alice.seal(1, &Body::Unknown(99)), Err(EnvelopeError::Malformed(_))));
}

#[test]
fn nobody_else_can_have_written_it() {
    let alice = Alice::new();
    let envelope = alice.text("hi");
    let other = ClusterId([2; 32]);
    assert_eq!(verify(&envelope, &other, &alice.bundle).err(), Some(EnvelopeError::WrongAuthor));
    let by_carol = alice.forge_header(&envelope, |header| header.author = "carol".to_owned());
    assert_eq!(alice.read(&by_carol), Err(EnvelopeError::WrongAuthor));
    let unknown = alice.forge_header(&envelope, |header| header.device = 78);
    assert_eq!(alice.read(&unknown), Err(EnvelopeError::UnknownDevice(DeviceId(78))));
    let stranger = Alice { device_key: DeviceKey::generate(), ..Alice::new() };
    assert_eq!(alice.read(&stranger.text("hi")), Err(EnvelopeError::BadSignature));
}

#[test]
fn an_inside_from_elsewhere_is_not_shown() {
    let alice = Alice::new();
    let envelope = alice.text("hi");
    let binding = |field| Err(EnvelopeError::BadBinding(field));
    let renumbered = alice.forge_header(&envelope, |header| header.n = 2);
    assert_eq!(alice.read(&renumbered), binding("header"));
    let readdressed = alice.forge_header(&envelope, |header| header.log = "@carol".to_owned());
    assert_eq!(alice.read(&readdressed), binding("header"));
    let passed_on = Bytes::copy_from_slice(&[3; 32]);
    let inner = alice.forge_inner(&envelope, |inner| inner.author_identity = passed_on.clone());
    assert_eq!(alice.read(&inner), binding("author"));
    let inner = alice.forge_inner(&envelope, |inner| inner.recipient_identity = passed_on);
    assert_eq!(alice.read(&inner), binding("recipient"));
    let inner = alice.forge_inner(&envelope, |inner| inner.header_hash = Bytes::new());
    assert_eq!(alice.read(&inner), binding("header"));
}

#[test]
fn the_wrong_key_and_a_damaged_inside_are_told_apart() {
    let alice = Alice::new();
    let envelope = alice.text("hi");
    let verified = verify(&envelope, &CLUSTER, &alice.bundle).unwrap();
    let (from, to) = (alice.bundle.identity(), alice.bob_identity);
    let refused = open(&verified, &ConversationKey::generate(), &from, &to);
    assert_eq!(refused, Err(EnvelopeError::WrongKey));

    let cut = alice.forge_payload(&envelope, |payload| payload.token.truncate(80));
    assert_eq!(alice.read(&cut), Err(EnvelopeError::Undecryptable));
    let none = alice.forge_payload(&envelope, |payload| payload.token = Bytes::new());
    assert_eq!(alice.read(&none), Err(EnvelopeError::Undecryptable));
    let inner = alice.forge_inner(&envelope, |inner| inner.body = Bytes::from_static(&[0xff]));
    assert_eq!(alice.read(&inner), Err(EnvelopeError::Malformed("a text that is not UTF-8")));
    let inner = alice.forge_inner(&envelope, |inner| inner.r#type = 0);
    assert_eq!(alice.read(&inner), Err(EnvelopeError::Malformed("a message without type")));
    let long = Bytes::from(vec![b'x'; TEXT_BYTES_MAX + 1]);
    let inner = alice.forge_inner(&envelope, |inner| inner.body = long);
    assert!(matches!(alice.read(&inner), Err(EnvelopeError::TooLarge { .. })));
}

#[test]
fn a_wrapped_key_has_its_length_and_its_id() {
    let alice = Alice::new();
    let envelope = alice.text("hi");
    for (wrapped_key, wrapped_to) in [(255, 32), (513, 32), (384, 31), (384, 0), (0, 32)] {
        let forged = alice.forge_payload(&envelope, |payload| {
            payload.wrapped_key = vec![1; wrapped_key].into();
            payload.wrapped_to = vec![1; wrapped_to].into();
        });
        let refused = alice.read(&forged);
        assert!(matches!(refused, Err(EnvelopeError::Malformed(_))), "{wrapped_key} {wrapped_to}");
    }
    let without = alice.forge_payload(&envelope, |payload| {
        payload.wrapped_key = Bytes::new();
        payload.wrapped_to = Bytes::new();
    });
    assert_eq!(verify(&without, &CLUSTER, &alice.bundle).unwrap().wrapped(), None);
}

#[test]
fn an_impossible_header_is_refused_by_servers_too() {
    type Change = fn(&mut wire::Header);
    let alice = Alice::new();
    let changes: [(Change, EnvelopeError); 13] = [
        (|header| header.suite = 2, EnvelopeError::UnknownSuite(2)),
        (|header| header.suite = 0, EnvelopeError::UnknownSuite(0)),
        (|header| header.kind = 0, EnvelopeError::Malformed("unknown kind")),
        (|header| header.kind = 3, EnvelopeError::Malformed("unknown kind")),
        (|header| header.n = 0, EnvelopeError::Malformed("n or device is 0")),
        (|header| header.device = 0, EnvelopeError::Malformed("n or device is 0")),
        (|header| header.upto = 1, EnvelopeError::Malformed("upto in a message")),
        (
            |header| header.key_id.truncate(15),
            EnvelopeError::Malformed("the key id is not 16 bytes"),
        ),
        (
            |header| header.key_epoch = 1,
            EnvelopeError::Malformed("a key epoch in a direct message"),
        ),
        (|header| header.log = "bob".to_owned(), EnvelopeError::Malformed("not a log name")),
        (|header| header.log = "#bob".to_owned(), EnvelopeError::Malformed("not a log name")),
        (
            |header| header.log = format!("#{}", KeyId([1; 32])),
            EnvelopeError::Malformed("a message to a group without key epoch"),
        ),
        (|header| header.author = "Alice".to_owned(), EnvelopeError::Malformed("not a user name")),
    ];
    for (change, expected) in changes {
        let forged = alice.forge_header(&alice.text("hi"), change);
        assert_eq!(parse_header(&forged), Err(expected));
    }
    let void = alice.void(1, 1).unwrap();
    let forged = alice.forge_header(&void, |header| header.key_epoch = 1);
    assert_eq!(parse_header(&forged), Err(EnvelopeError::Malformed("a key epoch in a void")));
    let forged = alice.forge_header(&void, |header| header.key_id = Bytes::from_static(&[1; 16]));
    assert_eq!(parse_header(&forged), Err(EnvelopeError::Malformed("a key id in a void")));
    let forged = alice.forge(&void, |envelope| envelope.payload = Bytes::from_static(b"x"));
    assert_eq!(parse_header(&forged), Err(EnvelopeError::Malformed("a void with a payload")));
    let forged = alice.forge(&alice.text("hi"), |envelope| envelope.payload = Bytes::new());
    assert_eq!(parse_header(&forged), Err(EnvelopeError::Malformed("a message without payload")));
}

#[test]
fn an_envelope_has_one_encoding_only() {
    let alice = Alice::new();
    let envelope = alice.text("hi").to_vec();
    let canonical = Err(EnvelopeError::Malformed("not in canonical encoding"));
    let unknown_field = [envelope.as_slice(), &[0x20, 0x01]].concat();
    assert_eq!(parse_header(&unknown_field), canonical);
    let twice = [envelope.as_slice(), envelope.as_slice()].concat();
    assert_eq!(parse_header(&twice), canonical);
    // The length of the header written in two bytes instead of one.
    let mut longer = envelope;
    longer[1] |= 0x80;
    longer.insert(2, 0);
    assert_eq!(parse_header(&longer), canonical);
}

#[test]
fn no_byte_of_an_envelope_can_be_altered_left_out_or_added() {
    let alice = Alice::new();
    for envelope in [alice.text("hi"), alice.void(3, 9).unwrap()] {
        for position in 0..envelope.len() {
            let mut altered = envelope.to_vec();
            altered[position] ^= 1;
            assert!(verify(&altered, &CLUSTER, &alice.bundle).is_err(), "{position}");
            let cut = &envelope[..position];
            assert!(verify(cut, &CLUSTER, &alice.bundle).is_err(), "cut at {position}");
        }
        let longer = [envelope.as_ref(), &[0]].concat();
        assert!(verify(&longer, &CLUSTER, &alice.bundle).is_err());
    }
}

#[test]
fn the_longest_text_fits_and_one_byte_more_does_not() {
    let alice = Alice::new();
    let longest = "x".repeat(TEXT_BYTES_MAX);
    let envelope = alice.text(&longest);
    assert!(envelope.len() <= ENVELOPE_BYTES_MAX);
    assert_eq!(alice.read(&envelope).unwrap().body, Body::Text(longest));
    let refused = alice.seal(1, &Body::Text("x".repeat(TEXT_BYTES_MAX + 1)));
    let (got, limit) = (TEXT_BYTES_MAX + 1, TEXT_BYTES_MAX);
    assert_eq!(refused, Err(EnvelopeError::TooLarge { got, limit }));
    let (got, limit) = (ENVELOPE_BYTES_MAX + 1, ENVELOPE_BYTES_MAX);
    assert_eq!(parse_header(&vec![0; got]), Err(EnvelopeError::TooLarge { got, limit }));
}

#[test]
fn lengths_tell_little_about_texts() {
    let alice = Alice::new();
    let lengths: BTreeSet<usize> =
        (0..=512).map(|length| alice.text(&"x".repeat(length)).len()).collect();
    assert!(lengths.len() <= 512 / 64 + 2, "{lengths:?}");
}

#[test]
fn debug_shows_no_text() {
    let alice = Alice::new();
    let message = alice.read(&alice.text("a secret")).unwrap();
    assert!(format!("{message:?}").contains("Text(8 bytes)"));
    assert!(!format!("{message:?}").contains("secret"));
    assert_eq!(format!("{:?}", Body::Bundle(Bytes::from_static(b"x"))), "Bundle(1 bytes)");
}

proptest! {
    #[test]
    fn any_change_of_a_message_is_noticed(
        position: prop::sample::Index,
        flip in 1_u8..,
        text in ".{0,200}",
    ) {
        let alice = Alice::new();
        let mut envelope = alice.text(&text).to_vec();
        let position = position.index(envelope.len());
        envelope[position] ^= flip;
        prop_assert!(alice.read(&envelope).is_err());
    }

    #[test]
    fn any_text_comes_back(text in ".{0,300}", n in 1_u64..) {
        let alice = Alice::new();
        let body = Body::Text(text);
        let envelope = alice.seal(n, &body).unwrap();
        prop_assert_eq!(parse_header(&envelope).unwrap().n, N(n));
        prop_assert_eq!(alice.read(&envelope).unwrap().body, body);
    }

    #[test]
    fn bytes_from_anywhere_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(parse_header(&bytes).is_err());
        prop_assert!(verify_bundle(&bytes, &CLUSTER, &user("alice")).is_err());
        prop_assert!(IdentityKey::from_pkcs8(&bytes).is_err());
        let envelope = wire::Envelope {
            header: bytes.clone().into(),
            payload: bytes.into(),
            signature: Bytes::from_static(&[0; 64]),
        };
        // A header of random bytes hardly ever parses; what matters is that nothing panics.
        let _ = parse_header(&envelope.encode_to_vec());
    }

    #[test]
    fn a_header_of_any_numbers_is_judged(
        suite: u32, kind in -1_i32..4, device: u64, n: u64, upto: u64, key_epoch: u64,
        key_id in prop::collection::vec(any::<u8>(), 14..18),
    ) {
        let header = wire::Header {
            suite: suite % 3, kind, log: "@bob".to_owned(), author: "alice".to_owned(),
            device, n, upto, key_id: key_id.into(), key_epoch: key_epoch % 2,
        };
        let envelope = wire::Envelope {
            header: header.encode_to_vec().into(),
            payload: Bytes::from_static(b"x"),
            signature: Bytes::from_static(&[0; 64]),
        };
        if let Ok(info) = parse_header(&envelope.encode_to_vec()) {
            prop_assert!(info.n <= info.upto && info.n >= N(1));
            prop_assert_eq!(info.suite, SUITE_RF1);
        }
    }
}
