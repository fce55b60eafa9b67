//! `client [HOST PORT]`, `client chat [TO]`: signs in, runs the line client, says how it ended.

use std::io::IsTerminal as _;

use crate::cli::exit::Exit;
use crate::client::account::Where;
use crate::client::{Client, Mode, Refusal, TransferPolicy, Unlocked};
use crate::types::{ChatName, UserName};
use crate::ui::files::opener;
use crate::ui::input::Writer;
use crate::ui::line::{self, Ended, Folders, Options, Piped, Title};
use crate::ui::lists;
use crate::ui::notify::Popup;
use crate::ui::pictures::{Ability, Way};
use crate::ui::text::clean_line;
use crate::ui::theme::Colour;

use super::open::{self, By, Known};
use super::places::{downloads, home};
use super::report::{Form, Outcome, Stop};
use super::socket::serve::serve;
use super::{Context, ask, failures, wizard};

/// Runs the line client, beginning in the chat with `to`.
pub(super) async fn run(context: &Context, at: Option<Where>, to: Option<ChatName>) -> Outcome {
    if context.report.form == Form::Json {
        return Err(Stop::new(
            Exit::Usage,
            "The line client speaks to people, not JSON.",
            "For programs: client recv --follow --json, client send",
        ));
    }
    let pictures = pictures(context)?;
    let (name, unlocked, greeting) = signed_in(context, at.as_ref()).await?;
    let me = unlocked.owner().user.clone();
    let (client, events) = Client::start(&context.env, unlocked, Mode::SendAndReceive);
    if let Some(stop) = to.as_ref().and_then(|to| open::known(&client, to).err()) {
        client.stop().await;
        return Err(stop);
    }
    client.set_transfers(TransferPolicy {
        auto_fetch_bytes: context.settings.known.auto_fetch_bytes,
        resumes: true,
    });
    let folders = folders(context, &name);
    let (service, events) = serve(context, &name, &me, &client, events);
    let options = Options {
        me,
        chat: to,
        theme: context.report.theme,
        zone: context.report.zone.clone(),
        timeout: context.globals.timeout,
        trust: context.globals.trust,
        input_history: Some(context.places.input_history(&name)),
        greeting: greeted(&client, greeting),
        settings: context.settings.known.clone(),
        settings_file: context.settings.path.clone(),
        writer: writer(context),
        popup: Popup::of(variable),
        title: title(),
        pictures,
        folders,
    };
    let ended = line::run(&context.env, &client, events, options).await;
    service.end().await;
    client.stop().await;
    match ended {
        Ok(ended) => outcome(ended),
        Err(error) => {
            Err(Stop::new(Exit::Internal, format!("The terminal cannot be used: {error}."), ""))
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The person's editor; `None` when there is no private folder for what it writes.
fn writer(context: &Context) -> Option<Writer> {
    let program = variable("VISUAL").or_else(|| variable("EDITOR"));
    let folder = context.places.private_folder()?;
    Some(Writer { program: program.unwrap_or_else(|| "vi".to_owned()), folder })
}

/// How the terminal is given pictures. Who reads aloud, and who reads no terminal, gets none.
fn pictures(context: &Context) -> Result<Option<Way>, Stop> {
    let wish = match variable("FASTCHAT_PICTURES") {
        None => context.settings.known.show_pictures,
        Some(word) => word.parse().map_err(|_| {
            Stop::new(
                Exit::Usage,
                format!("FASTCHAT_PICTURES is \"{}\".", clean_line(&word)),
                "It can be auto, kitty, iterm2, sixel, blocks or off.",
            )
        })?,
    };
    let theme = context.report.theme;
    let way = Way::detect(wish, theme.colour == Colour::On, variable);
    let is_seen = theme.rich() && std::io::stdout().is_terminal();
    Ok(is_seen.then_some(way).filter(|way| way.ability != Ability::Off))
}

/// Where files go. What was opened in an earlier session is looked at no more.
fn folders(context: &Context, name: &UserName) -> Folders {
    let opened = context.places.opened(name);
    let _ = std::fs::remove_dir_all(&opened);
    Folders {
        home: home(),
        downloads: downloads(),
        opened,
        opener: opener::find(|name| std::env::var_os(name).filter(|value| !value.is_empty())),
    }
}

/// The console of Linux and dumb terminals have no title.
fn title() -> Title {
    match variable("TERM").as_deref() {
        None | Some("dumb" | "linux") => Title::Untouched,
        Some(_) => Title::Counts,
    }
}

fn greeted(client: &Client, greeting: &str) -> String {
    let unread = client.chats().ok().and_then(|chats| lists::unread(&chats));
    match unread {
        Some(unread) => format!("{unread}   All: /chats   Help: /help   Leave: /quit"),
        None => greeting.to_owned(),
    }
}

const FIRST_GREETING: &str = "Signed in.   Write: /msg bob hello   Help: /help   Leave: /quit";
/// What is new is not known before there was a connection: it does not say that there is nothing.
const GREETING: &str = "Signed in.   Write: /msg WHO TEXT   Help: /help   Leave: /quit";

/// Unlocks the profile that fits the typed address, or asks its way to one.
async fn signed_in(
    context: &Context,
    at: Option<&Where>,
) -> Result<(UserName, Unlocked, &'static str), Stop> {
    if let Some(name) = profile_for(context, at)? {
        let (unlocked, by) = open::unlocked(context, &name).await?;
        if by == By::Password {
            open::stay_unlocked(context, &name, &unlocked);
        }
        return Ok((name, unlocked, GREETING));
    }
    let Some(at) = at.or(context.server_for_newcomers()) else {
        return Err(Stop::new(
            Exit::NotSignedIn,
            "Nobody has signed in on this machine yet.",
            "Name the server: client HOST PORT",
        ));
    };
    let (name, unlocked) = wizard::run(context, at).await?;
    open::stay_unlocked(context, &name, &unlocked);
    Ok((name, unlocked, FIRST_GREETING))
}

/// The profile to open; `None`: somebody new signs up or in.
///
/// Two people can try it in two terminals of one machine: a profile that is open in another window
/// does not stand in the way of a second one.
fn profile_for(context: &Context, at: Option<&Where>) -> Result<Option<UserName>, Stop> {
    // An address that was typed is about whoever is there, not about the usual profile.
    let named =
        if at.is_none() { context.named_profile() } else { context.globals.profile.as_ref() };
    if let Some(name) = named {
        return Ok(match open::look(context, name) {
            Known::Owned(owner) => {
                same_server(name, &owner.balancer, at)?;
                Some(name.clone())
            }
            // Opening it says who holds it.
            Known::Busy(_) => Some(name.clone()),
            Known::Empty => None,
        });
    }
    let mut fitting = Vec::new();
    let mut busy = Vec::new();
    for name in context.places.profiles() {
        match open::look(context, &name) {
            Known::Owned(owner) if at.is_none_or(|at| *at == owner.balancer) => fitting.push(name),
            Known::Busy(pid) => busy.push((name, pid)),
            Known::Owned(_) | Known::Empty => {}
        }
    }
    match (fitting.as_slice(), busy.as_slice(), at) {
        ([only], [], _) => Ok(Some(only.clone())),
        ([only], [_, ..], _) => {
            ask::tell(&format!("Opening {only}. For somebody else: client -p NAME HOST PORT"));
            Ok(Some(only.clone()))
        }
        ([], [(name, _), ..], None) => Ok(Some(name.clone())),
        ([], [(name, pid), ..], Some(_)) => {
            if ask::possible() {
                ask::tell(&format!(
                    "{name} is open in another window (process {pid}). Signing in somebody else here."
                ));
            }
            Ok(None)
        }
        ([], [], _) => Ok(None),
        ([first, second, ..], ..) => Err(Stop::new(
            Exit::Usage,
            format!("There are several profiles: {first}, {second}..."),
            format!("Name one: client -p {first}"),
        )),
    }
}

/// A profile knows its balancer; another address is a matter of `login`, which checks it.
fn same_server(name: &UserName, known: &Where, at: Option<&Where>) -> Result<(), Stop> {
    match at {
        Some(at) if at != known => Err(Stop::new(
            Exit::Usage,
            format!(
                "The profile {name} belongs to the cluster at {}, not {}.",
                failures::address(known),
                failures::address(at)
            ),
            format!(
                "Has it moved? client -p {name} login --server {}     New account: -p NAME",
                failures::address(at)
            ),
        )),
        Some(_) | None => Ok(()),
    }
}

fn outcome(ended: Ended) -> Outcome {
    match ended {
        Ended::Left | Ended::OutputGone => Ok(Exit::Done),
        Ended::Interrupted => Ok(Exit::Interrupted),
        Ended::SignedOut(told) => Err(Stop::told(Exit::NotSignedIn, told)),
        Ended::LocalData(told) => Err(Stop::told(Exit::LocalData, told)),
        Ended::ClientGone => Err(Stop::new(
            Exit::Internal,
            "The client stopped by itself.",
            "Run it again with -v to see why; what was typed is kept.",
        )),
        Ended::Piped(piped) => of_pipe(&piped),
    }
}

/// The exit code of a pipe: what all its messages have in common, or "partly".
fn of_pipe(piped: &Piped) -> Outcome {
    let waiting = piped.waiting.len();
    let refused: Vec<&(ChatName, Refusal)> = piped.refused.iter().collect();
    match (piped.sent, waiting, refused.as_slice(), piped.mistakes) {
        (_, 0, [], 0) => Ok(Exit::Done),
        (0, 0, [], _) => Err(Stop::quiet(Exit::Usage)),
        (0, 1.., [], 0) => {
            let ids: Vec<String> = piped.waiting.iter().map(ToString::to_string).collect();
            let mut stop = Stop::new(
                Exit::Unreachable,
                format!("Not sent yet; kept as {}: do not send again.", ids.join(", ")),
                "It goes first at the next contact: client retry     Take back: client cancel ID",
            );
            stop.kept = piped.waiting.first().copied();
            Err(stop)
        }
        // Each was explained when it was refused.
        (0, 0, [(to, first), ..], 0) => {
            Err(Stop::quiet(failures::refusal(*first, to).failure.exit))
        }
        (sent, _, refused, mistakes) => Err(Stop::new(
            Exit::Partly,
            format!(
                "{sent} sent, {waiting} kept for the next contact, {} refused, not understood: {mistakes}.",
                refused.len()
            ),
            "What waits: client status     Send it: client retry",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::LocalId;
    use crate::wire::Code;

    fn exit(piped: &Piped) -> Exit {
        match of_pipe(piped) {
            Ok(exit) => exit,
            Err(stop) => stop.failure.exit,
        }
    }

    #[test]
    fn a_pipe_ends_with_the_code_of_what_became_of_its_messages() {
        let bob = ChatName::parse("bob").unwrap();
        let refused = vec![(bob.clone(), Refusal::Server(Code::NoSuchUser))];
        let blocked = vec![(bob, Refusal::Server(Code::Blocked))];
        let nothing = Piped::default();
        assert_eq!(exit(&nothing), Exit::Done);
        assert_eq!(exit(&Piped { sent: 3, ..nothing.clone() }), Exit::Done);
        let waiting = Piped { waiting: vec![LocalId(1)], ..nothing.clone() };
        assert_eq!(exit(&waiting), Exit::Unreachable);
        assert_eq!(exit(&Piped { sent: 1, ..waiting }), Exit::Partly);
        assert_eq!(exit(&Piped { refused, ..nothing.clone() }), Exit::NotFound);
        assert_eq!(exit(&Piped { refused: blocked, ..nothing.clone() }), Exit::Refused);
        assert_eq!(exit(&Piped { mistakes: 1, ..nothing.clone() }), Exit::Usage);
        assert_eq!(exit(&Piped { mistakes: 1, sent: 1, ..nothing }), Exit::Partly);
    }
}
