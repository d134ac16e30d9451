//! Units as devices print them: durations, sizes, rates, masks, points in time.

use std::net::{IpAddr, Ipv4Addr};

use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

/// A number with the decoration that devices give it: thousands separators, a sign, a trailing unit or `%`.
pub(crate) fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | ',' | '-' | '+' | 'e' | 'E')))
        .unwrap_or(text.len());
    let digits: String = text[..end].chars().filter(|c| *c != ',').collect();
    let digits = digits.trim_end_matches(['e', 'E', '.']);
    digits.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Seconds of `1y2w`, `3d04h`, `00:01:02`, `4 years, 3 weeks`, `2 days, 20:08:18`, `P3DT11H24M38S`, `5.2 sec` or plain
/// seconds.
pub(crate) fn duration(text: &str) -> Option<f64> {
    let text = text.trim().trim_start_matches("for ").replace("(s)", " ");
    let iso = text.strip_prefix('P');
    let mut seconds = 0.0;
    let mut found = false;
    let mut in_time = iso.is_none();
    let mut rest = iso.unwrap_or(&text);
    while let Some(first) = rest.chars().next() {
        if first == 'T' && iso.is_some() {
            in_time = true;
            rest = &rest[1..];
        } else if first.is_ascii_digit() {
            let end =
                rest.find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.')).unwrap_or(rest.len());
            let (figures, after) = rest.split_at(end);
            let after = after.trim_start();
            let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let unit = if iso.is_some() { after.get(..1)? } else { &after[..unit_end] };
            seconds += if figures.contains(':') {
                clock(figures)?
            } else {
                figures.parse::<f64>().ok()? * unit_seconds(unit, in_time, iso.is_some())?
            };
            rest = if figures.contains(':') { after } else { after.get(unit.len()..)? };
            found = true;
        } else if first == ',' || first.is_whitespace() {
            rest = &rest[first.len_utf8()..];
        } else if let Some(after) = rest.strip_prefix("and ") {
            rest = after;
        } else {
            return None;
        }
    }
    found.then_some(seconds)
}

fn clock(figures: &str) -> Option<f64> {
    let parts: Vec<f64> = figures.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    match parts.as_slice() {
        [minutes, seconds] => Some(minutes * 60.0 + seconds),
        [hours, minutes, seconds] => Some(hours * 3600.0 + minutes * 60.0 + seconds),
        [days, hours, minutes, seconds] => Some(days * 86400.0 + hours * 3600.0 + minutes * 60.0 + seconds),
        _ => None,
    }
}

fn unit_seconds(unit: &str, in_time: bool, iso: bool) -> Option<f64> {
    if iso && unit == "M" {
        return Some(if in_time { 60.0 } else { 30.0 * 86400.0 });
    }
    Some(match unit.to_ascii_lowercase().as_str() {
        "y" | "yr" | "yrs" | "year" | "years" => 365.0 * 86400.0,
        "mo" | "month" | "months" => 30.0 * 86400.0,
        "w" | "wk" | "week" | "weeks" => 7.0 * 86400.0,
        "d" | "day" | "days" => 86400.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3600.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "s" | "sec" | "secs" | "second" | "seconds" | "" => 1.0,
        "ms" | "msec" | "msecs" | "milliseconds" => 0.001,
        _ => return None,
    })
}

/// Megabits per second of `10Gbps`, `1000 Mb/s`, `100mbps`, `1000000 Kbit`, `10G`, `auto`.
pub(crate) fn mbps(text: &str) -> Option<f64> {
    let text = text.trim();
    let value = number(text)?;
    let unit =
        text.trim_start_matches(|c: char| c.is_ascii_digit() || ".,+- ".contains(c)).to_ascii_lowercase();
    Some(match unit.chars().next() {
        Some('k') => value / 1_000.0,
        Some('m') => value,
        Some('g') => value * 1_000.0,
        Some('t') => value * 1_000_000.0,
        Some('b') => value / 1_000_000.0,
        _ => return None,
    })
}

/// Bytes of `3808M`, `12 GB`, `24518956K`, `1024`.
pub(crate) fn bytes(text: &str) -> Option<f64> {
    let text = text.trim();
    let value = number(text)?;
    let unit =
        text.trim_start_matches(|c: char| c.is_ascii_digit() || ".,+- ".contains(c)).to_ascii_lowercase();
    Some(match unit.chars().next() {
        Some('k') => value * 1024.0,
        Some('m') => value * 1_048_576.0,
        Some('g') => value * 1_073_741_824.0,
        Some('t') => value * 1_099_511_627_776.0,
        _ => value,
    })
}

/// The probes of one hop of a traceroute, `host|address|milliseconds` each: a probe without a host came from the one
/// before, a `*` from nobody. `keep`: a lost probe does not make the host before it forgotten.
pub(crate) fn probes(text: &str, keep: bool) -> Vec<String> {
    let mut probes = Vec::new();
    let (mut host, mut address) = ("*".to_owned(), "*".to_owned());
    let mut words = text.split_whitespace().peekable();
    while let Some(word) = words.next() {
        if word == "*" {
            probes.push("*|*|".to_owned());
            if !keep {
                (host, address) = ("*".to_owned(), "*".to_owned());
            }
        } else if words.peek().is_some_and(|next| next.starts_with("msec") || *next == "ms") {
            words.next();
            probes.push(format!("{host}|{address}|{word}"));
        } else if let Some(inner) = word.strip_prefix('(') {
            address = inner.trim_end_matches(')').to_owned();
        } else if !word.starts_with(['!', '[']) {
            host = word.to_owned();
            address = word.to_owned();
        }
    }
    probes
}

