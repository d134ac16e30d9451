//! `builtin.cedar` as code, so that the common cases cost nanoseconds.

use terrane_types::AccountId;

use super::{Decision, OwnerSays, Why};

pub(super) const ROOT: &str = "root-of-the-owner";
pub(super) const ALLOWED: &str = "allowed-by-the-owner";
pub(super) const DENIED: &str = "denied-by-the-owner";
pub(super) const FOREIGN: &str = "another-accounts-resource";

/// What kind of principal asks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asker<'a> {
    Anonymous,
    Root(&'a AccountId),
    User(&'a AccountId),
}

/// What the policies of a user's account say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A `forbid` applies; these.
    Forbidden(Vec<String>),
    /// A `permit` applies and no `forbid`; these.
    Permitted(Vec<String>),
    /// Nothing applies.
    Silent,
}

/// Decides without the account's policies where they cannot matter. `None`: ask them, then [`with_verdict`].
pub(super) fn decide(asker: Asker<'_>, owner: &AccountId, owner_says: OwnerSays) -> Option<Decision> {
    let account = match asker {
        Asker::Anonymous => None,
        Asker::Root(account) | Asker::User(account) => Some(account),
    };
    let own = account == Some(owner);
    let rule = |allowed, id| Some(Decision { allowed, why: Why::Rule(id) });
    match (owner_says, asker) {
        (OwnerSays::Deny, _) => rule(false, DENIED),
        (OwnerSays::Nothing, _) if !own => rule(false, FOREIGN),
        (_, Asker::Root(_)) if own => rule(true, ROOT),
        (OwnerSays::Allow, Asker::Anonymous | Asker::Root(_)) => rule(true, ALLOWED),
        _ => None,
    }
}

/// Decides for a user with what its account's policies say; only where [`decide`] said `None`.
pub(super) fn with_verdict(own: bool, owner_says: OwnerSays, verdict: Verdict) -> Decision {
    match verdict {
        Verdict::Forbidden(ids) => Decision { allowed: false, why: Why::Policies(ids) },
        Verdict::Permitted(ids) => Decision { allowed: true, why: Why::Policies(ids) },
        Verdict::Silent if own && owner_says == OwnerSays::Allow => {
            Decision { allowed: true, why: Why::Rule(ALLOWED) }
        }
        Verdict::Silent => Decision { allowed: false, why: Why::NothingAllows },
    }
}

#[cfg(test)]
mod tests;
