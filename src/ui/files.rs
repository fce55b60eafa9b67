//! Files in words: sizes, how far a transfer is, and the names that people type.
//!
//! Pure but for `paths`, which looks at folders for Tab.

pub mod opener;
mod paths;
mod sizes;
mod steps;

pub use paths::{expanded, offers, split};
pub use sizes::{bound, exact, parse, size};
pub use steps::{Every, Said, Steps};

use crate::client::{Direction, FileView, TransferFailure, TransferState, TransferView};
use crate::wire::Code;

use super::text::{columns, excerpt};

/// Columns of the bar of a transfer.
const BAR_COLUMNS: u64 = 10;
/// Columns of a name beside a bar.
const NAME_COLUMNS: usize = 24;
/// Longer than this nobody can say.
const LEFT_SECONDS_MAX: u64 = 99 * 3_600;

/// How much has come, in whole percent; 100 only when all is there.
pub fn percent(view: &TransferView) -> u64 {
    if view.total_bytes == 0 {
        return 0;
    }
    let done = u128::from(view.done_bytes.min(view.total_bytes));
    u64::try_from(done * 100 / u128::from(view.total_bytes)).unwrap_or(100)
}

/// A transfer as one line: `photo.jpg  ███████░░░  71 %  12.4/17.5 MB  8.1 MB/s  0:01 left`.
pub fn bar(view: &TransferView) -> String {
    let percent = percent(view);
    let full = percent * BAR_COLUMNS / 100;
    let bar: String = (0..BAR_COLUMNS).map(|at| if at < full { '█' } else { '░' }).collect();
    format!("{}  {bar}  {percent:>3} %  {}", excerpt(&view.name, NAME_COLUMNS), pace(view))
}

/// `12.4/17.5 MB  8.1 MB/s  0:01 left`; without the pace while nothing comes.
fn pace(view: &TransferView) -> String {
    let mut line = amounts(view);
    if view.bytes_per_s > 0 {
        line.push_str(&format!("  {}/s", size(view.bytes_per_s)));
        line.push_str(&format!("  {} left", left(view)));
    }
    line
}

/// `12.4/17.5 MB`: both in the unit of the whole.
fn amounts(view: &TransferView) -> String {
    let (unit, name) = match view.total_bytes {
        0..1_000 => (1, "bytes"),
        1_000..999_500 => (1_000, "kB"),
        _ => (1_000_000, "MB"),
    };
    let tenths = |bytes: u64| match unit {
        1_000_000 => {
            let tenths = bytes.saturating_add(unit / 20) / (unit / 10);
            format!("{}.{}", tenths / 10, tenths % 10)
        }
        _ => (bytes / unit).to_string(),
    };
    format!("{}/{} {name}", tenths(view.done_bytes), tenths(view.total_bytes))
}

/// `0:01`, `1:02:03`.
fn left(view: &TransferView) -> String {
    let left = view.total_bytes.saturating_sub(view.done_bytes);
    let seconds = left.div_ceil(view.bytes_per_s.max(1)).min(LEFT_SECONDS_MAX);
    match seconds / 3_600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}

/// Whether a file is shown as a picture.
pub fn is_picture(file: &FileView) -> bool {
    file.media_type.starts_with("image/")
}

/// `⟨picture⟩ map.png 84 kB`; in words when there are no signs.
pub fn label(file: &FileView, rich: bool) -> String {
    let kind = if is_picture(file) { "picture" } else { "file" };
    let name = super::text::clean_line(&file.name);
    let size = size(file.bytes);
    if rich { format!("⟨{kind}⟩ {name} {size}") } else { format!("{kind} {name}, {size}") }
}

/// One word for how far it is, for lists and JSON.
pub fn state_word(state: TransferState) -> &'static str {
    match state {
        TransferState::NotFetched => "not_fetched",
        TransferState::Waiting(_) => "waiting",
        TransferState::Running => "running",
        TransferState::Paused => "paused",
        TransferState::Done => "done",
        TransferState::Failed(_) => "failed",
    }
}

