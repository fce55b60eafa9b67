//! What people are called on this screen: names, and the aliases that the person gave them.
//!
//! Pure. An alias is free text, so it is cleaned, and it stands alone only where it can be taken
//! for nobody else; otherwise the name stands beside it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::types::{ChatName, UserName};

use super::text::clean_line;

/// Longest alias shown, in characters; the rest is cut.
const ALIAS_CHARS_MAX: usize = 32;

/// The people known here, and their aliases.
#[derive(Clone, Debug, Default)]
pub struct Names {
    aliases: BTreeMap<UserName, Option<String>>,
    /// What to call those whose alias may stand in for their name, or beside it.
    labels: BTreeMap<UserName, String>,
}

impl Names {
    /// Of these people, each with the alias if there is one.
    pub fn of(people: impl IntoIterator<Item = (UserName, Option<String>)>) -> Self {
        let aliases: BTreeMap<UserName, Option<String>> = people
            .into_iter()
            .map(|(user, alias)| (user, alias.map(|alias| shown(&alias)).filter(|a| !a.is_empty())))
            .collect();
        // How often each look occurs, among names and aliases of different people.
        let mut looks: BTreeMap<String, Vec<&UserName>> = BTreeMap::new();
        for (user, alias) in &aliases {
            for word in [Some(user.as_str()), alias.as_deref()].into_iter().flatten() {
                let owners = looks.entry(look(word)).or_default();
                if !owners.contains(&user) {
                    owners.push(user);
                }
            }
        }
        let labels = aliases
            .iter()
            .filter_map(|(user, alias)| {
                let alias = alias.as_deref()?;
                let alone = is_plain(alias) && looks.get(&look(alias)).map_or(0, Vec::len) == 1;
                let label = if alone { alias.to_owned() } else { format!("{alias} ({user})") };
                Some((user.clone(), label))
            })
            .collect();
        Self { aliases, labels }
    }

    /// What somebody is called.
    pub fn label<'a>(&'a self, user: &'a UserName) -> &'a str {
        self.labels.get(user).map_or(user.as_str(), String::as_str)
    }

    /// What a chat is called: as its person, or by the name of the group.
    pub fn chat<'a>(&'a self, chat: &'a ChatName) -> Cow<'a, str> {
        match chat {
            ChatName::Person(user) => Cow::Borrowed(self.label(user)),
            ChatName::Group(group) => Cow::Owned(group.to_string()),
        }
    }

    /// Whether this person was among those named.
    pub fn knows(&self, user: &UserName) -> bool {
        self.aliases.contains_key(user)
    }

    /// Every name, and aliases of one word: for Tab.
    pub fn words(&self) -> Vec<String> {
        let names = self.aliases.keys().map(ToString::to_string);
        let aliases = self.aliases.values().flatten();
        names.chain(aliases.filter(|alias| !alias.contains(' ')).cloned()).collect()
    }

    /// Whom a typed word means. A name of somebody known comes before an alias; `@` is always a
    /// name.
    ///
    /// # Errors
    /// A clause that says why the word is no name.
    pub fn resolve(&self, word: &str) -> Result<UserName, String> {
        let name = UserName::parse(word.strip_prefix('@').unwrap_or(word));
        if let Ok(name) = &name
            && (word.starts_with('@') || self.aliases.contains_key(name))
        {
            return Ok(name.clone());
        }
        let lower = word.to_lowercase();
        let mut called = self
            .aliases
            .iter()
            .filter(|(_, alias)| alias.as_ref().is_some_and(|alias| alias.to_lowercase() == lower));
        match (called.next(), called.next()) {
            (Some((user, _)), None) => Ok(user.clone()),
            (Some((first, _)), Some((second, _))) => {
                Err(format!("both @{first} and @{second} are called that"))
            }
            (None, _) => name.map_err(|error| error.to_string()),
        }
    }

