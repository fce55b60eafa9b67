//! What the file says is what holds, and what cannot hold is named with its place.

use std::path::Path;

use super::*;

fn parse(text: &str) -> Result<Settings, String> {
    Settings::parse(Path::new("client.toml"), text).map_err(|error| error.to_string())
}

#[test]
fn what_a_file_does_not_say_has_its_default() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Settings::load(&folder.path().join("none")).unwrap(), Settings::default());
    let settings = parse("plain = true\n[notify]\npreview = true\n").unwrap();
    assert_eq!(settings, Settings { plain: true, notify_preview: true, ..Settings::default() });
    // The same in the other ways of writing a table.
    assert_eq!(parse("plain = true\nnotify.preview = true").unwrap(), settings);
    assert_eq!(parse("plain = true\nnotify = { preview = true }").unwrap(), settings);
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_nearest_one() {
    for (text, error) in [
        (
            "# mine\n  edit_mod = \"vi\"",
            "client.toml:2:3: there is no setting \"edit_mod\"; did you mean edit_mode?",
        ),
        (
            "[notify]\nprevew = true",
            "client.toml:2:1: there is no setting \"notify.prevew\"; did you mean notify.preview?",
        ),
        ("xyzzy = 1", "client.toml:1:1: there is no setting \"xyzzy\""),
        ("[colour]\nx = 1", "client.toml:1:2: there is no setting \"colour\"; did you mean color?"),
        (
            "notify = true",
            "client.toml:1:1: there is no setting \"notify\"; did you mean notify.preview?",
        ),
    ] {
        assert_eq!(parse(text).unwrap_err(), error);
    }
}

#[test]
fn a_wrong_value_is_named_with_its_place_and_what_may_stand_there() {
    for (text, error) in [
        ("color = \"red\"", "client.toml:1:9: color is auto|always|never, got \"red\""),
        (
            "show.pictures = \"big\"",
            "client.toml:1:17: show.pictures is auto|kitty|iterm2|sixel|blocks|off, got \"big\"",
        ),
        ("bell = 1", "client.toml:1:8: bell is true|false, got \"1\""),
        ("\nserver = \"host\"", "client.toml:2:10: server is HOST:PORT, got \"host\""),
        (
            "[transfers]\nauto_fetch = \"lots\"",
            "client.toml:2:14: transfers.auto_fetch is SIZE (5 MB), got \"lots\"",
        ),
        (
            "[show]\npictures = \"ansi\"",
            "client.toml:2:12: show.pictures is auto|kitty|iterm2|sixel|blocks|off, got \"ansi\"",
        ),
        ("[notify.preview]", "client.toml:1:2: notify.preview is true|false, got \"\""),
    ] {
        let got = parse(text).unwrap_err();
        assert_eq!(got.split(": ").last(), error.split(": ").last(), "{got}");
        if !text.starts_with("[notify") {
            assert_eq!(got, error);
        }
    }
    assert_eq!(parse("[transfers]\nauto_fetch = 0").unwrap().auto_fetch_bytes, 0);
    assert!(parse("bell = \nplain = true").unwrap_err().starts_with("client.toml:1:"));
}

#[test]
fn every_key_can_be_set_and_read_back_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/client.toml");
    let mut settings = Settings::default();
    for help in keys() {
        let value = match help.values {
            "HOST:PORT" => "[::1]:9000",
            "NAME" => "bob",
            "SIZE (5 MB)" => "2500 kB",
            words => words.split('|').next_back().unwrap(),
        };
        settings.set(&path, help.key, value).unwrap();
        assert_eq!(settings.get(help.key).unwrap().as_deref(), Some(value));
        assert_eq!(Settings::load(&path).unwrap(), settings, "{}", help.key);
    }
}

#[test]
fn setting_a_key_keeps_the_comments_and_order_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("client.toml");
    std::fs::write(&path, "# mine\nbell = true # loud\n\n[show]\ntyping = true\n").unwrap();
    let mut settings = Settings::load(&path).unwrap();
    settings.set(&path, "bell", "false").unwrap();
    settings.set(&path, "show.presence", "false").unwrap();
    settings.set(&path, "time", "full").unwrap();
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        "# mine\nbell = false # loud\ntime = \"full\"\n\n[show]\ntyping = true\npresence = \
         false\n"
    );
}

#[test]
fn the_template_sets_nothing_and_takes_every_key_when_uncommented() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("client.toml");
    write_template(&path).unwrap();
    assert_eq!(Settings::load(&path).unwrap(), Settings::default());
    let text = std::fs::read_to_string(&path).unwrap();
    for help in keys() {
        assert!(text.contains(&format!("\n# {} = ", help.key)), "{text}");
    }
}

#[test]
fn what_cannot_be_set_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("client.toml");
    std::fs::write(&path, "bel = true\n").unwrap();
    let mut settings = Settings::default();
    for (key, value) in [("bel", "true"), ("bell", "loud"), ("bell", "false")] {
        assert!(settings.set(&path, key, value).is_err());
    }
    assert_eq!(settings, Settings::default());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "bel = true\n");
}

#[test]
fn a_file_that_is_a_link_stays_one_and_a_huge_one_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let (real, link) = (folder.path().join("real.toml"), folder.path().join("client.toml"));
    std::fs::write(&real, "").unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    Settings::default().set(&link, "bell", "false").unwrap();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert!(!Settings::load(&real).unwrap().bell);
    let size = usize::try_from(SETTINGS_BYTES_MAX).unwrap();
    std::fs::write(&real, "#".repeat(size)).unwrap();
    assert!(Settings::load(&link).is_ok());
    std::fs::write(&real, "#".repeat(size + 1)).unwrap();
    assert!(Settings::load(&link).is_err());
}
