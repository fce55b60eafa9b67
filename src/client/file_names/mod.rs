//! Names for files that others send, and getting the finished file under its name.
//!
//! A name from the network is reduced to something harmless (`safe`). What arrives is written as
//! `NAME.part` that nobody else can read, and takes its name only when it is complete, never the
//! place of a file that is there (`place`).

mod place;
mod safe;

pub use self::place::{Part, PlaceError};
pub use self::safe::safe;

use crate::limits::FILE_NAME_BYTES_MAX;

/// The `number`th choice for a name: `photo.jpg`, `photo-2.jpg`, `photo-3.jpg`, with `ending`
/// behind it, cut in the middle so that the whole is a file name.
fn numbered(name: &str, number: u32, ending: &str) -> String {
    let (stem, extension) = split(name);
    let number = if number < 2 { String::new() } else { format!("-{number}") };
    let others = extension.len() + number.len() + ending.len();
    let stem = cut(stem, FILE_NAME_BYTES_MAX.saturating_sub(others));
    format!("{stem}{number}{extension}{ending}")
}

/// Name and extension, the latter with its dot. `archive.tar.gz` has `.tar.gz`; what is too long
/// to be an extension is part of the name.
fn split(name: &str) -> (&str, &str) {
    let Some(dot) = name.rfind('.').filter(|dot| *dot > 0) else { return (name, "") };
    let (stem, extension) = name.split_at(dot);
    if extension.len() > EXTENSION_BYTES_MAX {
        return (name, "");
    }
    match stem.strip_suffix(".tar") {
        Some(short) if !short.is_empty() => name.split_at(short.len()),
        _ => (stem, extension),
    }
}

/// Bytes of an extension with its dot.
const EXTENSION_BYTES_MAX: usize = 17;

/// The first `bytes` of a text, or fewer: no character is cut.
fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}
