//! `client config path|get|set|edit`: the settings file, by hand and by command.

use std::path::{Path, PathBuf};

use crate::cli::exit::Exit;
use crate::ui::settings::{self, Settings};

use super::args::Config;
use super::json::Record;
use super::report::{Outcome, Stop};
use super::{Context, ask, failures};

/// Runs one of them.
pub(super) async fn run(context: &Context, config: Config) -> Outcome {
    let path = context.settings.path.clone().ok_or_else(|| {
        Stop::new(Exit::LocalData, "Your home folder is not known.", "Name a file: --config FILE")
    })?;
    match config {
        Config::Path => {
            let shown = path.display().to_string();
            context.report.data(&Record::SettingsFile { path: &shown }, || shown.clone()).await?;
            Ok(Exit::Done)
        }
        Config::Get { key } => get(context, key.as_deref()).await,
        Config::Set { key, value } => {
            let mut known = context.settings.known.clone();
            known.set(&path, &key, &value).map_err(|error| failures::settings(&error))?;
            Ok(Exit::Done)
        }
        Config::Edit => edit(&path),
    }
}

async fn get(context: &Context, key: Option<&str>) -> Outcome {
    let known = &context.settings.known;
    if let Some(key) = key {
        let value = known.get(key).map_err(|error| failures::settings(&error.into()))?;
        let text = || value.clone().unwrap_or_default();
        context.report.data(&Record::Setting { key, value: value.as_deref() }, text).await?;
        return Ok(Exit::Done);
    }
    for help in settings::keys() {
        let value = known.get(help.key).ok().flatten();
        let text = || {
            let value = value.as_deref().unwrap_or("(none)");
            format!("{:<21}{value:<10} {} ({})", help.key, help.help, help.values)
        };
        context
            .report
            .data(&Record::Setting { key: help.key, value: value.as_deref() }, text)
            .await?;
    }
    Ok(Exit::Done)
}

/// Opens the editor of the person's choice, and looks at what they left.
fn edit(path: &Path) -> Outcome {
    if !ask::possible() {
        return Err(Stop::new(
            Exit::Usage,
            "There is no terminal to edit in.",
            "client config set KEY VALUE",
        ));
    }
    if !path.exists() {
        settings::write_template(path).map_err(|error| failures::settings(&error))?;
    }
    let editor = ["VISUAL", "EDITOR"]
        .iter()
        .find_map(|name| std::env::var_os(name).filter(|value| !value.is_empty()));
    let editor = editor.unwrap_or_else(|| "vi".into());
    // The variable may hold words for the shell, `code --wait`: the shell takes it apart.
    let mut script = editor.clone();
    script.push(" \"$1\"");
    let status =
        std::process::Command::new("sh").arg("-c").arg(script).arg("sh").arg(path).status();
    let shown = PathBuf::from(editor);
    match status {
        Ok(status) if status.success() => {}
        Ok(_) | Err(_) => {
            return Err(Stop::new(
                Exit::NotFound,
                format!("The editor {} did not end well.", shown.display()),
                "Name another: EDITOR=nano client config edit",
            ));
        }
    }
    Settings::load(path).map_err(|error| failures::settings(&error))?;
    Ok(Exit::Done)
}
