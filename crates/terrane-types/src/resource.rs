//! Identifiers of what an account owns: volumes, snapshots, instances; and of the zones these lie in.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Hex digits after the prefix, as EC2 has made them since 2016.
const DIGITS: usize = 17;
/// Hex digits of identifiers made before: still legal to ask for.
const DIGITS_OF_OLD: usize = 8;

/// Why a text is not an identifier or a zone.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not {expected}")]
pub struct ParseResourceError {
    text: String,
    expected: &'static str,
}

macro_rules! resource_ids {
    ($($(#[doc = $doc:literal])+ $name:ident $prefix:literal $expected:literal)*) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// What the text begins with.
            pub const PREFIX: &'static str = $prefix;

            /// The identifier whose hex digits are the low 68 bits of a random number.
            pub fn from_bits(random: u128) -> Self {
                let digits = random & ((1 << (4 * DIGITS)) - 1);
                Self(format!("{}{digits:0width$x}", Self::PREFIX, width = DIGITS).into())
            }

            /// Parses the prefix and 17 (or, as of old, 8) lower-case hex digits.
            pub fn parse(text: &str) -> Result<Self, ParseResourceError> {
                let legal = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                match text.strip_prefix(Self::PREFIX) {
                    Some(digits)
                        if matches!(digits.len(), DIGITS | DIGITS_OF_OLD) && digits.bytes().all(legal) =>
                    {
                        Ok(Self(text.into()))
                    }
                    _ => Err(ParseResourceError { text: text.into(), expected: $expected }),
                }
            }
        }
        text_form!($name);
    )*};
}

macro_rules! text_form {
    ($name:ident) => {
        impl $name {
            /// The text form.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $name {
            type Error = ParseResourceError;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(&text)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.into()
            }
        }
        impl std::str::FromStr for $name {
            type Err = ParseResourceError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }
    };
}

resource_ids! {
    /// A volume: `vol-` and 17 hex digits.
    VolumeId "vol-" "a volume's identifier"
    /// A snapshot: `snap-` and 17 hex digits.
    SnapshotId "snap-" "a snapshot's identifier"
    /// An instance: `i-` and 17 hex digits.
    InstanceId "i-" "an instance's identifier"
}

/// A zone such as `us-east-1a`: 1 to 64 characters of `a-z 0-9 -`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(Box<str>);

impl Zone {
    /// Parses a zone's name.
    pub fn parse(text: &str) -> Result<Self, ParseResourceError> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if (1..=64).contains(&text.len()) && text.bytes().all(legal) {
            Ok(Self(text.into()))
        } else {
            Err(ParseResourceError { text: text.into(), expected: "a zone's name" })
        }
    }
}
text_form!(Zone);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_have_a_prefix_and_17_or_8_digits() {
        let id = VolumeId::from_bits(0xffff_ff01_2345_6789_abcd_ef01);
        assert_eq!(id.as_str(), "vol-123456789abcdef01", "17 digits, whatever stands before them");
        assert_eq!(VolumeId::parse(id.as_str()), Ok(id));
        assert_eq!(InstanceId::from_bits(7).as_str(), "i-00000000000000007");
        assert!(VolumeId::parse("vol-1234abcd").is_ok());
        for bad in
            ["", "vol-", "vol-1234abcg", "vol-1234ABCD", "snap-1234abcd", "vol-123456789", "vol-é234567"]
        {
            assert!(VolumeId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn zones_are_lower_case() {
        assert_eq!(Zone::parse("us-east-1a").map(|z| z.to_string()), Ok("us-east-1a".into()));
        for bad in ["", "US", "a_b", &"x".repeat(65)] {
            assert!(Zone::parse(bad).is_err(), "{bad}");
        }
    }
}
