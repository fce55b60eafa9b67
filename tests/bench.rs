//! `bench` measures with the programs that people run; here, that it does, and cleans up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod processes;

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use processes::Place;

#[test]
fn an_exchange_gives_all_figures_and_stops_what_it_started() {
    // `load_balancer` and `client` are built beside it.
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.args(["exchange", "--messages", "2", "--servers", "2", "--keep", "--json"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["sent"]["count"], &report["shown"]["count"]), (&2.into(), &2.into()));
    assert!(report["ready_ms"].as_f64().unwrap() > 0.0);
    assert!(report["sent"]["max_ms"].as_f64().unwrap() > 0.0);
    let processes: Vec<&str> = report["memory"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            assert!(row["rss_bytes"].as_u64().unwrap() > 1024 * 1024);
            row["process"].as_str().unwrap()
        })
        .collect();
    assert_eq!(processes, ["load_balancer", "s1", "s2", "client recv --follow"]);

    let folder = Path::new(report["folder"].as_str().unwrap());
    for server in ["s1", "s2"] {
        let pid = folder.join(format!("databases/{server}.pid"));
        let pid = std::fs::read_to_string(pid).unwrap();
        let line = std::fs::read(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&line).contains("fastchat-bench-"), "{server} runs on");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

fn bench(words: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_bench")).args(words).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// A load that a debug build on a busy machine carries.
const SMALL: [&str; 7] = ["run", "--clients", "4", "--duration", "1s", "--warmup", "200ms"];

#[test]
fn a_run_loses_nothing_and_writes_files_that_other_tools_read() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let words = ["--json", "--window", "4", "--servers", "2", "--report", out.to_str().unwrap()];
    let (code, stdout, stderr) = bench(&[&SMALL[..], &words].concat());
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    for nothing in ["lost", "doubled", "reordered", "damaged", "broken"] {
        assert_eq!(report[nothing], 0, "{nothing}: {report:#}");
    }
    let timed = report["delivered"]["count"].as_u64().unwrap();
    assert!(timed > 0 && report["written"].as_u64().unwrap() >= timed, "{report:#}");
    assert!(report["environment"]["disk"]["per_s"].as_f64().unwrap() > 0.0);

    let log = std::fs::read(out.join("latency.hlog")).unwrap();
    let counted: Vec<u64> = ["sent", "delivered"].map(|tag| count_in_log(&log, tag)).into();
    assert_eq!(counted, [timed, timed]);
    for name in ["sent", "delivered"] {
        let table = std::fs::read_to_string(out.join(format!("{name}.hgrm"))).unwrap();
        assert!(table.contains("1/(1-Percentile)"), "{table}");
        assert!(table.contains(&format!("Total count    = {timed:>12}]")), "{table}");
    }
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("<polyline") && !page.contains("http"), "{page}");
    let json = std::fs::read(out.join("report.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["delivered"]["count"], timed);
}

/// What the intervals of one tag hold together.
fn count_in_log(log: &[u8], tag: &str) -> u64 {
    use base64::Engine as _;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    IntervalLogIterator::new(log)
        .filter_map(|entry| match entry.unwrap() {
            LogEntry::Interval(interval) => Some(interval),
            _ => None,
        })
        .filter(|interval| interval.tag().unwrap().as_str() == tag)
        .map(|interval| {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(interval.encoded_histogram())
                .unwrap();
            let histogram = Deserializer::new().deserialize::<u64, _>(&mut &bytes[..]).unwrap();
            histogram.len()
        })
        .sum()
}

#[test]
fn a_lost_message_is_exit_code_7() {
    // Everybody's third entry is treated as if it had never come, and is waited for in vain.
    let words = ["--json", "--forget", "3", "--sealed", "pre", "--rate", "40", "--drain", "1s"];
    let (code, stdout, stderr) = bench(&[&SMALL[..], &words].concat());
    assert_eq!(code, Some(7), "{stdout}{stderr}");
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&report["lost"], &report["doubled"]), (&4.into(), &0.into()), "{report:#}");
}

/// The JSON of a run, and its exit code.
fn figures(words: &[&[&str]]) -> (Option<i32>, serde_json::Value) {
    let (code, stdout, stderr) = bench(&words.concat());
    (code, serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}{stderr}")))
}

#[test]
fn a_message_to_a_group_arrives_once_at_every_other_member() {
    // Two groups of four, with homes dealt by their names.
    let group = ["--clients", "8", "--pattern", "group", "--group-size", "4", "--servers", "2"];
    let load = ["--duration", "1s", "--warmup", "200ms", "--window", "4", "--json"];
    let (code, report) = figures(&[&["run"], &group, &load]);
    assert_eq!(code, Some(0), "{report:#}");
    let count = |what: &str| report[what]["count"].as_u64().unwrap();
    assert!(count("sent") > 0 && count("delivered") == 3 * count("sent"), "{report:#}");
    let written = report["written"].as_u64().unwrap();
    assert_eq!((&report["expected"], &report["groups"]), (&(3 * written).into(), &2.into()));

    let mix = ["--clients", "4", "--pattern", "mix", "--group-size", "4", "--group-share", "50"];
    let (code, report) = figures(&[&["run"], &mix, &load]);
    assert_eq!((code, &report["lost"]), (Some(0), &0.into()), "{report:#}");
    // Half go to one, half to three.
    let [written, expected] = ["written", "expected"].map(|what| report[what].as_u64().unwrap());
    assert!(written > 0 && expected.abs_diff(2 * written) <= 4, "{report:#}");
}

