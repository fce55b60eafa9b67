//! The house rules as a test: who may know whom, what a server may never name, and the style that
//! neither compiler nor clippy sees. `docs/ARCHITECTURE.md` says why.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// For each room, the rooms it may use. A room always may use itself.
const MAY_USE: &[(&str, &[&str])] = &[
    ("limits", &["types", "placement"]),
    ("types", &["limits"]),
    ("placement", &["limits", "types"]),
    ("wire", &["limits", "types", "placement"]),
    ("blob", &["limits", "types"]),
    ("crypto", &["limits", "types", "placement", "wire", "blob"]),
    ("roster", &["limits", "types", "crypto"]),
    ("ops", &["limits", "types"]),
    ("net", &["limits", "types", "wire", "ops"]),
    ("admission", &["limits", "types", "wire", "net"]),
    ("home", &["limits", "types", "placement", "wire", "blob", "crypto", "roster", "ops", "net"]),
    ("load", &["net", "home"]),
    ("peer", SERVER),
    ("edge", SERVER),
    ("server", SERVER),
    ("balancer", SERVER),
    ("client", &["limits", "types", "wire", "blob", "crypto", "roster", "net"]),
    ("ui", &["limits", "types", "wire", "blob", "roster", "net", "client"]),
    ("bench", BENCH),
    ("testkit", ALL),
    ("cli", ALL),
];
const SERVER: &[&str] = &[
    "limits",
    "types",
    "placement",
    "wire",
    "blob",
    "crypto",
    "roster",
    "ops",
    "net",
    "admission",
    "home",
    "load",
    "peer",
    "edge",
    "server",
];
const BENCH: &[&str] = &[
    "limits",
    "types",
    "placement",
    "wire",
    "blob",
    "crypto",
    "roster",
    "net",
    "balancer",
    "client",
];
const ALL: &[&str] = &[
    "limits",
    "types",
    "placement",
    "wire",
    "blob",
    "crypto",
    "roster",
    "ops",
    "net",
    "admission",
    "home",
    "load",
    "peer",
    "edge",
    "server",
    "balancer",
    "client",
    "ui",
    "bench",
    "testkit",
];

/// Crates that only some rooms may name.
const MAY_BRING_IN: &[(&str, &[&str])] = &[
    ("rusqlite", &["home", "client", "bench", "testkit"]),
    ("quinn", &["net", "peer", "edge", "server", "balancer", "client", "bench", "testkit"]),
    ("rustls", &["net"]),
    ("rcgen", &["net"]),
    ("rsa", &["crypto"]),
    ("fernet", &["crypto"]),
    ("ed25519_dalek", &["crypto"]),
    ("aws_lc_rs", &["crypto", "net"]),
    ("bcrypt", &["edge"]),
    ("rustyline", &["ui"]),
    ("clap", &["cli"]),
    ("indicatif", &["cli"]),
    ("image", &["client", "ui"]),
    ("infer", &["client"]),
    ("hdrhistogram", &["bench"]),
    ("axum", &["ops"]),
    ("metrics", &["ops"]),
    ("metrics_exporter_prometheus", &["ops"]),
    ("sd_notify", &["ops"]),
];

/// Rooms of the servers: what they may never name, so that no server can read a message.
const SERVER_ROOMS: &[&str] = &["home", "peer", "edge", "server", "balancer", "admission"];
const NEVER_ON_A_SERVER: &[&str] = &[
    "seal",
    "seal_void",
    "seal_group",
    "group_envelope",
    "open_message",
    "envelope::open",
    "ConversationKey",
    "EncryptionKey",
    "IdentityKey",
    "rf1",
    "GroupKey",
    "InviteKey",
    "InviteSecret",
    "WrapKey",
    "DbKey",
    "BlobKey",
    "stretch",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Every file of `src/` with its room and its text.
fn rooms() -> Vec<(String, PathBuf, String)> {
    let src = root().join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    files
        .into_iter()
        .map(|path| {
            let inside = path.strip_prefix(&src).unwrap();
            let room = inside.components().next().unwrap().as_os_str().to_str().unwrap();
            (
                room.trim_end_matches(".rs").to_owned(),
                path.clone(),
                fs::read_to_string(&path).unwrap(),
            )
        })
        .filter(|(room, _, _)| room != "lib")
        .collect()
}

/// Code without comments, doc comments and what only tests see.
fn code(text: &str) -> String {
    let production = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    production
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect()
}

fn is_test_file(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
}

fn words_after<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(prefix).map(move |(at, _)| {
        let rest = &text[at + prefix.len()..];
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        &rest[..end]
    })
}

