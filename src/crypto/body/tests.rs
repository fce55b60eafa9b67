//! Bodies: what comes back, what is refused, what is not shown.

use super::*;
use crate::crypto::blob::BlobKey;
use crate::limits::{
    CAPTION_BYTES_MAX, FILE_BYTES_MAX, FILE_NAME_BYTES_MAX, MEDIA_TYPE_BYTES_MAX,
    THUMBNAIL_BYTES_MAX,
};
use crate::types::BlobId;
use proptest::prelude::*;

fn one() -> MessageRef {
    let author = UserName::parse("alice").unwrap();
    MessageRef { author, device: DeviceId(7), n: N(1) }
}

fn rich(text: &str, expire: Option<Duration>) -> Body {
    Body::Rich(Rich { text: text.to_owned(), reply_to: Some(one()), emote: true, expire })
}

fn reaction(emoji: Option<&str>) -> Body {
    Body::Reaction { to: one(), emoji: emoji.map(str::to_owned) }
}

fn edit(text: &str) -> Body {
    Body::Edit { to: one(), text: text.to_owned() }
}

fn welcome(epoch: u64) -> Body {
    let (group, id) = (GroupName::canonical("team").unwrap(), GroupId([8; 32]));
    let key = GroupKey::from_bytes(b"a secret of exactly 32 bytes, ok").unwrap();
    Body::Welcome(Welcome { group, id, epoch: KeyEpoch(epoch), key })
}

fn file() -> FileBody {
    FileBody {
        blob: BlobId([4; 32]),
        bytes: FILE_BYTES_MAX,
        key: BlobKey::from_bytes(b"a secret of exactly 32 bytes, ok").unwrap(),
        name: "a secret name".to_owned(),
        media_type: "image/png".to_owned(),
        dimensions: Some((1, u32::MAX)),
        thumbnail: Bytes::from_static(b"a secret picture"),
        caption: "a secret caption".to_owned(),
        reply_to: Some(one()),
        expire: Some(EXPIRE_MIN),
    }
}

/// A file after `change` had its way with it.
fn file_with(change: impl FnOnce(&mut FileBody)) -> Body {
    let mut file = file();
    change(&mut file);
    Body::File(Box::new(file))
}

fn comes_back(body: &Body) -> Result<Body, EnvelopeError> {
    let (kind, bytes) = body.encode()?;
    Body::decode(kind.into(), bytes)
}

#[test]
fn every_body_comes_back_as_it_was() {
    let longest = "x".repeat(TEXT_BYTES_MAX);
    let plain = Rich { text: "x".to_owned(), reply_to: None, emote: false, expire: None };
    for body in [
        Body::Text("hi".to_owned()),
        Body::Bundle(Bytes::from_static(b"any")),
        Body::Rich(plain),
        rich(&longest, Some(EXPIRE_MIN)),
        rich("x", Some(EXPIRE_MAX)),
        reaction(Some(&"x".repeat(EMOJI_BYTES_MAX))),
        reaction(None),
        edit(&longest),
        Body::Delete { to: one() },
        Body::Read { device: DeviceId(u64::MAX), n: N(u64::MAX) },
        Body::ReadGroup { seq: Seq(u64::MAX) },
        welcome(1),
        Body::File(Box::new(file())),
        file_with(|file| {
            (file.bytes, file.name) = (1, "x".repeat(FILE_NAME_BYTES_MAX));
            (file.media_type, file.caption) = (String::new(), "x".repeat(CAPTION_BYTES_MAX));
            (file.dimensions, file.reply_to, file.expire) = (None, None, None);
            file.thumbnail = vec![1; THUMBNAIL_BYTES_MAX].into();
        }),
        // Names are made safe by who reads them.
        file_with(|file| file.name = "../\u{202e}\n".to_owned()),
        Body::Goodbye { group: GroupName::canonical("team").unwrap(), id: GroupId([8; 32]) },
    ] {
        assert_eq!(comes_back(&body), Ok(body));
    }
}

