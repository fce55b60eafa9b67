//! What typed lines mean, and that help shows every command on one screen.

use std::time::Duration;

use super::*;

fn name(text: &str) -> UserName {
    UserName::parse(text).unwrap()
}

fn team() -> GroupName {
    GroupName::parse("team").unwrap()
}

fn here(wish: Wish) -> Command {
    Command::InGroup(None, wish)
}

fn there(wish: Wish) -> Command {
    Command::InGroup(Some(team()), wish)
}

fn sending(files: &[&str], caption: &str, picture: PictureChoice) -> Command {
    let files = files.iter().map(|&file| file.to_owned()).collect();
    Command::Send(Sending { files, caption: caption.to_owned(), picture })
}

fn understood(line: &str) -> Result<Command, Misunderstood> {
    let people = [(name("carol"), Some("Caz".to_owned()))];
    parse(line, &Names::of(people))
}

#[test]
fn each_row_has_usage_summary_and_examples_that_parse_to_something_of_its_own() {
    let mut seen = std::collections::BTreeSet::new();
    for row in rows() {
        assert!(row.usage.starts_with(&format!("/{}", row.name)), "{}", row.usage);
        assert!(!row.summary.is_empty() && !row.examples.is_empty(), "{}", row.name);
        for (example, effect) in row.examples {
            assert!(!effect.is_empty());
            let parsed = understood(example);
            assert!(parsed.is_ok(), "{example}: {parsed:?}");
            assert!(!matches!(parsed, Ok(Command::Say(_) | Command::Nothing)), "{example}");
            assert_eq!(row_of(example).unwrap().0, row, "{example}");
        }
        for word in row.aliases.iter().chain([&row.name]) {
            assert!(seen.insert(*word), "{word} means two things");
            assert_eq!(find(word), Some(row));
        }
    }
}

