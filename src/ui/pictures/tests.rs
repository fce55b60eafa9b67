//! What terminals are recognised, and exactly what they are sent.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::ImageFormat;
use proptest::prelude::*;
use rustix::termios::Winsize;

use super::{Ability, Colours, Room, Way, Wish, render};
use crate::client::pictures::Thumbnail;
use crate::limits::PREVIEW_ROWS_MAX;

const DRAWN: [Ability; 4] = [Ability::Kitty, Ability::Iterm2, Ability::Sixel, Ability::HalfBlocks];

fn way(ability: Ability) -> Way {
    Way { ability, colours: Colours::True }
}

fn flat(width: u32, height: u32, colour: [u8; 3]) -> Thumbnail {
    Thumbnail { width, height, rgb: colour.repeat((width * height) as usize) }
}

/// A picture without two equal neighbours.
fn busy(width: u32, height: u32) -> Thumbnail {
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    let rgb = (0..width * height * 3).map(|_| next()).collect();
    Thumbnail { width, height, rgb }
}

fn detected(wish: Wish, variables: &str) -> Way {
    let variables: BTreeMap<&str, &str> =
        variables.split_whitespace().filter_map(|pair| pair.split_once('=')).collect();
    Way::detect(wish, true, |name| variables.get(name).map(|value| (*value).to_owned()))
}

#[test]
fn terminals_are_known_by_what_they_say() {
    for (variables, ability) in [
        ("TERM=xterm-kitty", Ability::Kitty),
        ("TERM=xterm-256color KITTY_WINDOW_ID=1", Ability::Kitty),
        ("TERM=xterm-ghostty", Ability::Kitty),
        ("TERM=xterm-256color TERM_PROGRAM=ghostty", Ability::Kitty),
        ("TERM=xterm-256color KONSOLE_VERSION=230805", Ability::Kitty),
        ("TERM=xterm-256color KONSOLE_VERSION=211203 LANG=C.UTF-8", Ability::HalfBlocks),
        ("TERM=xterm-256color TERM_PROGRAM=iTerm.app", Ability::Iterm2),
        ("TERM=xterm-256color LC_TERMINAL=iTerm2", Ability::Iterm2),
        ("TERM=xterm-256color TERM_PROGRAM=WezTerm", Ability::Iterm2),
        ("TERM=xterm-256color WEZTERM_EXECUTABLE=/usr/bin/wezterm-gui", Ability::Iterm2),
        ("TERM=xterm TERM_PROGRAM=mintty", Ability::Iterm2),
        ("TERM=foot", Ability::Sixel),
        ("TERM=foot-extra KITTY_WINDOW_ID=1", Ability::Sixel),
        ("TERM=mlterm-256color", Ability::Sixel),
        ("TERM=xterm-256color LANG=de_AT.UTF-8", Ability::HalfBlocks),
        ("TERM=xterm-256color LC_CTYPE=en_US.utf8", Ability::HalfBlocks),
        ("TERM=xterm-256color LC_ALL=C LANG=de_AT.UTF-8", Ability::Off),
        ("TERM=xterm-256color", Ability::Off),
        ("TERM=xterm TERM_PROGRAM=vscode KITTY_WINDOW_ID=1 LANG=C.UTF-8", Ability::HalfBlocks),
        ("TERM=tmux-256color KITTY_WINDOW_ID=1 LANG=C.UTF-8", Ability::HalfBlocks),
        ("TERM=xterm-kitty TMUX=/tmp/tmux LANG=C.UTF-8", Ability::HalfBlocks),
        ("TERM=screen LC_TERMINAL=iTerm2 LANG=C.UTF-8", Ability::HalfBlocks),
        ("TERM=foot STY=1.pts LANG=C.UTF-8", Ability::HalfBlocks),
        ("TERM=dumb KITTY_WINDOW_ID=1 LANG=C.UTF-8", Ability::Off),
        ("LANG=C.UTF-8", Ability::Off),
    ] {
        assert_eq!(detected(Wish::Auto, variables).ability, ability, "{variables}");
    }
}

