//! What is taken out, and that the pixels stay.

use std::io::Cursor;

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{AnimationDecoder, DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use super::samples;
use crate::client::pictures::clean::{Cleaned, clean};
use crate::client::pictures::{Picture, PictureError};

fn pixels(bytes: &[u8], picture: Picture) -> DynamicImage {
    ImageReader::with_format(Cursor::new(bytes), picture.format()).decode().unwrap()
}

fn orientation(bytes: &[u8], picture: Picture) -> Orientation {
    let reader = ImageReader::with_format(Cursor::new(bytes), picture.format());
    reader.into_decoder().unwrap().orientation().unwrap()
}

fn cleaned(picture: Picture, bytes: &[u8]) -> Cleaned {
    clean(picture, bytes).unwrap()
}

#[test]
fn nothing_is_told_but_the_pixels_and_those_are_the_same() {
    for (name, picture, bytes) in samples::all() {
        assert!(samples::tells(&bytes), "{name}");
        let cleaned = cleaned(picture, &bytes);
        assert!(!samples::tells(&cleaned.bytes), "{name}");
        assert!(cleaned.bytes.len() < bytes.len(), "{name}");
        let (before, after) = (pixels(&bytes, picture), pixels(&cleaned.bytes, picture));
        assert_eq!(before, after, "{name}");
        assert_eq!((cleaned.width, cleaned.height), (after.width(), after.height()), "{name}");
        assert_eq!(cleaned.animated, name.starts_with("moving"), "{name}");
    }
}

#[test]
fn cleaning_twice_changes_nothing_more() {
    for (name, picture, bytes) in samples::all() {
        let once = cleaned(picture, &bytes).bytes;
        assert_eq!(cleaned(picture, &once).bytes, once, "{name}");
    }
}

#[test]
fn a_turned_picture_stays_turned() {
    for value in 1..=8 {
        let turned = Orientation::from_exif(value).unwrap();
        let drawing = DynamicImage::ImageRgb8(samples::drawing(16, 8));
        for (picture, bytes) in [
            (Picture::Jpeg, samples::jpeg(16, 8, value)),
            (Picture::Png, samples::png(&drawing, value)),
            (Picture::WebP, samples::webp(value)),
        ] {
            let cleaned = cleaned(picture, &bytes);
            assert_eq!(cleaned.orientation, turned, "{picture:?}");
            assert_eq!(orientation(&cleaned.bytes, picture), turned, "{picture:?}");
            let sideways = value >= 5;
            let (width, height) = cleaned.seen();
            assert_eq!(width < height, sideways, "{picture:?} {value}");
        }
    }
}

#[test]
fn nothing_is_written_for_a_picture_that_is_the_right_way_up() {
    let drawing = DynamicImage::ImageRgb8(samples::drawing(16, 8));
    for (picture, bytes, mark) in [
        (Picture::Jpeg, samples::jpeg(16, 8, 1), b"Exif"),
        (Picture::Png, samples::png(&drawing, 1), b"eXIf"),
        (Picture::WebP, samples::webp(1), b"EXIF"),
    ] {
        let cleaned = cleaned(picture, &bytes);
        assert!(!cleaned.bytes.windows(4).any(|window| window == mark), "{picture:?}");
    }
}

#[test]
fn moving_pictures_still_move() {
    fn frames(decoder: impl for<'a> AnimationDecoder<'a>) -> Vec<(Vec<u8>, u32)> {
        let frames = decoder.into_frames().collect_frames().unwrap();
        let one = |frame: &image::Frame| {
            (frame.buffer().as_raw().clone(), frame.delay().numer_denom_ms().0)
        };
        frames.iter().map(one).collect()
    }
    let gif = |bytes: &[u8]| frames(GifDecoder::new(Cursor::new(bytes.to_vec())).unwrap());
    let png = |bytes: &[u8]| {
        frames(PngDecoder::new(Cursor::new(bytes.to_vec())).unwrap().apng().unwrap())
    };
    let webp = |bytes: &[u8]| frames(WebPDecoder::new(Cursor::new(bytes.to_vec())).unwrap());

    let sample = samples::gif(3);
    let clean_gif = cleaned(Picture::Gif, &sample).bytes;
    assert_eq!(gif(&sample).len(), 3);
    assert_eq!(gif(&sample), gif(&clean_gif));
    let again = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x05\0\0";
    assert!(clean_gif.windows(again.len()).any(|window| window == again), "how often it repeats");

    let sample = samples::moving_png();
    assert_eq!(png(&sample).len(), 2);
    assert_eq!(png(&sample), png(&cleaned(Picture::Png, &sample).bytes));

    let sample = samples::moving_webp();
    assert_eq!(webp(&sample).len(), 1);
    assert_eq!(webp(&sample), webp(&cleaned(Picture::WebP, &sample).bytes));
}

#[test]
fn pictures_with_nothing_to_take_out_stay_byte_for_byte() {
    for picture in [Picture::Jpeg, Picture::Png, Picture::WebP] {
        let bytes = samples::plain(picture, 33, 17);
        assert_eq!(cleaned(picture, &bytes).bytes, bytes, "{picture:?}");
    }
    for bytes in samples::lossy_webp() {
        let cleaned = cleaned(Picture::WebP, &bytes);
        assert_eq!(cleaned.bytes, bytes);
        assert_eq!((cleaned.width, cleaned.height), (1, 1));
        pixels(&cleaned.bytes, Picture::WebP);
    }
}

#[test]
fn colour_profiles_stay() {
    use image::codecs::jpeg::JpegEncoder;
    use image::codecs::png::PngEncoder;
    use image::codecs::webp::WebPEncoder;
    use image::{ExtendedColorType, ImageEncoder};
    fn with_profile(mut encoder: impl ImageEncoder) {
        encoder.set_icc_profile(b"a profile of colours".to_vec()).unwrap();
        let drawing = samples::drawing(8, 8);
        encoder.write_image(&drawing, 8, 8, ExtendedColorType::Rgb8).unwrap();
    }
    for picture in [Picture::Jpeg, Picture::Png, Picture::WebP] {
        let mut bytes = Vec::new();
        match picture {
            Picture::Jpeg => with_profile(JpegEncoder::new(&mut bytes)),
            Picture::Png => with_profile(PngEncoder::new(&mut bytes)),
            Picture::WebP => with_profile(WebPEncoder::new_lossless(&mut bytes)),
            Picture::Gif => {}
        }
        let cleaned = cleaned(picture, &bytes);
        let reader = ImageReader::with_format(Cursor::new(&cleaned.bytes), picture.format());
        let profile = reader.into_decoder().unwrap().icc_profile().unwrap();
        assert_eq!(profile.as_deref(), Some(b"a profile of colours".as_slice()), "{picture:?}");
    }
}

#[test]
fn a_picture_cut_anywhere_is_broken() {
    for (name, picture, bytes) in samples::all() {
        let whole = cleaned(picture, &bytes).bytes;
        let mut last = whole.len();
        // The last byte of a GIF is nothing but its end, which may be missing.
        if picture == Picture::Gif {
            last -= 1;
            assert_eq!(cleaned(picture, &whole[..last]).bytes, whole);
        }
        for length in 0..last {
            if name == "moving gif" && clean(picture, &whole[..length]).is_ok() {
                // Cut between its pictures: those that are there are shown.
                continue;
            }
            let error = clean(picture, &whole[..length]).unwrap_err();
            assert!(matches!(error, PictureError::Broken(_)), "{name}: {error}");
        }
    }
}

#[test]
fn a_progressive_picture_with_endless_scans_is_broken() {
    let plain = samples::plain(Picture::Jpeg, 16, 16);
    let scan = plain.windows(2).position(|window| window == [0xff, 0xda]).unwrap();
    let (start, rest) = plain.split_at(scan);
    let scan = &rest[..rest.len() - 2];
    let many = |count| [start, &scan.repeat(count), &[0xff, 0xd9]].concat();
    assert!(clean(Picture::Jpeg, &many(crate::limits::PICTURE_SCANS_MAX)).is_ok());
    assert!(clean(Picture::Jpeg, &many(crate::limits::PICTURE_SCANS_MAX + 1)).is_err());
}

#[test]
fn every_format_is_the_one_it_says() {
    assert_eq!(Picture::WebP.format(), ImageFormat::WebP);
    for (_, picture, bytes) in samples::all() {
        for other in [Picture::Jpeg, Picture::Png, Picture::Gif, Picture::WebP] {
            assert_eq!(clean(other, &bytes).is_ok(), other == picture);
        }
    }
}