#[test]
fn each_command_is_understood_with_its_arguments() {
    let bob = || name("bob");
    let id = LocalId;
    let hour = Duration::from_secs(3_600);
    for (line, command) in [
        ("", Command::Nothing),
        ("   ", Command::Nothing),
        ("hi there ", Command::Say("hi there".into())),
        ("  indented", Command::Say("  indented".into())),
        ("//etc/hosts", Command::Say("/etc/hosts".into())),
        ("/msg bob hi  there", Command::Message(bob().into(), "hi  there".into())),
        ("/M @Bob hi", Command::Message(bob().into(), "hi".into())),
        ("/w bob", Command::To(bob().into())),
        ("/msg bob  ", Command::To(bob().into())),
        ("/to bob", Command::To(bob().into())),
        ("/to caz", Command::To(name("carol").into())),
        ("/r yes", Command::Answer("yes".into())),
        ("/me waves", Command::Emote("waves".into())),
        ("/reply 42 yes, I do", Command::Reply(id(42), "yes, I do".into())),
        ("/reply #42 yes", Command::Reply(id(42), "yes".into())),
        ("/react 42 👍", Command::React(id(42), Some("👍".into()))),
        ("/react 42 off", Command::React(id(42), None)),
        ("/edit at nine", Command::Edit("at nine".into())),
        ("/delete 42", Command::Delete(id(42))),
        ("/retry", Command::Retry(None)),
        ("/retry 42", Command::Retry(Some(id(42)))),
        ("/seen 42", Command::Seen(id(42))),
        ("/ids", Command::Ids(None)),
        ("/ids off", Command::Ids(Some(Switch::Off))),
        ("/send a.png", sending(&["a.png"], "", PictureChoice::Clean)),
        ("\\image a.png", sending(&["a.png"], "", PictureChoice::Clean)),
        (
            "/img 'my photo.png' ~/b.pdf -m \"from the trip\" --fit",
            sending(&["my photo.png", "~/b.pdf"], "from the trip", PictureChoice::Fit),
        ),
        (
            "/send --original a.png -m it's --fit",
            sending(&["a.png"], "it's --fit", PictureChoice::Original),
        ),
        ("/send -- -m", sending(&["-m"], "", PictureChoice::Clean)),
        ("/send '-m'", sending(&["-m"], "", PictureChoice::Clean)),
        ("/open 42", Command::Open(id(42))),
        ("/save 42", Command::Save(id(42), None)),
        ("/save 42 my\\ trip/", Command::Save(id(42), Some("my trip/".into()))),
        ("/transfers", Command::Transfers),
        ("/cancel 42", Command::Cancel(id(42))),
        ("/multi", Command::Multi),
        ("/editor Dear bob", Command::Editor("Dear bob".into())),
        ("/paste", Command::Paste),
        ("/chats", Command::Chats),
        ("/n", Command::Next),
        ("/unread", Command::Unread),
        ("/close", Command::Close),
        ("/history", Command::History(HISTORY_LINES)),
        ("/history 7", Command::History(7)),
        ("/search the map", Command::Search("the map".into())),
        ("/goto 2026-11-20 18:30", Command::Goto("2026-11-20 18:30".into())),
        ("/to #Team", Command::To(ChatName::Group(team()))),
        ("/msg #team hi", Command::Message(ChatName::Group(team()), "hi".into())),
        ("/create team", Command::Create(team(), vec![])),
        ("/create #team bob caz bob", Command::Create(team(), vec![bob(), name("carol")])),
        ("/join team", Command::Join(team())),
        ("/join fastchat://join/X_y-9", Command::JoinLink("fastchat://join/X_y-9".into())),
        ("/add bob", here(Wish::Add(vec![bob()]))),
        ("/add #team bob caz", there(Wish::Add(vec![bob(), name("carol")]))),
        ("/kick bob", here(Wish::Kick(bob()))),
        ("/admin bob", here(Wish::Grant(vec![bob()]))),
        ("/unadmin #team bob", there(Wish::Revoke(bob()))),
        ("/invite", here(Wish::Invite(0))),
        ("/invite 3", here(Wish::Invite(3))),
        ("/invite #team off", there(Wish::Withdraw)),
        ("/password", here(Wish::Password)),
        ("/title", here(Wish::Title(None))),
        ("/title #team The  Team", there(Wish::Title(Some("The  Team".into())))),
        ("/topic 2 days left", here(Wish::Topic(Some("2 days left".into())))),
        ("/leave", here(Wish::Leave(None))),
        ("/leave #team caz", there(Wish::Leave(Some(name("carol"))))),
        ("/members #team", there(Wish::Members)),
        ("/groups", Command::Groups),
        ("/delgrp", here(Wish::Close(Sure::Ask))),
        ("/delgrp #team yes", there(Wish::Close(Sure::Yes))),
        ("/contacts", Command::Contacts),
        ("/who", Command::Who(Scope::Online)),
        ("/who all", Command::Who(Scope::All)),
        ("/alias bob My  Bob", Command::Alias(bob(), Some("My  Bob".into()))),
        ("/alias caz", Command::Alias(name("carol"), None)),
        ("/verify bob", Command::Verify(bob())),
        ("/verify bob yes", Command::Verified(bob())),
        ("/accept-key bob", Command::AcceptKey(bob())),
        ("/keys", Command::Keys),
        ("/accept bob", Command::Accept(bob())),
        ("/block bob", Command::Block(bob())),
        ("/unblock bob", Command::Unblock(bob())),
        ("/mute", Command::Mute(None, Lasting::Always)),
        ("/mute 1h", Command::Mute(None, Lasting::For(hour))),
        ("/mute off", Command::Mute(None, Lasting::Off)),
        ("/mute bob", Command::Mute(Some(bob().into()), Lasting::Always)),
        ("/mute bob 1h", Command::Mute(Some(bob().into()), Lasting::For(hour))),
        ("/mute @1h", Command::Mute(Some(name("1h").into()), Lasting::Always)),
        ("/notify none", Command::Notify(Notify::None, Reach::Here)),
        ("/notify all everywhere", Command::Notify(Notify::All, Reach::Everywhere)),
        ("/receipts off", Command::Receipts(Switch::Off, Reach::Here)),
        ("/typing on everywhere", Command::Typing(Switch::On, Reach::Everywhere)),
        ("/invisible", Command::Invisible(Switch::On)),
        ("/invisible off", Command::Invisible(Switch::Off)),
        ("/expire", Command::Expire(None)),
        ("/expire off", Command::Expire(Some(Lasting::Off))),
        ("/expire 1h", Command::Expire(Some(Lasting::For(hour)))),
        ("/status", Command::Status),
        ("/doctor", Command::Doctor),
        ("/set", Command::Set(None, None)),
        ("/set edit_mode vi", Command::Set(Some("edit_mode".into()), Some("vi".into()))),
        ("/time", Command::Time(None)),
        ("/time full", Command::Time(Some(TimeForm::Full))),
        ("/clear", Command::Clear),
        ("/help", Command::Help(None)),
        ("/help /msg", Command::Help(find("msg"))),
        ("/quit", Command::Quit),
    ] {
        assert_eq!(understood(line), Ok(command), "{line:?}");
    }
}

