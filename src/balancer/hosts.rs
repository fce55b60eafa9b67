//! `hosts.toml`: which machines a cluster is to run on, as its operator writes it down.
//!
//! Every mistake is named with its line and column. Deliberately touches no file and makes nothing:
//! that is `folders`.

use std::net::SocketAddr;

use serde::Deserialize;
use toml::Spanned;

use crate::limits::SERVERS_MAX;
use crate::types::ServerId;

/// Names that a server cannot have, for certificates and files of the cluster have them.
const TAKEN_NAMES: [&str; 4] = ["balancer", "operator", "ca", "admission"];

/// The machines of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts {
    /// Where the balancer listens.
    pub balancer: SocketAddr,
    /// Where clients reach it.
    pub balancer_public: SocketAddr,
    /// The servers, from 1 to [`SERVERS_MAX`].
    pub servers: Vec<Host>,
}

/// One server's machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub id: ServerId,
    /// Where it listens for clients.
    pub listen: SocketAddr,
    /// Where it listens for other servers and the balancer.
    pub peer_listen: SocketAddr,
    /// Where clients reach it.
    pub addr: SocketAddr,
    /// Where other servers and the balancer reach it.
    pub peer_addr: SocketAddr,
}

/// Why a `hosts.toml` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {what}")]
pub struct HostsError {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// What is wrong there.
    pub what: HostsFault,
}

/// What is wrong in a `hosts.toml`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostsFault {
    /// Not TOML, a key missing, or a value of another kind.
    #[error("{0}")]
    Syntax(String),
    /// A key that does not exist.
    #[error("there is no key {key:?}")]
    UnknownKey {
        /// As written.
        key: String,
        /// The keys that exist there.
        known: Vec<String>,
    },
    /// Not IP:PORT.
    #[error("{0:?} is no address; expected IP:PORT")]
    NotAnAddress(String),
    /// A port of 0 would be another one after each start.
    #[error("{0} has no port")]
    NoPort(SocketAddr),
    /// Nobody can be told to connect to "any address".
    #[error("nobody can connect to {got}; say where they can in {key}")]
    NeedsPublic {
        /// As written.
        got: SocketAddr,
        /// The key that is missing.
        key: &'static str,
    },
    /// Not `[a-z0-9-]{1,16}`, or taken.
    #[error("{0:?} is no name for a server; expected 1 to 16 of a-z, 0-9 and -")]
    NotAnId(String),
    /// A name that something else has.
    #[error("{0:?} is the name of something else")]
    TakenName(String),
    /// Two servers of one name.
    #[error("there are two servers {0}")]
    IdTwice(ServerId),
    /// Two ports at one address.
    #[error("{0} is there twice")]
    AddressTwice(SocketAddr),
    /// None, or too many.
    #[error("{0} servers; from 1 to {SERVERS_MAX} are possible")]
    Count(usize),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    balancer: BalancerText,
    #[serde(default)]
    server: Vec<ServerText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BalancerText {
    listen: Spanned<String>,
    public: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerText {
    id: Spanned<String>,
    listen: Spanned<String>,
    peer_listen: Spanned<String>,
    public: Option<Spanned<String>>,
    peer_public: Option<Spanned<String>>,
}

impl HostsError {
    /// What the parser found wrong in `text`, which may be another file for an operator's hands.
    pub fn of_toml(text: &str, error: &toml::de::Error) -> Self {
        let at = error.span().map_or(0, |span| span.start);
        fault(text, at, syntax(error.message()))
    }
}

impl Hosts {
    /// Reads the text of a `hosts.toml`.
    ///
    /// # Errors
    /// [`HostsError`] names the first thing that is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, HostsError> {
        let parsed: Text =
            toml::from_str(text).map_err(|error| HostsError::of_toml(text, &error))?;
        Reader { text, addresses: Vec::new() }.hosts(&parsed)
    }
}

/// Judges what the text says.
struct Reader<'a> {
    text: &'a str,
    /// Every address that somebody connects to.
    addresses: Vec<SocketAddr>,
}

impl Reader<'_> {
    fn hosts(mut self, parsed: &Text) -> Result<Hosts, HostsError> {
        let BalancerText { listen, public } = &parsed.balancer;
        let (balancer, balancer_public) = self.place(listen, public.as_ref(), "public")?;
        let mut servers: Vec<Host> = Vec::new();
        for server in &parsed.server {
            let id = self.id(&server.id, &servers)?;
            let (listen, addr) = self.place(&server.listen, server.public.as_ref(), "public")?;
            let peer_public = server.peer_public.as_ref();
            let (peer_listen, peer_addr) =
                self.place(&server.peer_listen, peer_public, "peer_public")?;
            servers.push(Host { id, listen, peer_listen, addr, peer_addr });
        }
        if servers.is_empty() || servers.len() > usize::from(SERVERS_MAX) {
            return Err(fault(self.text, self.text.len(), HostsFault::Count(servers.len())));
        }
        Ok(Hosts { balancer, balancer_public, servers })
    }

    fn id(&self, id: &Spanned<String>, before: &[Host]) -> Result<ServerId, HostsError> {
        let written = id.get_ref();
        let wrong = |what| fault(self.text, id.span().start, what);
        if TAKEN_NAMES.contains(&written.as_str()) {
            return Err(wrong(HostsFault::TakenName(written.clone())));
        }
        let id =
            ServerId::parse(written).map_err(|_| wrong(HostsFault::NotAnId(written.clone())))?;
        match before.iter().any(|host| host.id == id) {
            true => Err(wrong(HostsFault::IdTwice(id))),
            false => Ok(id),
        }
    }

    /// Where somebody listens, and where others reach them.
    fn place(
        &mut self,
        listen: &Spanned<String>,
        public: Option<&Spanned<String>>,
        key: &'static str,
    ) -> Result<(SocketAddr, SocketAddr), HostsError> {
        let bound = self.address(listen)?;
        let shown = public.unwrap_or(listen);
        let reached = self.address(shown)?;
        let wrong = |what| fault(self.text, shown.span().start, what);
        if reached.ip().is_unspecified() {
            return Err(wrong(HostsFault::NeedsPublic { got: reached, key }));
        }
        if self.addresses.contains(&reached) {
            return Err(wrong(HostsFault::AddressTwice(reached)));
        }
        self.addresses.push(reached);
        Ok((bound, reached))
    }

    fn address(&self, text: &Spanned<String>) -> Result<SocketAddr, HostsError> {
        let wrong = |what| fault(self.text, text.span().start, what);
        let written = text.get_ref();
        let addr: SocketAddr =
            written.parse().map_err(|_| wrong(HostsFault::NotAnAddress(written.clone())))?;
        if addr.port() == 0 { Err(wrong(HostsFault::NoPort(addr))) } else { Ok(addr) }
    }
}

