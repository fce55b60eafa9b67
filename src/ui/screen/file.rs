//! A file as its message shows it: a line with what can be done, the picture, the caption.

use crate::client::{Author, FileView, MessageView};
use crate::ui::files::label;
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
        let mut lines = match self.previews {
            Previews::Shown => self.preview(file, indent),
            Previews::Hidden => Vec::new(),
        };
        for line in caption.split('\n').filter(|_| !caption.is_empty()) {
            match self.width {
                Some(width) => lines.extend(wrap(line, width.saturating_sub(indent + 1).max(16))),
                None => lines.push(line.to_owned()),
            }
        }
        let indent = " ".repeat(indent);
        lines.iter().map(|line| format!("\n{indent}{line}")).collect()
    }

    /// The rows of a picture.
    fn preview(&self, _file: &FileView, _indent: usize) -> Vec<String> {
        Vec::new()
    }
}
