//! GIF: pictures and how they follow each other are kept; comments, texts and what applications
//! put in are not, except how often a moving picture begins again.

use super::{Cleaned, Rest};
use crate::client::pictures::PictureError;

pub(super) fn clean(input: &[u8]) -> Result<Cleaned, PictureError> {
    let mut rest = Rest(input);
    let head: [u8; 13] = rest.array()?;
    let [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', w0, w1, h0, h1, flags, _, _] = head else {
        return Err(PictureError::Broken("it does not begin as a GIF"));
    };
    let mut cleaned = Cleaned::new(input.len());
    cleaned.width = u16::from_le_bytes([w0, w1]).into();
    cleaned.height = u16::from_le_bytes([h0, h1]).into();
    if cleaned.width == 0 || cleaned.height == 0 {
        return Err(PictureError::Broken("it has no pixels"));
    }
    cleaned.bytes.extend_from_slice(&head);
    cleaned.bytes.extend_from_slice(rest.take(colours(flags))?);
    let mut frames = 0_usize;
    // Some programs write no end; after a whole picture it is known what is meant.
    while frames == 0 || !rest.0.is_empty() {
        match rest.byte()? {
            0x2c => {
                frames += 1;
                frame(&mut cleaned.bytes, &mut rest)?;
            }
            0x21 => extension(&mut cleaned.bytes, &mut rest)?,
            0x3b => break,
            // Some programs write one zero too many.
            0 => {}
            _ => return Err(PictureError::Broken("its blocks do not follow each other")),
        }
    }
    if frames == 0 {
        return Err(PictureError::Broken("there is no picture in it"));
    }
    cleaned.animated = frames > 1;
    cleaned.bytes.push(0x3b);
    Ok(cleaned)
}

/// Bytes of the table of colours that these flags announce.
fn colours(flags: u8) -> usize {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

fn frame(to: &mut Vec<u8>, rest: &mut Rest<'_>) -> Result<(), PictureError> {
    let head: [u8; 9] = rest.array()?;
    let [.., flags] = head;
    to.push(0x2c);
    to.extend_from_slice(&head);
    to.extend_from_slice(rest.take(colours(flags))?);
    to.push(rest.byte()?);
    let data = rest.0;
    skip_blocks(rest)?;
    let used = data.len().saturating_sub(rest.0.len());
    to.extend_from_slice(data.get(..used).unwrap_or_default());
    Ok(())
}

fn extension(to: &mut Vec<u8>, rest: &mut Rest<'_>) -> Result<(), PictureError> {
    let label = rest.byte()?;
    let length = rest.byte()?;
    let first = rest.take(length.into())?;
    match (label, first) {
        (0xf9, &[flags, d0, d1, transparent]) => {
            to.extend_from_slice(&[0x21, 0xf9, 4, flags, d0, d1, transparent, 0]);
        }
        (0xff, b"NETSCAPE2.0" | b"ANIMEXTS1.0") => {
            if let [3, 1, times0, times1, ..] = *rest.0 {
                to.extend_from_slice(b"\x21\xff\x0bNETSCAPE2.0\x03\x01");
                to.extend_from_slice(&[times0, times1, 0]);
            }
        }
        _ => {}
    }
    // An extension without a first block has ended with it.
    if length == 0 { Ok(()) } else { skip_blocks(rest) }
}

fn skip_blocks(rest: &mut Rest<'_>) -> Result<(), PictureError> {
    loop {
        let length = rest.byte()?;
        if length == 0 {
            return Ok(());
        }
        rest.take(length.into())?;
    }
}
