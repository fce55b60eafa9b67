//! Pictures in the terminal, from the thumbnails that travel with messages.
//!
//! Pure, but for [`Room::of_terminal`]. Only decoded pixels are drawn, encoded again here: no byte
//! of whoever sent a picture reaches the terminal. In short:
//!
//! ```text
//! let way = Way::detect(wish, colour, |name| std::env::var(name).ok());
//! let pixels = client::pictures::thumbnail::open(&bytes)?;
//! let text = render(way, &pixels, Room::of_terminal());
//! ```
//!
//! The text begins and ends at the beginning of a line, takes whole lines and ends with a newline;
//! it is empty when nothing can be shown. It has escape sequences in it, so it is printed as it is,
//! not through `text::clean`.

mod blocks;
mod detect;
mod inline;
mod sixel;
#[cfg(test)]
mod tests;

use std::io;

use image::RgbImage;
use rustix::termios::{Winsize, tcgetwinsize};

pub use self::detect::{UnknownAbility, Way, Wish};

use crate::client::pictures::Thumbnail;
use crate::limits::PREVIEW_ROWS_MAX;

/// How a terminal is given a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    /// The graphics protocol of kitty; also ghostty and Konsole.
    Kitty,
    /// The inline files of iTerm2; also WezTerm and mintty.
    Iterm2,
    /// Sixels; foot and mlterm.
    Sixel,
    /// Two pixels to a character: everywhere else.
    HalfBlocks,
    /// Not at all.
    Off,
}

/// What colours characters can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    /// None are wanted: no pictures either.
    None,
    /// 256.
    Palette,
    /// 16 million.
    True,
}

/// How much of the screen a picture may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Columns, at least 1.
    pub columns: u16,
    /// Rows; never more than [`PREVIEW_ROWS_MAX`].
    pub rows: u16,
    /// Pixels of a character, across and down. Who does not know them keeps the default; sixels
    /// may then take more or fewer rows than they should.
    pub cell: (u16, u16),
}

impl Default for Room {
    fn default() -> Self {
        Self { columns: 80, rows: PREVIEW_ROWS_MAX, cell: (8, 16) }
    }
}

impl Room {
    /// The terminal at standard output, as far as it tells: all its columns, and at most half its
    /// rows.
    pub fn of_terminal() -> Self {
        tcgetwinsize(io::stdout()).map_or_else(|_| Self::default(), |size| Self::of_size(&size))
    }

    /// A size of zero is what a terminal says that does not know.
    fn of_size(size: &Winsize) -> Self {
        let unknown = Self::default();
        let (columns, rows) = (size.ws_col, size.ws_row);
        let across = size.ws_xpixel.checked_div(columns).filter(|across| *across > 0);
        let down = size.ws_ypixel.checked_div(rows).filter(|down| *down > 0);
        Self {
            columns: if columns > 0 { columns } else { unknown.columns },
            rows: if rows > 0 { (rows / 2).clamp(1, unknown.rows) } else { unknown.rows },
            cell: across.zip(down).unwrap_or(unknown.cell),
        }
    }
}

/// The text that draws a picture within the room, in its proportions and not enlarged. Empty when
/// nothing can be drawn.
pub fn render(way: Way, picture: &Thumbnail, room: Room) -> String {
    let pixels = RgbImage::from_raw(picture.width, picture.height, picture.rgb.clone());
    let Some(pixels) = pixels.filter(|pixels| pixels.width() > 0 && pixels.height() > 0) else {
        return String::new();
    };
    let rows = room.rows.min(PREVIEW_ROWS_MAX);
    if rows == 0 || room.columns == 0 || way.colours == Colours::None {
        return String::new();
    }
    let room = Room { rows, ..room };
    let drawn = match way.ability {
        Ability::Kitty => inline::kitty(&pixels, room),
        Ability::Iterm2 => inline::iterm2(&pixels, room),
        Ability::Sixel => Some(sixel::sixel(&pixels, room)),
        Ability::HalfBlocks => Some(blocks::half_blocks(&pixels, room, way.colours)),
        Ability::Off => None,
    };
    drawn.unwrap_or_default()
}

/// The size of a picture of `width` by `height` pixels in a box: its proportions, never larger than
/// it is, never nothing.
fn scaled(width: u32, height: u32, box_width: u32, box_height: u32) -> (u32, u32) {
    let (width, height) = (u64::from(width.max(1)), u64::from(height.max(1)));
    let (across, down) = (u64::from(box_width.max(1)), u64::from(box_height.max(1)));
    let (new_width, new_height) = if width <= across && height <= down {
        (width, height)
    } else if width * down > height * across {
        (across, height * across / width)
    } else {
        (width * down / height, down)
    };
    let pixels = |count: u64| u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    (pixels(new_width), pixels(new_height))
}

/// A picture's size in pixels of the screen, and the columns and rows it covers.
struct Place {
    width: u32,
    height: u32,
    columns: u32,
    rows: u32,
}

impl Place {
    fn of(pixels: &RgbImage, room: Room) -> Self {
        let (across, down) = (u32::from(room.cell.0.max(1)), u32::from(room.cell.1.max(1)));
        let (width, height) = scaled(
            pixels.width(),
            pixels.height(),
            u32::from(room.columns) * across,
            u32::from(room.rows) * down,
        );
        Self { width, height, columns: width.div_ceil(across), rows: height.div_ceil(down) }
    }

    /// The lines that a drawing takes: first they are made, then it is drawn over them. Terminals
    /// disagree where the cursor is after a picture; so it does not matter.
    fn around(&self, drawing: &str) -> String {
        let rows = self.rows;
        let lines = "\n".repeat(rows.try_into().unwrap_or(1));
        let down = if rows > 1 { format!("\x1b[{}B", rows - 1) } else { String::new() };
        format!("{lines}\x1b[{rows}A\x1b7{drawing}\x1b8{down}\n")
    }
}
