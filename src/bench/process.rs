//! What Linux tells of a process: memory and processor time.
//!
//! Deliberately no more than two files of `/proc`; elsewhere there are no such figures.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::BenchError;

/// Ticks of `/proc/PID/stat` in a second: 100 on every Linux that people run.
const TICKS_PER_S: u64 = 100;

/// Bytes that a process holds in memory.
pub(super) fn resident_bytes(pid: u32) -> Result<u64, BenchError> {
    let path = PathBuf::from(format!("/proc/{pid}/status"));
    let status = fs::read_to_string(&path).map_err(|source| BenchError::File { path, source })?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: Option<u64> = kib.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok());
    let kib = kib.ok_or_else(|| BenchError::Unexpected(format!("no VmRSS for process {pid}")))?;
    Ok(kib * 1024)
}

/// Processor time that these processes have used, to a hundredth of a second each. One that is
/// gone counts as nothing.
pub(super) fn cpu_time(pids: &[u32]) -> Duration {
    let ticks = pids
        .iter()
        .filter_map(|pid| ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
        .sum::<u64>();
    Duration::from_millis(ticks * 1_000 / TICKS_PER_S)
}

/// User and system time of a line of `/proc/PID/stat`.
fn ticks(stat: &str) -> Option<u64> {
    // The name stands in parentheses and may itself hold blanks and parentheses.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_whatever_the_process_is_called() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 5 0 0 0 120 30 0 0 20 0 3 0 100 1 2";
        assert_eq!(ticks(stat), Some(150));
        assert_eq!(ticks("7 (a"), None);
    }
}
