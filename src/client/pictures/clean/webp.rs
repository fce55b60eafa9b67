//! WebP: the chunks of pixels, transparency, colour profile and movement are kept.

use image::metadata::Orientation;

use super::{Cleaned, Rest, minimal_exif};
use crate::client::pictures::PictureError;

const HAS_EXIF: u8 = 0x08;
/// Colour profile, transparency, movement.
const FLAGS_KEPT: u8 = 0x32;
const IS_ANIMATED: u8 = 0x02;

pub(super) fn clean(input: &[u8]) -> Result<Cleaned, PictureError> {
    let mut rest = Rest(input);
    let riff: [u8; 4] = rest.array()?;
    let length = u32::from_le_bytes(rest.array()?);
    let mut chunks = Rest(rest.take(length.try_into().unwrap_or(usize::MAX))?);
    let webp: [u8; 4] = chunks.array()?;
    if &riff != b"RIFF" || &webp != b"WEBP" {
        return Err(PictureError::Broken("it does not begin as a WebP"));
    }
    let mut cleaned = Cleaned::new(input.len());
    cleaned.bytes.extend_from_slice(b"RIFF\0\0\0\0WEBP");
    let mut flags_at = None;
    let mut pictures = 0_usize;
    while !chunks.0.is_empty() {
        let (kind, body) = chunk(&mut chunks)?;
        match &kind {
            b"VP8X" => {
                flags_at = Some(cleaned.bytes.len() + 8);
                extended(&mut cleaned, body)?;
            }
            b"VP8 " | b"VP8L" => {
                pictures += 1;
                if cleaned.width == 0 {
                    simple(&mut cleaned, &kind, body)?;
                }
                push(&mut cleaned.bytes, kind, body);
            }
            b"ANMF" => {
                pictures += 1;
                let frame = frame(body)?;
                push(&mut cleaned.bytes, kind, &frame);
            }
            b"ALPH" | b"ANIM" | b"ICCP" => push(&mut cleaned.bytes, kind, body),
            b"EXIF" => {
                cleaned.orient(body);
            }
            _ => {}
        }
    }
    if pictures == 0 || (pictures > 1 && !cleaned.animated) {
        return Err(PictureError::Broken("there is no one picture in it"));
    }
    finish(&mut cleaned, flags_at)?;
    Ok(cleaned)
}

/// Writes the orientation last, where it belongs, and what depends on the whole.
fn finish(cleaned: &mut Cleaned, flags_at: Option<usize>) -> Result<(), PictureError> {
    if let Some(flags) = flags_at.and_then(|at| cleaned.bytes.get_mut(at)) {
        *flags &= FLAGS_KEPT;
        if cleaned.orientation != Orientation::NoTransforms {
            *flags |= HAS_EXIF;
            push(&mut cleaned.bytes, *b"EXIF", &minimal_exif(cleaned.orientation));
        }
    } else {
        // Without the extended header nobody looks for an orientation.
        cleaned.orientation = Orientation::NoTransforms;
    }
    let length = u32::try_from(cleaned.bytes.len().saturating_sub(8))
        .map_err(|_| PictureError::Broken("it is too long"))?;
    let place = cleaned.bytes.iter_mut().skip(4);
    place.zip(length.to_le_bytes()).for_each(|(to, byte)| *to = byte);
    Ok(())
}

/// The next chunk: its name and what is in it.
fn chunk<'a>(rest: &mut Rest<'a>) -> Result<([u8; 4], &'a [u8]), PictureError> {
    let kind = rest.array()?;
    let length = u32::from_le_bytes(rest.array()?).try_into().unwrap_or(usize::MAX);
    let body = rest.take(length)?;
    if length % 2 == 1 && !rest.0.is_empty() {
        rest.byte()?;
    }
    Ok((kind, body))
}

fn push(to: &mut Vec<u8>, kind: [u8; 4], body: &[u8]) {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    to.extend_from_slice(&kind);
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(body);
    if body.len() % 2 == 1 {
        to.push(0);
    }
}

fn extended(cleaned: &mut Cleaned, body: &[u8]) -> Result<(), PictureError> {
    let [flags, _, _, _, w0, w1, w2, h0, h1, h2, ..] = *body else {
        return Err(PictureError::Broken("its header is cut off"));
    };
    if cleaned.width != 0 {
        return Err(PictureError::Broken("its header is not where it belongs"));
    }
    cleaned.width = u32::from_le_bytes([w0, w1, w2, 0]) + 1;
    cleaned.height = u32::from_le_bytes([h0, h1, h2, 0]) + 1;
    cleaned.animated = flags & IS_ANIMATED != 0;
    push(&mut cleaned.bytes, *b"VP8X", &[flags, 0, 0, 0, w0, w1, w2, h0, h1, h2]);
    Ok(())
}

/// The size that a picture without an extended header gives itself.
fn simple(cleaned: &mut Cleaned, kind: &[u8; 4], body: &[u8]) -> Result<(), PictureError> {
    (cleaned.width, cleaned.height) = match (kind, body) {
        (b"VP8 ", &[_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..]) => {
            let pixels = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
            (pixels(w0, w1), pixels(h0, h1))
        }
        (b"VP8L", &[0x2f, b0, b1, b2, b3, ..]) => {
            let bits = u32::from_le_bytes([b0, b1, b2, b3]);
            ((bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1)
        }
        _ => return Err(PictureError::Broken("its header is cut off")),
    };
    if cleaned.width == 0 || cleaned.height == 0 {
        return Err(PictureError::Broken("it has no pixels"));
    }
    Ok(())
}

/// One picture of a moving one: where and how long, and again only chunks of pixels.
fn frame(body: &[u8]) -> Result<Vec<u8>, PictureError> {
    let mut rest = Rest(body);
    let mut frame = rest.take(16)?.to_vec();
    while !rest.0.is_empty() {
        let (kind, body) = chunk(&mut rest)?;
        if matches!(&kind, b"ALPH" | b"VP8 " | b"VP8L") {
            push(&mut frame, kind, body);
        }
    }
    Ok(frame)
}
