//! The client itself: how it stands, its settings, its help, its screen.

use crate::ui::commands::{self, Row};
use crate::ui::input::{Above, Kind};
use crate::ui::settings::{self, TimeForm};
use crate::ui::theme::Style;
use crate::ui::{doctor, lists, text};

use super::Session;

/// Columns where nobody says how many there are.
const COLUMNS: usize = 80;

impl Session {
    pub(super) fn status(&mut self) {
        match self.env.in_place(|| self.client.status()) {
            Ok(mut status) => {
                status.unread += self.view.unread.values().sum::<usize>();
                let text = lists::status(&self.screen, &status, self.env.unix_ms());
                self.reply(Above::Keep, text);
            }
            Err(error) => self.failed(&error, None),
        }
    }

    pub(super) fn doctor(&mut self) {
        let facts = doctor::Facts {
            status: self.env.in_place(|| self.client.status()),
            contacts: self.env.in_place(|| self.client.contacts()),
            offline: self.net.reason.clone(),
            columns: self.terminal.columns(),
            editing: self.terminal.kind() == Kind::Editor,
            theme: self.options.theme,
            popup: self.options.popup,
            settings_file: self.options.settings_file.is_some(),
            writer: self.options.writer.is_some(),
        };
        let lines: Vec<String> = doctor::examine(&facts)
            .iter()
            .map(|finding| doctor::line(&self.screen, finding))
            .collect();
        self.reply(Above::Keep, lines.join("\n"));
    }

    pub(super) fn set(&mut self, key: Option<&str>, value: Option<&str>) {
        let result = match (key, value) {
            (Some(key), Some(value)) => self.change_setting(key, value),
            (Some(key), None) => match self.options.settings.get(key) {
                Ok(value) => Ok(format!("{key} = {}", value.as_deref().unwrap_or("(not set)"))),
                Err(error) => Err(error.to_string()),
            },
            (None, _) => Ok(self.all_settings()),
        };
        match result {
            Ok(text) => self.reply(Above::Keep, text),
            Err(why) => self.mistake(&format!("{}. All settings: /set", text::clean_line(&why))),
        }
    }

    fn all_settings(&self) -> String {
        let lines: Vec<String> = settings::keys()
            .map(|help| {
                let value = self.options.settings.get(help.key).ok().flatten();
                let value = value.as_deref().unwrap_or("(not set)");
                self.screen.wrapped(&format!("{:<20} {value:<10} {}", help.key, help.help), "  ")
            })
            .collect();
        lines.join("\n")
    }

    fn change_setting(&mut self, key: &str, value: &str) -> Result<String, String> {
        let Some(path) = self.options.settings_file.clone() else {
            return Err("there is no folder for settings".to_owned());
        };
        self.env
            .in_place(|| self.options.settings.set(&path, key, value))
            .map_err(|error| error.to_string())?;
        let at_once =
            ["time", "bell", "notify.preview", "show.presence", "show.typing", "show.membership"];
        self.screen.time = self.options.settings.time;
        let when = if at_once.contains(&key) { "" } else { ", from the next start on" };
        Ok(self.screen.notice(&format!("{key} = {value}{when}")))
    }

    /// For this session; the setting `time` is for every one.
    pub(super) fn show_time(&mut self, wanted: Option<TimeForm>) {
        let other = match self.screen.time {
            TimeForm::Short => TimeForm::Full,
            TimeForm::Full => TimeForm::Short,
        };
        self.screen.time = wanted.unwrap_or(other);
        let text = match self.screen.time {
            TimeForm::Short => "times are shown without seconds",
            TimeForm::Full => "times are shown with seconds",
        };
        let line = self.screen.notice(text);
        self.reply(Above::Keep, line);
    }

    pub(super) fn clear(&mut self) {
        let text = match (self.terminal.kind(), self.options.theme.style) {
            (Kind::Editor, Style::Rich) => "\x1b[H\x1b[2J".to_owned(),
            (Kind::Editor | Kind::Cooked | Kind::Piped, _) => {
                self.screen.notice("this screen cannot be cleared")
            }
        };
        self.reply(Above::Keep, text);
    }

    pub(super) fn help(&mut self, row: Option<&'static Row>) {
        let width = self.terminal.columns().unwrap_or(COLUMNS);
        let text = match row {
            Some(row) => self.screen.wrapped(&commands::help_of(row), "    "),
            None => commands::help(width),
        };
        self.reply(Above::Keep, text);
    }
}