#[test]
fn what_a_person_chose_counts_more_than_the_environment() {
    for word in ["auto", "kitty", "iterm2", "sixel", "blocks", "off"] {
        let wish: Wish = word.parse().unwrap();
        assert_eq!(wish.word(), word);
        if let Wish::Only(ability) = wish {
            assert_eq!(detected(wish, "TERM=dumb TMUX=1").ability, ability);
        }
    }
    assert!("Kitty".parse::<Wish>().is_err());
    assert_eq!(Wish::default(), Wish::Auto);
}

#[test]
fn colours_are_those_the_terminal_has_and_without_them_there_is_no_picture() {
    assert_eq!(detected(Wish::Auto, "TERM=xterm").colours, Colours::Palette);
    assert_eq!(detected(Wish::Auto, "COLORTERM=truecolor").colours, Colours::True);
    assert_eq!(detected(Wish::Auto, "COLORTERM=24bit").colours, Colours::True);
    let kitty = |_: &str| Some("xterm-kitty".to_owned());
    let colourless = Way::detect(Wish::Only(Ability::Kitty), false, kitty);
    assert_eq!(colourless, Way::OFF);
    for ability in DRAWN {
        let way = Way { ability, colours: Colours::None };
        assert_eq!(render(way, &flat(4, 4, [1, 2, 3]), Room::default()), "");
    }
    assert_eq!(render(Way::OFF, &flat(4, 4, [1, 2, 3]), Room::default()), "");
}

#[test]
fn the_room_is_what_the_terminal_says_it_has() {
    let room = |ws_col, ws_row, ws_xpixel, ws_ypixel| {
        Room::of_size(&Winsize { ws_row, ws_col, ws_xpixel, ws_ypixel })
    };
    assert_eq!(room(100, 50, 900, 1000), Room { columns: 100, rows: 12, cell: (9, 20) });
    assert_eq!(room(100, 10, 900, 0), Room { columns: 100, rows: 5, cell: (8, 16) });
    assert_eq!(room(100, 1, 10, 10).rows, 1);
    assert_eq!(room(0, 0, 0, 0), Room::default());
    assert_eq!(room(0, 0, 640, 480), Room::default());
}

/// What is drawn, without the lines made for it and the way back: exactly those.
fn drawing(text: &str, rows: usize) -> &str {
    let before = format!("{}\x1b[{rows}A\x1b7", "\n".repeat(rows));
    let after = if rows > 1 { format!("\x1b8\x1b[{}B\n", rows - 1) } else { "\x1b8\n".into() };
    text.strip_prefix(&before).unwrap().strip_suffix(&after).unwrap()
}

#[test]
fn kitty_gets_a_png_in_pieces_and_is_asked_for_no_answer() {
    let picture = busy(100, 60);
    let text = render(way(Ability::Kitty), &picture, Room::default());
    let pieces: Vec<&str> = drawing(&text, 4).split_inclusive("\x1b\\").collect();
    let mut encoded = String::new();
    for (index, piece) in pieces.iter().enumerate() {
        let piece = piece.strip_prefix("\x1b_G").unwrap().strip_suffix("\x1b\\").unwrap();
        let (keys, chunk) = piece.split_once(';').unwrap();
        let more = u8::from(index + 1 < pieces.len());
        let first = if index == 0 { "a=T,f=100,C=1,c=13,r=4," } else { "" };
        assert_eq!(keys, format!("{first}q=2,m={more}"));
        assert!(chunk.len() == 4096 || (more == 0 && (1..4096).contains(&chunk.len())));
        encoded.push_str(chunk);
    }
    assert!(pieces.len() > 1);
    let png = STANDARD.decode(encoded).unwrap();
    let pixels = image::load_from_memory_with_format(&png, ImageFormat::Png).unwrap();
    assert_eq!(pixels.into_rgb8().into_raw(), picture.rgb);
}

