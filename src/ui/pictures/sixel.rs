//! Sixels: bands of six rows, colour by colour, from a fixed palette of 6 x 6 x 6 colours. Dots of
//! neighbouring colours stand for what lies between them.

use std::fmt::Write as _;

use image::{RgbImage, imageops};

use super::{Place, Room};

const LEVELS: u32 = 6;
const COLOURS: usize = 216;
/// Thresholds of ordered dithering, in sixteenths.
const DOTS: [[u32; 4]; 4] = [[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]];

pub(super) fn sixel(pixels: &RgbImage, room: Room) -> String {
    let place = Place::of(pixels, room);
    let (width, height) = (place.width, place.height);
    let small = imageops::thumbnail(pixels, width, height);
    let mut bands = String::new();
    let mut used = [false; COLOURS];
    let mut top = 0;
    while top < height {
        band(&small, top, &mut used, &mut bands);
        top += 6;
    }
    // 1:1 pixels, what is not drawn stays as it is.
    let mut drawing = format!("\x1bP0;1q\"1;1;{width};{height}");
    for (number, _) in (0_u32..).zip(&used).filter(|(_, used)| **used) {
        let percent = |level: u32| level % LEVELS * 100 / (LEVELS - 1);
        let (red, green, blue) = (percent(number / 36), percent(number / 6), percent(number));
        let _ = write!(drawing, "#{number};2;{red};{green};{blue}");
    }
    drawing.push_str(&bands);
    drawing.push_str("\x1b\\");
    place.around(&drawing)
}

/// Six rows: for each colour in them, which of the six dots of each column have it.
fn band(small: &RgbImage, top: u32, used: &mut [bool; COLOURS], out: &mut String) {
    let width = small.width();
    let mut columns: Vec<[usize; 6]> = Vec::new();
    for x in 0..width {
        let mut column = [usize::MAX; 6];
        for (y, place) in (top..).zip(&mut column) {
            if let Some(pixel) = small.get_pixel_checked(x, y) {
                *place = colour(pixel.0, x, y);
            }
        }
        columns.push(column);
    }
    let mut is_first = true;
    for (number, used) in used.iter_mut().enumerate() {
        if !columns.iter().flatten().any(|colour| *colour == number) {
            continue;
        }
        *used = true;
        // Back to the left for the next colour.
        let back = if is_first { "" } else { "$" };
        is_first = false;
        let _ = write!(out, "{back}#{number}");
        let dots = columns.iter().map(|column| {
            let bits = column.iter().rev().fold(0, |bits, c| bits << 1 | u8::from(*c == number));
            char::from(b'?' + bits)
        });
        runs(dots, out);
    }
    out.push('-');
}

/// Writes the dots, four and more equal ones as a count.
fn runs(dots: impl Iterator<Item = char>, out: &mut String) {
    let mut run: Option<(char, usize)> = None;
    let flush = |run: Option<(char, usize)>, out: &mut String| match run {
        Some((dot, count)) if count > 3 => {
            let _ = write!(out, "!{count}{dot}");
        }
        Some((dot, count)) => out.extend(std::iter::repeat_n(dot, count)),
        None => {}
    };
    for dot in dots {
        run = match run {
            Some((last, count)) if last == dot => Some((last, count + 1)),
            other => {
                flush(other, out);
                Some((dot, 1))
            }
        };
    }
    // Nothing is drawn to the right of the last dot.
    flush(run.filter(|(dot, _)| *dot != '?'), out);
}

/// The number of the palette's colour for a pixel at this place.
fn colour(channels: [u8; 3], x: u32, y: u32) -> usize {
    let row = DOTS.get((y % 4).try_into().unwrap_or(0));
    let dot = row.and_then(|row| row.get((x % 4).try_into().unwrap_or(0)));
    let dot = dot.copied().unwrap_or(0);
    let level = |channel: u8| {
        // In sixteenths of a level, up by the dot's threshold.
        let fine = u32::from(channel) * (LEVELS - 1) * 16 / 255;
        ((fine + dot) / 16).min(LEVELS - 1)
    };
    let number = channels.iter().fold(0, |number, channel| number * LEVELS + level(*channel));
    number.try_into().unwrap_or(0)
}
