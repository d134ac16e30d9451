//! What an account consists of. These are the values that the API shows; none of them holds a secret
//! except the two `New…` types, which exist only at the moment of creation.

mod name;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use terrane_types::{AccessKeyId, AccountId};

pub use name::{ParseNameError, PolicyName, TokenId, UserName};

use crate::limits::RateLimit;
use crate::secret::Secret;

/// Whether an account, user or key may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It works.
    #[default]
    Enabled,
    /// It is refused, and so is everything that belongs to it.
    Disabled,
}

/// An account: owns resources, users, keys and policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Its number.
    pub id: AccountId,
    /// A text for people, up to 128 characters.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// A disabled account's keys and tokens are refused.
    pub status: Status,
    /// Its own request rate limit; `None`: the installation's default.
    pub rate_limit: Option<RateLimit>,
}

/// A named user of an account. The root user has no row: it exists as long as its account does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct User {
    /// Whose user.
    pub account: AccountId,
    /// Unique within the account.
    pub name: UserName,
    /// When it was made.
    pub created: Timestamp,
    /// A disabled user's keys and tokens are refused.
    pub status: Status,
    /// Ready-made policies that apply to this user. A fresh user has none and may do nothing.
    pub managed_policies: BTreeSet<ManagedPolicy>,
    /// Whether a console password is set.
    pub has_password: bool,
}

/// Policies that come with the installation and are attached to users by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ManagedPolicy {
    /// Everything that the account's root may do with the account's resources.
    FullAccess,
    /// Every action that only reads.
    ReadOnly,
}

/// Who acts: the root of an account, or one of its users.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    /// The account.
    pub account: AccountId,
    /// The user; `None` for the account's root.
    pub user: Option<UserName>,
}

impl Identity {
    /// The root of an account.
    pub fn root(account: AccountId) -> Self {
        Self { account, user: None }
    }

    /// A user of an account.
    pub fn user(account: AccountId, user: UserName) -> Self {
        Self { account, user: Some(user) }
    }

    /// Whether this is the account's root.
    pub fn is_root(&self) -> bool {
        self.user.is_none()
    }
}

/// Prints the ARN that AWS would use: `arn:aws:iam::123456789012:root` or `…:user/alice`.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.user {
            None => write!(f, "arn:aws:iam::{}:root", self.account),
            Some(user) => write!(f, "arn:aws:iam::{}:user/{user}", self.account),
        }
    }
}

/// Who a request comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// An unsigned request.
    Anonymous,
    /// A request whose signature or token was verified.
    Known(Identity),
}

impl Principal {
    /// The account, unless anonymous.
    pub fn account(&self) -> Option<&AccountId> {
        match self {
            Self::Anonymous => None,
            Self::Known(identity) => Some(&identity.account),
        }
    }
}

impl From<Identity> for Principal {
    fn from(identity: Identity) -> Self {
        Self::Known(identity)
    }
}

/// Prints `anonymous` or the identity's ARN.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::Known(identity) => identity.fmt(f),
        }
    }
}

/// An access key without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccessKey {
    /// The public half.
    pub id: AccessKeyId,
    /// Who signs with it.
    pub owner: Identity,
    /// When it was made.
    pub created: Timestamp,
    /// From when on it is refused; `None`: never.
    pub expires: Option<Timestamp>,
    /// Whether it may be used.
    pub status: Status,
}

/// An access key with its secret.
#[derive(Clone, Debug)]
pub struct NewAccessKey {
    /// The public half and what belongs to it.
    pub key: AccessKey,
    /// The secret half, 40 characters.
    pub secret: Secret,
}

/// A bearer token of the native API, without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Token {
    /// Public identity, the part of the text before the last dot.
    pub id: TokenId,
    /// Who it speaks for.
    pub owner: Identity,
    /// A note for people, up to 128 characters.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// From when on it is refused; `None`: never.
    pub expires: Option<Timestamp>,
}

/// A bearer token with its text, of which only a hash is kept.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// What is kept of it.
    pub token: Token,
    /// What goes behind `Authorization: Bearer `.
    pub text: Secret,
}

/// A policy of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// Whose users it applies to.
    pub account: AccountId,
    /// Unique within the account.
    pub name: PolicyName,
    /// Cedar text: one or more `permit` or `forbid` statements.
    pub text: String,
    /// When it was last changed.
    pub updated: Timestamp,
}

/// Everything that verifying a request signed with an access key takes. Shared, and at most
/// [`crate::AuthConfig::staleness_max`] old.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The public half.
    pub id: AccessKeyId,
    /// Who signs with it.
    pub identity: Identity,
    /// The secret half.
    pub secret: Secret,
    /// From when on the key must be refused; lookups check it at each call.
    pub expires: Option<Timestamp>,
}

/// Result of [`crate::Auth::ensure_root`].
#[derive(Clone, Debug)]
pub struct RootAccess {
    /// The oldest usable key of the root account's root, `None` if an operator disabled or deleted all.
    pub key: Option<NewAccessKey>,
    /// Whether the root account was made by this call: the first start of the installation.
    pub created: bool,
}

/// Shared credential, as handed out by lookups.
pub type SharedCredential = Arc<Credential>;
