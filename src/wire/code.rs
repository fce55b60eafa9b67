//! The error codes of the wire: one table of name, number, meaning and what happens to the
//! connection. `docs/PROTOCOL.md` repeats it for other implementations; a test holds them together.

/// What becomes of the connection after an error of this code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The connection stays.
    Kept,
    /// Only the stream is closed.
    StreamClosed,
    /// The connection is closed.
    Closed,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $fate:ident;)*) => {
        /// A typed answer to something that cannot be done. The numbers are fixed for ever.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Code { $($(#[$doc])* $variant = $number,)* }

        impl Code {
            /// Every code, in order of number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code with this number, if there is one.
            pub fn from_number(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }

            /// The name used in documents and logs.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What becomes of the connection.
            pub fn fate(self) -> Fate {
                match self { $(Self::$variant => Fate::$fate,)* }
            }
        }
    };
}

codes! {
    /// A frame that does not parse, lacks a field, or holds an impossible value.
    Malformed = 0x10, "MALFORMED", StreamClosed;
    /// A frame longer than the limit of its kind.
    FrameTooLarge = 0x11, "FRAME_TOO_LARGE", Closed;
    /// A frame of a type this side does not know.
    Unsupported = 0x12, "UNSUPPORTED", Kept;
    /// No common protocol version.
    Version = 0x13, "VERSION", Closed;
    /// A frame that is not allowed in this state of the session.
    BadState = 0x14, "BAD_STATE", Closed;
    /// A frame that took too long to complete.
    Timeout = 0x15, "TIMEOUT", StreamClosed;
    /// Nobody logged in within the deadline.
    LoginTimeout = 0x20, "LOGIN_TIMEOUT", Closed;
    /// The password does not fit.
    WrongPassword = 0x21, "WRONG_PASSWORD", Kept;
    /// No account of that name.
    NoSuchUser = 0x22, "NO_SUCH_USER", Kept;
    /// The name belongs to somebody, now or earlier.
    NameTaken = 0x23, "NAME_TAKEN", Kept;
    /// Another device of this user is connected.
    AlreadyLoggedIn = 0x24, "ALREADY_LOGGED_IN", Kept;
    /// The admission ticket is missing, forged, old, used, or for another server.
    TicketInvalid = 0x25, "TICKET_INVALID", Kept;
    /// Another connection took this session over.
    SessionReplaced = 0x26, "SESSION_REPLACED", Closed;
    /// Resume by a device that is not active, with an old count or a bad signature.
    ResumeRefused = 0x27, "RESUME_REFUSED", Kept;
    /// Too fast: wait for `retry_after_ms`.
    SlowDown = 0x30, "SLOW_DOWN", Kept;
    /// Too much waits already: try again after `retry_after_ms`.
    Busy = 0x31, "BUSY", Kept;
    /// The server takes no more connections.
    ServerFull = 0x32, "SERVER_FULL", Closed;
    /// The server that owns the data cannot be reached.
    HomeDown = 0x40, "HOME_DOWN", Kept;
    /// The server asked does not own the data.
    WrongHome = 0x41, "WRONG_HOME", Kept;
    /// The data is moving; try again.
    RetryLater = 0x42, "RETRY_LATER", Kept;
    /// A number was left out; `expected` says which comes next.
    Gap = 0x50, "GAP", Kept;
    /// The log has another epoch: open it again.
    Reopen = 0x51, "REOPEN", Kept;
    /// The recipient's inbox, or this author's share of it, is full.
    MailboxFull = 0x53, "MAILBOX_FULL", Kept;
    /// The recipient does not take mail from this author.
    Blocked = 0x54, "BLOCKED", Kept;
    /// Not a member of the group.
    NotAMember = 0x60, "NOT_A_MEMBER", Kept;
    /// Sealed under an old key of the group.
    StaleEpoch = 0x61, "STALE_EPOCH", Kept;
    /// Somebody else changed the group first.
    RosterConflict = 0x62, "ROSTER_CONFLICT", Kept;
    /// This person may not do that.
    Forbidden = 0x63, "FORBIDDEN", Kept;
    /// A bundle whose signature, user or version is wrong.
    BadBundle = 0x64, "BAD_BUNDLE", Kept;
    /// No group of that name.
    NoSuchGroup = 0x65, "NO_SUCH_GROUP", Kept;
    /// The invitation or the group's password is wrong.
    WrongInvite = 0x66, "WRONG_INVITE", Kept;
    /// The home's roster is older than the client's.
    RosterBehind = 0x67, "ROSTER_BEHIND", Kept;
    /// A chunk that does not hash to what was announced.
    BlobHash = 0x70, "BLOB_HASH", StreamClosed;
    /// A quota is used up.
    Quota = 0x71, "QUOTA", StreamClosed;
    /// No such blob.
    NoSuchBlob = 0x72, "NO_SUCH_BLOB", StreamClosed;
    /// The disk of the home is full.
    StorageFull = 0x80, "STORAGE_FULL", Kept;
    /// A bug of ours; the detail names the log line.
    Internal = 0x81, "INTERNAL", Kept;
    /// Not one of the cluster's servers.
    NotAPeer = 0x90, "NOT_A_PEER", Closed;
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_maps_back_to_its_code() {
        for &code in Code::ALL {
            assert_eq!(Code::from_number(code as u32), Some(code));
        }
        assert_eq!(Code::from_number(0), None);
    }
}