fn fault(text: &str, at: usize, what: HostsFault) -> HostsError {
    let before = text.get(..at).unwrap_or(text);
    let line = 1 + before.matches('\n').count();
    let column = 1 + before.rsplit('\n').next().unwrap_or_default().chars().count();
    HostsError { line, column, what }
}

/// The parser names an unknown key and the known ones in its text, each in back quotes.
fn syntax(message: &str) -> HostsFault {
    let mut words = message.split('`').skip(1).step_by(2).map(str::to_owned);
    match words.next() {
        Some(key) if message.starts_with("unknown field") => {
            HostsFault::UnknownKey { key, known: words.collect() }
        }
        Some(_) | None => HostsFault::Syntax(message.replace('\n', " ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
[balancer]
listen = \"0.0.0.0:9000\"
public = \"10.0.0.1:9000\"

[[server]]
id = \"s1\"
listen = \"10.0.0.2:9001\"
peer_listen = \"10.0.0.2:9101\"

[[server]]
id = \"s2\"
listen = \"[::]:9001\"
public = \"[2001:db8::3]:9001\"
peer_listen = \"10.0.0.3:9101\"
";

    #[test]
    fn a_good_file_says_where_all_listen_and_where_they_are_reached() {
        let hosts = Hosts::parse(GOOD).unwrap();
        assert_eq!(hosts.balancer.to_string(), "0.0.0.0:9000");
        assert_eq!(hosts.balancer_public.to_string(), "10.0.0.1:9000");
        let second = &hosts.servers[1];
        assert_eq!(second.id.as_str(), "s2");
        assert_eq!(second.listen.to_string(), "[::]:9001");
        assert_eq!(second.addr.to_string(), "[2001:db8::3]:9001");
        assert_eq!((second.peer_listen, second.peer_addr), {
            let peer = "10.0.0.3:9101".parse().unwrap();
            (peer, peer)
        });
    }

    #[test]
    fn every_mistake_is_named_with_its_place() {
        let cases = [
            ("public = \"10.0.0.1:9000\"", "", "line 2, column 10: nobody can connect"),
            ("id = \"s2\"", "id = \"s1\"", "line 11, column 6: there are two servers s1"),
            ("id = \"s2\"", "id = \"S 2\"", "line 11, column 6: \"S 2\" is no name"),
            ("id = \"s2\"", "id = \"balancer\"", "line 11, column 6: \"balancer\" is the name"),
            ("10.0.0.2:9101", "10.0.0.2:9001", "line 8, column 15: 10.0.0.2:9001 is there twice"),
            ("10.0.0.2:9101", "10.0.0.2", "line 8, column 15: \"10.0.0.2\" is no address"),
            ("10.0.0.2:9101", "10.0.0.2:0", "line 8, column 15: 10.0.0.2:0 has no port"),
            ("public = \"[2001:db8::3]:9001\"", "", "line 12, column 10: nobody can connect"),
            ("peer_listen = \"10.0.0.2:9101\"", "", "line 5, column 1: missing field"),
            ("listen = \"10.0.0.2:9001\"", "listen = 7", "line 7, column 10: invalid type"),
            ("id = \"s1\"", "id = s1", "line 6, column 6: "),
        ];
        for (from, to, expected) in cases {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from}");
            let said = Hosts::parse(&text).unwrap_err().to_string();
            assert!(said.starts_with(expected), "{from} -> {to}: {said}");
            assert!(!said.contains('\n'), "{said}");
        }
        let nobody = Hosts::parse("[balancer]\nlisten = \"10.0.0.1:9000\"\n").unwrap_err();
        assert_eq!(nobody.what, HostsFault::Count(0));
    }

    #[test]
    fn an_unknown_key_comes_with_the_keys_that_exist() {
        let text = GOOD.replace("peer_listen = \"10.0.0.2", "peer_lisen = \"10.0.0.2");
        let error = Hosts::parse(&text).unwrap_err();
        let HostsFault::UnknownKey { key, known } = &error.what else { panic!("{error:?}") };
        assert_eq!((error.line, error.column, key.as_str()), (8, 1, "peer_lisen"));
        assert!(known.contains(&"peer_listen".to_owned()), "{known:?}");
    }
}
