//! The files of `bench run --report DIR`: for people, for spreadsheets, and for the tools of
//! `HdrHistogram`.
//!
//! Deliberately self-contained: the page loads nothing, and no file names a machine or a user.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::load::Outcome;
use super::run::Report;
use super::{BenchError, Durations, unexpected};

/// Steps of a percentile table per halving of what is left, as the other tools do.
const STEPS: u32 = 5;
/// The drawing, in pixels.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 360.0;
const MARGIN: f64 = 56.0;
/// Powers of ten to the right: 0, 90 %, 99 %, 99.9 %, 99.99 %.
const DECADES: f64 = 4.0;

/// Writes `latency.hlog`, `sent.hgrm`, `delivered.hgrm`, `report.json` and `report.html`.
///
/// # Errors
/// [`BenchError::File`] names the file that could not be written.
pub fn write(folder: &Path, report: &Report, outcome: &Outcome) -> Result<(), BenchError> {
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).map_err(|source| BenchError::File { path, source })
    };
    fs::create_dir_all(folder)
        .map_err(|source| BenchError::File { path: folder.to_owned(), source })?;
    put("latency.hlog", &outcome.log)?;
    put("sent.hgrm", percentiles(&outcome.sent).as_bytes())?;
    put("delivered.hgrm", percentiles(&outcome.delivered).as_bytes())?;
    let json = serde_json::to_string_pretty(report).map_err(unexpected)?;
    put("report.json", json.as_bytes())?;
    put("report.html", page(report, outcome).as_bytes())
}

/// The percentile table of `HdrHistogram`, in milliseconds.
pub fn percentiles(durations: &Durations) -> String {
    let histogram = durations.histogram();
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    for step in histogram.iter_quantiles(STEPS) {
        let (value, quantile) =
            (step.value_iterated_to() as f64 / 1_000.0, step.quantile_iterated_to());
        let count = histogram.count_between(0, step.value_iterated_to());
        let _ = write!(text, "{value:>12.3} {quantile:>2.12} {count:>10}");
        if quantile < 1.0 {
            let _ = write!(text, " {:>14.2}", 1.0 / (1.0 - quantile));
        }
        text.push('\n');
    }
    let ms = |us: f64| us / 1_000.0;
    let _ = writeln!(
        text,
        "#[Mean    = {:>12.3}, StdDeviation   = {:>12.3}]\n#[Max     = {:>12.3}, Total count    = {:>12}]",
        ms(histogram.mean()),
        ms(histogram.stdev()),
        ms(histogram.max() as f64),
        histogram.len(),
    );
    text
}

fn page(report: &Report, outcome: &Outcome) -> String {
    let environment = &report.environment;
    let mut rows = String::new();
    for (what, s) in [("sent", &report.sent), ("delivered", &report.delivered)] {
        let _ = write!(
            rows,
            "<tr><td>{what}<td>{}<td>{:.3}<td>{:.3}<td>{:.3}<td>{:.3}<td>{:.3}",
            s.count, s.p50_ms, s.p90_ms, s.p99_ms, s.p999_ms, s.max_ms
        );
    }
    format!(
        "<!doctype html><meta charset=utf-8><title>FastChat bench</title>\
         <style>body{{font:15px sans-serif;max-width:52em;margin:2em auto}}\
         td,th{{padding:.2em .8em;text-align:right}}td:first-child{{text-align:left}}\
         text{{font:12px sans-serif}}</style>\
         <h1>FastChat bench</h1><p>{load}; {servers}.\
         <p>{sent:.0} messages sent, {delivered:.0} delivered a second; \
         {lost} lost, {doubled} doubled, {reordered} out of order, {damaged} damaged.\
         <table><tr><th>ms<th>n<th>p50<th>p90<th>p99<th>p99.9<th>max{rows}</table>{curve}\
         <p>FastChat {version}{build}, {cores} cores, Linux {kernel}, SQLite {sqlite}, \
         fdatasync of 4 KiB {disk:.3} ms.",
        load = report.load,
        servers = match report.servers {
            Some(1) => "one server".to_owned(),
            Some(servers) => format!("{servers} servers"),
            None => "a running cluster".to_owned(),
        },
        sent = report.sent_per_s,
        delivered = report.delivered_per_s,
        lost = report.lost,
        doubled = report.doubled,
        reordered = report.reordered,
        damaged = report.damaged,
        curve =
            curve(&[("sent", "#c60", &outcome.sent), ("delivered", "#06c", &outcome.delivered)]),
        version = environment.version,
        build = if environment.optimised { "" } else { ", not optimised" },
        cores = environment.cores,
        kernel = environment.kernel,
        sqlite = environment.sqlite,
        disk = environment.disk.took.p50_ms,
    )
}

