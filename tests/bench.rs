//! `bench` measures with the programs that people run; here, that it does, and cleans up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;
use std::process::Command;

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