#[test]
fn a_lone_slash_says_how_to_send_one() {
    let sentence = understood("/ text").unwrap_err().sentence();
    assert!(sentence.contains("nothing was sent") && sentence.contains("// TEXT"), "{sentence}");
    assert_eq!(understood("// text"), Ok(Command::Say("/ text".into())));
}

#[test]
fn a_number_with_a_text_behind_it_names_a_message() {
    assert_eq!(numbered("42 at nine"), Some((LocalId(42), "at nine")));
    assert_eq!(numbered("#42  at nine"), Some((LocalId(42), "at nine")));
    for text in ["42", "42 ", "at nine", "0 x", "-1 x", "4x y"] {
        assert_eq!(numbered(text), None, "{text:?}");
    }
}

#[test]
fn the_words_of_older_programs_are_understood_with_either_slash() {
    for slash in ["/", "\\"] {
        for (word, command) in [
            ("online", Command::Who(Scope::Online)),
            ("all", Command::Who(Scope::All)),
            ("read", Command::History(HISTORY_LINES)),
            ("unread", Command::Unread),
            ("quit", Command::Quit),
            ("single_message bob hi", Command::Message(name("bob").into(), "hi".into())),
            ("group_message team hi", Command::Message(ChatName::Group(team()), "hi".into())),
            ("create_group team bob", Command::Create(team(), vec![name("bob")])),
            ("groups", Command::Groups),
            ("add bob", here(Wish::Add(vec![name("bob")]))),
            ("kick bob", here(Wish::Kick(name("bob")))),
            ("make_admin bob", here(Wish::Grant(vec![name("bob")]))),
            ("delgrp", here(Wish::Close(Sure::Ask))),
        ] {
            let line = format!("{slash}{word}");
            assert_eq!(understood(&line), Ok(command), "{line}");
        }
    }
    assert_eq!(
        understood("single_message bob hi"),
        Ok(Command::Message(name("bob").into(), "hi".into())),
        "typed as it used to be, it must not go to the wrong person"
    );
    assert_eq!(
        understood("group_message #team hi"),
        Ok(Command::Message(ChatName::Group(team()), "hi".into()))
    );
    for text in ["group_message", "groups", "\\o/", "\\alpha + \\beta", "single_message"] {
        assert_eq!(understood(text), Ok(Command::Say(text.into())));
    }
    assert_eq!(understood("\\\\quit"), Ok(Command::Say("\\quit".into())));
}

#[test]
fn an_unknown_command_sends_nothing_and_offers_the_nearest() {
    let sentence = |line: &str| understood(line).unwrap_err().sentence();
    assert!(sentence("/mgs bob hi").ends_with("Did you mean /msg?"));
    assert!(sentence("/histroy").ends_with("Did you mean /history?"));
    assert!(sentence("/zzzzzz").contains("nothing was sent"));
    assert!(!sentence("/a\x1b[2Jb").contains('\x1b'));
}

