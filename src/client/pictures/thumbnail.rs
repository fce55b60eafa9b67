//! Thumbnails: small enough to travel inside the message, made here, and read from others with
//! distrust.

use image::DynamicImage;
use image::codecs::jpeg::JpegEncoder;
use image::metadata::Orientation;

use super::PictureError;
use super::clean::clean;
use super::kind::Picture;
use super::measure::decode_within;
use crate::limits::{THUMBNAIL_BYTES_MAX, THUMBNAIL_DECODED_BYTES_MAX, THUMBNAIL_EDGE_PX_MAX};

/// Decoded pixels: three bytes each, red, green and blue, row by row from the top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thumbnail {
    /// Pixels across, at most [`THUMBNAIL_EDGE_PX_MAX`].
    pub width: u32,
    /// Pixels down, likewise.
    pub height: u32,
    /// `width * height * 3` bytes.
    pub rgb: Vec<u8>,
}

/// Makes the thumbnail of a picture: a JPEG the right way up, transparency on white, within the
/// limits. `None` when even the smallest and worst one does not fit, which no picture is known to
/// do.
pub fn make(picture: DynamicImage, orientation: Orientation) -> Option<Vec<u8>> {
    let mut small = shrink(opaque(picture), THUMBNAIL_EDGE_PX_MAX);
    small.apply_orientation(orientation);
    for edge in [THUMBNAIL_EDGE_PX_MAX, 240, 160, 96, 48] {
        let small = shrink(DynamicImage::ImageRgb8(small.to_rgb8()), edge).into_rgb8();
        for quality in [80, 65, 50, 35] {
            let mut jpeg = Vec::new();
            let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, quality);
            encoder.encode_image(&small).ok()?;
            if jpeg.len() <= THUMBNAIL_BYTES_MAX {
                return Some(jpeg);
            }
        }
    }
    None
}

/// Reads a thumbnail that somebody else made. Nothing of it is kept but its pixels.
///
/// # Errors
/// [`PictureError::TooLarge`], [`PictureError::NoPicture`] when it is no JPEG,
/// [`PictureError::TooManyPixels`], [`PictureError::Broken`].
pub fn open(jpeg: &[u8]) -> Result<Thumbnail, PictureError> {
    if jpeg.len() > THUMBNAIL_BYTES_MAX {
        return Err(PictureError::TooLarge {
            bytes: jpeg.len().try_into().unwrap_or(u64::MAX),
            bytes_max: THUMBNAIL_BYTES_MAX.try_into().unwrap_or(u64::MAX),
        });
    }
    let kind = super::Kind::of(jpeg);
    if kind.picture != Some(Picture::Jpeg) {
        return Err(PictureError::NoPicture { is: kind.media_type });
    }
    let cleaned = clean(Picture::Jpeg, jpeg)?;
    let (width, height) = (cleaned.width, cleaned.height);
    if width.max(height) > THUMBNAIL_EDGE_PX_MAX {
        return Err(PictureError::TooManyPixels { width, height });
    }
    let pixels = decode_within(Picture::Jpeg, &cleaned, THUMBNAIL_DECODED_BYTES_MAX)
        .map_err(|_| PictureError::Broken("its pixels cannot be read"))?
        .into_rgb8();
    Ok(Thumbnail { width: pixels.width(), height: pixels.height(), rgb: pixels.into_raw() })
}

/// The picture with a white ground where it has none. Before it is made smaller, because the
/// colour of what cannot be seen must not run into its neighbours.
fn opaque(picture: DynamicImage) -> DynamicImage {
    if !picture.color().has_alpha() {
        return DynamicImage::ImageRgb8(picture.into_rgb8());
    }
    let mut pixels = picture.into_rgba8();
    for pixel in pixels.pixels_mut() {
        let [colours @ .., alpha] = &mut pixel.0;
        for colour in colours {
            let mixed = u16::from(*colour) * u16::from(*alpha) + 255 * (255 - u16::from(*alpha));
            *colour = u8::try_from(mixed / 255).unwrap_or(u8::MAX);
        }
        *alpha = u8::MAX;
    }
    DynamicImage::ImageRgba8(pixels)
}

/// The picture with its longer edge at most `edge` pixels; never larger than it was.
fn shrink(picture: DynamicImage, edge: u32) -> DynamicImage {
    if picture.width().max(picture.height()) <= edge {
        return picture;
    }
    picture.thumbnail(edge, edge)
}
