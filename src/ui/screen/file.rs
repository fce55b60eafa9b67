//! A file as its message shows it: a line with what can be done, the picture, the caption.

use crate::client::pictures::thumbnail;
use crate::client::{Author, FileView, MessageView};
use crate::ui::files::label;
use crate::ui::pictures::{self, Ability, Room, Way};
use crate::ui::text::wrap;

use super::{Previews, Screen};

impl Screen {
    /// `⟨picture⟩ map.png 84 kB  /open 42  /save 42`; of one's own, what it is.
    pub(super) fn file(&self, file: &FileView, message: &MessageView) -> String {
        let label = label(file, self.theme.rich());
        let id = message.id;
        match (&message.author, self.theme.rich()) {
            (Author::Me, _) => label,
            (Author::Them(_), true) => format!("{label}  /open {id}  /save {id}"),
            (Author::Them(_), false) => format!("{label} (/open {id}, /save {id})"),
        }
    }

    /// What stands under the line of a file, at this column: its picture, then its caption. Begins
    /// with a newline unless it is empty.
    pub(super) fn below_file(&self, file: &FileView, caption: &str, indent: usize) -> String {
        let picture = match self.previews {
            Previews::Shown(way, room) => preview(file, way, room, indent),
            Previews::Hidden => Vec::new(),
        };
        let mut lines = Vec::new();
        for line in caption.split('\n').filter(|_| !caption.is_empty()) {
            match self.width {
                Some(width) => lines.extend(wrap(line, width.saturating_sub(indent + 1).max(16))),
                None => lines.push(line.to_owned()),
            }
        }
        let indent = " ".repeat(indent);
        let caption = lines.iter().map(|line| format!("\n{indent}{line}"));
        picture.iter().map(|row| format!("\n{row}")).chain(caption).collect()
    }
}

/// The rows of a picture; none when there is nothing to be shown. Only characters stand beside
/// others: what the terminal draws begins at its left.
fn preview(file: &FileView, way: Way, room: Room, indent: usize) -> Vec<String> {
    let Ok(thumbnail) = thumbnail::open(&file.thumbnail) else { return Vec::new() };
    let is_text = way.ability == Ability::HalfBlocks;
    let indent = if is_text { u16::try_from(indent).unwrap_or(0) } else { 0 };
    let columns = room.columns.saturating_sub(indent + 1).max(1);
    let drawn = pictures::render(way, &thumbnail, Room { columns, ..room });
    let rows = drawn.strip_suffix('\n').unwrap_or(&drawn);
    match (rows, is_text) {
        ("", _) => Vec::new(),
        (rows, true) => {
            let indent = " ".repeat(usize::from(indent));
            rows.split('\n').map(|row| format!("{indent}{row}")).collect()
        }
        (rows, false) => vec![rows.to_owned()],
    }
}