#[test]
fn rooms_use_only_what_stands_below_them() {
    let table: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut wrong = Vec::new();
    for (room, path, text) in rooms() {
        let allowed = table
            .get(room.as_str())
            .unwrap_or_else(|| panic!("{room} is a new room: give it a row in this table"));
        if is_test_file(&path) {
            continue;
        }
        let text = code(&text);
        let grouped = text.match_indices("use crate::{").count();
        assert_eq!(grouped, 0, "{}: one `use crate::room` per line", path.display());
        for used in words_after(&text, "crate::") {
            if used != room && !allowed.contains(&used) && !used.is_empty() {
                wrong.push(format!("{}: {room} uses {used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn crates_stay_in_their_rooms() {
    let mut wrong = Vec::new();
    for (room, path, text) in rooms() {
        if is_test_file(&path) {
            continue;
        }
        let text = code(&text);
        for (name, allowed) in MAY_BRING_IN {
            if text.contains(&format!("{name}::")) && !allowed.contains(&room.as_str()) {
                wrong.push(format!("{}: {room} brings in {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_server_can_name_what_opens_a_message() {
    let mut wrong = Vec::new();
    for (room, path, text) in rooms() {
        if !SERVER_ROOMS.contains(&room.as_str()) || is_test_file(&path) {
            continue;
        }
        for line in code(&text).lines() {
            let words: Vec<&str> =
                line.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
            for name in NEVER_ON_A_SERVER {
                let named =
                    if name.contains("::") { line.contains(name) } else { words.contains(name) };
                if named {
                    wrong.push(format!("{}: {name}: {line}", path.display()));
                }
            }
            // `open` alone is also a file's and a log's word: what matters is where it comes from.
            let opens = ["open", "open_group"].iter().any(|word| words.contains(word));
            if line.contains("crypto::") && opens {
                wrong.push(format!("{}: {line}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn time_and_chance_come_in_through_env() {
    let mut wrong = Vec::new();
    for (room, path, text) in rooms() {
        // Env is the door; the programs' own start-up and the test kit stand outside the cluster.
        if path.ends_with("net/env.rs") || room == "testkit" || room == "cli" || room == "ui" {
            continue;
        }
        if is_test_file(&path) {
            continue;
        }
        let text = code(&text);
        for forbidden in [
            "SystemTime::now",
            "std::time::Instant",
            "rand::rng()",
            "rand::random",
            "thread::sleep",
        ] {
            if text.contains(forbidden) {
                wrong.push(format!("{}: {forbidden}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_file_says_what_it_is_for_and_fits_the_page() {
    let mut files = Vec::new();
    for folder in ["src", "bin", "tests"] {
        sources(&root().join(folder), &mut files);
    }
    let mut wrong = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        if !text.starts_with("//!") {
            wrong.push(format!("{} does not open with //!", path.display()));
        }
        for (index, line) in text.lines().enumerate() {
            let long = line.chars().count() > 100;
            // A string that cannot be broken, such as SQL or a test vector, may be longer.
            if long && !line.contains('"') {
                wrong.push(format!("{}:{} is over 100 columns", path.display(), index + 1));
            }
            let unfinished = ["todo!(", "unimplemented!(", "#[ignore"];
            if unfinished.iter().any(|word| line.contains(word)) && !path.ends_with("tidy.rs") {
                wrong.push(format!("{}:{}: {line}", path.display(), index + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn programs_are_short() {
    let mut files = Vec::new();
    sources(&root().join("bin"), &mut files);
    for path in files {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines < 80, "{} has {lines} lines", path.display());
    }
}

#[test]
fn every_dependency_has_its_reason_beside_it() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut section = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.contains("dependencies") && line.contains(" = ") && !line.starts_with('#')
        {
            assert!(line.contains(" # "), "no reason: {line}");
        }
    }
}

#[test]
fn the_table_of_error_codes_in_the_protocol_is_complete() {
    let protocol = fs::read_to_string(root().join("docs/PROTOCOL.md")).unwrap();
    for &code in fastchat::wire::Code::ALL {
        let row = format!("| `{}` | 0x{:02x} |", code.name(), code as u32);
        assert!(protocol.contains(&row), "docs/PROTOCOL.md has no row starting {row}");
    }
}