#[test]
fn iterm2_gets_a_jpeg_that_was_made_here() {
    let text = render(way(Ability::Iterm2), &flat(100, 60, [200, 40, 90]), Room::default());
    let file = drawing(&text, 4).strip_prefix("\x1b]1337;File=").unwrap();
    let (keys, encoded) = file.strip_suffix('\x07').unwrap().split_once(':').unwrap();
    let jpeg = STANDARD.decode(encoded).unwrap();
    let size = jpeg.len();
    assert_eq!(keys, format!("inline=1;size={size};width=13;height=4;preserveAspectRatio=1"));
    let pixels = image::load_from_memory_with_format(&jpeg, ImageFormat::Jpeg).unwrap();
    assert_eq!((pixels.width(), pixels.height()), (100, 60));
}

#[test]
fn sixels_are_bands_of_colours_from_the_palette() {
    let room = Room { cell: (2, 6), ..Room::default() };
    // Red and blue side by side, seven rows: one band and one row of the next.
    let mut picture = flat(2, 7, [255, 0, 0]);
    for pixel in picture.rgb.chunks_mut(6) {
        pixel[3..].copy_from_slice(&[0, 0, 255]);
    }
    let text = render(way(Ability::Sixel), &picture, room);
    let colours = "#5;2;0;0;100#180;2;100;0;0";
    let bands = "#5?~$#180~-#5?@$#180@-";
    assert_eq!(drawing(&text, 2), format!("\x1bP0;1q\"1;1;2;7{colours}{bands}\x1b\\"));
    // Equal neighbours are counted.
    let text = render(way(Ability::Sixel), &flat(9, 6, [255; 3]), room);
    assert!(drawing(&text, 1).ends_with("#215!9~-\x1b\\"), "{text:?}");
}

#[test]
fn dots_of_two_sixel_colours_stand_for_the_one_between() {
    let room = Room { cell: (8, 16), ..Room::default() };
    // Halfway between two of the palette's greys.
    let text = render(way(Ability::Sixel), &flat(4, 4, [25, 25, 25]), room);
    let drawn = drawing(&text, 1);
    assert!(drawn.contains("#0;2;0;0;0") && drawn.contains("#43;2;20;20;20"), "{drawn:?}");
}

#[test]
fn half_blocks_are_two_pixels_to_a_character() {
    let mut picture = flat(2, 2, [255, 0, 0]);
    picture.rgb[6..].copy_from_slice(&[0, 0, 255, 0, 255, 0]);
    let text = render(way(Ability::HalfBlocks), &picture, Room::default());
    assert_eq!(
        text,
        "\x1b[38;2;255;0;0;48;2;0;0;255m\u{2580}\x1b[38;2;255;0;0;48;2;0;255;0m\u{2580}\x1b[0m\n"
    );
    let palette = Way { ability: Ability::HalfBlocks, colours: Colours::Palette };
    let text = render(palette, &flat(3, 2, [255, 0, 0]), Room::default());
    assert_eq!(text, "\x1b[38;5;196;48;5;196m\u{2580}\u{2580}\u{2580}\x1b[0m\n");
}

#[test]
fn half_blocks_on_a_screen_are_as_many_rows_as_promised() {
    for (width, height, columns, rows) in [(320, 200, 38, 12), (200, 320, 15, 12), (10, 2, 10, 1)] {
        let mut screen = vt100::Parser::new(24, 80, 0);
        screen.process(b"before\r\n");
        let room = Room::default();
        let text = render(way(Ability::HalfBlocks), &busy(width, height), room);
        screen.process(text.replace('\n', "\r\n").as_bytes());
        screen.process(b"after");
        let screen = screen.screen();
        let lines: Vec<String> = screen.rows(0, 80).collect();
        assert_eq!((lines[0].as_str(), lines[rows + 1].as_str()), ("before", "after"));
        for line in &lines[1..=rows] {
            assert_eq!(*line, "\u{2580}".repeat(columns));
        }
        let cell = screen.cell(1, 0).unwrap();
        assert!(matches!(cell.fgcolor(), vt100::Color::Rgb(..)));
        assert_eq!(
            screen.cell(u16::try_from(rows).unwrap() + 1, 0).unwrap().bgcolor(),
            vt100::Color::Default
        );
    }
}

