//! Text of strangers made safe for a terminal, wrapping by columns, and the nearest word.
//!
//! Pure. What is typed by the owner goes through the same cleaning: pasted text is not trusted.

use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Makes a text safe to print: escape sequences and control characters are removed, newlines stay,
/// tabs become spaces, and characters that reorder or hide text are shown by their number.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' => out.push('\n'),
            '\t' => out.push_str("    "),
            '\u{1b}' => match chars.next_if(|next| !next.is_control()) {
                Some('[') => skip_control_sequence(&mut chars),
                Some(']' | 'P' | 'X' | '^' | '_') => skip_string(&mut chars),
                // A two- or three-character sequence: `ESC 7`, `ESC ( B`.
                Some(' '..='/') => {
                    chars.next_if(|next| !next.is_control());
                }
                Some(_) | None => {}
            },
            '\u{9b}' => skip_control_sequence(&mut chars),
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => skip_string(&mut chars),
            '\u{2028}' | '\u{2029}' => out.push('\n'),
            c if c.is_control() => {}
            c if is_deceptive(c) => {
                let _ = write!(out, "<U+{:04X}>", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// As [`clean`], on one line.
pub fn clean_line(text: &str) -> String {
    clean(text).split('\n').map(str::trim_end).collect::<Vec<_>>().join(" ")
}

/// Bidirectional controls, and characters that take no room and are no part of any script.
fn is_deceptive(c: char) -> bool {
    matches!(c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn skip_control_sequence(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while let Some(c) = chars.next_if(|c| matches!(c, '\u{20}'..='\u{7e}')) {
        if matches!(c, '\u{40}'..='\u{7e}') {
            return;
        }
    }
}

/// Skips a string sequence up to its end sign. Without one, up to the end of the line: an unclosed
/// sequence must not swallow more than a terminal would.
fn skip_string(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while let Some(c) = chars.next_if(|c| *c != '\n') {
        match c {
            '\u{7}' | '\u{9c}' => return,
            '\u{1b}' => {
                chars.next_if_eq(&'\\');
                return;
            }
            _ => {}
        }
    }
}

/// Escapes what a terminal could act on inside an encoded JSON line; the JSON stays the same.
pub fn safe_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_control() || is_deceptive(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Columns a text takes on a terminal.
pub fn columns(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// Breaks one line at spaces into lines of at most `width` columns. A longer word, a link for
/// example, is left whole: the terminal breaks it without changing what is copied.
pub fn wrap(line: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut words = line.split(' ');
    let mut current = words.next().unwrap_or_default().to_owned();
    for word in words {
        if columns(&current) + 1 + columns(word) > width && !current.trim().is_empty() {
            lines.push(std::mem::replace(&mut current, word.to_owned()));
        } else {
            current.push(' ');
            current.push_str(word);
        }
    }
    lines.push(current);
    lines
}

/// The beginning of a text on one line, at most `width` columns, with `...` when cut.
pub fn excerpt(text: &str, width: usize) -> String {
    let line = clean_line(text);
    if columns(&line) <= width {
        return line;
    }
    let mut out = String::new();
    let mut used = 0;
    for c in line.chars() {
        used += c.width().unwrap_or(0);
        if used + 3 > width {
            break;
        }
        out.push(c);
    }
    out + "..."
}

/// The candidate that `word` was probably meant to be, if one is near enough.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    // Long hostile input is no typing error, and the distance below is quadratic.
    if word.is_empty() || word.len() > 64 {
        return None;
    }
    let near = if word.chars().count() <= 3 { 1 } else { 2 };
    candidates
        .into_iter()
        .map(|candidate| {
            let begins = word.len() >= 2 && candidate.starts_with(&word);
            (if begins { 1 } else { distance(&word, candidate) }, candidate)
        })
        .filter(|(distance, _)| *distance <= near)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap neighbours) from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut cost = (at(&last, j + 1) + 1).min(at(&row, j) + 1);
            cost = cost.min(at(&last, j) + usize::from(x != y));
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                cost = cost.min(at(&before, j - 1) + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    at(&last, b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_control_characters_never_reach_the_terminal() {
        for (hostile, safe) in [
            ("a\x1b[31mb\x1b[0mc", "abc"),
            ("a\x1b]0;title\x07b", "ab"),
            ("a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
            ("a\u{9b}2Jb\u{9d}0;t\u{9c}c", "abc"),
            ("a\x1bPq#0\x1b\\b\x1b(Bc\x1b7d\x1bcf", "abcdf"),
            ("bell\x07 back\x08 cr\rdel\x7f nul\0", "bell back crdel nul"),
            ("unclosed \x1b]0;rest\nnext", "unclosed \nnext"),
            ("\x1b", ""),
            ("\x1b\x1b[2Jx", "x"),
        ] {
            assert_eq!(clean(hostile), safe, "{hostile:?}");
        }
    }

    #[test]
    fn cleaning_keeps_ordinary_text_of_every_script() {
        for text in ["héllo wörld", "你好", "שלום", "👩‍💻 ok", "line one\nline two", "[31m ;x"]
        {
            assert_eq!(clean(text), text);
        }
    }

    #[test]
    fn characters_that_reorder_or_hide_text_are_made_visible() {
        assert_eq!(clean("abc\u{202e}fdp.exe"), "abc<U+202E>fdp.exe");
        assert_eq!(clean("\u{2066}x\u{2069}\u{200b}\u{feff}"), "<U+2066>x<U+2069><U+200B><U+FEFF>");
        assert_eq!(clean("\u{e0041}"), "<U+E0041>");
    }

    #[test]
    fn json_is_the_same_but_holds_nothing_that_a_terminal_acts_on() {
        let text = "a\u{9b}b\u{202e}c\u{7f}\u{e0041}é";
        let json = safe_json(&serde_json::to_string(text).unwrap());
        assert!(!json.chars().any(|c| c.is_control() || is_deceptive(c)), "{json:?}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn wrapping_keeps_words_whole_and_indentation() {
        assert_eq!(wrap("the quick brown fox", 9), ["the quick", "brown fox"]);
        assert_eq!(
            wrap("see https://example.org/a/b/c now", 10),
            ["see", "https://example.org/a/b/c", "now"]
        );
        assert_eq!(wrap("", 9), [""]);
        assert_eq!(wrap(" x", 9), [" x"]);
        assert_eq!(wrap("你好 你好", 5), ["你好", "你好"]);
    }

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(excerpt("hello", 10), "hello");
        assert_eq!(excerpt("hello\nworld and more", 10), "hello w...");
        assert_eq!(excerpt("你好你好你好", 8), "你好...");
    }

    #[test]
    fn the_nearest_word_is_offered_only_when_it_is_near() {
        assert_eq!(nearest("alcie", ["bob", "alice"]), Some("alice"));
        assert_eq!(nearest("hist", ["history", "help"]), Some("history"));
        assert_eq!(nearest("mgs", ["msg", "to"]), Some("msg"));
        assert_eq!(nearest("zebra", ["msg", "to"]), None);
        assert_eq!(nearest(&"a".repeat(10_000), ["msg"]), None);
    }
}
