//! Pictures of every kind with everything in them that has to go.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, DynamicImage, Frame, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};

use crate::client::pictures::Picture;

/// Stands in everything that must not be sent.
pub(super) const SECRET: &[u8] = b"48.2082N 16.3738E";

/// A picture in which every side and corner looks different.
pub(super) fn drawing(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let red = u8::try_from(x * 255 / width).unwrap();
        let green = u8::try_from(y * 255 / height).unwrap();
        Rgb([red, green, u8::try_from((x * 7 + y * 13) % 256).unwrap()])
    })
}

pub(super) fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

pub(super) fn plain(picture: Picture, width: u32, height: u32) -> Vec<u8> {
    encoded(&DynamicImage::ImageRgb8(drawing(width, height)), picture.format())
}

/// Exif with an orientation, a place and a small picture's bytes behind it.
pub(super) fn exif(orientation: u8) -> Vec<u8> {
    let mut exif = b"MM\0\x2a\0\0\0\x08\0\x02".to_vec();
    exif.extend_from_slice(&[0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0]);
    // GPSInfo, at an offset behind the tags.
    exif.extend_from_slice(&[0x88, 0x25, 0, 4, 0, 0, 0, 1, 0, 0, 0, 38, 0, 0, 0, 0]);
    exif.extend_from_slice(SECRET);
    exif
}

fn segment(marker: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 2).unwrap().to_be_bytes();
    [&[0xff, marker], length.as_slice(), body].concat()
}

pub(super) fn jpeg(width: u32, height: u32, orientation: u8) -> Vec<u8> {
    let plain = plain(Picture::Jpeg, width, height);
    let said = |before: &[u8]| [before, SECRET].concat();
    let mut whole = plain[..2].to_vec();
    // JFIF with a thumbnail of one pixel, hidden in its colours.
    whole.extend(segment(0xe0, &said(b"JFIF\0\x01\x02\0\0\x01\0\x01\x01\x01")));
    whole.extend(segment(0xe0, &said(b"JFXX\0\x10")));
    whole.extend(segment(0xe1, &[b"Exif\0\0".to_vec(), exif(orientation)].concat()));
    whole.extend(segment(0xe1, &said(b"http://ns.adobe.com/xap/1.0/\0")));
    whole.extend(segment(0xe2, &said(b"MPF\0")));
    whole.extend(segment(0xed, &said(b"Photoshop 3.0\0")));
    whole.extend(segment(0xef, SECRET));
    whole.extend(segment(0xfe, SECRET));
    whole.extend(&plain[2..]);
    // The second picture of a camera, and an archive.
    whole.extend(&plain);
    whole.extend(said(b"PK\x03\x04"));
    whole
}

fn crc(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
        }
    }
    !sum
}

pub(super) fn chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let named = [kind.as_slice(), body].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&length, named.as_slice(), &crc(&named).to_be_bytes()].concat()
}

/// The end of the header of every PNG, and what ends it.
const AFTER_IHDR: usize = 8 + 25;
const IEND: usize = 12;

pub(super) fn png(picture: &DynamicImage, orientation: u8) -> Vec<u8> {
    let plain = encoded(picture, ImageFormat::Png);
    let said = |before: &[u8]| [before, SECRET].concat();
    let (start, end) = plain.split_at(plain.len() - IEND);
    let mut whole = start[..AFTER_IHDR].to_vec();
    whole.extend(chunk(b"pHYs", &[0, 0, 11, 19, 0, 0, 11, 19, 1]));
    whole.extend(chunk(b"tEXt", &said(b"Comment\0")));
    whole.extend(chunk(b"iTXt", &said(b"XML:com.adobe.xmp\0\0\0\0\0")));
    whole.extend(chunk(b"tIME", &[7, 234, 1, 1, 0, 0, 0]));
    whole.extend(chunk(b"eXIf", &exif(orientation)));
    whole.extend(&start[AFTER_IHDR..]);
    whole.extend(chunk(b"prVt", SECRET));
    whole.extend(end);
    whole.extend(said(b"PK\x03\x04"));
    whole
}

/// A PNG of two frames.
pub(super) fn moving_png() -> Vec<u8> {
    let plain = plain(Picture::Png, 20, 10);
    let frame = |number: u8| {
        let mut control = vec![0, 0, 0, number, 0, 0, 0, 20, 0, 0, 0, 10];
        control.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 10, 0, 0]);
        chunk(b"fcTL", &control)
    };
    let (start, end) = plain.split_at(plain.len() - IEND);
    let data = &start[AFTER_IHDR + 8..start.len() - 4];
    let mut whole = start[..AFTER_IHDR].to_vec();
    whole.extend(chunk(b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0]));
    whole.extend(frame(0));
    whole.extend(&start[AFTER_IHDR..]);
    whole.extend(frame(1));
    whole.extend(chunk(b"fdAT", &[&[0, 0, 0, 2], data].concat()));
    whole.extend(chunk(b"tEXt", SECRET));
    whole.extend(end);
    whole
}

