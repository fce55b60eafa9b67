//! JPEG: tables, frame and scans are kept, and of the applications' segments JFIF without its
//! thumbnail, Adobe's colour transform and colour profiles.

use super::{Cleaned, Rest, minimal_exif};
use crate::client::pictures::PictureError;
use crate::limits::PICTURE_SCANS_MAX;

const START: u8 = 0xd8;
const END: u8 = 0xd9;
const SCAN: u8 = 0xda;

pub(super) fn clean(input: &[u8]) -> Result<Cleaned, PictureError> {
    let mut rest = Rest(input);
    if rest.array()? != [0xff, START] {
        return Err(PictureError::Broken("it does not begin as a JPEG"));
    }
    let mut cleaned = Cleaned::new(input.len());
    cleaned.bytes.extend_from_slice(&[0xff, START]);
    let mut scans = 0;
    loop {
        let marker = next_marker(&mut rest)?;
        match marker {
            END => break,
            // Alone, and of no use where they stand.
            0x01 | 0xd0..=0xd7 => continue,
            START => return Err(PictureError::Broken("it begins twice")),
            _ => {}
        }
        let length = usize::from(u16::from_be_bytes(rest.array()?));
        let body = rest.take(length.saturating_sub(2))?;
        match marker {
            SCAN => {
                scans += 1;
                if cleaned.width == 0 || scans > PICTURE_SCANS_MAX {
                    return Err(PictureError::Broken("its scans make no picture"));
                }
                push(&mut cleaned.bytes, marker, body);
                cleaned.bytes.extend_from_slice(scan_data(&mut rest)?);
            }
            0xc4 | 0xcc | 0xdb..=0xdd => push(&mut cleaned.bytes, marker, body),
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                frame(&mut cleaned, body)?;
                push(&mut cleaned.bytes, marker, body);
            }
            0xe0..=0xef => application(&mut cleaned, marker, body),
            // Comments, and what nobody uses.
            _ => {}
        }
    }
    if scans == 0 {
        return Err(PictureError::Broken("there is no picture in it"));
    }
    cleaned.bytes.extend_from_slice(&[0xff, END]);
    Ok(cleaned)
}

/// The size of the picture. Programs disagree which of two frames counts, so there may be but one.
fn frame(cleaned: &mut Cleaned, body: &[u8]) -> Result<(), PictureError> {
    let [_, h1, h0, w1, w0, ..] = *body else {
        return Err(PictureError::Broken("its header is cut off"));
    };
    if cleaned.width != 0 {
        return Err(PictureError::Broken("it has two frames"));
    }
    cleaned.width = u16::from_be_bytes([w1, w0]).into();
    cleaned.height = u16::from_be_bytes([h1, h0]).into();
    if cleaned.width == 0 || cleaned.height == 0 {
        return Err(PictureError::Broken("it has no pixels"));
    }
    Ok(())
}

fn application(cleaned: &mut Cleaned, marker: u8, body: &[u8]) {
    match marker {
        0xe0 if body.starts_with(b"JFIF\0") => {
            // The last two bytes are the size of a thumbnail, which may show what was cut away.
            if let Some(jfif) = body.get(..12) {
                let mut whole = [0; 14];
                whole.iter_mut().zip(jfif).for_each(|(to, from)| *to = *from);
                push(&mut cleaned.bytes, marker, &whole);
            }
        }
        0xe1 if body.starts_with(b"Exif\0\0") && cleaned.orient(body) => {
            let exif = minimal_exif(cleaned.orientation);
            push(&mut cleaned.bytes, marker, &[b"Exif\0\0".as_slice(), &exif].concat());
        }
        0xe2 if body.starts_with(b"ICC_PROFILE\0") => push(&mut cleaned.bytes, marker, body),
        0xee if body.starts_with(b"Adobe") => {
            if let Some(adobe) = body.get(..12) {
                push(&mut cleaned.bytes, marker, adobe);
            }
        }
        _ => {}
    }
}

fn push(to: &mut Vec<u8>, marker: u8, body: &[u8]) {
    // The body was read with a length of two bytes, or is shorter than one that was.
    let length = u16::try_from(body.len() + 2).unwrap_or(u16::MAX);
    to.extend_from_slice(&[0xff, marker]);
    to.extend_from_slice(&length.to_be_bytes());
    to.extend_from_slice(body);
}

/// The next marker; what lies before it belongs to nothing and is passed over, as decoders do.
fn next_marker(rest: &mut Rest<'_>) -> Result<u8, PictureError> {
    loop {
        while rest.byte()? != 0xff {}
        let mut marker = rest.byte()?;
        while marker == 0xff {
            marker = rest.byte()?;
        }
        if marker != 0 {
            return Ok(marker);
        }
    }
}

/// The coded pixels after a scan's header, up to the marker that ends them.
fn scan_data<'a>(rest: &mut Rest<'a>) -> Result<&'a [u8], PictureError> {
    let ends = |pair: &[u8]| matches!(pair, [0xff, 0x01..=0xcf | 0xd8..=0xfe]);
    let end = rest.0.windows(2).position(ends).ok_or(super::CUT_OFF)?;
    rest.take(end)
}