/// Latency over percentile, both axes logarithmic.
fn curve(lines: &[(&str, &str, &Durations)]) -> String {
    let quantile = |decades: f64| 1.0 - 10_f64.powf(-decades);
    let value = |durations: &Durations, decades: f64| {
        let us = durations.histogram().value_at_quantile(quantile(decades));
        (us.max(1) as f64 / 1_000.0).log10()
    };
    let ends = lines.iter().flat_map(|(.., d)| [value(d, 0.0), value(d, DECADES)]);
    let (low, high) =
        ends.fold((f64::MAX, f64::MIN), |(low, high), end| (low.min(end), high.max(end)));
    let (low, high) = (low.floor(), high.ceil().max(low.floor() + 1.0));
    let x = |decades: f64| MARGIN + decades / DECADES * (WIDTH - 2.0 * MARGIN);
    let y = |power: f64| HEIGHT - MARGIN - (power - low) / (high - low) * (HEIGHT - 2.0 * MARGIN);
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"100%\" fill=none>");
    for (decade, label) in ["0", "90 %", "99 %", "99.9 %", "99.99 %"].into_iter().enumerate() {
        let (at, down) = (x(decade as f64), HEIGHT - MARGIN);
        let _ = write!(
            svg,
            "<path d=\"M{at} {MARGIN}V{down}\" stroke=#ddd />\
             <text x={at} y={} fill=#000 text-anchor=middle>{label}</text>",
            down + 18.0
        );
    }
    for power in low as i32..=high as i32 {
        let at = y(f64::from(power));
        let _ = write!(
            svg,
            "<path d=\"M{MARGIN} {at}H{}\" stroke=#ddd />\
             <text x={} y={at} fill=#000 text-anchor=end>{} ms</text>",
            WIDTH - MARGIN,
            MARGIN - 6.0,
            10_f64.powi(power)
        );
    }
    for (number, (name, colour, durations)) in lines.iter().enumerate() {
        let steps = (0..=100).map(|step| f64::from(step) / 100.0 * DECADES);
        let points: Vec<String> =
            steps.map(|d| format!("{:.1},{:.1}", x(d), y(value(durations, d)))).collect();
        let _ = write!(
            svg,
            "<polyline points=\"{}\" stroke={colour} stroke-width=2 />\
             <text x={} y={} fill={colour}>{name}</text>",
            points.join(" "),
            MARGIN + 12.0,
            MARGIN + 16.0 * (number as f64 + 1.0)
        );
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn hundred() -> Durations {
        let mut durations = Durations::new();
        (1..=100).for_each(|ms| durations.add(Duration::from_millis(ms)));
        durations
    }

    #[test]
    fn a_percentile_table_has_the_columns_that_other_tools_read() {
        let text = percentiles(&hundred());
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .take_while(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|word| word.parse().unwrap()).collect())
            .collect();
        let half = rows.iter().find(|row| row[1] >= 0.5).unwrap();
        assert!((half[0] - 50.0).abs() < 1.0 && half[2] == 50.0, "{half:?}");
        let last = rows.last().unwrap();
        assert_eq!((last[1], last[2], last.len()), (1.0, 100.0, 3), "{last:?}");
        assert!(text.contains("Total count    =          100]"), "{text}");
    }

    #[test]
    fn the_curve_stays_inside_its_frame_even_without_a_message() {
        for durations in [hundred(), Durations::new()] {
            let svg = curve(&[("sent", "#000", &durations)]);
            let points = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
            for point in points.split(' ') {
                let (x, y) = point.split_once(',').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                assert!((0.0..=WIDTH).contains(&x) && (0.0..=HEIGHT).contains(&y), "{point}");
            }
        }
    }
}