#[test]
fn every_way_takes_the_same_rows_even_at_the_end_of_the_screen() {
    for (ability, start) in DRAWN.into_iter().flat_map(|way| [(way, 2), (way, 23)]) {
        let mut screen = vt100::Parser::new(24, 80, 100);
        screen.process("\r\n".repeat(start).as_bytes());
        screen.process(b"before\r\n");
        let room = Room { rows: 5, ..Room::default() };
        let text = render(way(ability), &busy(320, 200), room);
        screen.process(text.replace('\n', "\r\n").as_bytes());
        assert_eq!(screen.screen().cursor_position().1, 0, "{ability:?}");
        screen.process(b"after");
        let lines: Vec<String> = screen.screen().rows(0, 80).collect();
        let at = |word: &str| lines.iter().position(|line| line == word).unwrap();
        assert_eq!(at("after") - at("before"), 6, "{ability:?} {start}");
    }
}

#[test]
fn nothing_is_drawn_of_what_is_no_picture_or_has_no_room() {
    for ability in DRAWN {
        let picture = flat(4, 4, [9; 3]);
        assert_ne!(render(way(ability), &picture, Room::default()), "");
        let short = Thumbnail { rgb: vec![0; 47], ..picture.clone() };
        let none = Thumbnail { width: 0, height: 4, rgb: Vec::new() };
        for wrong in [short, none] {
            assert_eq!(render(way(ability), &wrong, Room::default()), "", "{ability:?}");
        }
        for room in [Room { columns: 0, ..Room::default() }, Room { rows: 0, ..Room::default() }] {
            assert_eq!(render(way(ability), &picture, room), "", "{ability:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_picture_leaves_its_room(
        (width, height) in (1_u32..330, 1_u32..330),
        (columns, rows) in (1_u16..120, 1_u16..40),
        cell in (0_u16..40, 0_u16..80),
    ) {
        let picture = flat(width, height, [7, 77, 177]);
        for ability in DRAWN {
            let text = render(way(ability), &picture, Room { columns, rows, cell });
            let taken = text.chars().take_while(|c| *c == '\n').count();
            let lines = text.lines().count();
            let rows_taken = if ability == Ability::HalfBlocks { lines } else { taken };
            prop_assert!((1..=usize::from(rows.min(PREVIEW_ROWS_MAX))).contains(&rows_taken));
            let across = text.lines().map(|line| line.matches('\u{2580}').count()).max();
            prop_assert!(across <= Some(usize::from(columns)));
            if let Some((_, keys)) = text.split_once("C=1,c=") {
                let (c, rest) = keys.split_once(",r=").unwrap();
                let (r, _) = rest.split_once(',').unwrap();
                prop_assert!(c.parse::<u16>().unwrap() <= columns);
                prop_assert_eq!(r.parse::<usize>().unwrap(), rows_taken);
            }
            if let Some((_, raster)) = text.split_once("\"1;1;") {
                let (w, rest) = raster.split_once(';').unwrap();
                let (h, _) = rest.split_once('#').unwrap();
                let (across, down) = (u32::from(cell.0.max(1)), u32::from(cell.1.max(1)));
                prop_assert!(w.parse::<u32>().unwrap() <= u32::from(columns) * across);
                prop_assert!(h.parse::<usize>().unwrap() <= rows_taken * down as usize);
            }
        }
    }
}
