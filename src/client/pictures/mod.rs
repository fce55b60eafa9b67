//! What happens to a picture before it is sent, and what may be shown of one that came.
//!
//! Pure: bytes in, bytes out; no network, no database, no screen. A picture is judged by its
//! content (`kind`), measured before it is decoded (`measure`), freed of what it tells beyond its
//! pixels (`clean`), and a small one of it is made for the message (`thumbnail`). `fit` makes a
//! smaller copy on request. Files that are no pictures are not read here, and never changed.

pub mod clean;
mod fit;
pub mod kind;
pub mod measure;
#[cfg(test)]
mod tests;
pub mod thumbnail;

use std::io::{self, Read, Seek, SeekFrom};

pub use self::kind::{Kind, Picture};
pub use self::thumbnail::Thumbnail;

use crate::limits::{FILE_HEAD_BYTES, FIT_SOURCE_BYTES_MAX, PICTURE_BYTES_MAX};

/// Why a picture is not sent, or one that came is not shown.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The name promises a picture; the content is something else. Renamed, it can be sent as what
    /// it is.
    #[error("its name says {name_says}, its content is {is}")]
    NotWhatItSays {
        /// Media type that the name stands for.
        name_says: &'static str,
        /// Media type of the content.
        is: &'static str,
    },
    /// Only a picture will do here.
    #[error("expected a JPEG, PNG, GIF or WebP picture, got {is}")]
    NoPicture {
        /// Media type of the content.
        is: &'static str,
    },
    /// More pixels than [`crate::limits::PICTURE_PIXELS_MAX`], or than its place allows.
    #[error("{width} x {height} are too many pixels")]
    TooManyPixels {
        /// Width, as the header says.
        width: u32,
        /// Height, likewise.
        height: u32,
    },
    /// The file is too long to be read as a picture.
    #[error("{bytes} bytes, at most {bytes_max} are read")]
    TooLarge {
        /// Its length.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// It is damaged, or was never whole. [`Treatment::Original`] sends it all the same.
    #[error("the picture is broken: {0}")]
    Broken(&'static str),
    /// The file cannot be read.
    #[error("cannot read the file")]
    Io(#[from] io::Error),
}

/// What is to be done with a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Treatment {
    /// What it tells beyond its pixels is taken out; the pixels stay as they are.
    #[default]
    Clean,
    /// It goes as it is (`--original`).
    Original,
    /// A smaller copy goes (`--fit`).
    Fit,
}

/// What is to be sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Content {
    /// The file as it is on the disk.
    Untouched,
    /// These bytes instead.
    Bytes(Vec<u8>),
}

/// A file ready to be sent.
#[derive(Debug)]
pub struct Prepared {
    /// Where its bytes are.
    pub content: Content,
    /// `image/jpeg` and so on: ASCII, at most 64 characters.
    pub media_type: &'static str,
    /// Its name, with another ending when the smaller copy is of another kind.
    pub name: String,
    /// Width and height as the picture is seen. `None` for what is no picture, and for an original
    /// that cannot be understood.
    pub dimensions: Option<(u32, u32)>,
    /// A JPEG within [`crate::limits::THUMBNAIL_BYTES_MAX`]. `None` as above, and for pictures of a
    /// sort that is not decoded here.
    pub thumbnail: Option<Vec<u8>>,
    /// Whether what it told beyond its pixels was taken out. False for everything but pictures:
    /// whoever sends it should know.
    pub cleaned: bool,
}

