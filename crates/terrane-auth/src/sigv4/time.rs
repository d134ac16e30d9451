//! The three ways in which a signed request tells its time.

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// Parses `20130524T000000Z` (ISO 8601 basic format, the only one that version 4 allows).
pub(super) fn parse_timestamp(text: &str) -> Option<Timestamp> {
    let b = text.as_bytes();
    if b.len() != 16 || b[8] != b'T' || b[15] != b'Z' {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<i8> {
        let digits = b.get(from..to)?;
        digits.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(digits).ok()?.parse().ok())?
    };
    let date = parse_day(text.get(..8)?)?;
    let time = jiff::civil::Time::new(number(9, 11)?, number(11, 13)?, number(13, 15)?, 0).ok()?;
    DateTime::from_parts(date, time).to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// Parses `20130524`, the day in a credential scope.
pub(super) fn parse_day(text: &str) -> Option<Date> {
    if text.len() != 8 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let year: i16 = text.get(..4)?.parse().ok()?;
    let month: i8 = text.get(4..6)?.parse().ok()?;
    let day: i8 = text.get(6..)?.parse().ok()?;
    Date::new(year, month, day).ok()
}

/// Parses a `Date` header: RFC 9110's preferred form, or the basic format.
pub(super) fn parse_http_date(text: &str) -> Option<Timestamp> {
    if let Some(time) = parse_timestamp(text) {
        return Some(time);
    }
    jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp())
}

/// Prints a time as `20130524T000000Z`.
pub fn format_timestamp(time: SystemTime) -> String {
    // Outside of years -9999 to 9999 there is no such text; clamped, it fails every check of skew.
    format(Timestamp::try_from(time).unwrap_or(Timestamp::MAX))
}

pub(super) fn format(time: Timestamp) -> String {
    let t = time.to_zoned(TimeZone::UTC).datetime();
    let (y, m, d) = (t.year(), t.month(), t.day());
    format!("{y:04}{m:02}{d:02}T{:02}{:02}{:02}Z", t.hour(), t.minute(), t.second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_format_round_trips() {
        for text in ["20130524T000000Z", "20240229T235959Z", "19700101T000001Z"] {
            assert_eq!(parse_timestamp(text).map(format).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for bad in [
            "",
            "20130524",
            "20130524T000000",
            "20130524T000000z",
            "20131324T000000Z",
            "20130230T000000Z",
            "20130524T240000Z",
            "20130524T006000Z",
            "2013052 T000000Z",
            "+0130524T000000Z",
            "20130524T-10000Z",
            "2013-05-24T00:00:00Z",
            "٢٠١٣٠٥٢٤",
        ] {
            assert_eq!(parse_timestamp(bad), None, "{bad}");
        }
    }

    #[test]
    fn date_headers_are_understood() {
        let expected = parse_timestamp("20130524T000000Z");
        assert_eq!(parse_http_date("Fri, 24 May 2013 00:00:00 GMT"), expected);
        assert_eq!(parse_http_date("20130524T000000Z"), expected);
        assert_eq!(parse_http_date("yesterday"), None);
    }
}
