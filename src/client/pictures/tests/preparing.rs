//! The one way by which files are made ready.

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use image::{DynamicImage, ImageFormat, ImageReader, Rgba, RgbaImage};

use super::samples;
use crate::client::pictures::{
    Content, Picture, PictureError, Prepared, Treatment, prepare, thumbnail,
};
use crate::limits::{FILE_HEAD_BYTES, FIT_EDGE_PX_MAX, PICTURE_BYTES_MAX};

fn prepared(bytes: &[u8], name: &str, treatment: Treatment) -> Result<Prepared, PictureError> {
    prepare(&mut Cursor::new(bytes), name, treatment)
}

fn sent(prepared: &Prepared) -> &[u8] {
    let Content::Bytes(bytes) = &prepared.content else { panic!("untouched") };
    bytes
}

#[test]
fn a_picture_is_cleaned_measured_and_has_a_thumbnail() {
    for (name, picture, bytes) in samples::all() {
        let ready = prepared(&bytes, "holiday", Treatment::Clean).unwrap();
        assert!(ready.cleaned && !samples::tells(sent(&ready)), "{name}");
        assert_eq!(ready.media_type, picture.media_type(), "{name}");
        assert_eq!(ready.name, "holiday");
        let (width, height) = ready.dimensions.unwrap();
        let small = thumbnail::open(&ready.thumbnail.unwrap()).unwrap();
        assert_eq!((small.width, small.height), (width, height), "{name}: small already");
    }
    let turned = prepared(&samples::jpeg(40, 30, 6), "a.jpg", Treatment::Clean).unwrap();
    assert_eq!(turned.dimensions, Some((30, 40)));
}

#[test]
fn an_original_goes_as_it_is_and_is_described_all_the_same() {
    for (name, picture, bytes) in samples::all() {
        let ready = prepared(&bytes, "a.png", Treatment::Original).unwrap();
        assert_eq!(ready.content, Content::Untouched, "{name}");
        assert!(!ready.cleaned && ready.thumbnail.is_some() && ready.dimensions.is_some());
        assert_eq!(ready.media_type, picture.media_type());
    }
}

#[test]
fn a_broken_picture_goes_only_as_an_original() {
    let mut broken = samples::plain(Picture::Png, 64, 64);
    let middle = broken.len() / 2;
    broken[middle] ^= 0xff;
    let cut = samples::plain(Picture::Jpeg, 64, 64)[..300].to_vec();
    for bytes in [broken, cut] {
        for treatment in [Treatment::Clean, Treatment::Fit] {
            if treatment == Treatment::Fit && bytes.starts_with(b"\x89PNG") {
                continue;
            }
            let error = prepared(&bytes, "a.png", treatment).unwrap_err();
            assert!(matches!(error, PictureError::Broken(_)), "{error}");
        }
        let ready = prepared(&bytes, "a.png", Treatment::Original).unwrap();
        assert_eq!((ready.dimensions, ready.thumbnail), (None, None));
    }
}

/// Counts what is read of it.
struct Watched(Cursor<Vec<u8>>, u64);

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        self.1 += u64::try_from(read).unwrap();
        Ok(read)
    }
}

