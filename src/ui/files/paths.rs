//! Names of files as people type them: quotes, backslashes, `~`, and what Tab offers.

use std::path::{Path, PathBuf};

use rustyline::completion::FilenameCompleter;

/// Takes words apart. A word may be in quotes, double or single; outside of single quotes a
/// backslash takes the next character as it is. A `~` that was quoted is written `./~` here, so
/// that [`expanded`] leaves it alone. Returns the first word and what follows; `None` at the end.
///
/// A quote that is not closed ends with the line: Tab leaves it so.
pub fn split(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start();
    if text.is_empty() {
        return None;
    }
    let mut word = String::new();
    let mut quote = None;
    let mut letters = text.char_indices();
    let mut rest = "";
    while let Some((at, letter)) = letters.next() {
        let taken = match (quote, letter) {
            (None, ' ' | '\t') => {
                rest = text.get(at..).unwrap_or_default();
                break;
            }
            (None, '\'' | '"') => {
                quote = Some(letter);
                continue;
            }
            (Some(open), _) if open == letter => {
                quote = None;
                continue;
            }
            (None | Some('"'), '\\') => letters.next().map_or('\\', |(_, next)| next),
            (_, _) => letter,
        };
        let as_it_is = quote.is_some() || letter == '\\';
        if word.is_empty() && taken == '~' && as_it_is {
            word.push_str("./");
        }
        word.push(taken);
    }
    Some((word, rest.trim_start()))
}

/// A typed name as a path: `~` is the home folder.
pub fn expanded(word: &str, home: Option<&Path>) -> PathBuf {
    match (word.strip_prefix('~'), home) {
        (Some(""), Some(home)) => home.to_owned(),
        (Some(rest), Some(home)) if rest.starts_with('/') => {
            home.join(rest.trim_start_matches('/'))
        }
        (Some(_) | None, _) => PathBuf::from(word),
    }
}

/// What Tab offers for the name that ends at the end of `line`, escaped as [`split`] reads it:
/// where that name starts, and its possible endings, each with what is shown of it. Folders end
/// with a slash. Files that begin with a dot are offered when the dot is typed.
pub fn offers(line: &str) -> (usize, Vec<(String, String)>) {
    let Ok((start, found)) = FilenameCompleter::new().complete_path(line, line.len()) else {
        return (line.len(), Vec::new());
    };
    let typed = line.get(start..).unwrap_or_default();
    let asks_for_hidden = typed.rsplit('/').next().is_some_and(|name| name.starts_with('.'));
    let offers = found
        .into_iter()
        .filter(|pair| asks_for_hidden || !pair.display.starts_with('.'))
        .map(|pair| {
            // A whole name: the next word may follow. A quote stays open, for a caption to come.
            let whole = !pair.replacement.ends_with('/');
            let in_quotes = line.get(..start).is_some_and(|before| before.ends_with(['"', '\'']));
            let end = if whole && !in_quotes { " " } else { "" };
            (pair.display, format!("{}{end}", pair.replacement))
        })
        .collect();
    (start, offers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(mut text: &str) -> Vec<String> {
        let mut words = Vec::new();
        while let Some((word, rest)) = split(text) {
            words.push(word);
            text = rest;
        }
        words
    }

    #[test]
    fn names_with_spaces_are_quoted_or_escaped() {
        for (typed, taken) in [
            ("a.png", &["a.png"][..]),
            ("  a.png   b.png ", &["a.png", "b.png"]),
            (r"my\ photo.png b", &["my photo.png", "b"]),
            (r#""my photo.png" b"#, &["my photo.png", "b"]),
            ("'my photo.png' b", &["my photo.png", "b"]),
            (r#"a"b c"d"#, &["ab cd"]),
            (r#""a \"b\".png""#, &[r#"a "b".png"#]),
            (r"'a\b.png'", &[r"a\b.png"]),
            (r"bob\'s.png", &["bob's.png"]),
            (r#""not closed.png"#, &["not closed.png"]),
            (r"end\", &[r"end\"]),
            ("''", &[""]),
            ("", &[]),
        ] {
            assert_eq!(words(typed), taken, "{typed}");
        }
    }

    #[test]
    fn a_tilde_is_the_home_folder_unless_it_is_quoted() {
        let home = Some(Path::new("/home/alice"));
        let path = |typed: &str| expanded(&split(typed).unwrap().0, home);
        assert_eq!(path("~/a.png"), Path::new("/home/alice/a.png"));
        assert_eq!(path("~"), Path::new("/home/alice"));
        assert_eq!(path("~bob/a.png"), Path::new("~bob/a.png"));
        for quoted in ["'~/a.png'", "\"~/a.png\"", "\\~/a.png"] {
            assert_eq!(path(quoted), Path::new("./~/a.png"), "{quoted}");
        }
        assert_eq!(expanded("~/a.png", None), Path::new("~/a.png"));
    }

    #[test]
    fn tab_completes_paths_also_with_spaces_and_what_it_offers_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir(root.join("trip to rome")).unwrap();
        for name in ["trip to rome/my photo.png", "trip.txt", ".hidden", "it's.png"] {
            std::fs::write(root.join(name), "x").unwrap();
        }
        let tab = |line: &str| {
            let (start, offers) = offers(line);
            let mut lines: Vec<String> =
                offers.iter().map(|(_, offer)| format!("{}{offer}", &line[..start])).collect();
            lines.sort();
            lines
        };
        let base = root.display();
        let found = tab(&format!("/send {base}/tri"));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.contains(&format!("/send {base}/trip.txt ")), "{found:?}");
        let inside = found.iter().find(|line| line.ends_with('/')).unwrap();
        let whole = tab(inside);
        assert_eq!(whole.len(), 1, "{whole:?}");
        let (word, rest) = split(whole[0].strip_prefix("/send ").unwrap()).unwrap();
        assert_eq!((PathBuf::from(word), rest), (root.join("trip to rome/my photo.png"), ""));
        // Also in quotes, and names with quotes.
        let quoted = tab(&format!("/send \"{base}/trip to rome/my"));
        assert_eq!(quoted.len(), 1, "{quoted:?}");
        let (word, _) = split(quoted[0].strip_prefix("/send ").unwrap()).unwrap();
        assert_eq!(PathBuf::from(word), root.join("trip to rome/my photo.png"));
        let quote = tab(&format!("/send {base}/it"));
        let (word, _) = split(quote[0].strip_prefix("/send ").unwrap()).unwrap();
        assert_eq!(PathBuf::from(word), root.join("it's.png"));
        // Hidden ones only when they are asked for.
        assert_eq!(tab(&format!("/send {base}/")).len(), 3);
        assert_eq!(tab(&format!("/send {base}/.h")).len(), 1);
        assert_eq!(tab(&format!("/send {base}/nothing")).len(), 0);
    }
}
