//! Why an account could not be read or changed, or a request not be let in.

use terrane_types::{AccessKeyId, AccountId};

use crate::keys::KeyError;
use crate::limits::Throttled;
use crate::model::{Identity, ParseNameError, PolicyName, TokenId};
use crate::sigv4::SigError;

/// What a call of this crate can fail with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The request's signature is malformed, outdated or wrong.
    #[error(transparent)]
    Signature(#[from] SigError),
    /// No such access key, or one that is disabled, expired, or belongs to a disabled user or account.
    #[error("the access key {0} does not exist or may not be used")]
    InvalidAccessKey(AccessKeyId),
    /// No such bearer token, or one that may not be used.
    #[error("the bearer token is not valid")]
    InvalidToken,
    /// User or password is wrong, or the user may not log in.
    #[error("wrong account, user or password")]
    WrongPassword,
    /// An `Authorization` header of a scheme that is not offered.
    #[error("this way to authenticate is not offered")]
    UnknownScheme,
    /// Too many requests or attempts.
    #[error(transparent)]
    Throttled(#[from] Throttled),
    /// No such account.
    #[error("no account {0}")]
    NoSuchAccount(AccountId),
    /// No such user.
    #[error("no user {0}")]
    NoSuchUser(Identity),
    /// No such access key of that account.
    #[error("no access key {0}")]
    NoSuchAccessKey(AccessKeyId),
    /// No such token of that account.
    #[error("no token {0}")]
    NoSuchToken(TokenId),
    /// No such policy.
    #[error("no policy {0}")]
    NoSuchPolicy(PolicyName),
    /// The user exists already.
    #[error("user {0} exists already")]
    UserExists(Identity),
    /// The root account must stay usable.
    #[error("the root account cannot be {0}")]
    RootAccount(&'static str),
    /// A limit on the number of something was reached.
    #[error("too many {what} (limit {limit})")]
    TooMany {
        /// What there would be too many of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A policy that does not parse or does not fit the schema.
    #[error("invalid policy: {}", .0.join("; "))]
    InvalidPolicy(Vec<String>),
    /// An argument is out of bounds.
    #[error("{what} {problem}")]
    InvalidArgument {
        /// Which one.
        what: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A name that is none.
    #[error(transparent)]
    Name(#[from] ParseNameError),
    /// The key service failed.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// A stored record that does not decode.
    #[error("a stored {0} is damaged")]
    Damaged(&'static str),
    /// The store failed; retrying may help.
    #[error("store: {0}")]
    Store(#[from] terrane_store::StoreError),
}

impl AuthError {
    /// A stable error code: S3's where S3 has one.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Signature(error) => error.code(),
            Self::InvalidAccessKey(_) => "InvalidAccessKeyId",
            Self::InvalidToken => "InvalidToken",
            Self::WrongPassword => "WrongPassword",
            Self::UnknownScheme => "InvalidRequest",
            Self::Throttled(_) => "SlowDown",
            Self::NoSuchAccount(_) => "NoSuchAccount",
            Self::NoSuchUser(_) => "NoSuchUser",
            Self::NoSuchAccessKey(_) => "NoSuchAccessKey",
            Self::NoSuchToken(_) => "NoSuchToken",
            Self::NoSuchPolicy(_) => "NoSuchPolicy",
            Self::UserExists(_) => "UserExists",
            Self::RootAccount(_) => "RootAccount",
            Self::TooMany { .. } => "LimitExceeded",
            Self::InvalidPolicy(_) => "InvalidPolicy",
            Self::InvalidArgument { .. } | Self::Name(_) => "InvalidArgument",
            Self::Keys(_) | Self::Damaged(_) => "InternalError",
            Self::Store(_) => "ServiceUnavailable",
        }
    }

    /// The HTTP status of a native answer. (S3 answers [`AuthError::Throttled`] with 503.)
    pub fn status(&self) -> u16 {
        match self {
            Self::Signature(error) => error.status(),
            Self::InvalidAccessKey(_) => 403,
            Self::InvalidToken | Self::WrongPassword => 401,
            Self::UnknownScheme | Self::InvalidPolicy(_) | Self::InvalidArgument { .. } | Self::Name(_) => {
                400
            }
            Self::Throttled(_) => 429,
            Self::NoSuchAccount(_)
            | Self::NoSuchUser(_)
            | Self::NoSuchAccessKey(_)
            | Self::NoSuchToken(_)
            | Self::NoSuchPolicy(_) => 404,
            Self::UserExists(_) | Self::RootAccount(_) | Self::TooMany { .. } => 409,
            Self::Keys(_) | Self::Damaged(_) => 500,
            Self::Store(_) => 503,
        }
    }
}
