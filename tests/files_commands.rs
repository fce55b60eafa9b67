//! Files by the real programs: sent, fetched, stored, stopped and gone on with, and what is said
//! where that cannot be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod terminal;
mod world;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use terminal::Terminal;
use world::{Ran, World};

/// A picture of two colours, as programs write them; `side` pixels across and down.
fn png(path: &Path, side: u32) {
    let at = |x: u32, y: u32| if x < side / 2 { [200, y as u8, 30] } else { [20, 60, x as u8] };
    image::RgbImage::from_fn(side, side, |x, y| image::Rgb(at(x, y))).save(path).unwrap();
}

/// Bytes that do not repeat, of which no part can be taken for another.
fn noise(path: &Path, bytes: usize) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    fs::write(path, words.flatten().take(bytes).collect::<Vec<u8>>()).unwrap();
}

impl World {
    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }
}

#[test]
fn files_go_from_one_shell_to_another_and_errors_say_what_to_do() {
    let world = World::start();
    world.register(&["alice", "bob"]);
    several_files_arrive_as_they_were(&world);
    what_cannot_be_sent_stops_the_command_before_anything_is(&world);
    programs_read_records(&world);
    who_listens_hears_a_line_per_tenth(&world);
    nothing_is_overwritten_and_a_number_without_a_file_is_named(&world);
    scripts_send_pictures(&world);
    a_line_client_reads_files_for_a_command(&world);
    what_cannot_go_now_is_kept_and_can_be_taken_back(world);
}

fn several_files_arrive_as_they_were(world: &World) {
    png(&world.path("photo.png"), 60);
    noise(&world.path("notes.bin"), 700_000);
    let sent = world.run(
        &["-p", "alice", "send", "bob", "-f", "photo.png", "notes.bin", "-m", "from the trip"],
        0,
    );
    assert!(sent.out().starts_with("photo.png sent to bob as "), "{}", sent.out());
    assert_eq!(sent.out().lines().count(), 2);
    assert_eq!(sent.err(), "", "no bars where no terminal is");
    let got = world.run(&["-p", "bob", "recv", "--save-dir", "got/new"], 0);
    let out = got.out();
    assert!(out.contains("⟨picture⟩ photo.png ") && out.contains("from the trip"), "{out}");
    assert!(out.contains("saved got/new/photo.png") && out.contains("saved got/new/notes.bin"));
    let same = |name: &str| fs::read(world.path(name)).unwrap();
    assert_eq!(same("notes.bin"), same("got/new/notes.bin"));
    let (before, after) = ("photo.png", "got/new/photo.png");
    let pixels = |name: &str| image::open(world.path(name)).unwrap().to_rgb8();
    assert_eq!(pixels(before), pixels(after));
    assert!(fs::read_dir(world.path("got/new")).unwrap().count() == 2, "no .part is left");
    // Nothing new: nothing is printed, and nothing stored twice.
    assert_eq!(world.run(&["-p", "bob", "recv", "--save-dir", "got/new"], 0).out(), "");
    let words = world.run(&["-p", "bob", "history", "alice", "--plain"], 0).out();
    assert!(words.contains("alice says: picture photo.png, "), "{words}");
}

fn what_cannot_be_sent_stops_the_command_before_anything_is(world: &World) {
    fs::write(world.path("empty"), "").unwrap();
    fs::write(world.path("broken.png"), "this is no picture").unwrap();
    fs::File::create(world.path("huge.png")).unwrap().set_len(80_000_000).unwrap();
    let failed = |words: &[&str], exit, what: &str| {
        let ran = world.run(&[&["-p", "alice", "send", "bob"], words].concat(), exit);
        assert!(ran.err().contains(what), "{words:?}: {}", ran.err());
        assert_eq!(ran.out(), "", "{words:?}");
        ran.err()
    };
    failed(&["first a text", "-f", "photo.png", "none.png"], 5, "no file none.png");
    failed(&["-f", "."], 2, "is not a file");
    failed(&["-f", "empty"], 2, "empty is empty");
    let told = failed(&["-f", "huge.png"], 2, "huge.png is 80 MB; at most 64 MiB can be sent.");
    assert!(told.contains("client send bob -f huge.png --fit"), "{told}");
    failed(&["-f", "broken.png"], 2, "broken.png is called image/png, but it is ");
    failed(&["-f", "notes.bin", "--fit"], 2, "notes.bin is ");
    failed(&["-f", "photo.png", "--fit", "--original"], 2, "cannot be used with");
    failed(&["-m", "a caption without a file"], 2, "--file");
    // Nothing of all this arrived.
    assert_eq!(world.run(&["-p", "bob", "recv"], 0).out(), "");
}

