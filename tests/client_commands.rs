//! One-shot commands beside a client that holds the profile, and those about keys, passwords and
//! copies: the real programs against a real cluster.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::Value;
use world::World;

/// A line client in a pipe: it holds its profile until its input ends.
struct LineClient {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl LineClient {
    fn start(world: &World, name: &str) -> Self {
        let mut child = world
            .client(&["-p", name, "--plain"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut client = Self { child, input, output };
        // It has the profile once it has answered.
        client.types("/status");
        client.until(name);
        client
    }

    fn types(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    fn until(&mut self, text: &str) -> String {
        self.output.by_ref().map(Result::unwrap).find(|line| line.contains(text)).unwrap()
    }

    fn ends(mut self) -> i32 {
        drop(self.input.take());
        for _ in self.output.by_ref() {}
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for LineClient {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn texts(lines: &[Value]) -> Vec<&str> {
    lines.iter().filter_map(|line| line["text"].as_str()).collect()
}

#[test]
fn commands_and_a_client_that_holds_the_profile_work_side_by_side() {
    let world = World::start();
    world.register(&["alice", "bob"]);
    commands_go_through_a_line_client(&world);
    two_followers_both_get_everything(&world);
    a_killed_holder_leaves_nothing_in_the_way(&world);
    commands_wait_for_each_other(&world);
    send_takes_several_people_and_lines(&world);
    people_have_names_and_can_be_blocked(&world);
    a_changed_key_is_accepted_only_as_it_was_shown(&world);
    a_password_changes_everywhere_or_nowhere(&world);
    a_copy_is_verified_and_becomes_a_new_device(&world);
    exported_keys_go_to_another_machine(&world);
    the_doctor_names_what_is_wrong(&world);
    an_account_is_deleted_and_kept(&world);
    what_the_doctor_says_without_a_server(world);
}

fn people_have_names_and_can_be_blocked(world: &World) {
    world.run(&["-p", "bob", "contact", "add", "nobody"], 5);
    world.run(&["-p", "bob", "contact", "add", "carol", "Caz"], 0);
    world.run(&["-p", "bob", "contact", "alias", "alice", "Caz"], 2);
    world.run(&["-p", "bob", "contact", "alias", "stranger", "X"], 5);
    let line = LineClient::start(world, "bob");
    let list = world.run(&["-p", "bob", "contact", "list", "--json"], 0).json();
    let carol = list.iter().find(|contact| contact["user"] == "carol").unwrap();
    assert_eq!((&carol["alias"], &carol["contact"]), (&"Caz".into(), &"accepted".into()));
    // The name of one's own works where somebody is named.
    world.run(&["-p", "bob", "send", "CAZ", "hi Caz"], 0);
    world.run(&["-p", "bob", "history", "caz"], 0);
    world.run(&["-p", "bob", "send", "No Body", "hi"], 2);
    world.run(&["-p", "bob", "contact", "block", "carol"], 0);
    world.run(&["-p", "carol", "send", "bob", "not wanted"], 8);
    world.run(&["-p", "bob", "contact", "unblock", "carol"], 0);
    world.run(&["-p", "carol", "send", "bob", "wanted"], 0);
    world.run(&["-p", "bob", "contact", "remove", "carol"], 0);
    assert_eq!(line.ends(), 0);
}

fn a_changed_key_is_accepted_only_as_it_was_shown(world: &World) {
    let server = world.server();
    let first = world.run(&["-p", "bob", "key", "verify", "carol", "--json"], 0).json().remove(0);
    let own = world.run(&["-p", "carol", "key", "show", "--json"], 0).json().remove(0);
    assert_eq!(first["fingerprint"], own["identity"]);
    let zeros = "00000 ".repeat(12);
    world.run(&["-p", "bob", "key", "verify", "carol", "--matches", &zeros], 6);
    let number = first["safety_number"].as_str().unwrap();
    world.run(&["-p", "bob", "key", "verify", "carol", "--matches", number], 0);
    world.run(&["-p", "bob", "send", "carol", "verified", "--trust", "verified"], 0);
    world.run(&["-p", "bob", "send", "alice", "not verified", "--trust", "verified"], 6);
    // Carol loses her keys.
    let login = ["login", "carol", "-p", "new-carol", "--new-identity", "--takeover"];
    let at = ["--server", &server, "--ca", &world.ca, "--password-file", "password"];
    world.run(&[&login[..], &at].concat(), 0);
    let refused = world.run(&["-p", "bob", "send", "carol", "who are you?", "--json"], 6);
    let kept = refused.json_error();
    assert!(kept["hint"].as_str().unwrap().contains("client key accept carol"), "{kept}");
    let asked = world.run(&["-p", "bob", "key", "accept", "carol"], 6);
    let own = world.run(&["-p", "new-carol", "key", "show", "--json"], 0).json().remove(0);
    let new = own["identity"].as_str().unwrap();
    assert!(asked.err().contains(&format!("--fingerprint {new}")), "{}", asked.err());
    let old = first["fingerprint"].as_str().unwrap();
    world.run(&["-p", "bob", "key", "accept", "carol", "--fingerprint", old], 6);
    world.run(&["-p", "bob", "key", "accept", "carol", "--fingerprint", new], 0);
    // Also of a key that has not changed since.
    world.run(&["-p", "bob", "key", "accept", "carol", "--fingerprint", old], 6);
    world.run(&["-p", "bob", "key", "accept", "carol", "--fingerprint", new], 0);
    // Where she was signed in before, everything that asks says why nothing goes.
    world.run(&["-p", "carol", "status"], 4);
    let examined = world.run(&["-p", "carol", "doctor"], 7);
    assert!(examined.out().contains("does not take this device any more"), "{}", examined.out());
    world.run(&["-p", "bob", "retry"], 0);
    let got = world.run(&["-p", "new-carol", "recv", "--json"], 0).json();
    assert!(texts(&got).contains(&"who are you?"), "{got:?}");
    // Another encryption key is no other identity.
    let rotated = world.run(&["-p", "new-carol", "key", "rotate", "--json"], 0).json().remove(0);
    assert_ne!(rotated["encryption_key"], own["encryption_key"]);
    assert_eq!(rotated["identity"], own["identity"]);
    world.run(&["-p", "bob", "send", "carol", "under the new one"], 0);
}

/// Whether a password is the one that the profile opens with *and* that the server takes.
fn is_password(world: &World, name: &str, file: &str) -> bool {
    let same = ["-p", name, "passwd", "--password-file", file, "--new-password-file", file];
    world.client(&same).output().unwrap().status.success()
}

fn a_password_changes_everywhere_or_nowhere(world: &World) {
    let file = |name: &str, text: &str| fs::write(world.folder.path().join(name), text).unwrap();
    file("second", "a second password");
    file("third", "a third password");
    file("short", "short");
    let change = |old: &str, new: &str| {
        let words = ["-p", "alice", "passwd", "--password-file", old, "--new-password-file", new];
        words.map(str::to_owned)
    };
    let run = |old: &str, new: &str, exit: i32| {
        let words = change(old, new);
        world.run(&words.each_ref().map(String::as_str), exit);
    };
    run("password", "short", 2);
    run("third", "second", 4);
    world.run(&["-p", "alice", "passwd"], 4);
    // Through the client that has the profile: the files are read where they were named.
    let line = LineClient::start(world, "alice");
    run("password", "second", 0);
    assert_eq!(line.ends(), 0);
    assert!(is_password(world, "alice", "second") && !is_password(world, "alice", "password"));
    // Killed between the two steps: one of the two is the password, here and there.
    let next = world.profile("alice").join("identity.pem.next");
    let words = change("second", "third");
    let mut child = world
        .client(&words.each_ref().map(String::as_str))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !next.exists() && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let (old, new) = (is_password(world, "alice", "second"), is_password(world, "alice", "third"));
    assert!(old != new, "second: {old}, third: {new}");
    run(if old { "second" } else { "third" }, "password", 0);
    assert!(is_password(world, "alice", "password"));
    assert!(!next.exists());
    // The key files are under the new password as well, and open with other tools.
    let opens = |name: &str, file: &str| {
        let mut openssl = world.command("openssl");
        openssl.args(["pkey", "-noout", "-passin", &format!("file:{file}"), "-in"]);
        openssl.arg(world.profile("alice").join(name)).stderr(Stdio::null());
        openssl.status().unwrap().success()
    };
    for name in ["identity.pem", "encryption.pem"] {
        assert!(opens(name, "password") && !opens(name, "second"), "{name}");
    }
}

fn a_copy_is_verified_and_becomes_a_new_device(world: &World) {
    world.run(&["-p", "bob", "send", "alice", "before the copy"], 0);
    let mut line = LineClient::start(world, "alice");
    line.types("/msg bob in the copy");
    line.until("sent to bob");
    world.run(&["-p", "alice", "backup", "copy.tar"], 0);
    world.run(&["-p", "alice", "backup", "copy.tar"], 9);
    let busy = world.run(&["restore", "copy.tar", "-p", "alice", "--force"], 9);
    assert!(busy.err().contains("in use"), "{}", busy.err());
    line.types("/msg bob after the copy");
    line.until("sent to bob");
    assert_eq!(line.ends(), 0);
    let before = world.run(&["-p", "alice", "key", "show", "--json"], 0).json().remove(0);
    // A bit that fell over, a file that was cut off, and one that is none: nothing is replaced.
    let path = world.folder.path().join("copy.tar");
    let copy = fs::read(&path).unwrap();
    let mut bad = copy.clone();
    bad[copy.len() / 2] ^= 1;
    for bytes in [&bad[..], &copy[..copy.len() / 2], b"hello", b""] {
        fs::write(world.folder.path().join("bad.tar"), bytes).unwrap();
        world.run(&["restore", "bad.tar", "--force"], 9);
    }
    // What a copy made by somebody else says never reaches the terminal as it is.
    fs::write(world.folder.path().join("hostile.tar"), b"\x1b]0;mine\x07\xff\x1b[2J".repeat(100))
        .unwrap();
    let refused = world.run(&["restore", "hostile.tar"], 9).err();
    assert!(!refused.contains(['\x1b', '\x07']), "{refused:?}");
    world.run(&["restore", "nowhere.tar"], 5);
    world.run(&["restore", "copy.tar"], 9);
    let same = world.run(&["-p", "alice", "key", "show", "--json"], 0).json().remove(0);
    assert_eq!(before, same);
    world.run(&["restore", "copy.tar", "--force", "--json"], 0);
    world.run(&["-p", "alice", "chats"], 4);
    world.run(&["-p", "alice", "login", "--password-file", "password"], 0);
    world.run(&["-p", "alice", "send", "bob", "after the restore"], 0);
    let after = world.run(&["-p", "alice", "key", "show", "--json"], 0).json().remove(0);
    assert_eq!(after["identity"], before["identity"]);
    assert_ne!(after["device"], before["device"], "no number is used twice");
    let got = world.run(&["-p", "bob", "recv", "--json"], 0).json();
    let got: Vec<&str> = texts(&got).into_iter().filter(|text| text.contains(" the ")).collect();
    assert_eq!(got, ["in the copy", "after the copy", "after the restore"]);
    // What is left of the attempts lies beside the profiles, and is none.
    let left = fs::read_dir(world.profile("alice").parent().unwrap()).unwrap();
    let left = left.filter(|e| e.as_ref().unwrap().file_name().to_str().unwrap().starts_with('.'));
    assert_eq!(left.count(), 1, "the profile that was replaced");
    let export = ["-p", "alice", "history", "bob", "--since", "1h", "--export", "history.jsonl"];
    world.run(&export, 0);
    world.run(&export, 9);
    let exported = fs::read_to_string(world.folder.path().join("history.jsonl")).unwrap();
    assert!(exported.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    assert!(exported.contains("after the restore"), "{exported}");
    world.run(&["-p", "alice", "history", "bob", "--since", "whenever"], 2);
}

fn exported_keys_go_to_another_machine(world: &World) {
    let export = ["-p", "alice", "key", "export", "keys.pem", "--passphrase-file", "second"];
    world.run(&export, 0);
    world.run(&export, 9);
    let server = world.server();
    let at = ["--server", &server, "--ca", &world.ca, "--password-file", "password"];
    let import = ["key", "import", "keys.pem", "alice", "-p", "phone", "--takeover"];
    let with = |file: &'static str| [&import[..], &["--passphrase-file", file], &at].concat();
    world.run(&with("third"), 9);
    assert!(!world.profile("phone").exists());
    // Sealed to the key that was taken along, and still on its way.
    world.run(&["-p", "bob", "send", "alice", "for the phone"], 0);
    world.run(&with("second"), 0);
    let keys = |name: &str| world.run(&["-p", name, "key", "show", "--json"], 0).json().remove(0);
    assert_eq!(keys("phone")["identity"], keys("alice")["identity"]);
    world.run(&["-p", "bob", "send", "alice", "and another"], 0);
    let got = world.run(&["-p", "phone", "recv", "--json"], 0).json();
    assert!(texts(&got).contains(&"for the phone"), "{got:?}");
    assert!(texts(&got).contains(&"and another"), "{got:?}");
}

fn the_doctor_names_what_is_wrong(world: &World) {
    use std::os::unix::fs::PermissionsExt as _;
    let fine = world.run(&["-p", "bob", "doctor", "--json"], 0).json();
    assert!(fine.iter().all(|check| check["verdict"] == "ok"), "{fine:?}");
    let names: Vec<&str> = fine.iter().map(|check| check["name"].as_str().unwrap()).collect();
    for name in ["settings", "files", "disk", "clock", "history", "keys", "balancer", "s1", "s2"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    let line = LineClient::start(world, "bob");
    world.run(&["-p", "bob", "doctor"], 0);
    assert_eq!(line.ends(), 0);
    let key = world.profile("bob").join("identity.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let open = world.run(&["-p", "bob", "doctor"], 7);
    assert!(open.out().contains("FAIL  files") && open.out().contains("chmod"), "{}", open.out());
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::create_dir_all(world.folder.path().join("config/fastchat")).unwrap();
    let settings = world.folder.path().join("config/fastchat/client.toml");
    fs::write(&settings, "bel = true").unwrap();
    let wrong = world.run(&["-p", "bob", "doctor"], 7);
    assert!(wrong.out().contains("did you mean bell?"), "{}", wrong.out());
    fs::remove_file(&settings).unwrap();
    let pages = world.folder.path().join("pages");
    world.run(&["man", "pages"], 5);
    fs::create_dir(&pages).unwrap();
    world.run(&["man", "pages"], 0);
    assert!(fs::read_to_string(pages.join("client-key-verify.1")).unwrap().contains(".TH"));
}

fn an_account_is_deleted_and_kept(world: &World) {
    let delete = |file: &str, exit: i32| {
        let words =
            ["-p", "phone", "account", "delete", "--yes", "--json", "--password-file", file];
        world.run(&words, exit)
    };
    world.run(&["-p", "phone", "account", "delete"], 2);
    delete("third", 4);
    let deleted = delete("password", 0).json().remove(0);
    assert!(deleted["at"].as_str().unwrap() > "2020", "{deleted}");
    world.run(&["-p", "phone", "send", "bob", "gone", "--password-file", "password"], 4);
    world.run(&["-p", "phone", "login", "--password-file", "password"], 0);
    world.run(&["-p", "phone", "send", "bob", "still here"], 0);
}

fn what_the_doctor_says_without_a_server(mut world: World) {
    world.stop();
    let silent = world.run(&["-p", "bob", "doctor", "--timeout", "0.5"], 3);
    assert!(silent.out().contains("FAIL  balancer"), "{}", silent.out());
    let words = ["-p", "bob", "passwd", "--password-file", "password", "--timeout", "0.5"];
    world.run(&[&words[..], &["--new-password-file", "second"]].concat(), 3);
}

fn commands_go_through_a_line_client(world: &World) {
    let mut line = LineClient::start(world, "alice");
    line.types("/msg bob from the line");
    line.until("sent to bob");
    let who = world.run(&["-p", "alice", "whoami", "--json"], 0).json();
    assert_eq!((&who[0]["user"], &who[0]["signed_in"]), (&"alice".into(), &true.into()));
    let sent = world.run(&["-p", "alice", "send", "bob", "from a script", "--json"], 0).json();
    assert_eq!(sent[0]["state"], "sent");
    let piped = world.run_with_input(&["-p", "alice", "send", "bob"], "from\na pipe\n", 0);
    assert!(piped.out().contains("sent to bob"), "{}", piped.out());
    let status = world.run(&["-p", "alice", "status", "--json"], 0).json();
    assert_eq!(status[0]["online"], true);
    let chats = world.run(&["-p", "alice", "chats", "--json"], 0).json();
    assert_eq!(chats[0]["chat"], "bob");
    let got = world.run(&["-p", "bob", "recv", "--json"], 0).json();
    assert_eq!(texts(&got), ["from the line", "from a script", "from\na pipe"]);
    let history = world.run(&["-p", "alice", "history", "bob", "--json"], 0).json();
    assert_eq!(texts(&history), texts(&got));
    // Errors and exit codes come back as they are.
    let typo = world.run(&["-p", "alice", "send", "bbo", "hi"], 5);
    assert!(typo.err().contains("Did you mean bob?"), "{}", typo.err());
    for words in
        [["send", "#Team", "hi"], ["history", "#team", "--json"], ["recv", "--from", "#team"]]
    {
        let unknown = world.run(&["-p", "alice", words[0], words[1], words[2]], 5);
        assert!(unknown.err().contains("No group #team here."), "{}", unknown.err());
    }
    let error = world.run(&["-p", "alice", "cancel", "9999", "--json"], 5).json_error();
    assert_eq!(error["exit"], 5);
    world.run(&["-p", "alice", "recv", "--wait", "0.2"], 10);
    // What needs the profile for itself says so.
    let busy = world.run(&["-p", "alice", "logout"], 9);
    assert!(busy.err().contains("in use"), "{}", busy.err());
    let second = world.run_with_input(&["-p", "alice"], "", 9);
    assert!(second.err().contains(&format!("process {}", line.child.id())), "{}", second.err());
    assert_eq!(line.ends(), 0);
    assert!(!world.profile("alice").join("socket").exists());
    world.run(&["-p", "alice", "chats"], 0);
}

fn two_followers_both_get_everything(world: &World) {
    let follow = || {
        let mut child = world
            .client(&["-p", "alice", "recv", "--follow", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (child, lines)
    };
    world.run(&["-p", "bob", "send", "alice", "waits"], 0);
    let (mut first, mut first_lines) = follow();
    assert!(first_lines.next().unwrap().unwrap().contains("waits"));
    let (mut second, mut second_lines) = follow();
    // The second listens once it has taken what is there: its own command went through.
    world.run(&["-p", "alice", "chats"], 0);
    let mut got = String::new();
    for number in 0.. {
        let text = format!("for both {number}");
        world.run(&["-p", "bob", "send", "alice", &text], 0);
        assert!(first_lines.next().unwrap().unwrap().contains(&text));
        if world.run(&["-p", "alice", "recv", "--peek", "--json"], 0).out().is_empty() {
            got = text;
            break;
        }
    }
    assert!(second_lines.by_ref().any(|line| line.unwrap().contains(&got)));
    // The holder's end ends the other one, which says so.
    first.kill().unwrap();
    first.wait().unwrap();
    let ended = second.wait().unwrap();
    assert_eq!(ended.code(), Some(3));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut second.stderr.take().unwrap(), &mut said).unwrap();
    assert!(said.contains("held the profile ended"), "{said}");
}

fn a_killed_holder_leaves_nothing_in_the_way(world: &World) {
    let mut line = LineClient::start(world, "alice");
    line.types("/msg bob alive");
    line.until("sent to bob");
    let socket = world.profile("alice").join("socket");
    assert!(socket.exists());
    line.child.kill().unwrap();
    line.child.wait().unwrap();
    assert!(socket.exists(), "nobody was there to remove it");
    world.run(&["-p", "alice", "chats"], 0);
    let mut line = LineClient::start(world, "alice");
    line.types("/msg bob again");
    line.until("sent to bob");
    world.run(&["-p", "alice", "chats"], 0);
    assert_eq!(line.ends(), 0);
}

fn commands_wait_for_each_other(world: &World) {
    std::thread::scope(|scope| {
        for number in 0..6 {
            let text = format!("at once {number}");
            scope.spawn(move || world.run(&["-p", "bob", "send", "alice", &text], 0));
        }
    });
    let got = world.run(&["-p", "alice", "recv", "--json"], 0).json();
    assert_eq!(
        got.iter().filter(|line| line["text"].as_str().unwrap().starts_with("at once")).count(),
        6
    );
}

fn send_takes_several_people_and_lines(world: &World) {
    world.register(&["carol"]);
    let both = ["-p", "bob", "send", "alice", "--also", "carol", "hi both", "--json"];
    let sent = world.run(&both, 0).json();
    let to: Vec<&str> = sent.iter().map(|line| line["to"].as_str().unwrap()).collect();
    assert_eq!(to.len(), 2);
    assert!(to.contains(&"alice") && to.contains(&"carol"));
    let partly = ["-p", "bob", "send", "carol", "--also", "nobody", "hi", "--json"];
    let partly = world.run(&partly, 7);
    let lines = partly.json();
    let of = |kind: &str| lines.iter().find(|line| line["type"] == kind).unwrap()["to"].clone();
    assert_eq!((of("sent"), of("refused")), ("carol".into(), "nobody".into()));
    assert_eq!(partly.json_error()["exit"], 7);
    // Line by line, while somebody is there to take them.
    let each = ["-p", "bob", "send", "carol", "--each-line", "--json"];
    let sent = world.run_with_input(&each, "one\n\ntwo\nthree", 0).json();
    assert_eq!(sent.len(), 3);
    let long = format!("fits\n{}\nfits too\n", "x".repeat(fastchat::limits::TEXT_BYTES_MAX + 1));
    let partly = world.run_with_input(&each, &long, 7).json();
    let bad = partly.iter().find(|line| line["type"] == "not_taken").unwrap();
    assert_eq!((&bad["line"], &bad["code"]), (&"2".into(), &"refused".into()));
    let got = world.run(&["-p", "carol", "recv", "--json"], 0).json();
    assert_eq!(texts(&got), ["hi both", "hi", "one", "two", "three", "fits", "fits too"]);
    // A receipt that does not come in time is not a message that was not sent.
    let late = ["-p", "bob", "send", "carol", "x", "--wait", "delivered", "--timeout", "0.5"];
    let late = world.run(&late, 10);
    assert!(late.err().contains("is sent, but was not delivered"), "{}", late.err());
    let carol = LineClient::start(world, "carol");
    let there = ["-p", "bob", "send", "carol", "y", "--wait", "delivered", "--json"];
    assert_eq!(world.run(&there, 0).json()[0]["state"], "delivered");
    assert_eq!(carol.ends(), 0);
    let _ = fs::metadata(world.profile("carol")).unwrap();
}
