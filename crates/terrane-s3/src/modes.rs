//! `x-terrane-async` and `x-terrane-priority`: when a write's key is to reach the keymap, and what the
//! answer says about it.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use s3s::S3Result;
use terrane_objects::service::{ExplicitMode, KeymapState, ModeRequest, Priority, Written};

use crate::errors::invalid_argument;

static X_TERRANE_ASYNC: HeaderName = HeaderName::from_static("x-terrane-async");
static X_TERRANE_PRIORITY: HeaderName = HeaderName::from_static("x-terrane-priority");
static X_TERRANE_KEYMAP: HeaderName = HeaderName::from_static("x-terrane-keymap");
static X_TERRANE_OPERATION: HeaderName = HeaderName::from_static("x-terrane-operation");

/// Longest delay.
const DELAY_MAX: Duration = Duration::from_secs(4 * 7 * 24 * 3600);

/// Reads the headers of a write.
///
/// # Errors
/// `InvalidArgument` for anything but the documented values, before anything is stored.
pub(crate) fn requested(headers: &HeaderMap) -> S3Result<ModeRequest> {
    let explicit = match single(headers, &X_TERRANE_ASYNC)? {
        None => None,
        Some(text) => Some(parse_mode(text).ok_or_else(|| {
            invalid_argument(
                "x-terrane-async is one of true, false, async, time=D; D is a positive integer and one of \
                 s, m, h, d, w, at most 4w",
            )
        })?),
    };
    let priority = match single(headers, &X_TERRANE_PRIORITY)? {
        None => None,
        Some("high") => Some(Priority::High),
        Some("low") => Some(Priority::Low),
        Some(_) => return Err(invalid_argument("x-terrane-priority is high or low")),
    };
    Ok(ModeRequest { explicit, priority })
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> S3Result<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text)),
        _ => Err(invalid_argument(format!("{name} is given once, in ASCII"))),
    }
}

fn parse_mode(text: &str) -> Option<ExplicitMode> {
    match text {
        "true" | "async" => Some(ExplicitMode::Async),
        "false" => Some(ExplicitMode::Sync),
        _ => parse_delay(text.strip_prefix("time=")?).map(ExplicitMode::Delay),
    }
}

/// A positive integer and a unit, at most four weeks.
pub fn parse_delay(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        "w" => 7 * 24 * 3600,
        _ => return None,
    };
    let delay = Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(unit)?);
    (!delay.is_zero() && delay <= DELAY_MAX).then_some(delay)
}

/// Headers of the answer to a write.
pub(crate) fn answered(written: &Written) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(2);
    let state = match written.keymap {
        KeymapState::Applied => "applied",
        KeymapState::Pending => "pending",
    };
    headers.insert(&X_TERRANE_KEYMAP, HeaderValue::from_static(state));
    if let Some(operation) = &written.operation
        && let Ok(value) = HeaderValue::from_str(&operation.0)
    {
        headers.insert(&X_TERRANE_OPERATION, value);
    }
    headers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mode(value: &str) -> Option<ModeRequest> {
        let mut headers = HeaderMap::new();
        headers.insert(&X_TERRANE_ASYNC, value.parse().ok()?);
        requested(&headers).ok()
    }

    #[test]
    fn documented_values() {
        let explicit = |value: &str| mode(value).unwrap().explicit.unwrap();
        assert_eq!(explicit("true"), ExplicitMode::Async);
        assert_eq!(explicit("async"), ExplicitMode::Async);
        assert_eq!(explicit("false"), ExplicitMode::Sync);
        for (text, seconds) in [("1s", 1), ("2m", 120), ("1h", 3600), ("1d", 86_400), ("4w", 2_419_200)] {
            let expected = ExplicitMode::Delay(Duration::from_secs(seconds));
            assert_eq!(explicit(&format!("time={text}")), expected);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for bad in [
            "",
            "TRUE",
            "yes",
            "1",
            "time=",
            "time=1",
            "time=s",
            "time=0s",
            "time=-1s",
            "time=+1s",
            "time=1.5h",
            "time=5w",
            "time=2419201s",
            "time=1y",
            "time= 1s",
            "time=99999999999999999999w",
            "time=1s,true",
            "time=1ſ",
        ] {
            assert_eq!(mode(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_header_given_twice_is_refused() {
        let mut headers = HeaderMap::new();
        headers.append(&X_TERRANE_ASYNC, HeaderValue::from_static("true"));
        headers.append(&X_TERRANE_ASYNC, HeaderValue::from_static("true"));
        assert!(requested(&headers).is_err());
    }

    proptest! {
        #[test]
        fn delays_stay_in_bounds(text in "\\PC{0,12}") {
            if let Some(delay) = parse_delay(&text) {
                prop_assert!(delay >= Duration::from_secs(1) && delay <= DELAY_MAX);
            }
        }

        #[test]
        fn delays_are_read_exactly(n in 1u64..28) {
            prop_assert_eq!(parse_delay(&format!("{n}d")), Some(Duration::from_secs(n * 86_400)));
        }
    }
}
