//! Names of users, policies and tokens: checked once, where they enter.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is not a name.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not {expected}")]
pub struct ParseNameError {
    text: String,
    expected: &'static str,
}

fn parse(
    text: &str,
    len_max: usize,
    more: &[u8],
    expected: &'static str,
) -> Result<Box<str>, ParseNameError> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || more.contains(&b);
    if (1..=len_max).contains(&text.len()) && text.bytes().all(legal) {
        return Ok(text.into());
    }
    let text = text.chars().take(64).collect();
    Err(ParseNameError { text, expected })
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $len_max:expr, $more:expr, $expected:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks a text.
            pub fn parse(text: &str) -> Result<Self, ParseNameError> {
                parse(text, $len_max, $more, $expected).map(Self)
            }

            /// The text.
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
            type Error = ParseNameError;
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
            type Err = ParseNameError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }
    };
}

name! {
    /// A user's name: 1 to 64 characters of `A-Z a-z 0-9 + = , . @ _ -` (IAM's rule).
    UserName, 64, b"+=,.@_-", "a user name (1 to 64 of A-Z a-z 0-9 + = , . @ _ -)"
}
name! {
    /// A policy's name: 1 to 128 characters of `A-Z a-z 0-9 + = , . @ _ -` (IAM's rule).
    PolicyName, 128, b"+=,.@_-", "a policy name (1 to 128 of A-Z a-z 0-9 + = , . @ _ -)"
}
name! {
    /// A token's public identity: `tt-` and 16 symbols of `A-Z 2-7`.
    TokenId, 32, b"-", "a token ID"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_their_alphabet_and_length() {
        for good in ["a", "alice@example.org", "svc+x=1,y_z-0", &"u".repeat(64)] {
            assert_eq!(UserName::parse(good).map(|n| n.to_string()), Ok(good.to_string()));
        }
        for bad in ["", "a b", "a/b", "ä", "a\"", &"u".repeat(65)] {
            assert!(UserName::parse(bad).is_err(), "{bad}");
        }
    }
}
