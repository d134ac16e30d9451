//! Who asks: accounts, access keys, regions.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A twelve-digit account number, as in AWS.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountId(Box<str>);

/// Why a text is not an account number, access key ID or region.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not {expected}")]
pub struct ParseAccountError {
    text: String,
    expected: &'static str,
}

impl AccountId {
    /// The account that owns the installation; made at first start.
    pub fn root() -> Self {
        Self("000000000001".into())
    }

    /// Parses exactly twelve ASCII digits.
    pub fn parse(text: &str) -> Result<Self, ParseAccountError> {
        if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self(text.into()))
        } else {
            Err(ParseAccountError { text: text.into(), expected: "a twelve-digit account number" })
        }
    }

    /// The twelve digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The public half of an access key: 16 to 128 characters of `A-Z a-z 0-9 _`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccessKeyId(Box<str>);

impl AccessKeyId {
    /// Parses an access key ID (IAM's limits for `AccessKeyId`).
    pub fn parse(text: &str) -> Result<Self, ParseAccountError> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if (16..=128).contains(&text.len()) && text.bytes().all(legal) {
            Ok(Self(text.into()))
        } else {
            Err(ParseAccountError { text: text.into(), expected: "an access key ID" })
        }
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A region name such as `us-east-1`: 1 to 64 characters of `a-z 0-9 -`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Region(Box<str>);

impl Region {
    /// The default region.
    pub fn us_east_1() -> Self {
        Self("us-east-1".into())
    }

    /// Parses a region name.
    pub fn parse(text: &str) -> Result<Self, ParseAccountError> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if (1..=64).contains(&text.len()) && text.bytes().all(legal) {
            Ok(Self(text.into()))
        } else {
            Err(ParseAccountError { text: text.into(), expected: "a region name" })
        }
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! text_newtype {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $name {
            type Error = ParseAccountError;
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
            type Err = ParseAccountError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }
    )*};
}
text_newtype!(AccountId, AccessKeyId, Region);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_numbers_have_twelve_digits() {
        assert_eq!(AccountId::parse("123456789012").map(|a| a.to_string()), Ok("123456789012".into()));
        for bad in ["", "12345678901", "1234567890123", "12345678901a", "١٢٣٤٥٦"] {
            assert!(AccountId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn regions_are_lower_case() {
        assert!(Region::parse("eu-west-3").is_ok());
        for bad in ["", "EU", "a b", &"x".repeat(65)] {
            assert!(Region::parse(bad).is_err(), "{bad}");
        }
    }
}
