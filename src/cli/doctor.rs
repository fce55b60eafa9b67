//! What every `doctor` command prints: one line per check, `ok`, `warn` or `FAIL`, with the remedy.
//!
//! Deliberately checks nothing itself: each program brings its own [`Check`]s.

pub(super) mod cluster;
mod files;

pub(super) use self::files::is_open_to_others;

use std::io::Write as _;

use serde_json::json;

use super::exit::Exit;

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, but will not for ever, or not for everybody.
    Warn,
    /// It does not work.
    Fail,
    /// Somebody cannot be reached: nothing that needs them works.
    Unreachable,
}

impl Verdict {
    /// The first word of the line, and `verdict` in JSON.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail | Self::Unreachable => "FAIL",
        }
    }
}

/// One line of a `doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    /// What was looked at: one or two words, the same in every run.
    pub(super) name: String,
    /// What it came to.
    pub(super) verdict: Verdict,
    /// What was found: a few words, no full stop.
    pub(super) detail: String,
    /// What to do about it; empty when there is nothing to do.
    pub(super) remedy: String,
}

impl Check {
    /// All is well.
    pub(super) fn ok(name: impl Into<String>, detail: impl Into<String>) -> Self {
        let remedy = String::new();
        Self { name: name.into(), verdict: Verdict::Ok, detail: detail.into(), remedy }
    }

    /// Something to see to in time.
    pub(super) fn warn(
        name: impl Into<String>,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (detail, remedy) = (detail.into(), remedy.into());
        Self { name: name.into(), verdict: Verdict::Warn, detail, remedy }
    }

    /// Something that has to be mended.
    pub(super) fn fail(
        name: impl Into<String>,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { verdict: Verdict::Fail, ..Self::warn(name, detail, remedy) }
    }

    /// Somebody does not answer.
    pub(super) fn unreachable(
        name: impl Into<String>,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { verdict: Verdict::Unreachable, ..Self::warn(name, detail, remedy) }
    }
}

/// How checks are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// For people.
    Text,
    /// One object per line.
    Json,
}

impl Form {
    /// What `--json` asks for.
    pub(super) fn of_flag(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }
}

/// Prints the checks to standard output and yields the exit code: 0 when all is well, 3 when
/// somebody cannot be reached, else 7.
pub(super) fn report(checks: &[Check], form: Form) -> Exit {
    let text = match form {
        Form::Text => text(checks),
        Form::Json => json_lines(checks),
    };
    // A reader that went away (`| head`) has what it wanted.
    let _ = write!(std::io::stdout().lock(), "{text}");
    exit(checks)
}

fn exit(checks: &[Check]) -> Exit {
    let any = |verdict| checks.iter().any(|check| check.verdict == verdict);
    if any(Verdict::Unreachable) {
        Exit::Unreachable
    } else if any(Verdict::Fail) || any(Verdict::Warn) {
        Exit::Partly
    } else {
        Exit::Done
    }
}

fn text(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    let line = |check: &Check| {
        let Check { name, verdict, detail, remedy } = check;
        let line = format!("{:<4}  {name:<width$}  {detail}", verdict.word());
        if remedy.is_empty() { format!("{line}\n") } else { format!("{line}. {remedy}\n") }
    };
    checks.iter().map(line).collect()
}

fn json_lines(checks: &[Check]) -> String {
    let line = |check: &Check| {
        let object = json!({
            "v": 1, "type": "check", "name": check.name, "verdict": check.verdict.word(),
            "detail": check.detail, "remedy": check.remedy,
        });
        format!("{object}\n")
    };
    checks.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks() -> Vec<Check> {
        vec![
            Check::ok("clock", "2026-11-20 14:00"),
            Check::warn(
                "certificate",
                "s1 ends in 9 days",
                "Renew it:  load_balancer certs rotate",
            ),
        ]
    }

    #[test]
    fn each_check_is_one_line_in_columns_with_its_remedy() {
        let expected = "ok    clock        2026-11-20 14:00\n\
                        warn  certificate  s1 ends in 9 days. Renew it:  load_balancer certs rotate\n";
        assert_eq!(text(&checks()), expected);
    }

    #[test]
    fn json_is_one_object_per_check() {
        let lines = json_lines(&checks());
        let verdicts: Vec<String> = lines
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|check| check["verdict"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(verdicts, ["ok", "warn"]);
    }

    #[test]
    fn the_exit_code_is_that_of_the_worst_check() {
        let mut checks = checks();
        assert_eq!(exit(&checks[..1]), Exit::Done);
        assert_eq!(exit(&checks), Exit::Partly);
        checks.push(Check::fail("key", "readable by others", "chmod 600"));
        assert_eq!(exit(&checks), Exit::Partly);
        checks.push(Check::unreachable("s1", "no answer", "Start it"));
        assert_eq!(exit(&checks), Exit::Unreachable);
    }
}