fn programs_read_records(world: &World) {
    noise(&world.path("clip.bin"), 3_000_000);
    let sent = world.run(&["-p", "alice", "send", "bob", "-f", "clip.bin", "--json"], 0).json();
    let transfers: Vec<_> = sent.iter().filter(|line| line["type"] == "transfer").collect();
    assert!((1..=12).contains(&transfers.len()), "{sent:#?}");
    let end = transfers.last().unwrap();
    assert_eq!((&end["state"], &end["percent"]), (&"done".into(), &100.into()), "{end:#?}");
    assert_eq!((&end["direction"], &end["name"]), (&"up".into(), &"clip.bin".into()));
    assert_eq!(sent.last().unwrap()["type"], "sent");
    let got = world.run(&["-p", "bob", "recv", "--save-dir", "got", "--json"], 0).json();
    let message = got.iter().find(|line| line["type"] == "message").unwrap();
    assert_eq!(message["file"]["bytes"], 3_000_000, "{message:#?}");
    let saved = got.iter().find(|line| line["type"] == "saved").unwrap();
    assert_eq!((&saved["path"], &saved["id"]), (&"got/clip.bin".into(), &message["id"]));
    let list = world.run(&["-p", "bob", "transfer", "list", "--json"], 0);
    assert_eq!(list.out(), "", "nothing is on its way");
}

fn who_listens_hears_a_line_per_tenth(world: &World) {
    let sent = world.run(&["-p", "alice", "--plain", "send", "bob", "-f", "clip.bin"], 0);
    let lines: Vec<_> = sent.err().lines().map(str::to_owned).collect();
    let tenths = lines.iter().filter(|line| line.starts_with("sending clip.bin: ")).count();
    assert!(tenths <= 9 && lines.iter().all(|line| line.is_ascii()), "{lines:#?}");
    assert_eq!(lines.last().unwrap(), "clip.bin is uploaded");
    assert!(
        world
            .run(&["-p", "alice", "-q", "--plain", "send", "bob", "-f", "clip.bin"], 0)
            .err()
            .is_empty()
    );
    let follow = world.run(&["-p", "bob", "recv", "-f", "-n", "2", "--save-dir", "got"], 0);
    assert!(follow.out().contains("saved got/clip-2.bin"), "{}", follow.out());
    assert!(follow.out().contains("saved got/clip-3.bin"), "{}", follow.out());
}

fn nothing_is_overwritten_and_a_number_without_a_file_is_named(world: &World) {
    let lines = world.run(&["-p", "bob", "history", "alice", "--json"], 0).json();
    let photo = lines.iter().find(|line| line["file"]["name"] == "photo.png").unwrap();
    let id = photo["id"].as_str().unwrap().to_owned();
    fs::write(world.path("mine.png"), "mine").unwrap();
    let saved = world.run(&["-p", "bob", "transfer", "save", &id, "mine.png"], 0);
    assert!(saved.out().contains("mine-2.png"), "{}", saved.out());
    assert_eq!(fs::read(world.path("mine.png")).unwrap(), b"mine");
    world.run(&["-p", "bob", "send", "alice", "a text"], 0);
    let none = world.run(&["-p", "bob", "transfer", "save", "9999"], 5);
    assert!(none.err().contains("Message 9999 has no file."), "{}", none.err());
    // Nothing is fetched for a folder that is not there.
    let nowhere = world.run(&["-p", "bob", "transfer", "save", &id, "nowhere/"], 5);
    assert!(nowhere.err().contains("There is no folder"), "{}", nowhere.err());
    world.run(&["-p", "bob", "transfer", "resume", "9999"], 5);
    world.run(&["-p", "bob", "transfer", "cancel", "9999"], 5);
    world.run(&["-p", "bob", "transfer", "resume"], 0);
    // Its author has it as well, from the own home.
    let lines = world.run(&["-p", "alice", "history", "bob", "--json"], 0).json();
    let own = lines.iter().find(|line| line["file"]["name"] == "notes.bin").unwrap();
    let saved =
        world.run(&["-p", "alice", "transfer", "save", own["id"].as_str().unwrap(), "back"], 0);
    assert!(saved.out().contains("back"), "{}", saved.out());
    assert_eq!(fs::read(world.path("back")).unwrap(), fs::read(world.path("notes.bin")).unwrap());
}