/// Makes a file ready to be sent; `name` is its name without folders. Of what is no picture, only
/// the first [`FILE_HEAD_BYTES`] are read. A picture needs its length twice, and while its
/// thumbnail is made, its pixels. The file is left at its beginning.
///
/// # Errors
/// Any [`PictureError`]; then nothing should be sent. With [`Treatment::Original`] a picture may be
/// broken.
pub fn prepare(
    file: &mut (impl Read + Seek),
    name: &str,
    treatment: Treatment,
) -> Result<Prepared, PictureError> {
    file.rewind()?;
    let mut head = Vec::new();
    file.by_ref().take(FILE_HEAD_BYTES).read_to_end(&mut head)?;
    file.rewind()?;
    let kind = Kind::of_named(&head, name)?;
    let Some(picture) = kind.picture else {
        if treatment == Treatment::Fit {
            return Err(PictureError::NoPicture { is: kind.media_type });
        }
        return Ok(untouched(kind, name));
    };
    let bytes = read(file, treatment)?;
    let cleaned = clean::clean(picture, &bytes);
    // From here on the cleaned copy is all that counts.
    drop(bytes);
    match treatment {
        Treatment::Original => original(kind, picture, name, cleaned),
        Treatment::Clean => {
            let cleaned = cleaned?;
            let thumbnail = thumbnail_of(picture, &cleaned)?;
            Ok(ready(picture, name, cleaned, thumbnail))
        }
        Treatment::Fit => {
            let cleaned = cleaned?;
            let Some(fitted) = fit::fit(picture, &cleaned)? else {
                let thumbnail = thumbnail_of(picture, &cleaned)?;
                return Ok(ready(picture, name, cleaned, thumbnail));
            };
            Ok(Prepared {
                content: Content::Bytes(fitted.bytes),
                media_type: fitted.picture.media_type(),
                name: renamed(name, fitted.picture),
                dimensions: Some((fitted.pixels.width(), fitted.pixels.height())),
                thumbnail: thumbnail::make(
                    fitted.pixels,
                    image::metadata::Orientation::NoTransforms,
                ),
                cleaned: true,
            })
        }
    }
}

fn ready(
    picture: Picture,
    name: &str,
    cleaned: clean::Cleaned,
    thumbnail: Option<Vec<u8>>,
) -> Prepared {
    Prepared {
        media_type: picture.media_type(),
        name: name.to_owned(),
        dimensions: Some(cleaned.seen()),
        thumbnail,
        content: Content::Bytes(cleaned.bytes),
        cleaned: true,
    }
}

fn untouched(kind: Kind, name: &str) -> Prepared {
    Prepared {
        content: Content::Untouched,
        media_type: kind.media_type,
        name: name.to_owned(),
        dimensions: None,
        thumbnail: None,
        cleaned: false,
    }
}

/// An original goes as it is, even broken; what can be said about it is said.
fn original(
    kind: Kind,
    picture: Picture,
    name: &str,
    cleaned: Result<clean::Cleaned, PictureError>,
) -> Result<Prepared, PictureError> {
    let whole = cleaned.and_then(|cleaned| {
        let thumbnail = thumbnail_of(picture, &cleaned)?;
        Ok((cleaned.seen(), thumbnail))
    });
    match whole {
        Ok((seen, thumbnail)) => {
            Ok(Prepared { dimensions: Some(seen), thumbnail, ..untouched(kind, name) })
        }
        Err(PictureError::Broken(_)) => Ok(untouched(kind, name)),
        Err(error) => Err(error),
    }
}

fn thumbnail_of(
    picture: Picture,
    cleaned: &clean::Cleaned,
) -> Result<Option<Vec<u8>>, PictureError> {
    let pixels = measure::decode(picture, cleaned)?;
    Ok(pixels.and_then(|pixels| thumbnail::make(pixels, cleaned.orientation)))
}

/// The whole file. What grows while it is read is not read further than the limit.
fn read(file: &mut (impl Read + Seek), treatment: Treatment) -> Result<Vec<u8>, PictureError> {
    let bytes_max = match treatment {
        Treatment::Fit => FIT_SOURCE_BYTES_MAX,
        Treatment::Clean | Treatment::Original => PICTURE_BYTES_MAX,
    };
    let length = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    if length > bytes_max {
        return Err(PictureError::TooLarge { bytes: length, bytes_max });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    let read = file.by_ref().take(bytes_max + 1).read_to_end(&mut bytes)?;
    file.rewind()?;
    match u64::try_from(read) {
        Ok(read) if read > bytes_max => Err(PictureError::TooLarge { bytes: read, bytes_max }),
        _ => Ok(bytes),
    }
}

/// The name with the ending of this kind, if it has another picture's or none.
fn renamed(name: &str, picture: Picture) -> String {
    match Picture::by_name(name) {
        Some(said) if said == picture => name.to_owned(),
        Some(_) => {
            let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
            format!("{stem}.{}", picture.extension())
        }
        None => format!("{name}.{}", picture.extension()),
    }
}
