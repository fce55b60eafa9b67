//! Takes out of a picture what is no picture: where it was taken, with what, by whom, and whatever
//! was put behind its end.
//!
//! No pixel is encoded again. Each format is walked segment by segment and only what stands on a
//! list of what is needed is copied. What is kept of the rest is which way up the picture is.

mod gif;
mod jpeg;
mod png;
mod webp;

use image::metadata::Orientation;

use super::PictureError;
use super::kind::Picture;

/// A picture that tells nothing but what it shows.
#[derive(Debug)]
pub struct Cleaned {
    /// The file.
    pub bytes: Vec<u8>,
    /// Its width in pixels as the header says, not turned.
    pub width: u32,
    /// Its height, likewise.
    pub height: u32,
    /// How it has to be turned to be seen as it was taken.
    pub orientation: Orientation,
    /// Whether it moves.
    pub animated: bool,
}

impl Cleaned {
    fn new(capacity: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(capacity),
            width: 0,
            height: 0,
            orientation: Orientation::NoTransforms,
            animated: false,
        }
    }

    /// Width and height as it is seen, turned.
    pub fn seen(&self) -> (u32, u32) {
        match self.orientation {
            Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH => (self.height, self.width),
            Orientation::NoTransforms
            | Orientation::Rotate180
            | Orientation::FlipHorizontal
            | Orientation::FlipVertical => (self.width, self.height),
        }
    }

    /// Notes the orientation that a block of Exif gives; true when it is worth writing down.
    fn orient(&mut self, exif: &[u8]) -> bool {
        let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
        if self.orientation == Orientation::NoTransforms {
            self.orientation =
                Orientation::from_exif_chunk(exif).unwrap_or(Orientation::NoTransforms);
            return self.orientation != Orientation::NoTransforms;
        }
        false
    }
}

/// Cleans a picture of this kind. The result is at most a few bytes longer than the picture.
///
/// # Errors
/// [`PictureError::Broken`] when it is not built as such a picture is, or has no end.
pub fn clean(picture: Picture, bytes: &[u8]) -> Result<Cleaned, PictureError> {
    match picture {
        Picture::Jpeg => jpeg::clean(bytes),
        Picture::Png => png::clean(bytes),
        Picture::Gif => gif::clean(bytes),
        Picture::WebP => webp::clean(bytes),
    }
}

/// Exif with nothing but the orientation in it.
fn minimal_exif(orientation: Orientation) -> [u8; 26] {
    let mut exif = *b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x01\0\0\0\0\0\0\0";
    if let Some(value) = exif.get_mut(18) {
        *value = orientation.to_exif();
    }
    exif
}

/// What is left to read. Every step says what is missing when there is not enough.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], PictureError> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(CUT_OFF)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PictureError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(CUT_OFF)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, PictureError> {
        self.array::<1>().map(|[byte]| byte)
    }
}

const CUT_OFF: PictureError = PictureError::Broken("its end is missing");