#[test]
fn a_command_without_what_it_needs_says_its_usage() {
    for (line, usage) in [
        ("/msg", "/msg WHO [TEXT]"),
        ("/to", "/to WHO"),
        ("/to ä", "/to WHO"),
        ("/to bob now", "/to WHO"),
        ("/r", "/r TEXT"),
        ("/me", "/me TEXT"),
        ("/reply", "/reply ID TEXT"),
        ("/reply 42", "/reply ID TEXT"),
        ("/reply bob hi", "/reply ID TEXT"),
        ("/react 42", "/react ID EMOJI"),
        ("/send", "/send FILE... [-m CAPTION]"),
        ("/send -m hi", "/send FILE... [-m CAPTION]"),
        ("/send a.png -m", "/send FILE... [-m CAPTION]"),
        ("/send a.png --fit --original", "/send FILE... [-m CAPTION]"),
        ("/send --smaller a.png", "/send FILE... [-m CAPTION]"),
        ("/open a.png", "/open ID"),
        ("/save 42 a b", "/save ID [PATH]"),
        ("/cancel", "/cancel ID"),
        ("/delete", "/delete ID"),
        ("/delete 0", "/delete ID"),
        ("/delete -3", "/delete ID"),
        ("/delete 42 43", "/delete ID"),
        ("/seen", "/seen ID"),
        ("/history x", "/history [N]"),
        ("/history 0", "/history [N]"),
        ("/history 1001", "/history [N]"),
        ("/goto", "/goto DATE"),
        ("/who x", "/who [all]"),
        ("/verify bob no", "/verify WHO [yes]"),
        ("/mute bob soon", "/mute [WHO] [DURATION|off]"),
        ("/create", "/create NAME [WHO...]"),
        ("/create a#b", "/create NAME [WHO...]"),
        ("/join", "/join NAME|LINK"),
        ("/join team now", "/join NAME|LINK"),
        ("/add", "/add WHO..."),
        ("/add #team", "/add WHO..."),
        ("/kick bob caz", "/kick WHO"),
        ("/invite 0", "/invite [USES|off]"),
        ("/invite bob", "/invite [USES|off]"),
        ("/password hunter2", "/password"),
        ("/leave bob caz", "/leave [WHO]"),
        ("/members x", "/members"),
        ("/delgrp now", "/delgrp"),
        ("/notify loud", "/notify all|mentions|none"),
        ("/receipts", "/receipts on|off"),
        ("/receipts off here", "/receipts on|off"),
        ("/expire soon", "/expire [DURATION|off]"),
        ("/time long", "/time [full|short]"),
        ("/chats x", "/chats"),
        ("/help zzz", "/help [COMMAND]"),
        ("/quit now", "/quit"),
    ] {
        let error = understood(line).unwrap_err();
        assert!(matches!(error, Misunderstood::Usage { .. }), "{line}: {error:?}");
        assert!(error.sentence().ends_with(usage), "{}", error.sentence());
    }
}

#[test]
fn durations_are_numbers_with_units() {
    for (word, seconds) in [
        ("90s", 90),
        ("10m", 600),
        ("2h", 7_200),
        ("7d", 604_800),
        ("1w", 604_800),
        ("1h30m", 5_400),
    ] {
        assert_eq!(duration(word), Some(Duration::from_secs(seconds)), "{word}");
    }
    for word in ["", "5", "h", "0s", "1x", "1h5", "-1h", "99999999999999999999h", "521w6000d"] {
        assert_eq!(duration(word), None, "{word}");
    }
    assert!(duration("3650d").is_some() && duration("3651d").is_none());
}

