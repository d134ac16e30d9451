//! Random identifiers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A random 64-bit identity: bucket incarnations, store incarnations, operations' origins.
///
/// Printed as 16 lower-case hex digits. Random rather than counted, so that a restored or rebuilt
/// state never hands out an identity that an earlier one has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RandomId(pub u64);

/// Why a text is not 16 hex digits.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not an identity of 16 hex digits")]
pub struct ParseIdError(String);

impl RandomId {
    /// Parses 16 lower-case hex digits.
    pub fn parse(text: &str) -> Result<Self, ParseIdError> {
        let legal = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == 16 && text.bytes().all(legal) {
            u64::from_str_radix(text, 16).map(Self).map_err(|_| ParseIdError(text.into()))
        } else {
            Err(ParseIdError(text.into()))
        }
    }
}

impl fmt::Display for RandomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        for value in [0, 1, 0xdead_beef, u64::MAX] {
            assert_eq!(RandomId::parse(&RandomId(value).to_string()), Ok(RandomId(value)));
        }
        for bad in ["", "00000000deadbee", "00000000DEADBEEF", "+000000000000001"] {
            assert!(RandomId::parse(bad).is_err(), "{bad}");
        }
    }
}