/// An AS number in plain or dotted notation (RFC 5396).
pub(crate) fn as_number(text: &str) -> Option<u64> {
    match text.trim().split_once('.') {
        None => text.trim().parse::<u32>().ok().map(u64::from),
        Some((high, low)) => {
            let (high, low): (u16, u16) = (high.parse().ok()?, low.parse().ok()?);
            Some(u64::from(high) * 65_536 + u64::from(low))
        }
    }
}

/// The name of an LLDP system capability (IEEE 802.1AB, 8.5.8), from its letter or any platform's spelling.
pub(crate) fn capability(text: &str) -> Option<&'static str> {
    let letters: String = text.to_ascii_lowercase().chars().filter(char::is_ascii_alphabetic).collect();
    Some(match letters.as_str() {
        "o" | "other" => "other",
        "p" | "repeater" => "repeater",
        "b" | "bridge" => "bridge",
        "w" | "wlanaccesspoint" | "wlan" => "wlan-access-point",
        "r" | "router" => "router",
        "t" | "telephone" => "telephone",
        "c" | "docsis" | "docsiscabledevice" => "docsis-cable-device",
        "s" | "station" | "stationonly" => "station",
        _ => return None,
    })
}

/// The length of a mask: `255.255.255.0`, `0xffffff00`, `24` or `/24`.
pub(crate) fn prefix_length(text: &str) -> Option<u8> {
    let text = text.trim().trim_start_matches('/');
    if let Ok(length) = text.parse::<u8>() {
        return (length <= 128).then_some(length);
    }
    let bits = match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(mask)) => u32::from(mask),
        Ok(IpAddr::V6(mask)) => {
            let bits = u128::from(mask);
            return (bits.leading_ones() == bits.count_ones()).then(|| bits.count_ones() as u8);
        }
        Err(_) => u32::from(Ipv4Addr::from(u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()?)),
    };
    (bits.leading_ones() == bits.count_ones()).then(|| bits.count_ones() as u8)
}

/// The IPv4 mask of a length: `255.255.255.0` of `24`.
pub(crate) fn mask(text: &str) -> Option<String> {
    let length: u32 = text.trim().parse().ok().filter(|length| *length <= 32)?;
    let bits = u32::MAX.checked_shl(32 - length).unwrap_or(0);
    Some(Ipv4Addr::from(bits).to_string())
}

/// Seconds since 1970 of a date as devices print it, taken for UTC where they name no offset.
pub(crate) fn timestamp(text: &str) -> Option<f64> {
    const FORMATS: [&str; 6] = [
        "%a %b %d %H:%M:%S %Y",
        "%Y-%m-%d %H:%M:%S",
        "%Y-%m-%dT%H:%M:%S",
        "%d %b %Y %H:%M:%S",
        "%b %d %Y %H:%M:%S",
        "%b %d %H:%M:%S %Y",
    ];
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    FORMATS.iter().find_map(|format| {
        let time: DateTime = strtime::parse(format, &text).ok()?.to_datetime().ok()?;
        Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second() as f64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_every_dialect() {
        for (text, seconds) in [
            ("1y2w", 365.0 * 86400.0 + 14.0 * 86400.0),
            ("3d04h", 3.0 * 86400.0 + 4.0 * 3600.0),
            ("00:01:02", 62.0),
            ("2 days, 20:08:18", 2.0 * 86400.0 + 20.0 * 3600.0 + 498.0),
            ("4 years, 3 weeks", 4.0 * 365.0 * 86400.0 + 21.0 * 86400.0),
            ("1 week, 2 days, 3 hours and 4 minutes", 7.0 * 86400.0 + 2.0 * 86400.0 + 3.0 * 3600.0 + 240.0),
            ("P3DT11H24M38S", 3.0 * 86400.0 + 11.0 * 3600.0 + 24.0 * 60.0 + 38.0),
            ("PT5M", 300.0),
            ("2week(s) 2day(s)", 16.0 * 86400.0),
            ("P1M", 30.0 * 86400.0),
            ("17", 17.0),
        ] {
            assert_eq!(duration(text), Some(seconds), "{text}");
        }
        for text in ["", "never", "-", "P", "1x", "1:2:3:4:5", "\u{e9}"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn probes_of_a_hop() {
        assert_eq!(probes("a (1.1.1.1)  1.5 ms  2 ms", true), ["a|1.1.1.1|1.5", "a|1.1.1.1|2"]);
        assert_eq!(
            probes("1.1.1.1 3 msec * 4 msec !N", true),
            ["1.1.1.1|1.1.1.1|3", "*|*|", "1.1.1.1|1.1.1.1|4"]
        );
    }

    #[test]
    fn sizes_rates_and_masks() {
        assert_eq!(mbps("10Gbps"), Some(10_000.0));
        assert_eq!(mbps("1000 Mb/s"), Some(1000.0));
        assert_eq!(mbps("auto"), None);
        assert_eq!(bytes("2K"), Some(2048.0));
        assert_eq!(prefix_length("255.255.255.128"), Some(25));
        assert_eq!(prefix_length("0xffffff00"), Some(24));
        assert_eq!(prefix_length("255.0.255.0"), None);
        assert_eq!(mask("24").as_deref(), Some("255.255.255.0"));
        assert_eq!(mask("0").as_deref(), Some("0.0.0.0"));
        assert_eq!(mask("33"), None);
        assert_eq!(number("1,234 bytes"), Some(1234.0));
        assert_eq!(number("-3.5dBm"), Some(-3.5));
        assert_eq!(number("e"), None);
        assert_eq!(timestamp("Fri Nov 20 10:02:05 2026"), Some(1_795_168_925.0));
    }
}
