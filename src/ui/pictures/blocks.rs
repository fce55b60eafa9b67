//! Two pixels to a character: the upper half has the colour of the letter, the lower half that of
//! the ground.

use std::fmt::Write as _;

use image::{RgbImage, imageops};

use super::{Colours, Room, scaled};

pub(super) fn half_blocks(pixels: &RgbImage, room: Room, colours: Colours) -> String {
    let (columns, rows) = (u32::from(room.columns), u32::from(room.rows));
    let (width, height) = scaled(pixels.width(), pixels.height(), columns, rows * 2);
    let height = height.next_multiple_of(2);
    let small = imageops::thumbnail(pixels, width, height);
    let mut out = String::new();
    for y in (0..height).step_by(2) {
        let mut last = None;
        for x in 0..width {
            let pair = [y, y + 1].map(|y| small.get_pixel_checked(x, y).map_or([0; 3], |p| p.0));
            let pair = pair.map(|colour| code(colour, colours));
            if last.as_ref() != Some(&pair) {
                let [upper, lower] = &pair;
                let _ = write!(out, "\x1b[38;{upper};48;{lower}m");
                last = Some(pair);
            }
            out.push('\u{2580}');
        }
        out.push_str("\x1b[0m\n");
    }
    out
}

/// A colour as a terminal is told it.
fn code([red, green, blue]: [u8; 3], colours: Colours) -> String {
    match colours {
        Colours::True => format!("2;{red};{green};{blue}"),
        Colours::Palette | Colours::None => format!("5;{}", nearest([red, green, blue])),
    }
}

/// Steps of the cube of 6 x 6 x 6 colours.
const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];

/// The nearest of the 240 colours that are the same on every terminal: the cube, and greys.
fn nearest(colour: [u8; 3]) -> u8 {
    let distance = |other: [u8; 3]| -> u32 {
        let one = |(a, b): (&u8, &u8)| u32::from(a.abs_diff(*b)).pow(2);
        colour.iter().zip(&other).map(one).sum()
    };
    let cube = colour.map(|channel| {
        let steps = (0_u8..).zip(STEPS);
        steps.min_by_key(|(_, step)| step.abs_diff(channel)).unwrap_or_default()
    });
    let [(red, r), (green, g), (blue, b)] = cube;
    let in_cube = (distance([r, g, b]), 16 + 36 * red + 6 * green + blue);
    let greys = (0_u8..24).map(|step| (distance([8 + 10 * step; 3]), 232 + step));
    greys.fold(in_cube, |best, grey| if grey.0 < best.0 { grey } else { best }).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_become_the_nearest_of_the_palette() {
        for (colour, number) in [
            ([0, 0, 0], 16),
            ([255, 255, 255], 231),
            ([255, 0, 0], 196),
            ([0, 0, 250], 21),
            ([95, 135, 175], 67),
            ([128, 128, 128], 244),
            ([10, 9, 8], 232),
        ] {
            assert_eq!(nearest(colour), number, "{colour:?}");
        }
    }
}