/// Why it waits or failed, for JSON.
pub fn reason_word(state: TransferState) -> Option<String> {
    match state {
        TransferState::Waiting(code) => code.map(code_word),
        TransferState::Failed(failure) => Some(match failure {
            TransferFailure::Server(code) => code_word(code),
            TransferFailure::TooLarge { .. } => "too_large".to_owned(),
            TransferFailure::Quota { .. } => "quota".to_owned(),
            TransferFailure::Gone => "gone".to_owned(),
            TransferFailure::NotTheFile => "not_the_file".to_owned(),
            TransferFailure::CopyLost => "copy_lost".to_owned(),
            TransferFailure::DiskFull => "disk_full".to_owned(),
            TransferFailure::Cancelled => "cancelled".to_owned(),
        }),
        TransferState::NotFetched
        | TransferState::Running
        | TransferState::Paused
        | TransferState::Done => None,
    }
}

fn code_word(code: Code) -> String {
    code.name().to_lowercase()
}

/// One transfer in a list: its number, chat and name, and how far it is.
pub fn row(view: &TransferView) -> String {
    let way = match view.direction {
        Direction::Up => "to",
        Direction::Down => "from",
    };
    let chat = format!("{way} {}", view.chat);
    let name = excerpt(&view.name, NAME_COLUMNS);
    let padding = " ".repeat(NAME_COLUMNS.saturating_sub(columns(&name)));
    let state = match view.state {
        TransferState::Waiting(Some(code)) => {
            format!("waits: {}", super::say::code(code, Some(&view.chat), "", 0).what)
        }
        TransferState::Waiting(None) => "waits for a connection".to_owned(),
        TransferState::Paused => "paused".to_owned(),
        TransferState::Failed(failure) => {
            format!("failed: {}", super::say::transfer_failure(failure, view).what)
        }
        TransferState::NotFetched => "not fetched".to_owned(),
        TransferState::Running | TransferState::Done => pace(view),
    };
    let (id, percent) = (view.id.to_string(), percent(view));
    format!("{id:>5}  {chat:<14}  {name}{padding}  {percent:>3} %  {state}")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::client::LocalId;
    use crate::types::ChatName;

    /// A picture on its way to bob.
    pub(crate) fn photo(done_bytes: u64, total_bytes: u64, state: TransferState) -> TransferView {
        TransferView {
            id: LocalId(42),
            chat: ChatName::parse("bob").unwrap(),
            direction: Direction::Up,
            name: "photo.jpg".to_owned(),
            done_bytes,
            total_bytes,
            bytes_per_s: 8_100_000,
            state,
        }
    }

    #[test]
    fn a_transfer_is_a_line_with_bar_amounts_pace_and_time_left() {
        let view = photo(12_425_000, 17_500_000, TransferState::Running);
        assert_eq!(bar(&view), "photo.jpg  ███████░░░   71 %  12.4/17.5 MB  8.1 MB/s  0:01 left");
        let view = TransferView { bytes_per_s: 0, ..photo(0, 84_000, TransferState::Running) };
        assert_eq!(bar(&view), "photo.jpg  ░░░░░░░░░░    0 %  0/84 kB");
        let slow = TransferView { bytes_per_s: 1, ..photo(0, 3_723, TransferState::Running) };
        assert!(bar(&slow).ends_with("1 bytes/s  1:02:03 left"), "{}", bar(&slow));
        let stuck = TransferView { bytes_per_s: 1, ..photo(0, u64::MAX, TransferState::Running) };
        assert!(bar(&stuck).ends_with("99:00:00 left"));
    }

    #[test]
    fn a_hundred_percent_is_said_only_of_the_whole() {
        let at = |done, total| percent(&photo(done, total, TransferState::Running));
        assert_eq!((at(999_999, 1_000_000), at(7, 7), at(9, 7), at(0, 0)), (99, 100, 100, 0));
        assert_eq!(at(u64::MAX, u64::MAX), 100);
    }

    #[test]
    fn nothing_in_a_name_reaches_the_terminal_as_an_escape() {
        let view = TransferView {
            name: "\x1b[2Jevil\u{202e}gpj.exe".to_owned(),
            ..photo(1, 2, TransferState::Paused)
        };
        for line in [bar(&view), row(&view)] {
            assert!(!line.contains('\x1b') && line.contains("<U+202E>"), "{line:?}");
        }
    }

    #[test]
    fn a_list_says_why_a_transfer_does_not_go_on() {
        let row = |state| row(&photo(5, 10, state));
        assert!(row(TransferState::Paused).ends_with("paused"));
        assert!(row(TransferState::Waiting(Some(Code::HomeDown))).contains("away"));
        let gone = TransferState::Failed(TransferFailure::Gone);
        assert!(row(gone).contains("failed: "), "{}", row(gone));
        assert!(row(TransferState::Running).starts_with("   42  to bob"));
    }
}
