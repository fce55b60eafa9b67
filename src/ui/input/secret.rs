//! A password typed without echo, in the middle of a session.

use std::fmt;

use zeroize::Zeroizing;

use crate::ui::hidden::Hidden;

/// How often it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Once: somebody else knows whether it is right.
    Once,
    /// Twice alike, for nobody sees what was typed; an empty one only once.
    Twice,
}

/// What was typed.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// This; may be empty.
    Given(Zeroizing<String>),
    /// Two different ones.
    Different,
    /// Nothing: Ctrl-C, Ctrl-D, or the terminal is gone.
    Dropped,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Given(_) => "Given",
            Self::Different => "Different",
            Self::Dropped => "Dropped",
        })
    }
}

/// Asks on the terminal.
pub(super) fn ask(question: &str, times: Times) -> Secret {
    let Ok(hidden) = Hidden::begin() else { return Secret::Dropped };
    let Ok(first) = hidden.ask(question) else { return Secret::Dropped };
    if first.is_empty() || times == Times::Once {
        return Secret::Given(first);
    }
    match hidden.ask("Once more: ") {
        Ok(second) if second == first => Secret::Given(first),
        Ok(_) => Secret::Different,
        Err(_) => Secret::Dropped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown_by_what_is_logged() {
        let given = Secret::Given(Zeroizing::new("hunter2".to_owned()));
        assert_eq!(format!("{given:?}"), "Given");
    }
}
