//! Names and numbers of the product: parsed once at the door, trusted afterwards.
//!
//! Deliberately holds no behaviour beyond parsing, printing and comparing.

use std::fmt;

use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

use crate::limits;

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a name is empty")]
    Empty,
    /// Longer than [`limits::NAME_BYTES_MAX`].
    #[error("a name of {0} bytes, at most {max} allowed", max = limits::NAME_BYTES_MAX)]
    TooLong(usize),
    /// A character outside `[a-z0-9._-]`, or a first one outside `[a-z0-9]`.
    #[error(
        "a name may hold letters a-z, digits, '.', '_' and '-', and starts with a letter or digit; got {0:?}"
    )]
    BadCharacter(char),
    /// A log without its `@` or `#`.
    #[error("a log starts with '@' or '#'")]
    NoSigil,
    /// A group id that is not 64 hexadecimal digits.
    #[error("a group id has 64 hexadecimal digits")]
    NotAnId,
}

/// NFC and lower case of what a person typed.
fn folded(text: &str) -> Result<String, NameError> {
    // Bounded before it is normalised: NFC of a long hostile text is not free.
    if text.len() > 4 * limits::NAME_BYTES_MAX {
        return Err(NameError::TooLong(text.len()));
    }
    Ok(text.nfc().collect::<String>().to_lowercase())
}

/// `[a-z0-9][a-z0-9._-]{0,31}`.
fn check_name(text: &str) -> Result<(), NameError> {
    let first = text.chars().next().ok_or(NameError::Empty)?;
    if !(first.is_ascii_lowercase() || first.is_ascii_digit()) {
        return Err(NameError::BadCharacter(first));
    }
    let plain =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    if let Some(bad) = text.chars().find(|c| !plain(*c)) {
        return Err(NameError::BadCharacter(bad));
    }
    if text.len() > limits::NAME_BYTES_MAX {
        return Err(NameError::TooLong(text.len()));
    }
    Ok(())
}

/// A user's canonical name: `[a-z0-9][a-z0-9._-]{0,31}` after NFC and case folding.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserName(String);

impl TryFrom<String> for UserName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::canonical(&text)
    }
}

impl From<UserName> for String {
    fn from(name: UserName) -> Self {
        name.0
    }
}

impl UserName {
    /// Parses what a person typed: NFC, lower case, then the alphabet.
    ///
    /// # Errors
    /// [`NameError`] says which rule was broken.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        Self::canonical(&folded(text)?)
    }

    /// Parses a name that must already be canonical, as on the wire.
    ///
    /// # Errors
    /// [`NameError`] says which rule was broken.
    pub fn canonical(text: &str) -> Result<Self, NameError> {
        check_name(text)?;
        Ok(Self(text.to_owned()))
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

/// A group's canonical name, without its `#`: as a user's. It decides the group's home and never
/// changes; what people read is the group's title.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GroupName(String);

impl GroupName {
    /// Parses what a person typed, with or without `#`: NFC, lower case, then the alphabet.
    ///
    /// # Errors
    /// [`NameError`] says which rule was broken.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        Self::canonical(&folded(text.strip_prefix('#').unwrap_or(text))?)
    }

    /// Parses a name that must already be canonical and has no `#`, as on the wire.
    ///
    /// # Errors
    /// [`NameError`] says which rule was broken.
    pub fn canonical(text: &str) -> Result<Self, NameError> {
        check_name(text)?;
        Ok(Self(text.to_owned()))
    }

    /// The canonical text, without `#`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for GroupName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::canonical(&text)
    }
}

impl From<GroupName> for String {
    fn from(name: GroupName) -> Self {
        name.0
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}
impl fmt::Debug for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// The name of a log, by which it is found: an inbox `@alice` or a group `#devs`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogName {
    /// Somebody's inbox.
    Inbox(UserName),
    /// A group's.
    Group(GroupName),
}

impl LogName {
    /// The inbox of `owner`.
    pub fn inbox(owner: UserName) -> Self {
        Self::Inbox(owner)
    }

    /// Parses `@name` or `#name`, as on the wire.
    ///
    /// # Errors
    /// [`NameError`] for a missing sigil or a name that is not canonical.
    pub fn canonical(text: &str) -> Result<Self, NameError> {
        if let Some(name) = text.strip_prefix('@') {
            return UserName::canonical(name).map(Self::Inbox);
        }
        let name = text.strip_prefix('#').ok_or(NameError::NoSigil)?;
        GroupName::canonical(name).map(Self::Group)
    }