fn script(world: &World, name: &str, words: &[&str]) -> Ran {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name);
    let mut command = world.command(script.to_str().unwrap());
    command.env("FASTCHAT_CLIENT", env!("CARGO_BIN_EXE_client")).env("FASTCHAT_PROFILE", "alice");
    let ran = Ran(command.args(words).output().unwrap());
    assert_eq!(ran.0.status.code(), Some(0), "{}{}", ran.out(), ran.err());
    ran
}

fn scripts_send_pictures(world: &World) {
    fs::create_dir(world.path("album")).unwrap();
    for name in ["one.png", "two with a space.png"] {
        png(&world.path(&format!("album/{name}")), 30);
    }
    let one = script(world, "send_image.sh", &["photo.png", "bob", "-m", "by a script"]);
    assert_eq!(one.out().lines().count(), 1, "{}", one.out());
    let many = script(world, "send_many_images.sh", &["album", "bob"]);
    assert_eq!(many.out().lines().count(), 2, "{}", many.out());
    let got = world.run(&["-p", "bob", "recv", "--save-dir", "album2"], 0).out();
    assert!(got.contains("saved album2/two with a space.png"), "{got}");
}

/// The command's folder is another one than that of the client that reads the file for it.
fn a_line_client_reads_files_for_a_command(world: &World) {
    fs::create_dir(world.path("elsewhere")).unwrap();
    noise(&world.path("elsewhere/far.bin"), 10_000);
    let mut holder = world
        .client(&["-p", "alice", "recv", "--follow"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let words = ["-p", "alice", "send", "bob", "-f", "far.bin"];
    let sent = Ran(world.client(&words).current_dir(world.path("elsewhere")).output().unwrap());
    assert!(sent.out().starts_with("far.bin sent to bob as "), "{}{}", sent.out(), sent.err());
    holder.kill().unwrap();
    holder.wait().unwrap();
}

/// Its servers are gone: what was taken is kept, and taken back.
fn what_cannot_go_now_is_kept_and_can_be_taken_back(mut world: World) {
    world.stop();
    let words = ["-p", "alice", "--timeout", "1", "send", "bob", "-f", "notes.bin"];
    let kept = world.run(&words, 3);
    assert!(kept.err().contains("notes.bin is kept as "), "{}", kept.err());
    assert!(kept.err().contains("client transfer resume"), "{}", kept.err());
    let list = world.run(&["-p", "alice", "transfer", "list", "--json"], 0).json();
    assert_eq!((list.len(), &list[0]["name"]), (1, &"notes.bin".into()), "{list:#?}");
    let id = list[0]["id"].as_str().unwrap();
    world.run(&["-p", "alice", "transfer", "cancel", id], 0);
    assert_eq!(world.run(&["-p", "alice", "transfer", "list", "--json"], 0).out(), "");
}

#[test]
fn people_send_see_and_store_pictures_in_the_line_client() {
    if !terminal::possible() {
        return;
    }
    let world = World::start();
    world.register(&["alice", "bob"]);
    png(&world.path("my photo.png"), 80);
    fs::create_dir(world.path("downloads")).unwrap();
    world.run(&["config", "set", "show.pictures", "blocks"], 0);
    let mut alice = Terminal::start(&world, "-p alice chat bob");
    let mut bob = Terminal::start(&world, "-p bob chat alice");
    alice.until_prompt("bob>");
    bob.until_prompt("alice>");
    // A picture of somebody whom nobody accepted is not shown.
    alice.press("/send my\\ ph\t-m first one\r");
    bob.until_shown("first one");
    assert!(!bob.shown().contains('▀'), "{}", bob.shown());
    bob.does("/accept alice", "Accepted");
    alice.press("/send 'my photo.png' -m second one\r");
    alice.until_shown("second one");
    let shown = bob.until_shown("second one");
    assert!(shown.contains("⟨picture⟩ my photo.png ") && shown.contains('▀'), "{shown}");
    let id = shown.rsplit("/save ").next().unwrap().split_whitespace().next().unwrap();
    bob.does(&format!("/save {id}"), "saved ");
    bob.does("/transfers", "no files are on their way");
    bob.does("/send nothing.png", "There is no file nothing.png.");
    let stored = image::open(world.path("downloads/my photo.png")).unwrap().to_rgb8();
    assert_eq!(stored, image::open(world.path("my photo.png")).unwrap().to_rgb8());
    for terminal in [&mut alice, &mut bob] {
        terminal.press("/quit\r");
    }
    alice.ends_with(0);
    bob.ends_with(0);
}