#[test]
fn a_message_that_a_group_loses_is_missed_at_every_other_member() {
    // The first entry of a group made it, the third is a message, of either group.
    let group = ["--clients", "8", "--pattern", "group", "--group-size", "4", "--servers", "2"];
    let load = ["--duration", "1s", "--warmup", "0s", "--rate", "40", "--sealed", "pre", "--json"];
    let (code, report) = figures(&[&["run"], &group, &load, &["--forget", "3", "--drain", "1s"]]);
    assert_eq!(code, Some(7), "{report:#}");
    assert_eq!((&report["lost"], &report["doubled"]), (&6.into(), &0.into()), "{report:#}");
}

#[test]
fn a_fan_out_is_a_row_for_each_size() {
    let words = ["fanout", "--sizes", "2,5", "--duration", "500ms", "--warmup", "0s", "--json"];
    let (code, table) = figures(&[&words, &["--window", "4"]]);
    assert_eq!(code, Some(0), "{table:#}");
    let rows = table["rows"].as_array().unwrap();
    let members: Vec<_> = rows.iter().map(|row| row["members"].as_u64().unwrap()).collect();
    assert_eq!(members, [2, 5]);
    for (row, members) in rows.iter().zip(members) {
        let count = |what: &str| row[what]["count"].as_u64().unwrap();
        assert!(count("sent") > 0, "{table:#}");
        assert_eq!(count("delivered"), (members - 1) * count("sent"), "{table:#}");
        assert!(row["cpu_ms_per_1000"].as_f64().unwrap() > 0.0, "{table:#}");
    }
}

#[test]
fn the_ceilings_are_measured_with_a_relay_that_loses_nothing_and_ends() {
    let words = ["limits", "--clients", "2", "--duration", "300ms", "--warmup", "100ms", "--json"];
    let (code, stdout, stderr) = bench(&words);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let both: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let ceilings = &both[1];
    for relay in ["memory", "durable"] {
        assert!(ceilings[relay]["per_s"].as_f64().unwrap() > 0.0, "{relay}: {both:#}");
    }
    assert!(ceilings["round_trip"]["count"].as_u64().unwrap() > 0, "{both:#}");
    assert!(ceilings["disk"]["per_s"].as_f64().unwrap() > 0.0, "{both:#}");
}

#[test]
fn the_relay_passes_messages_on_to_groups_too() {
    let words = ["limits", "--clients", "3", "--pattern", "group", "--group-size", "3", "--json"];
    let (code, both) = figures(&[&words, &["--duration", "300ms", "--warmup", "0s"]]);
    assert_eq!(code, Some(0), "{both:#}");
    for relay in ["memory", "durable"] {
        let count = |what: &str| both[1][relay][what]["count"].as_u64().unwrap();
        assert!(count("sent") > 0, "{relay}: {both:#}");
        assert_eq!(count("delivered"), 2 * count("sent"), "{relay}: {both:#}");
    }
}

#[test]
fn the_people_of_a_running_cluster_come_again_without_a_sign_up() {
    let place = Place::new();
    let cluster = place.start(1);
    let (port, people) = (place.port.to_string(), place.path("people.json"));
    // Its limits are the default ones, which allow five sign-ups a minute: three here.
    let ca = place.path("certs/ca.pem");
    let target = ["run", "127.0.0.1", &port, "--ca", ca.to_str().unwrap()];
    let people_words = ["--people", people.to_str().unwrap(), "--clients", "3"];
    let load = ["--duration", "300ms", "--warmup", "0s", "--json"];
    let words = [&target[..], &people_words, &load].concat();
    let names = || {
        let file: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&people).unwrap()).unwrap();
        let of = |person: &serde_json::Value| person["user"].as_str().unwrap().to_owned();
        file["people"].as_array().unwrap().iter().map(of).collect::<Vec<_>>()
    };
    let mut first = Vec::new();
    for run in 0..2 {
        let (code, stdout, stderr) = bench(&words);
        assert_eq!(code, Some(0), "run {run}: {stdout}{stderr}");
        if run == 0 {
            first = names();
        }
        assert_eq!((names().len(), names()), (3, first.clone()), "run {run}");
    }
    cluster.signal(Signal::TERM);
    cluster.wait();
}

#[test]
fn a_file_goes_up_and_down_and_over_the_relay_and_each_has_its_figures() {
    let (code, report) = figures(&[&["files", "--size", "1MiB", "--rounds", "1", "--json"]]);
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!((&report["bytes"], &report["rounds"]), (&(1024 * 1024).into(), &1.into()));
    for way in ["up", "down", "relay"] {
        assert!(report[way]["median"].as_f64().unwrap() > 0.0, "{way}: {report:#}");
    }
    for rate in ["seal", "open", "hash", "disk"] {
        assert!(report["rates"][rate].as_f64().unwrap() > 0.0, "{rate}: {report:#}");
    }
    assert_eq!(report["costs"].as_array().unwrap().len(), 3, "{report:#}");
}

#[test]
fn beside_an_upload_on_a_bad_line_every_text_comes() {
    let words = ["files", "--text", "--size", "1MiB", "--rounds", "1", "--json"];
    let load = ["--rate", "20", "--duration", "1s", "--loss", "1"];
    let (code, report) = figures(&[&words, &load]);
    assert_eq!(code, Some(0), "{report:#}");
    assert!(report["uploaded"][0].as_f64().unwrap() > 0.0, "{report:#}");
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{report:#}");
    for row in rows {
        for case in ["alone", "beside"] {
            assert_eq!(row[case]["count"], 20, "{case}: {report:#}");
        }
        assert_eq!((&row["lost"], &row["loss"]), (&0.into(), &0.01.into()), "{report:#}");
    }
}
