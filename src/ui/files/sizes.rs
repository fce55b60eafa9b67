//! Sizes in words, and words that mean sizes.

/// Bytes as people write them, by thousands: `512 bytes`, `84 kB`, `1.2 MB`, `17 MB`.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        // 999.9 kB would be rounded to 1000.
        1_000..999_500 => format!("{} kB", rounded(bytes, 1_000)),
        _ => format!("{} MB", rounded(bytes, 1_000_000)),
    }
}

/// A bound, which is a whole number of MiB more often than of MB.
pub fn bound(bytes: u64) -> String {
    const MIB: u64 = 1024 * 1024;
    if bytes > 0 && bytes.is_multiple_of(MIB) {
        format!("{} MiB", bytes / MIB)
    } else {
        size(bytes)
    }
}

/// One digit behind the point below ten, none from there on.
fn rounded(bytes: u64, unit: u64) -> String {
    let tenths = bytes.saturating_mul(10).saturating_add(unit / 2) / unit;
    if tenths < 100 && !tenths.is_multiple_of(10) {
        format!("{}.{}", tenths / 10, tenths % 10)
    } else {
        (bytes.saturating_add(unit / 2) / unit).to_string()
    }
}

/// Units that people write, the longest word first.
const UNITS: [(&str, u64); 8] = [
    ("bytes", 1),
    ("mib", 1024 * 1024),
    ("kib", 1024),
    ("gb", 1_000_000_000),
    ("mb", 1_000_000),
    ("kb", 1_000),
    ("b", 1),
    ("", 1),
];

/// Reads `0`, `500 kB`, `5 MB`, `5MB`, `1.5 MB`, `64 MiB`; `None` for anything else.
pub fn parse(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let (number, unit) = UNITS
        .iter()
        .find_map(|(word, unit)| Some((lower.strip_suffix(word)?.trim_end(), *unit)))?;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 6 {
        return None;
    }
    let scale = 10_u64.checked_pow(u32::try_from(part.len()).ok()?)?;
    let fraction = part.parse::<u64>().ok()?.checked_mul(unit)? / scale;
    whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(fraction)
}

/// A size that [`parse`] reads back to the byte.
pub fn exact(bytes: u64) -> String {
    match bytes {
        0 => "0".to_owned(),
        _ if bytes.is_multiple_of(1_000_000) => format!("{} MB", bytes / 1_000_000),
        _ if bytes.is_multiple_of(1_000) => format!("{} kB", bytes / 1_000),
        _ => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_by_thousands_and_bounds_as_they_are() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1_000, "1 kB"),
            (1_234, "1.2 kB"),
            (84_210, "84 kB"),
            (999_499, "999 kB"),
            (999_500, "1 MB"),
            (1_200_000, "1.2 MB"),
            (9_960_000, "10 MB"),
            (80_000_000, "80 MB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
        assert_eq!(bound(crate::limits::FILE_BYTES_MAX), "64 MiB");
        assert_eq!(bound(5_000_000), "5 MB");
    }

    #[test]
    fn sizes_are_read_as_people_write_them_and_what_is_written_is_read_back() {
        for (text, bytes) in [
            ("0", 0),
            ("500 kB", 500_000),
            ("5 MB", 5_000_000),
            ("5mb", 5_000_000),
            ("1.5 MB", 1_500_000),
            ("64 MiB", 64 * 1024 * 1024),
            ("1 GB", 1_000_000_000),
            ("12", 12),
            ("12 bytes", 12),
        ] {
            assert_eq!(parse(text), Some(bytes), "{text}");
            assert_eq!(parse(&exact(bytes)), Some(bytes));
        }
        for text in ["", "MB", "-1", "5 XB", "1.2.3 MB", ".5 MB", "1e3", "99999999999999999999"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
