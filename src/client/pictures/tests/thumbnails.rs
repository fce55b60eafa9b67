//! Thumbnails made here, and those of others.

use image::metadata::Orientation;
use image::{DynamicImage, Rgb, RgbImage, Rgba, RgbaImage};

use super::samples;
use crate::client::pictures::thumbnail::{make, open};
use crate::client::pictures::{Picture, PictureError};
use crate::limits::{THUMBNAIL_BYTES_MAX, THUMBNAIL_EDGE_PX_MAX};

fn noise(width: u32, height: u32) -> DynamicImage {
    let mut state = 0x2545_f491_u32;
    DynamicImage::ImageRgb8(RgbImage::from_fn(width, height, |_, _| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let [red, green, blue, _] = state.to_le_bytes();
        Rgb([red, green, blue])
    }))
}

#[test]
fn a_thumbnail_is_small_in_every_way() {
    for (width, height) in [(1, 1), (320, 320), (321, 200), (2000, 1), (1, 3000), (1500, 1000)] {
        for picture in
            [DynamicImage::ImageRgb8(samples::drawing(width, height)), noise(width, height)]
        {
            let jpeg = make(picture, Orientation::NoTransforms).unwrap();
            assert!(jpeg.len() <= THUMBNAIL_BYTES_MAX);
            let thumbnail = open(&jpeg).unwrap();
            let longer = thumbnail.width.max(thumbnail.height);
            assert!(longer <= THUMBNAIL_EDGE_PX_MAX && longer <= width.max(height));
            let bytes = u64::from(thumbnail.width * thumbnail.height * 3);
            assert_eq!(thumbnail.rgb.len() as u64, bytes);
        }
    }
    let easy = make(DynamicImage::new_rgb8(640, 320), Orientation::NoTransforms).unwrap();
    let easy = open(&easy).unwrap();
    assert_eq!((easy.width, easy.height), (320, 160));
}

#[test]
fn a_thumbnail_is_the_right_way_up() {
    // Red on the left; turned clockwise, red is on top.
    let picture = RgbImage::from_fn(100, 60, |x, _| Rgb([if x < 50 { 255 } else { 0 }, 0, 0]));
    let jpeg = make(DynamicImage::ImageRgb8(picture), Orientation::Rotate90).unwrap();
    let thumbnail = open(&jpeg).unwrap();
    assert_eq!((thumbnail.width, thumbnail.height), (60, 100));
    assert!(thumbnail.rgb[0] > 200);
    assert!(thumbnail.rgb[thumbnail.rgb.len() - 3] < 50);
}

#[test]
fn what_is_transparent_is_white() {
    // Black that nobody sees must not darken what is beside it.
    let picture =
        RgbaImage::from_fn(640, 640, |x, _| Rgba([0, 0, 0, if x % 2 == 0 { 0 } else { 1 }]));
    let jpeg = make(DynamicImage::ImageRgba8(picture), Orientation::NoTransforms).unwrap();
    assert!(open(&jpeg).unwrap().rgb.iter().all(|channel| *channel > 250));
}

#[test]
fn somebody_elses_thumbnail_keeps_to_the_limits() {
    let edge = THUMBNAIL_EDGE_PX_MAX;
    let blank =
        |width, height, format| samples::encoded(&DynamicImage::new_rgb8(width, height), format);
    assert!(open(&blank(edge, edge, image::ImageFormat::Jpeg)).is_ok());
    let wide = open(&blank(edge + 1, 8, image::ImageFormat::Jpeg)).unwrap_err();
    assert!(matches!(wide, PictureError::TooManyPixels { width: 321, height: 8 }), "{wide}");
    let png = open(&blank(8, 8, image::ImageFormat::Png)).unwrap_err();
    assert!(matches!(png, PictureError::NoPicture { is: "image/png" }), "{png}");
    let mut long = blank(8, 8, image::ImageFormat::Jpeg);
    long.resize(THUMBNAIL_BYTES_MAX, 0);
    assert!(open(&long).is_ok());
    long.push(0);
    assert!(matches!(open(&long).unwrap_err(), PictureError::TooLarge { .. }));
    assert!(matches!(open(b"").unwrap_err(), PictureError::NoPicture { .. }));
}

#[test]
fn a_thumbnail_that_claims_to_be_huge_is_not_decoded() {
    let mut bomb = samples::plain(Picture::Jpeg, 16, 16);
    let frame = bomb.windows(2).position(|window| window == [0xff, 0xc0]).unwrap();
    bomb[frame + 5..frame + 9].copy_from_slice(&[0xff; 4]);
    let error = open(&bomb).unwrap_err();
    assert!(matches!(error, PictureError::TooManyPixels { width: 65_535, height: 65_535 }));
}