#[test]
fn what_is_past_its_bound_is_neither_sealed_nor_read() {
    let too_long = "x".repeat(TEXT_BYTES_MAX + 1);
    let over = |limit: usize| Err(EnvelopeError::TooLarge { got: limit + 1, limit });
    assert_eq!(comes_back(&rich(&too_long, None)), over(TEXT_BYTES_MAX));
    assert_eq!(comes_back(&edit(&too_long)), over(TEXT_BYTES_MAX));
    let emoji = "x".repeat(EMOJI_BYTES_MAX + 1);
    assert_eq!(comes_back(&reaction(Some(&emoji))), over(EMOJI_BYTES_MAX));
    let malformed = |body: Body| {
        let refused = comes_back(&body);
        assert!(matches!(refused, Err(EnvelopeError::Malformed(_))), "{body:?} {refused:?}");
    };
    malformed(rich("", None));
    malformed(edit(""));
    malformed(reaction(Some("")));
    let moment = Duration::from_millis(1);
    for life in [Duration::ZERO, moment, EXPIRE_MIN - moment, EXPIRE_MAX + moment] {
        malformed(rich("x", Some(life)));
    }
    malformed(Body::Delete { to: MessageRef { device: DeviceId(0), ..one() } });
    malformed(Body::Delete { to: MessageRef { n: N(0), ..one() } });
    malformed(Body::Read { device: DeviceId(0), n: N(1) });
    malformed(Body::Read { device: DeviceId(1), n: N(0) });
    malformed(Body::ReadGroup { seq: Seq(0) });
    malformed(welcome(0));
    malformed(Body::Unknown(99));

    let too_much = |limit: usize, change: fn(&mut FileBody, usize)| {
        assert_eq!(comes_back(&file_with(|file| change(file, limit + 1))), over(limit));
    };
    let most = usize::try_from(FILE_BYTES_MAX).unwrap();
    too_much(most, |file, bytes| file.bytes = bytes as u64);
    too_much(FILE_NAME_BYTES_MAX, |file, bytes| file.name = "x".repeat(bytes));
    too_much(MEDIA_TYPE_BYTES_MAX, |file, bytes| file.media_type = "x".repeat(bytes));
    too_much(CAPTION_BYTES_MAX, |file, bytes| file.caption = "x".repeat(bytes));
    too_much(THUMBNAIL_BYTES_MAX, |file, bytes| file.thumbnail = vec![0; bytes].into());
    malformed(file_with(|file| file.bytes = 0));
    malformed(file_with(|file| file.name.clear()));
    malformed(file_with(|file| file.dimensions = Some((0, 1))));
    malformed(file_with(|file| file.dimensions = Some((1, 0))));
    malformed(file_with(|file| file.expire = Some(moment)));
    malformed(file_with(|file| file.reply_to = Some(MessageRef { n: N(0), ..one() })));
}

#[test]
fn a_body_of_its_type_without_what_it_needs_is_malformed() {
    let decode = |kind: wire::BodyType, bytes: Vec<u8>| Body::decode(kind.into(), bytes.into());
    let bare_with = |kind, bytes| {
        assert!(matches!(decode(kind, bytes), Err(EnvelopeError::Malformed(_))));
    };
    let bare = |kind| bare_with(kind, vec![]);
    bare(wire::BodyType::BodyUnspecified);
    bare(wire::BodyType::BodyRich);
    bare(wire::BodyType::BodyReaction);
    bare(wire::BodyType::BodyEdit);
    bare(wire::BodyType::BodyDelete);
    bare(wire::BodyType::BodyRead);
    bare(wire::BodyType::BodyWelcome);
    bare(wire::BodyType::BodyRemoved);
    bare(wire::BodyType::BodyFile);
    let whole: wire::File = message(file().to_bytes()).unwrap();
    for (blob_id, key) in [(31, 32), (33, 32), (32, 31), (32, 33), (0, 32), (32, 0)] {
        let (blob_id, key) = (vec![1; blob_id].into(), vec![1; key].into());
        let odd = wire::File { blob_id, key, ..whole.clone() }.encode_to_vec();
        bare_with(wire::BodyType::BodyFile, odd);
    }
    let to = wire::MessageRef { author: "Alice".to_owned(), device: 1, n: 1 };
    let shouted = wire::Delete { to: Some(to) }.encode_to_vec();
    assert_eq!(
        decode(wire::BodyType::BodyDelete, shouted),
        Err(EnvelopeError::Malformed("not a user name"))
    );
    let not_utf8 = vec![0x0a, 0x01, 0xff];
    assert!(decode(wire::BodyType::BodyRich, not_utf8).is_err());
    let mixed = wire::Read { device: 1, n: 1, seq: 1 }.encode_to_vec();
    assert_eq!(
        decode(wire::BodyType::BodyRead, mixed),
        Err(EnvelopeError::Malformed("neither device and n nor seq"))
    );
    assert_eq!(Body::decode(99, Bytes::new()), Ok(Body::Unknown(99)));
}

#[test]
fn debug_shows_nothing_that_was_said() {
    let file = Body::File(Box::new(file()));
    for body in [rich("a secret", None), edit("a secret"), reaction(Some("secret")), file] {
        let shown = format!("{body:?}");
        assert!(!shown.contains("secret") && !shown.contains("97, 32, 115"), "{shown}");
    }
    let shown = format!("{:?}", welcome(1));
    assert_eq!(shown, "Welcome(#team)");
}

proptest! {
    #[test]
    fn bytes_from_anywhere_do_no_harm(
        kind in -1_i32..11, bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Ok(body) = Body::decode(kind, bytes.into()) {
            // What was taken can be said again, but for what is not known here.
            prop_assert_eq!(body.encode().is_ok(), !matches!(body, Body::Unknown(_)));
        }
    }

    #[test]
    fn a_file_with_any_byte_changed_is_refused_or_says_something_else(
        at in any::<prop::sample::Index>(), change in 1_u8..,
    ) {
        let whole = file();
        let mut bytes = whole.to_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        if let Ok(other) = FileBody::from_bytes(bytes.into()) {
            prop_assert_ne!(&other, &whole);
            let again = FileBody::from_bytes(other.to_bytes());
            prop_assert_eq!(again.as_ref(), Ok(&other));
        }
    }
}
