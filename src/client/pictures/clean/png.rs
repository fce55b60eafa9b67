//! PNG: the chunks that decide about pixels, colours and movement are kept, as they are.

use super::{Cleaned, Rest, minimal_exif};
use crate::client::pictures::PictureError;

const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

const KEPT: &[&[u8; 4]] = &[
    b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"mDCV",
    b"cLLI", b"sBIT", b"bKGD", b"pHYs", b"acTL", b"fcTL", b"fdAT",
];

pub(super) fn clean(input: &[u8]) -> Result<Cleaned, PictureError> {
    let mut rest = Rest(input);
    if rest.array()? != SIGNATURE {
        return Err(PictureError::Broken("it does not begin as a PNG"));
    }
    let mut cleaned = Cleaned::new(input.len());
    cleaned.bytes.extend_from_slice(&SIGNATURE);
    loop {
        let length = rest.array()?;
        let kind = rest.array()?;
        let body = rest.take(u32::from_be_bytes(length).try_into().unwrap_or(usize::MAX))?;
        let sum: [u8; 4] = rest.array()?;
        if (cleaned.width == 0) != (&kind == b"IHDR") {
            return Err(PictureError::Broken("its header is not where it belongs"));
        }
        match &kind {
            b"IHDR" => header(&mut cleaned, body)?,
            b"acTL" => cleaned.animated = true,
            b"eXIf" if cleaned.orient(body) => {
                let exif = minimal_exif(cleaned.orientation);
                push(&mut cleaned.bytes, *b"eXIf", &exif);
            }
            b"IEND" => break,
            _ => {}
        }
        if KEPT.contains(&&kind) {
            for part in [&length, &kind, body, &sum] {
                cleaned.bytes.extend_from_slice(part);
            }
        }
    }
    push(&mut cleaned.bytes, *b"IEND", &[]);
    Ok(cleaned)
}

fn header(cleaned: &mut Cleaned, body: &[u8]) -> Result<(), PictureError> {
    let mut header = Rest(body);
    cleaned.width = u32::from_be_bytes(header.array()?);
    cleaned.height = u32::from_be_bytes(header.array()?);
    if cleaned.width == 0 || cleaned.height == 0 {
        return Err(PictureError::Broken("it has no pixels"));
    }
    Ok(())
}

fn push(to: &mut Vec<u8>, kind: [u8; 4], body: &[u8]) {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    to.extend_from_slice(&length.to_be_bytes());
    to.extend_from_slice(&kind);
    to.extend_from_slice(body);
    to.extend_from_slice(&checksum(kind.iter().chain(body)).to_be_bytes());
}

/// CRC-32, bit by bit: what is written here is thirty bytes long.
fn checksum<'a>(bytes: impl Iterator<Item = &'a u8>) -> u32 {
    !bytes.fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 }
        })
    })
}
