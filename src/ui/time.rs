//! Times as people and scripts read them.
//!
//! The time zone comes in as an argument; nothing here asks a clock.

use std::time::Duration;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::commands::duration;

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

/// The name of the day of `at`, when that is a later one than that of `from`; with the year when
/// it is not that of `now`.
pub fn later_day(from: u64, at: u64, now: u64, zone: &TimeZone) -> Option<String> {
    let (asked, found) = (day(from, zone), day(at, zone));
    let name = match found.year() == day(now, zone).year() {
        true => day_name(found),
        false => format!("{} {}", day_name(found), found.year()),
    };
    (found > asked).then_some(name)
}

/// RFC 3339 in UTC with milliseconds, for JSON: `2026-11-20T12:01:00.000Z`.
pub fn rfc3339(unix_ms: u64) -> String {
    format!("{:.3}", timestamp(unix_ms))
}

/// The moment that a typed day means: `2026-11-20`, with a time `2026-11-20 18:30`, `11-20` of this
/// year, `18:30` of today, `today`, `yesterday`, the last `monday`, or `3d` ago.
pub fn typed(words: &str, now_unix_ms: u64, zone: &TimeZone) -> Option<u64> {
    let words = words.trim().to_lowercase();
    if let Some(ago) = duration(&words) {
        return Some(now_unix_ms.saturating_sub(u64::try_from(ago.as_millis()).ok()?));
    }
    let today = day(now_unix_ms, zone);
    let (first, second) = words.split_once(' ').unwrap_or((&words, ""));
    let (date, time) = match (named_day(first, today), time_of_day(first), second) {
        (Some(date), _, "") => (date, Time::midnight()),
        (Some(date), _, second) => (date, time_of_day(second.trim())?),
        (None, Some(time), "") => (today, time),
        (None, ..) => return None,
    };
    let moment = zone.to_zoned(DateTime::from_parts(date, time)).ok()?;
    u64::try_from(moment.timestamp().as_millisecond()).ok()
}

fn time_of_day(word: &str) -> Option<Time> {
    let (hour, minute) = word.split_once(':')?;
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

fn named_day(word: &str, today: Date) -> Option<Date> {
    let weekday = match word {
        "today" => return Some(today),
        "yesterday" => return today.yesterday().ok(),
        "monday" | "mon" => Weekday::Monday,
        "tuesday" | "tue" => Weekday::Tuesday,
        "wednesday" | "wed" => Weekday::Wednesday,
        "thursday" | "thu" => Weekday::Thursday,
        "friday" | "fri" => Weekday::Friday,
        "saturday" | "sat" => Weekday::Saturday,
        "sunday" | "sun" => Weekday::Sunday,
        date => return written_day(date, today),
    };
    today.nth_weekday(-1, weekday).ok()
}

fn written_day(word: &str, today: Date) -> Option<Date> {
    let mut parts = word.split('-').map(str::parse::<i16>);
    match (parts.next()?.ok()?, parts.next()?.ok()?, parts.next(), parts.next()) {
        (year, month, Some(Ok(day)), None) => {
            Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
        }
        (month, day, None, None) => {
            let (month, day) = (i8::try_from(month).ok()?, i8::try_from(day).ok()?);
            let date = Date::new(today.year(), month, day).ok()?;
            // A day that has not come yet was last year.
            if date > today { date.checked_sub(1.year()).ok() } else { Some(date) }
        }
        _ => None,
    }
}

/// A length of time in words: `7 days`.
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    for (unit, name) in [(604_800, "week"), (86_400, "day"), (3_600, "hour"), (60, "minute")] {
        if seconds >= unit && seconds.is_multiple_of(unit) {
            return counted(seconds / unit, name);
        }
    }
    counted(seconds, "second")
}

fn counted(count: u64, name: &str) -> String {
    if count == 1 { format!("1 {name}") } else { format!("{count} {name}s") }
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
    fn a_day_without_messages_names_the_next_one() {
        let day = 24 * 3600 * 1000;
        let zone = TimeZone::UTC;
        assert_eq!(later_day(NOON, NOON + 1_000, NOON, &zone), None);
        let next = later_day(NOON - 3 * day, NOON, NOON, &zone);
        assert_eq!(next.as_deref(), Some("Friday 20 November"));
        let next = later_day(NOON - 3 * day, NOON, NOON + 365 * day, &zone);
        assert_eq!(next.as_deref(), Some("Friday 20 November 2026"));
    }

    #[test]
    fn typed_days_mean_their_first_moment() {
        // NOON is Friday 20 November 2026, 12:01:02.
        for (words, moment) in [
            ("2026-11-19", "2026-11-19T00:00:00.000Z"),
            ("2026-11-19 18:30", "2026-11-19T18:30:00.000Z"),
            ("11-19", "2026-11-19T00:00:00.000Z"),
            ("12-24", "2025-12-24T00:00:00.000Z"),
            ("Today", "2026-11-20T00:00:00.000Z"),
            ("yesterday 9:05", "2026-11-19T09:05:00.000Z"),
            ("09:05", "2026-11-20T09:05:00.000Z"),
            ("monday", "2026-11-16T00:00:00.000Z"),
            ("friday", "2026-11-13T00:00:00.000Z"),
            ("3d", "2026-11-17T12:01:02.003Z"),
        ] {
            let found = typed(words, NOON, &TimeZone::UTC).map(rfc3339);
            assert_eq!(found.as_deref(), Some(moment), "{words}");
        }
        for words in ["", "soon", "2026-13-01", "2026-02-30", "25:00", "1-2-3-4", "9", "today x"] {
            assert_eq!(typed(words, NOON, &TimeZone::UTC), None, "{words}");
        }
    }

    #[test]
    fn lengths_of_time_are_words() {
        for (seconds, words) in
            [(1, "1 second"), (90, "90 seconds"), (3_600, "1 hour"), (604_800, "1 week")]
        {
            assert_eq!(span(Duration::from_secs(seconds)), words);
        }
    }

    #[test]
    fn an_impossible_time_is_no_panic() {
        assert!(clock(u64::MAX, &TimeZone::UTC).contains(':'));
        assert!(rfc3339(u64::MAX).ends_with('Z'));
    }
}