pub(super) fn gif(frames: u8) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut encoder = GifEncoder::new(&mut plain);
    encoder.set_repeat(Repeat::Finite(5)).unwrap();
    for number in 0..frames {
        let picture = RgbaImage::from_fn(24, 16, |x, y| {
            Rgba([if x > y { 200 } else { 10 }, number * 80, 90, 255])
        });
        let delay = Delay::from_numer_denom_ms(100, 1);
        encoder.encode_frame(Frame::from_parts(picture, 0, 0, delay)).unwrap();
    }
    drop(encoder);
    let (head, rest) =
        plain.split_at(13 + if plain[10] & 0x80 == 0 { 0 } else { 3 << ((plain[10] & 7) + 1) });
    let block = |bytes: &[u8]| [&[u8::try_from(bytes.len()).unwrap()], bytes, &[0]].concat();
    let mut whole = head.to_vec();
    whole.extend([&[0x21, 0xfe], block(SECRET).as_slice()].concat());
    whole.extend([b"\x21\xff\x0bXMP DataXMP".as_slice(), &block(SECRET)].concat());
    let text = b"\x21\x01\x0c\0\0\0\0\x08\0\x08\0\x08\x08\x01\0";
    whole.extend([text.as_slice(), &block(SECRET)].concat());
    whole.extend(rest);
    whole.extend(SECRET);
    whole
}

fn riff(chunks: &[u8]) -> Vec<u8> {
    let length = u32::try_from(chunks.len() + 4).unwrap().to_le_bytes();
    [b"RIFF".as_slice(), &length, b"WEBP", chunks].concat()
}

fn riff_chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    let pad: &[u8] = if body.len() % 2 == 1 { &[0] } else { &[] };
    [kind.as_slice(), &length, body, pad].concat()
}

/// An extended WebP with everything in it that may be there.
pub(super) fn webp(orientation: u8) -> Vec<u8> {
    let plain = plain(Picture::WebP, 24, 16);
    let pixels = plain[12..].to_vec();
    let mut chunks = riff_chunk(b"VP8X", &[0x0c, 0, 0, 0, 23, 0, 0, 15, 0, 0]);
    chunks.extend(riff_chunk(b"JUNK", SECRET));
    chunks.extend(pixels);
    chunks.extend(riff_chunk(b"EXIF", &exif(orientation)));
    chunks.extend(riff_chunk(b"XMP ", SECRET));
    [riff(&chunks), SECRET.to_vec()].concat()
}

/// A moving WebP of one pixel with something hidden in its frame.
pub(super) fn moving_webp() -> Vec<u8> {
    let plain = STANDARD
        .decode("UklGRlIAAABXRUJQVlA4WAoAAAASAAAAAAAAAAAAQU5JTQYAAAD/////AABBTk1GJgAAAAAAAAAAAAAAAAAAAGQAAABWUDhMDQAAAC8AAAAQBxAREYiI/gcA")
        .unwrap();
    let at = plain.windows(4).position(|name| name == b"ANMF").unwrap();
    let mut frame = plain[at + 8..].to_vec();
    frame.extend(riff_chunk(b"JUNK", SECRET));
    let chunks =
        [&plain[12..at], &riff_chunk(b"ANMF", &frame), &riff_chunk(b"XMP ", SECRET)].concat();
    riff(&chunks)
}

/// WebP with losses: one pixel, and one with transparency.
pub(super) fn lossy_webp() -> [Vec<u8>; 2] {
    [
        "UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA",
        "UklGRkoAAABXRUJQVlA4WAoAAAAQAAAAAAAAAAAAQUxQSAwAAAARBxAR/Q9ERP8DAABWUDggGAAAABQBAJ0BKgEAAQAAAP4AAA3AAP7mtQAAAA==",
    ]
    .map(|text| STANDARD.decode(text).unwrap())
}

/// One of every kind, all with the secret in them.
pub(super) fn all() -> Vec<(&'static str, Picture, Vec<u8>)> {
    let drawing = DynamicImage::ImageRgb8(drawing(40, 30));
    let glass = DynamicImage::ImageRgba8(RgbaImage::from_fn(20, 10, |x, _| {
        Rgba([200, 30, 30, u8::try_from(x * 12).unwrap()])
    }));
    vec![
        ("jpeg", Picture::Jpeg, jpeg(40, 30, 1)),
        ("turned jpeg", Picture::Jpeg, jpeg(40, 30, 6)),
        ("png", Picture::Png, png(&drawing, 1)),
        ("turned png", Picture::Png, png(&glass, 8)),
        ("moving png", Picture::Png, moving_png()),
        ("gif", Picture::Gif, gif(1)),
        ("moving gif", Picture::Gif, gif(3)),
        ("webp", Picture::WebP, webp(1)),
        ("turned webp", Picture::WebP, webp(3)),
        ("moving webp", Picture::WebP, moving_webp()),
    ]
}

pub(super) fn tells(bytes: &[u8]) -> bool {
    bytes.windows(SECRET.len()).any(|window| window == SECRET)
}
