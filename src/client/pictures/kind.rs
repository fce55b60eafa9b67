//! What a file is. Its content decides; a name that claims a picture where none is, is a lie.

use super::PictureError;

/// A picture that is understood: cleaned, measured, shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picture {
    /// JPEG.
    Jpeg,
    /// PNG, moving ones too.
    Png,
    /// GIF, moving ones too.
    Gif,
    /// WebP, moving ones too.
    WebP,
}

impl Picture {
    /// Its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Gif => "image/gif",
            Self::WebP => "image/webp",
        }
    }

    /// The usual ending of its names, without the dot.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Gif => "gif",
            Self::WebP => "webp",
        }
    }

    pub(super) const fn format(self) -> image::ImageFormat {
        match self {
            Self::Jpeg => image::ImageFormat::Jpeg,
            Self::Png => image::ImageFormat::Png,
            Self::Gif => image::ImageFormat::Gif,
            Self::WebP => image::ImageFormat::WebP,
        }
    }

    /// What the ending of a name says, whatever the case of its letters.
    pub fn by_name(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "jpg" | "jpeg" => Some(Self::Jpeg),
            "png" => Some(Self::Png),
            "gif" => Some(Self::Gif),
            "webp" => Some(Self::WebP),
            _ => None,
        }
    }
}

/// What a file is by its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// `image/jpeg`, `application/pdf`, ... ASCII, at most 64 characters.
    pub media_type: &'static str,
    /// Set when it is a picture that is understood.
    pub picture: Option<Picture>,
}

impl Kind {
    /// Judges by the beginning of a file: [`crate::limits::FILE_HEAD_BYTES`] are enough.
    pub fn of(head: &[u8]) -> Self {
        let found = infer::get(head).map(|found| found.mime_type());
        let picture = match found {
            Some("image/jpeg") => Some(Picture::Jpeg),
            Some("image/png") => Some(Picture::Png),
            Some("image/gif") => Some(Picture::Gif),
            Some("image/webp") => Some(Picture::WebP),
            _ => None,
        };
        let media_type = match found {
            Some(found) if found.is_ascii() && found.len() <= 64 => found,
            _ if is_text(head) => "text/plain",
            _ => "application/octet-stream",
        };
        Self { media_type, picture }
    }

    /// As [`Self::of`], for a file with a name. A picture under another picture's ending is common
    /// and harmless, and goes under its true type.
    ///
    /// # Errors
    /// [`PictureError::NotWhatItSays`] when the name says picture and the content is none.
    pub fn of_named(head: &[u8], name: &str) -> Result<Self, PictureError> {
        let kind = Self::of(head);
        match (Picture::by_name(name), kind.picture) {
            (Some(said), None) => Err(PictureError::NotWhatItSays {
                name_says: said.media_type(),
                is: kind.media_type,
            }),
            (Some(_) | None, _) => Ok(kind),
        }
    }
}

/// UTF-8 without control characters, perhaps cut in the middle of a character.
fn is_text(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            let whole = head.get(..error.valid_up_to()).unwrap_or_default();
            std::str::from_utf8(whole).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty()
        && text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t' | '\u{c}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JPEG: &[u8] = &[0xff, 0xd8, 0xff, 0xe0, 0, 16];

    #[test]
    fn the_content_says_what_a_file_is() {
        for (head, media_type) in [
            (JPEG, "image/jpeg"),
            (b"\x89PNG\r\n\x1a\n", "image/png"),
            (b"GIF89a", "image/gif"),
            (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
            (b"%PDF-1.7", "application/pdf"),
            (b"\0\0\0\x18ftypmp42\0\0\0\0mp42", "video/mp4"),
            (b"PK\x03\x04rest", "application/zip"),
            ("naïve, and cut in tw\u{f6}".as_bytes().split_last().unwrap().1, "text/plain"),
            (b"\x01\x02\x03", "application/octet-stream"),
            (b"", "application/octet-stream"),
        ] {
            assert_eq!(Kind::of(head).media_type, media_type);
        }
    }

    #[test]
    fn a_name_that_says_picture_over_something_else_is_a_lie() {
        let lie = Kind::of_named(b"MZ\x90 a program", "holiday.JPG").unwrap_err();
        let PictureError::NotWhatItSays { name_says, is } = lie else { panic!("{lie}") };
        assert_eq!(name_says, "image/jpeg");
        assert!(is.starts_with("application/"), "{is}");
        for name in ["a.jpeg", "a.png", "a.gif", "a.webp"] {
            assert!(Kind::of_named(b"plain text", name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_picture_under_another_ending_is_what_it_is() {
        for name in ["a.png", "a.pdf", "a", "jpg"] {
            assert_eq!(Kind::of_named(JPEG, name).unwrap().picture, Some(Picture::Jpeg), "{name}");
        }
        assert_eq!(Kind::of_named(b"%PDF-1.7", "jpg").unwrap().picture, None);
    }

    #[test]
    fn what_is_no_picture_we_know_is_an_ordinary_file() {
        for head in
            [&b"BM\x10\0\0\0"[..], b"II*\0\x08\0\0\0\x01\0", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"]
        {
            let kind = Kind::of_named(head, "picture.heic").unwrap();
            assert_eq!(kind.picture, None);
            assert!(kind.media_type.starts_with("image/"), "{}", kind.media_type);
        }
        assert_eq!(Kind::of_named(b"<svg xmlns=''></svg>", "a.svg").unwrap().picture, None);
    }
}