    /// Whose inbox it is, if it is one.
    pub fn owner(&self) -> Option<&UserName> {
        match self {
            Self::Inbox(owner) => Some(owner),
            Self::Group(_) => None,
        }
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inbox(owner) => write!(f, "@{owner}"),
            Self::Group(group) => group.fmt(f),
        }
    }
}
impl fmt::Debug for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a header calls a log: an inbox by its owner, a group by its id. So nothing that was signed
/// for one group counts in another one that a server makes under the same name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogId {
    /// Somebody's inbox, written `@alice`.
    Inbox(UserName),
    /// A group, written `#` and 64 hexadecimal digits.
    Group(GroupId),
}

impl LogId {
    /// Parses what [`fmt::Display`] writes, and nothing else.
    ///
    /// # Errors
    /// [`NameError`] for a missing sigil, a name that is not canonical, or an id that is none.
    pub fn canonical(text: &str) -> Result<Self, NameError> {
        if let Some(name) = text.strip_prefix('@') {
            return UserName::canonical(name).map(Self::Inbox);
        }
        let digits = text.strip_prefix('#').ok_or(NameError::NoSigil)?;
        // One id, one spelling.
        let id = GroupId::parse(digits).filter(|id| id.to_string() == digits);
        id.map(Self::Group).ok_or(NameError::NotAnId)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inbox(owner) => write!(f, "@{owner}"),
            Self::Group(id) => write!(f, "#{id}"),
        }
    }
}
impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A conversation as people name it: a person, or a group.
///
/// Prints as `bob` or `#team`, which is also how it is stored.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChatName {
    /// With one person.
    Person(UserName),
    /// Of a group.
    Group(GroupName),
}

impl ChatName {
    /// Parses what a person typed: `bob`, `@bob` or `#team`.
    ///
    /// # Errors
    /// [`NameError`] says which rule was broken.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.starts_with('#') {
            return GroupName::parse(text).map(Self::Group);
        }
        UserName::parse(text.strip_prefix('@').unwrap_or(text)).map(Self::Person)
    }

    /// Parses what [`fmt::Display`] writes, and nothing else.
    ///
    /// # Errors
    /// [`NameError`] says which rule was broken.
    pub fn canonical(text: &str) -> Result<Self, NameError> {
        match text.strip_prefix('#') {
            Some(name) => GroupName::canonical(name).map(Self::Group),
            None => UserName::canonical(text).map(Self::Person),
        }
    }

    /// The log that it is written to.
    pub fn log(&self) -> LogName {
        match self {
            Self::Person(user) => LogName::Inbox(user.clone()),
            Self::Group(group) => LogName::Group(group.clone()),
        }
    }

    /// The other person, if it is with one.
    pub fn person(&self) -> Option<&UserName> {
        match self {
            Self::Person(user) => Some(user),
            Self::Group(_) => None,
        }
    }

    /// The group, if it is of one.
    pub fn group(&self) -> Option<&GroupName> {
        match self {
            Self::Person(_) => None,
            Self::Group(group) => Some(group),
        }
    }
}

impl From<LogName> for ChatName {
    fn from(log: LogName) -> Self {
        match log {
            LogName::Inbox(owner) => Self::Person(owner),
            LogName::Group(group) => Self::Group(group),
        }
    }
}

impl From<UserName> for ChatName {
    fn from(user: UserName) -> Self {
        Self::Person(user)
    }
}

impl From<GroupName> for ChatName {
    fn from(group: GroupName) -> Self {
        Self::Group(group)
    }
}

impl fmt::Display for ChatName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(user) => fmt::Display::fmt(user, f),
            Self::Group(group) => fmt::Display::fmt(group, f),
        }
    }
}
impl fmt::Debug for ChatName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A server of the cluster: `s1`, `s2`, ...; also the name in its certificate.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(String);

impl ServerId {
    /// The server with this number, counted from 1.
    pub fn numbered(number: u16) -> Self {
        Self(format!("s{number}"))
    }