#[test]
fn help_fits_one_screen_and_lists_every_row() {
    let help = help(80);
    assert!(help.lines().count() <= 23, "{}", help.lines().count());
    assert!(help.lines().all(|line| text::columns(line) <= 79), "{help}");
    for row in rows() {
        assert!(help.contains(row.usage), "{}", row.usage);
        assert!(help_of(row).contains(row.summary) && help_of(row).lines().count() > 1);
        assert!(help_of(row).lines().all(|line| text::columns(line) <= 100), "{}", row.name);
    }
    assert!(help.is_ascii());
    let narrow = super::help(40);
    assert!(narrow.lines().rev().skip(2).all(|line| text::columns(line) <= 40), "{narrow}");
}

fn known() -> Known {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Known {
        people: names(&["bob", "boris", "carol"]),
        groups: vec![
            Group { name: "#team".into(), admins: names(&["bob"]), plain: names(&["carol"]) },
            Group { name: "#tea".into(), admins: names(&[]), plain: names(&["boris"]) },
        ],
        here: Some("#team".into()),
    }
}

#[test]
fn tab_completes_commands_and_names() {
    let known = known();
    let tab = |line: &str| complete(line, &known, &["edit_mode", "notify.preview"]);
    assert_eq!(tab("/ch"), (0, vec!["/chats ".into()]));
    assert_eq!(tab("/acc"), (0, vec!["/accept ".into(), "/accept-key ".into()]));
    assert_eq!(tab("/msg bo"), (5, vec!["bob ".into(), "boris ".into()]));
    assert_eq!(tab("/m @c"), (3, vec!["@carol ".into()]));
    assert_eq!(tab("/help ver"), (6, vec!["verify ".into()]));
    assert_eq!(tab("/who "), (5, vec!["all ".into()]));
    assert_eq!(tab("/typing o"), (8, vec!["on ".into(), "off ".into()]));
    assert_eq!(tab("/set ed"), (5, vec!["edit_mode ".into()]));
    for nothing in ["", "bo", "/msg bob bo", "/chats ", "/nope b", "hi /ch", "/block #t"] {
        assert_eq!(tab(nothing).1, Vec::<String>::new(), "{nothing}");
    }
}

#[test]
fn tab_completes_names_of_files_where_there_can_be_one() {
    for line in ["/send ", "/send a", "/img a.png b", "/send --fit a", "/save 42 ", "/save 42 a"] {
        assert!(wants_file(line), "{line}");
    }
    for line in ["/send", "/save ", "/save 42", "/send a.png -m b", "/send -", "hi a", "/open 4"] {
        assert!(!wants_file(line), "{line}");
    }
    let tab = |line: &str| complete(line, &known(), &[]);
    assert_eq!(tab("/send a.png --f"), (12, vec!["--fit ".into()]));
    assert_eq!(tab("/send a.png -m --f").1, Vec::<String>::new());
}

#[test]
fn tab_completes_groups_and_the_people_that_a_command_can_be_about() {
    let known = known();
    let tab = |line: &str| complete(line, &known, &[]).1;
    assert_eq!(tab("/to #te"), ["#team ", "#tea "]);
    assert_eq!(tab("/members #"), ["#team ", "#tea "]);
    assert_eq!(tab("/add "), ["boris "]);
    assert_eq!(tab("/add #tea "), ["bob ", "carol "]);
    assert_eq!(tab("/add #tea bob "), ["carol "], "each once");
    assert_eq!(tab("/kick "), ["carol ", "bob "]);
    assert_eq!(tab("/admin "), ["carol "]);
    assert_eq!(tab("/make_admin "), ["carol "]);
    assert_eq!(tab("/unadmin #team "), ["bob "]);
    assert_eq!(tab("/invite o"), ["off "]);
    assert_eq!(tab("/create club c"), ["carol "]);
    assert_eq!(tab("/create "), Vec::<String>::new());
    assert_eq!(tab("thanks, @c"), ["@carol "]);
    assert_eq!(tab("@b"), ["@bob "], "in a group, only who is in it");
}
