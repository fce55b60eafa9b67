//! How large a picture is, judged by its header before anything is decoded, and decoding within
//! limits: a few bytes can claim to be a picture that fills every memory.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits};

use super::PictureError;
use super::clean::Cleaned;
use super::kind::Picture;
use crate::limits::{PICTURE_DECODED_BYTES_MAX, PICTURE_EDGE_PX_MAX, PICTURE_PIXELS_MAX};

/// Says whether a picture of this size may be decoded.
///
/// # Errors
/// [`PictureError::TooManyPixels`] beyond [`PICTURE_PIXELS_MAX`] or [`PICTURE_EDGE_PX_MAX`].
pub fn check(width: u32, height: u32) -> Result<(), PictureError> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels > PICTURE_PIXELS_MAX || width.max(height) > PICTURE_EDGE_PX_MAX {
        return Err(PictureError::TooManyPixels { width, height });
    }
    Ok(())
}

/// The pixels of a cleaned picture, not turned; of a moving one, the first frame. `None` when it is
/// well built but of a sort that is not understood here, such as a JPEG with 12 bits to a sample.
///
/// # Errors
/// [`PictureError::TooManyPixels`] and [`PictureError::Broken`].
pub fn decode(picture: Picture, cleaned: &Cleaned) -> Result<Option<DynamicImage>, PictureError> {
    let (width, height) = (cleaned.width, cleaned.height);
    check(width, height)?;
    decode_within(picture, cleaned, PICTURE_DECODED_BYTES_MAX).map_or_else(
        |error| match error {
            ImageError::Unsupported(_) => Ok(None),
            ImageError::Limits(_) => Err(PictureError::TooManyPixels { width, height }),
            _ => Err(PictureError::Broken("its pixels cannot be read")),
        },
        |image| Ok(Some(image)),
    )
}

pub(super) fn decode_within(
    picture: Picture,
    cleaned: &Cleaned,
    bytes_max: u64,
) -> Result<DynamicImage, ImageError> {
    let mut limits = Limits::default();
    // What the header said is all that may come: decoders may find another size elsewhere.
    limits.max_image_width = Some(cleaned.width);
    limits.max_image_height = Some(cleaned.height);
    limits.max_alloc = Some(bytes_max);
    let mut reader = ImageReader::with_format(Cursor::new(&cleaned.bytes), picture.format());
    reader.limits(limits);
    reader.decode()
}

/// The colour profile, if it is one for the colours that decoding gives.
pub(super) fn colour_profile(picture: Picture, cleaned: &Cleaned) -> Option<Vec<u8>> {
    let reader = ImageReader::with_format(Cursor::new(&cleaned.bytes), picture.format());
    let profile = reader.into_decoder().ok()?.icc_profile().ok()??;
    // Its header names them; a profile for grey or for ink says nothing about red, green and blue.
    (profile.get(16..20) == Some(b"RGB ")).then_some(profile)
}
