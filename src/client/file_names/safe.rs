//! What others call a file, made harmless.

use unicode_normalization::UnicodeNormalization;

use super::{cut, split};
use crate::limits::FILE_NAME_BYTES_MAX;

/// The name of a file that somebody sent, as it may stand in a folder: the last part of a path,
/// composed (NFC), without characters that cannot be seen, turn the text round or mean something
/// to a file system or a shell's pattern, no hidden file, no option, no device, at most
/// [`FILE_NAME_BYTES_MAX`] bytes with its extension kept. `file` when nothing is left.
pub fn safe(name: &str) -> String {
    let base = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut out = String::with_capacity(base.len().min(FILE_NAME_BYTES_MAX));
    for c in base.nfc() {
        match c {
            c if c.is_control() || is_unseen(c) => {}
            // One space for many: what is far to the right, such as an extension, must be seen.
            c if c.is_whitespace() => {
                if !out.ends_with(' ') {
                    out.push(' ');
                }
            }
            '<' | '>' | ':' | '"' | '|' | '?' | '*' => out.push('_'),
            c => out.push(c),
        }
        // Much longer names are cut below; this keeps the work small.
        if out.len() > 64 * FILE_NAME_BYTES_MAX {
            break;
        }
    }
    // What was between two characters may have kept them from becoming one.
    let composed: String = out.nfc().collect();
    let mut name = shortened(trimmed(&composed));
    if name.starts_with('-') {
        name.replace_range(..1, "_");
    }
    if is_device(&name) {
        name = shortened(&format!("_{name}"));
    }
    if name.is_empty() { "file".to_owned() } else { name }
}

fn trimmed(name: &str) -> &str {
    name.trim_start_matches(['.', ' ']).trim_end_matches(['.', ' '])
}

fn shortened(name: &str) -> String {
    if name.len() <= FILE_NAME_BYTES_MAX {
        return name.to_owned();
    }
    let (stem, extension) = split(name);
    let stem = trimmed(cut(stem, FILE_NAME_BYTES_MAX - extension.len()));
    format!("{stem}{extension}")
}

/// Takes no room, or turns round what follows: a name has to read as it is.
fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Names that are a device under Windows, with any extension, in any folder.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let numbered = |stem: &str| {
        let number = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
        number.is_some_and(|number| {
            let mut number = number.chars();
            let digit = number.next();
            let is_digit = digit.is_some_and(|c| c.is_ascii_digit() || "¹²³".contains(c));
            is_digit && number.next().is_none()
        })
    };
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" | "CLOCK$")
        || numbered(&stem)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_others_are_reduced_to_harmless_ones() {
        for (name, harmless) in [
            ("photo.jpg", "photo.jpg"),
            ("Grüße aus Wien (3).jpeg", "Grüße aus Wien (3).jpeg"),
            ("写真.png", "写真.png"),
            ("../../.ssh/authorized_keys", "authorized_keys"),
            ("/etc/passwd", "passwd"),
            ("C:\\Windows\\evil.exe", "evil.exe"),
            ("folder/", "file"),
            ("", "file"),
            (".", "file"),
            ("..", "file"),
            (" . . ", "file"),
            (".bashrc", "bashrc"),
            ("... hidden", "hidden"),
            ("report.pdf. . ", "report.pdf"),
            ("-rf", "_rf"),
            ("photo\u{202e}gpj.exe", "photogpj.exe"),
            ("a\u{200b}b\u{feff}c\u{ad}.txt", "abc.txt"),
            ("two\nlines\u{1b}[31m.txt", "twolines[31m.txt"),
            ("nul\0byte", "nulbyte"),
            ("photo.jpg                     .exe", "photo.jpg .exe"),
            ("stream.txt:hidden", "stream.txt_hidden"),
            ("what?*.txt", "what__.txt"),
            ("cafe\u{301}.txt", "café.txt"),
            ("e\u{200d}\u{301}.txt", "é.txt"),
            ("CON", "_CON"),
            ("nul.txt", "_nul.txt"),
            ("Com1.tar.gz", "_Com1.tar.gz"),
            ("lpt² .x", "_lpt² .x"),
            ("COM10", "COM10"),
            ("CONTRACT.pdf", "CONTRACT.pdf"),
        ] {
            assert_eq!(safe(name), harmless, "{name:?}");
        }
    }

    #[test]
    fn a_long_name_keeps_its_extension() {
        let name = safe(&format!("{}.jpeg", "ä".repeat(300)));
        assert_eq!(name.len(), 255);
        assert!(name.ends_with("ä.jpeg"));
        assert_eq!(safe(&"x".repeat(255)).len(), 255);
        assert_eq!(safe(&"x".repeat(256)).len(), 255);
        assert_eq!(safe(&format!("a.{}", "x".repeat(400))).len(), 255);
        assert_eq!(safe(&format!("CON.{}", "x".repeat(251))).len(), 255);
        assert!(safe(&format!("{}.tar.gz", "x".repeat(300))).ends_with("x.tar.gz"));
        safe(&"../".repeat(1_000_000));
    }

    proptest! {
        #[test]
        fn any_name_becomes_harmless(name in "\\PC{0,40}|[\\x00-\\x7f]{0,20}|(\\.|/| |CON|e|\u{301}|\u{202e}|ä){0,200}") {
            let harmless = safe(&name);
            prop_assert!(!harmless.is_empty() && harmless.len() <= FILE_NAME_BYTES_MAX);
            let harmful = harmless.contains(['/', '\\', '\0', '\n', '\u{1b}', '\u{202e}']);
            prop_assert!(!harmful);
            prop_assert!(!harmless.starts_with(['.', ' ', '-']));
            prop_assert!(!harmless.ends_with(['.', ' ']));
            prop_assert!(!is_device(&harmless));
            prop_assert_eq!(safe(&harmless), harmless);
        }
    }
}
