//! `--fit`: a smaller copy for those to whom the original is too much.

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::imageops::FilterType;
use image::{DynamicImage, ImageEncoder};

use super::PictureError;
use super::clean::Cleaned;
use super::kind::Picture;
use super::measure::{colour_profile, decode};
use crate::limits::FIT_EDGE_PX_MAX;

/// What is seen hardly differs, and the file is a fraction.
const QUALITY: u8 = 85;

/// A smaller copy: what it is, the file, its width and its height.
pub(super) struct Fitted {
    pub(super) picture: Picture,
    pub(super) bytes: Vec<u8>,
    pub(super) pixels: DynamicImage,
}

/// Makes a copy with its longer edge at most [`FIT_EDGE_PX_MAX`], the right way up, of a JPEG
/// unless something is transparent in it. `None` when the picture is small enough already, or
/// moves, or cannot be decoded here: then it is only cleaned.
pub(super) fn fit(picture: Picture, cleaned: &Cleaned) -> Result<Option<Fitted>, PictureError> {
    if cleaned.width.max(cleaned.height) <= FIT_EDGE_PX_MAX || cleaned.animated {
        return Ok(None);
    }
    let profile = colour_profile(picture, cleaned);
    let Some(pixels) = decode(picture, cleaned)? else { return Ok(None) };
    let mut pixels = smaller(pixels);
    pixels.apply_orientation(cleaned.orientation);
    let mut bytes = Vec::new();
    let (picture, encoded) = if is_transparent(&pixels) {
        let pixels = pixels.to_rgba8();
        let (width, height) = pixels.dimensions();
        let mut encoder = PngEncoder::new(&mut bytes);
        if let Some(profile) = profile {
            // A copy without it shows slightly other colours; that is no reason to have none.
            let _ = encoder.set_icc_profile(profile);
        }
        let colours = image::ExtendedColorType::Rgba8;
        (Picture::Png, encoder.write_image(&pixels, width, height, colours))
    } else {
        let mut encoder = JpegEncoder::new_with_quality(&mut bytes, QUALITY);
        if let Some(profile) = profile {
            let _ = encoder.set_icc_profile(profile);
        }
        (Picture::Jpeg, encoder.encode_image(&pixels.to_rgb8()))
    };
    encoded.map_err(|_| PictureError::Broken("no smaller copy can be made of it"))?;
    Ok(Some(Fitted { picture, bytes, pixels }))
}

/// First by whole blocks, which takes little memory, then properly.
fn smaller(pixels: DynamicImage) -> DynamicImage {
    let rough = FIT_EDGE_PX_MAX * 2;
    let pixels = if pixels.width().max(pixels.height()) > rough {
        pixels.thumbnail(rough, rough)
    } else {
        pixels
    };
    pixels.resize(FIT_EDGE_PX_MAX, FIT_EDGE_PX_MAX, FilterType::CatmullRom)
}

fn is_transparent(pixels: &DynamicImage) -> bool {
    pixels.color().has_alpha() && pixels.to_rgba8().pixels().any(|pixel| pixel.0[3] != u8::MAX)
}
