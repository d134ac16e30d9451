//! The text form of version identities.

use std::fmt;

use crate::service::VersionId;

/// Makes version numbers look random and detects texts that were never handed out.
const TWEAK: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of MurmurHash3: a permutation of 64-bit values.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

impl VersionId {
    /// Parses what [`Display`](fmt::Display) prints; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "null" {
            return Some(Self::Null);
        }
        let legal = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 32 || !text.bytes().all(legal) {
            return None;
        }
        let (masked, check) = text.split_at(16);
        let check = u64::from_str_radix(check, 16).ok()?;
        let value = u64::from_str_radix(masked, 16).ok()? ^ mix(check ^ TWEAK);
        (mix(value.wrapping_add(TWEAK)) == check).then_some(Self::Id(value))
    }
}

/// `null`, or 32 lower-case hex digits.
impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Id(value) => {
                let check = mix(value.wrapping_add(TWEAK));
                write!(f, "{:016x}{check:016x}", value ^ mix(check ^ TWEAK))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_round_trip_and_strangers_are_refused() {
        for value in [0, 1, 2, 1 << 40, u64::MAX] {
            let text = VersionId::Id(value).to_string();
            assert_eq!(text.len(), 32);
            assert_eq!(VersionId::parse(&text), Some(VersionId::Id(value)));
        }
        assert_eq!(VersionId::parse("null"), Some(VersionId::Null));
        for bad in ["", "NULL", &"0".repeat(32), &"g".repeat(32), &"0".repeat(31)] {
            assert_eq!(VersionId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn texts_are_pinned() {
        // They are in clients' databases: a change of the form would orphan them.
        assert_eq!(VersionId::Id(1).to_string(), "8dde58528d955052e5fdc025e13eeed5");
    }
}