impl Seek for Watched {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

#[test]
fn of_what_is_no_picture_only_the_beginning_is_read() {
    let mut film = b"\0\0\0\x18ftypmp42\0\0\0\0mp42".to_vec();
    film.resize(1_000_000, 7);
    for treatment in [Treatment::Clean, Treatment::Original] {
        let mut file = Watched(Cursor::new(film.clone()), 0);
        file.seek(SeekFrom::Start(77)).unwrap();
        let ready = prepare(&mut file, "clip.mp4", treatment).unwrap();
        assert_eq!(ready.content, Content::Untouched);
        assert_eq!((ready.media_type, ready.cleaned), ("video/mp4", false));
        assert_eq!((ready.dimensions, ready.thumbnail), (None, None));
        assert_eq!((file.1, file.stream_position().unwrap()), (FILE_HEAD_BYTES, 0));
    }
    let error = prepared(&film, "clip.mp4", Treatment::Fit).unwrap_err();
    assert!(matches!(error, PictureError::NoPicture { is: "video/mp4" }), "{error}");
}

#[test]
fn a_name_that_lies_is_told_whatever_is_asked_for() {
    for treatment in [Treatment::Clean, Treatment::Original, Treatment::Fit] {
        let error = prepared(b"#!/bin/sh\nrm -rf /", "cat.gif", treatment).unwrap_err();
        assert!(matches!(error, PictureError::NotWhatItSays { name_says: "image/gif", .. }));
    }
}

#[test]
fn a_picture_with_more_pixels_than_fit_anywhere_is_refused_unread() {
    let small = samples::plain(Picture::Png, 8, 8);
    for (width, height, allowed) in [
        (10_000_u32, 10_000_u32, true),
        (10_001, 10_000, false),
        (65_535, 1, true),
        (65_536, 1, false),
        (u32::MAX, u32::MAX, false),
    ] {
        let header = [width.to_be_bytes(), height.to_be_bytes()].concat();
        let header = samples::chunk(b"IHDR", &[&header, &small[24..29]].concat());
        let bomb = [&small[..8], header.as_slice(), &small[33..]].concat();
        for treatment in [Treatment::Clean, Treatment::Original, Treatment::Fit] {
            match prepared(&bomb, "bomb.png", treatment) {
                Err(PictureError::TooManyPixels { .. }) => assert!(!allowed),
                // Its pixels are not there; that is found out by decoding.
                Ok(_) | Err(PictureError::Broken(_)) => assert!(allowed, "{width} x {height}"),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn a_picture_longer_than_a_blob_is_read_only_to_be_made_smaller() {
    struct Endless(u64);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            assert!(buffer.len() <= 8192, "only its beginning is read");
            let head = b"\x89PNG\r\n\x1a\n";
            buffer[..8].copy_from_slice(head);
            Ok(buffer.len())
        }
    }
    impl Seek for Endless {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            Ok(if matches!(to, SeekFrom::End(0)) { self.0 } else { 0 })
        }
    }
    for (length, treatment) in [
        (PICTURE_BYTES_MAX + 1, Treatment::Clean),
        (PICTURE_BYTES_MAX + 1, Treatment::Original),
        (PICTURE_BYTES_MAX * 4 + 1, Treatment::Fit),
    ] {
        let error = prepare(&mut Endless(length), "a.png", treatment).unwrap_err();
        assert!(matches!(error, PictureError::TooLarge { bytes, .. } if bytes == length));
    }
}

#[test]
fn a_smaller_copy_is_small_turned_and_tells_nothing() {
    let bytes = samples::jpeg(2500, 1500, 6);
    let ready = prepared(&bytes, "IMG_1.JPEG", Treatment::Fit).unwrap();
    assert_eq!((ready.name.as_str(), ready.media_type), ("IMG_1.JPEG", "image/jpeg"));
    let copy = ImageReader::with_format(Cursor::new(sent(&ready)), ImageFormat::Jpeg);
    let copy = copy.decode().unwrap();
    assert_eq!((copy.width(), copy.height()), (1229, FIT_EDGE_PX_MAX));
    assert_eq!(ready.dimensions, Some((1229, FIT_EDGE_PX_MAX)));
    assert!(ready.cleaned && !samples::tells(sent(&ready)));
    assert!(sent(&ready).len() < bytes.len());
    let small = thumbnail::open(&ready.thumbnail.unwrap()).unwrap();
    assert!(small.width < small.height);
}

#[test]
fn a_smaller_copy_keeps_what_is_transparent_and_else_becomes_a_jpeg() {
    let glass =
        |alpha| DynamicImage::ImageRgba8(RgbaImage::from_pixel(2100, 20, Rgba([9, 9, 9, alpha])));
    let png = samples::encoded(&glass(100), ImageFormat::Png);
    let ready = prepared(&png, "glass.png", Treatment::Fit).unwrap();
    assert_eq!((ready.name.as_str(), ready.media_type), ("glass.png", "image/png"));
    let webp = samples::encoded(&glass(100), ImageFormat::WebP);
    let ready = prepared(&webp, "glass.webp", Treatment::Fit).unwrap();
    assert_eq!((ready.name.as_str(), ready.media_type), ("glass.png", "image/png"));
    let png = samples::encoded(&glass(255), ImageFormat::Png);
    for (name, renamed) in [("a.png", "a.jpg"), ("a.b.PNG", "a.b.jpg"), ("a", "a.jpg")] {
        let ready = prepared(&png, name, Treatment::Fit).unwrap();
        assert_eq!((ready.name.as_str(), ready.media_type), (renamed, "image/jpeg"));
    }
}

#[test]
fn a_picture_that_is_small_already_or_moves_is_only_cleaned() {
    for (name, _, bytes) in samples::all() {
        let fitted = prepared(&bytes, "a.jpg", Treatment::Fit).unwrap();
        let cleaned = prepared(&bytes, "a.jpg", Treatment::Clean).unwrap();
        assert_eq!((fitted.content, fitted.name), (cleaned.content, cleaned.name), "{name}");
    }
}
