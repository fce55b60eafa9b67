//! Bytes from anywhere do no harm: no panic, and no more memory than the limits say.

use proptest::prelude::*;

use super::samples;
use crate::client::pictures::clean::clean;
use crate::client::pictures::measure::decode;
use crate::client::pictures::{Kind, Picture, Treatment, prepare, thumbnail};

const PICTURES: [Picture; 4] = [Picture::Jpeg, Picture::Png, Picture::Gif, Picture::WebP];

/// Everything that can be done to bytes.
fn try_all(bytes: &[u8]) {
    let kind = Kind::of(bytes);
    assert!(kind.media_type.len() <= 64 && kind.media_type.is_ascii());
    for picture in PICTURES {
        if let Ok(cleaned) = clean(picture, bytes) {
            assert!(cleaned.bytes.len() <= bytes.len() + 64);
            // Small ones only: what is damaged here must not make the test slow.
            if u64::from(cleaned.width) * u64::from(cleaned.height) < 1_000_000 {
                let _ = decode(picture, &cleaned);
            }
        }
    }
    let _ = thumbnail::open(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn bytes_from_anywhere_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        try_all(&bytes);
        for start in [&b"\xff\xd8\xff"[..], b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\xff\0\0\0WEBP"] {
            try_all(&[start, &bytes].concat());
        }
    }

    #[test]
    fn damaged_pictures_do_no_harm(
        which in 0_usize..10,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let (_, _, mut bytes) = samples::all().swap_remove(which);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        try_all(&bytes);
        let _ = prepare(&mut std::io::Cursor::new(bytes), "a.bin", Treatment::Original);
    }

    #[test]
    fn damaged_thumbnails_do_no_harm(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..16),
    ) {
        let mut bytes = samples::plain(Picture::Jpeg, 64, 48);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(read) = thumbnail::open(&bytes) {
            prop_assert_eq!(read.rgb.len() as u64, u64::from(read.width * read.height * 3));
        }
    }
}
