//! Terminals that take a whole picture file: kitty's protocol and iTerm2's.

use std::fmt::Write as _;
use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, RgbImage};

use super::{Place, Room};

/// Characters of base64 in one of kitty's sequences.
const CHUNK_CHARS: usize = 4_096;
const JPEG_QUALITY: u8 = 85;

/// kitty: a PNG in pieces, shown over so many columns and rows; no answer is wanted (`q=2`), for it
/// would come as if it were typed.
pub(super) fn kitty(pixels: &RgbImage, room: Room) -> Option<String> {
    let place = Place::of(pixels, room);
    let mut png = Cursor::new(Vec::new());
    pixels.write_to(&mut png, ImageFormat::Png).ok()?;
    let encoded = STANDARD.encode(png.into_inner());
    let mut rest = encoded.as_str();
    let mut drawing = String::with_capacity(encoded.len() + encoded.len() / 64 + 64);
    let mut keys = format!("a=T,f=100,C=1,c={},r={},", place.columns, place.rows);
    while !rest.is_empty() {
        let (chunk, later) = rest.split_at_checked(CHUNK_CHARS).unwrap_or((rest, ""));
        let more = u8::from(!later.is_empty());
        let _ = write!(drawing, "\x1b_G{keys}q=2,m={more};{chunk}\x1b\\");
        keys.clear();
        rest = later;
    }
    Some(place.around(&drawing))
}

/// iTerm2: a JPEG made here, in one piece.
pub(super) fn iterm2(pixels: &RgbImage, room: Room) -> Option<String> {
    let place = Place::of(pixels, room);
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY).encode_image(pixels).ok()?;
    let (size, columns, rows) = (jpeg.len(), place.columns, place.rows);
    let encoded = STANDARD.encode(jpeg);
    Some(place.around(&format!(
        "\x1b]1337;File=inline=1;size={size};width={columns};height={rows};\
         preserveAspectRatio=1:{encoded}\x07"
    )))
}
