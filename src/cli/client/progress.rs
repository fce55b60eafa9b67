//! How far files are, for whoever waits for a command: bars for people who look, lines for those
//! who listen, records for programs. Nothing where nobody reads it.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::Arc;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::client::{LocalId, TransferState, TransferView};
use crate::ui::files::{self, Every, Said, Steps};
use crate::ui::theme::Style;

use super::io::Io;
use super::json::{Record, TransferLine};
use super::report::{Form, Notices, Report, Stop};
use super::socket::caller::Caller;

/// One line that stands in place of an earlier one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Bar {
    id: i64,
    /// `None`: it goes away.
    line: Option<String>,
}

/// Tells how far files are.
pub(super) struct Progress {
    report: Report,
    how: How,
}

enum How {
    Nothing,
    Bars(Bars),
    /// On the terminal of the process that asked for the command.
    Of(Arc<Caller>),
    Lines(Steps),
    /// The last tenth of each.
    Records(BTreeMap<LocalId, u64>),
}

impl Progress {
    pub(super) fn new(report: &Report) -> Self {
        let how = match (report.form, report.theme.style, report.notices) {
            (Form::Json, ..) => How::Records(BTreeMap::new()),
            (Form::Text, _, Notices::Quiet) => How::Nothing,
            (Form::Text, Style::Plain, _) => How::Lines(Steps::new(Every::Tenth)),
            (Form::Text, Style::Rich, _) => match &report.io {
                Io::Own if std::io::stderr().is_terminal() => How::Bars(Bars::default()),
                Io::Of(caller) if caller.facts.error_is_terminal => How::Of(Arc::clone(caller)),
                Io::Own | Io::Of(_) => How::Nothing,
            },
        };
        Self { report: report.clone(), how }
    }

    /// A file came further, or not.
    pub(super) async fn heard(&mut self, view: &TransferView) -> Result<(), Stop> {
        let is_over = matches!(view.state, TransferState::Done | TransferState::Failed(_));
        match &mut self.how {
            How::Nothing => {}
            How::Bars(bars) => bars.show(&Bar::of(view, is_over)),
            How::Of(caller) => caller.bar(&Bar::of(view, is_over)),
            How::Lines(steps) => match steps.heard(view, Instant::now()) {
                // Why it failed is said when the command ends.
                None | Some(Said::Trouble(_)) => {}
                Some(Said::Notice(line)) => self.report.notice(&line),
            },
            How::Records(told) => {
                let tenth = files::percent(view) / 10;
                let last = told.insert(view.id, tenth);
                // The last tenth is told by the end.
                let further = tenth < 10 && last.is_none_or(|last| tenth > last);
                if is_over || (further && view.state == TransferState::Running) {
                    let record = Record::Transfer(TransferLine::new(view));
                    self.report.data(&record, String::new).await?;
                }
            }
        }
        Ok(())
    }

    /// Something else is about to be printed: the bars get out of its way until they move again.
    pub(super) fn rest(&mut self) {
        match &self.how {
            How::Bars(bars) => bars.rest(),
            // Lines of another process come in between; it clears its bars for each.
            How::Of(_) | How::Nothing | How::Lines(_) | How::Records(_) => {}
        }
    }
}

impl Bar {
    fn of(view: &TransferView, is_over: bool) -> Self {
        Self { id: view.id.0, line: (!is_over).then(|| files::bar(view)) }
    }
}

/// Lines at the end of standard error that change in place.
#[derive(Debug)]
pub(super) struct Bars {
    all: MultiProgress,
    each: BTreeMap<i64, ProgressBar>,
}

impl Default for Bars {
    fn default() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Self { all, each: BTreeMap::new() }
    }
}

impl Bars {
    /// Shows a line in place of the one of the same number.
    pub(super) fn show(&mut self, bar: &Bar) {
        let Some(line) = &bar.line else {
            if let Some(over) = self.each.remove(&bar.id) {
                over.finish_and_clear();
            }
            return;
        };
        let all = &self.all;
        let shown = self.each.entry(bar.id).or_insert_with(|| {
            // The line is ours; what it adds is that it stays in its place and within the width.
            let style = ProgressStyle::with_template("{wide_msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
            all.add(ProgressBar::no_length().with_style(style))
        });
        shown.set_message(line.clone());
    }

    /// Takes the lines away until the next [`Self::show`].
    pub(super) fn rest(&self) {
        // A terminal that is gone shows nothing anyway.
        let _ = self.all.clear();
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.rest();
    }
}