    /// Parses `[a-z0-9-]{1,16}`.
    ///
    /// # Errors
    /// [`NameError`] says which rule was broken.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > limits::SERVER_ID_BYTES_MAX {
            return Err(NameError::TooLong(text.len()));
        }
        match text.chars().find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-')) {
            Some(bad) => Err(NameError::BadCharacter(bad)),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident($inner:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

numbers! {
    /// Counts the messages of one device into one log, from 1. With log, author and device it is
    /// the message id. 0 means "none yet".
    N(u64);
    /// Position of an entry in a log, from 1, without gaps. 0 means "before the first".
    Seq(u64);
    /// A device: random, made with the client's profile. Never 0.
    DeviceId(u64);
    /// One life of a log's sequence: random; a restored database gets another. 0 means "unknown".
    LogEpoch(u64);
    /// Counts the sessions of a user. 0 means "not logged in".
    SessionEpoch(u64);
    /// Version of the placement map. Only grows.
    MapVersion(u64);
    /// An edge's number for one client connection, unique while that edge process runs.
    SessionId(u64);
    /// Counts the keys of a group, from 1. 0 means "no group".
    KeyEpoch(u64);
    /// A slot of the placement map, below [`crate::limits::SLOTS`].
    SlotId(u16);
}

/// SHA-256 of the SPKI DER of the cluster's CA: what a client pins and every signature names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterId(pub [u8; 32]);

/// SHA-256 of the SPKI DER of a key. Of an identity key it is that person's fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub [u8; 32]);

impl KeyId {
    /// The id of the key with this SubjectPublicKeyInfo.
    pub fn of_spki(spki_der: &[u8]) -> Self {
        Self(Sha256::digest(spki_der).into())
    }
}

/// SHA-256 of the bytes of a group's CREATE operation: which group it is, whatever its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub [u8; 32]);

/// SHA-256 of a roster operation: its id, and what the next one names as the one before it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpHash(pub [u8; 32]);

/// SHA-256 of the ordered hashes of a blob's sealed chunks: which blob it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobId(pub [u8; 32]);

/// Writes bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Reads lower- or upper-case hexadecimal; colons between bytes are allowed.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> =
        text.chars().filter(|c| *c != ':').map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| u8::try_from(high * 16 + low).ok()).collect()
}

macro_rules! hex_ids {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }
        impl $name {
            /// Parses 64 hexadecimal digits.
            pub fn parse(text: &str) -> Option<Self> {
                unhex(text)?.try_into().ok().map(Self)
            }
            /// Takes exactly 32 bytes.
            pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }
    )*};
}
hex_ids!(ClusterId, KeyId, GroupId, OpHash, BlobId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typed_name_is_folded_and_a_wire_name_is_not() {
        assert_eq!(UserName::parse("Alice").map(|n| n.to_string()), Ok("alice".to_owned()));
        assert_eq!(UserName::canonical("Alice"), Err(NameError::BadCharacter('A')));
    }

    #[test]
    fn a_name_has_at_most_32_bytes_and_a_plain_first_character() {
        assert!(UserName::parse(&"a".repeat(32)).is_ok());
        assert_eq!(UserName::parse(&"a".repeat(33)), Err(NameError::TooLong(33)));
        assert_eq!(UserName::parse(""), Err(NameError::Empty));
        for bad in [".a", "-a", "_a", "a b", "a/b", "ä", "a\u{202e}b", "a\0"] {
            assert!(matches!(UserName::parse(bad), Err(NameError::BadCharacter(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_log_name_needs_its_sigil() {
        assert_eq!(LogName::canonical("alice"), Err(NameError::NoSigil));
        for text in ["@alice", "#devs"] {
            assert_eq!(LogName::canonical(text).map(|l| l.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(LogName::canonical("#Devs"), Err(NameError::BadCharacter('D')));
    }

    #[test]
    fn a_group_is_named_by_people_and_identified_in_headers() {
        let team = GroupName::parse("#Team").unwrap();
        assert_eq!(GroupName::parse("team"), Ok(team.clone()));
        assert_eq!(ChatName::parse("#TEAM"), Ok(ChatName::Group(team.clone())));
        assert_eq!(ChatName::parse("@Bob"), ChatName::parse("bob"));
        for chat in ["bob", "#team"] {
            assert_eq!(ChatName::canonical(chat).map(|c| c.to_string()), Ok(chat.to_owned()));
        }
        assert_eq!(ChatName::Group(team.clone()).log(), LogName::Group(team));

        let id = LogId::Group(GroupId([0xab; 32]));
        assert_eq!(LogId::canonical(&id.to_string()), Ok(id.clone()));
        assert_eq!(LogId::canonical(&id.to_string().to_uppercase()), Err(NameError::NotAnId));
        assert_eq!(LogId::canonical("#devs"), Err(NameError::NotAnId));
    }

    #[test]
    fn hexadecimal_reads_what_it_wrote() {
        assert_eq!(unhex(&hex(&[0, 1, 0xfe])), Some(vec![0, 1, 0xfe]));
        assert_eq!(unhex("a1:b2"), Some(vec![0xa1, 0xb2]));
        assert_eq!(unhex("a"), None);
        assert_eq!(unhex("xy"), None);
    }
}