    /// The chat that a typed word means: a group by its `#`, else a person as [`Self::resolve`]
    /// says.
    ///
    /// # Errors
    /// A clause that says why the word is no name.
    pub fn resolve_chat(&self, word: &str) -> Result<ChatName, String> {
        if word.starts_with('#') {
            return ChatName::parse(word).map_err(|error| error.to_string());
        }
        self.resolve(word).map(ChatName::Person)
    }
}

fn shown(alias: &str) -> String {
    clean_line(alias).trim().chars().take(ALIAS_CHARS_MAX).collect()
}

/// Whether nothing in it could be another letter than it seems.
fn is_plain(alias: &str) -> bool {
    alias.chars().all(|c| c.is_ascii_alphanumeric() || " ._-'".contains(c))
}

/// What a word looks like at a glance: equal for words that people take for each other.
fn look(word: &str) -> String {
    let bare: String = word
        .to_lowercase()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| match c {
            '0' => 'o',
            '1' | 'i' => 'l',
            '5' => 's',
            c => c,
        })
        .collect();
    bare.replace("rn", "m").replace("vv", "w")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UserName {
        UserName::parse(text).unwrap()
    }

    fn names(people: &[(&str, &str)]) -> Names {
        Names::of(
            people.iter().map(|(user, alias)| {
                (name(user), (!alias.is_empty()).then(|| (*alias).to_owned()))
            }),
        )
    }

    #[test]
    fn an_alias_stands_alone_only_where_it_can_be_taken_for_nobody_else() {
        let known = names(&[
            ("bob", "Bobby"),
            ("carol", "Alice"),
            ("alice", ""),
            ("dave", "B0bby"),
            ("erin", "Ërin"),
            ("frank", "Frank"),
        ]);
        assert_eq!(known.label(&name("bob")), "Bobby (bob)", "dave's looks the same");
        assert_eq!(known.label(&name("carol")), "Alice (carol)");
        assert_eq!(known.label(&name("alice")), "alice");
        assert_eq!(known.label(&name("erin")), "Ërin (erin)");
        assert_eq!(known.label(&name("frank")), "Frank");
        assert_eq!(names(&[("bob", "Bobby")]).label(&name("bob")), "Bobby");
        assert_eq!(known.label(&name("zoe")), "zoe");
    }

    #[test]
    fn an_alias_cannot_reach_the_terminal_as_codes() {
        let known = names(&[("bob", "B\x1b[2J\u{202e}\nb"), ("dave", "\x1b[31m")]);
        assert_eq!(known.label(&name("bob")), "B<U+202E> b (bob)");
        assert_eq!(known.label(&name("dave")), "dave");
    }

    #[test]
    fn a_word_means_the_name_of_somebody_known_before_an_alias() {
        let known = names(&[("bob", "carol"), ("carol", ""), ("dave", "Davy"), ("erin", "davy")]);
        assert_eq!(known.resolve("carol"), Ok(name("carol")));
        assert_eq!(known.resolve("@carol"), Ok(name("carol")));
        assert_eq!(names(&[("bob", "Carol")]).resolve("carol"), Ok(name("bob")));
        assert_eq!(names(&[("bob", "Carol")]).resolve("@carol"), Ok(name("carol")));
        assert_eq!(known.resolve("new"), Ok(name("new")));
        assert_eq!(known.resolve_chat("bob"), Ok(name("bob").into()));
        assert_eq!(known.resolve_chat("#Team").map(|chat| chat.to_string()), Ok("#team".into()));
        assert!(known.resolve("davy").unwrap_err().contains("@dave and @erin"));
        for word in ["Bobby", "bobby", "BOBBY"] {
            assert_eq!(names(&[("bob", "Bobby")]).resolve(word), Ok(name("bob")), "{word}");
        }
        assert!(known.resolve("ä").is_err());
        assert!(known.words().contains(&"Davy".to_owned()));
    }
}
