//! Times as people and scripts read them.
//!
//! The time zone comes in as an argument; nothing here asks a clock.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

fn zoned(unix_ms: u64, zone: &TimeZone) -> jiff::Zoned {
    timestamp(unix_ms).to_zoned(zone.clone())
}

/// A time a peer made up may lie outside what a calendar holds: it becomes the nearest end.
fn timestamp(unix_ms: u64) -> Timestamp {
    i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::MAX)
}

/// `12:01`.
pub fn clock(unix_ms: u64, zone: &TimeZone) -> String {
    zoned(unix_ms, zone).strftime("%H:%M").to_string()
}

/// `12:01:02`.
pub fn clock_with_seconds(unix_ms: u64, zone: &TimeZone) -> String {
    zoned(unix_ms, zone).strftime("%H:%M:%S").to_string()
}

/// The day, for day lines.
pub fn day(unix_ms: u64, zone: &TimeZone) -> Date {
    zoned(unix_ms, zone).date()
}

/// `Friday 20 November`.
pub fn day_name(day: Date) -> String {
    day.strftime("%A %-d %B").to_string()
}

/// `12:01` on the day of `now`, `20 November 12:01` in its year, else with the year.
pub fn moment(unix_ms: u64, now_unix_ms: u64, zone: &TimeZone) -> String {
    let then = zoned(unix_ms, zone);
    let now = zoned(now_unix_ms, zone);
    let format = if then.date() == now.date() {
        "%H:%M"
    } else if then.year() == now.year() {
        "%-d %B %H:%M"
    } else {
        "%-d %B %Y %H:%M"
    };
    then.strftime(format).to_string()
}

/// RFC 3339 in UTC with milliseconds, for JSON: `2026-11-20T12:01:00.000Z`.
pub fn rfc3339(unix_ms: u64) -> String {
    format!("{:.3}", timestamp(unix_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    // 2026-11-20 12:01:02.003 UTC, a Friday.
    const NOON: u64 = 1_795_176_062_003;

    #[test]
    fn times_are_written_in_the_given_zone() {
        assert_eq!(clock(NOON, &TimeZone::UTC), "12:01");
        assert_eq!(clock(NOON, &TimeZone::fixed(jiff::tz::offset(2))), "14:01");
        assert_eq!(day_name(day(NOON, &TimeZone::UTC)), "Friday 20 November");
        assert_eq!(rfc3339(NOON), "2026-11-20T12:01:02.003Z");
    }

    #[test]
    fn a_moment_says_only_what_is_needed() {
        let day = 24 * 3600 * 1000;
        assert_eq!(moment(NOON, NOON, &TimeZone::UTC), "12:01");
        assert_eq!(moment(NOON - day, NOON, &TimeZone::UTC), "19 November 12:01");
        assert_eq!(moment(NOON - 365 * day, NOON, &TimeZone::UTC), "20 November 2025 12:01");
    }

    #[test]
    fn an_impossible_time_is_no_panic() {
        assert!(clock(u64::MAX, &TimeZone::UTC).contains(':'));
        assert!(rfc3339(u64::MAX).ends_with('Z'));
    }
}
