//! The command line of `group`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use crate::cli::client::args::Who;
use crate::types::GroupName;

/// What is asked of groups.
#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
pub(in crate::cli::client) enum Group {
    /// Make a group; you are its admin
    Create(Create),
    /// List the groups of this profile; works offline
    List,
    /// Show a group: who is in it, topic, invitations; works offline
    Show {
        /// Its name
        #[arg(value_parser = group)]
        group: GroupName,
    },
    /// Bring people in
    Add(Named),
    /// Put somebody out; the others get a new key, and invitations end
    Remove {
        /// The group
        #[arg(value_parser = group)]
        group: GroupName,
        /// Who
        who: Who,
    },
    /// Make members admins
    Promote(Named),
    /// Make an admin a plain member
    Demote {
        /// The group
        #[arg(value_parser = group)]
        group: GroupName,
        /// Who
        who: Who,
    },
    /// Change the title that people read; the name stays
    Rename {
        /// The group
        #[arg(value_parser = group)]
        group: GroupName,
        /// The title; '' takes it away
        #[arg(required = true)]
        title: Vec<String>,
    },
    /// Change what the group is about
    Topic {
        /// The group
        #[arg(value_parser = group)]
        group: GroupName,
        /// The topic; '' takes it away
        #[arg(required = true)]
        text: Vec<String>,
    },
    /// Set the password to join by, or take it away
    Password(Password),
    /// Make a link to join by
    Invite {
        /// The group
        #[arg(value_parser = group)]
        group: GroupName,
        /// For so many people [default: no bound]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        uses: Option<u32>,
        /// Take all links and the password back instead
        #[arg(long, conflicts_with = "uses")]
        off: bool,
    },
    /// Join a group by its password, or by a link
    Join {
        /// Its name, or the link
        #[arg(value_name = "NAME|LINK")]
        what: String,
        #[command(flatten)]
        password: JoinPassword,
    },
    /// Go; the only admin names who takes over
    Leave {
        /// The group
        #[arg(value_parser = group)]
        group: GroupName,
        /// Who becomes an admin first
        #[arg(long, value_name = "WHO")]
        successor: Option<Who>,
    },
    /// Close a group for everybody
    Close {
        /// The group
        #[arg(value_parser = group)]
        group: GroupName,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Take a group that you are not in any more off the list; its history stays
    Forget {
        /// The group
        #[arg(value_parser = group)]
        group: GroupName,
    },
}

#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(in crate::cli::client) struct Create {
    /// Its name, for ever: letters a-z, digits, '.', '_', '-'
    #[arg(value_parser = group)]
    pub(super) name: GroupName,
    /// Who is in it from the beginning
    pub(super) who: Vec<Who>,
    /// What people read as its name
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(super) title: String,
    #[command(flatten)]
    pub(super) password: JoinPassword,
}

/// A group and people.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(in crate::cli::client) struct Named {
    /// The group
    #[arg(value_parser = group)]
    pub(super) group: GroupName,
    /// Who
    #[arg(required = true)]
    pub(super) who: Vec<Who>,
}

/// Where the password to join by comes from; it is never an argument.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(in crate::cli::client) struct JoinPassword {
    /// File whose first line is the password to join by
    #[arg(long, value_name = "FILE", conflicts_with = "join_password_fd")]
    join_password_file: Option<PathBuf>,
    /// Open file descriptor whose first line is the password to join by
    #[arg(long, value_name = "N")]
    join_password_fd: Option<u32>,
}

impl JoinPassword {
    /// The file to read.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.join_password_file.clone().or_else(|| self.join_password_fd.map(of_fd))
    }
}

#[derive(Clone, Debug, Args, Serialize, Deserialize)]
pub(in crate::cli::client) struct Password {
    /// The group
    #[arg(value_parser = group)]
    pub(super) group: GroupName,
    /// File whose first line is the password
    #[arg(long, value_name = "FILE", conflicts_with = "fd")]
    file: Option<PathBuf>,
    /// Open file descriptor whose first line is the password
    #[arg(long, value_name = "N")]
    fd: Option<u32>,
    /// Nobody can join by a password any more
    #[arg(long, conflicts_with_all = ["file", "fd"])]
    pub(super) off: bool,
}

impl Password {
    /// The file to read.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.file.clone().or_else(|| self.fd.map(of_fd))
    }
}

fn of_fd(number: u32) -> PathBuf {
    format!("/dev/fd/{number}").into()
}

fn group(text: &str) -> Result<GroupName, String> {
    GroupName::parse(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::client::args::{Arguments, Command};
    use clap::Parser as _;

    fn parse(words: &[&str]) -> Result<Group, clap::Error> {
        let words = ["client", "group"].iter().chain(words);
        match Arguments::try_parse_from(words)?.command {
            Some(Command::Group(group)) => Ok(group),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_group_is_named_with_its_sign_or_without() {
        for name in ["team", "#Team"] {
            let Ok(Group::Add(Named { group, who })) = parse(&["add", name, "bob", "@carol"])
            else {
                panic!("{name}");
            };
            assert_eq!((group.as_str(), who.len()), ("team", 2));
        }
        assert!(parse(&["add", "team"]).is_err(), "whom?");
        assert!(parse(&["show", "te am"]).is_err());
    }

    #[test]
    fn a_password_to_join_by_is_never_an_argument() {
        for words in [
            &["password", "team", "hunter2hunter2"][..],
            &["join", "team", "hunter2hunter2"],
            &["join", "team", "--join-password-file", "f", "--join-password-fd", "3"],
            &["password", "team", "--file", "f", "--off"],
            &["invite", "team", "--uses", "0"],
            &["invite", "team", "--uses", "2", "--off"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
        let Ok(Group::Create(create)) =
            parse(&["create", "team", "bob", "--title", "The Team", "--join-password-fd", "3"])
        else {
            panic!("create");
        };
        assert_eq!(create.title, "The Team");
        assert_eq!(create.password.path(), Some("/dev/fd/3".into()));
    }
}
