//! Who may do what: a few built-in rules between accounts, and Cedar policies within one.
//!
//! The rules between accounts are `policy/builtin.cedar`. They are short enough to be decided in a few
//! nanoseconds by code ([`builtin`]), and a test shows that code and Cedar text decide alike for every
//! combination. What users of an account may do within these rules is said by the account's own policies,
//! which Cedar evaluates.

mod actions;
mod builtin;
mod engine;
mod schema;

use std::net::IpAddr;

use terrane_types::{AccountId, InstanceId, SnapshotId, VolumeId};

pub use actions::{Access, Action, On, all as all_actions, find as find_action};
pub(crate) use engine::AccountPolicies;
pub use engine::PolicyProblem;
pub use schema::{schema_text, validate};

use crate::model::{Identity, ManagedPolicy, Principal, UserName};
use builtin::Asker;

/// What an action is done with.
#[derive(Clone, Copy, Debug)]
pub struct Resource<'a> {
    /// Which thing.
    pub target: Target<'a>,
    /// The account that owns it. For a thing that is about to be made: the account that would own it.
    pub owner: &'a AccountId,
    /// What the owner said about this principal and this action on the resource itself: a bucket policy, an
    /// ACL, a shared snapshot. Evaluated by the service that keeps it.
    pub owner_says: OwnerSays,
}

impl<'a> Resource<'a> {
    /// A resource about which its owner said nothing in particular.
    pub fn new(owner: &'a AccountId, target: Target<'a>) -> Self {
        Self { target, owner, owner_says: OwnerSays::Nothing }
    }
}

/// The things that policies speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// The account itself: listing its buckets, administering its users.
    Account,
    /// A bucket.
    Bucket(&'a str),
    /// An object, existing or not.
    Object {
        /// Its bucket.
        bucket: &'a str,
        /// Its key.
        key: &'a str,
    },
    /// The installation: queues, workers, other accounts. Owned by the root account.
    Installation,
    /// A volume, by its identifier.
    Volume(&'a str),
    /// A snapshot, by its identifier.
    Snapshot(&'a str),
    /// An instance, by its identifier.
    Instance(&'a str),
}

impl<'a> Target<'a> {
    /// What an identifier of EC2 names: `vol-…`, `snap-…` or `i-…`, well formed or not.
    pub fn of_id(id: &'a str) -> Option<Self> {
        if id.starts_with(VolumeId::PREFIX) {
            Some(Self::Volume(id))
        } else if id.starts_with(SnapshotId::PREFIX) {
            Some(Self::Snapshot(id))
        } else if id.starts_with(InstanceId::PREFIX) {
            Some(Self::Instance(id))
        } else {
            None
        }
    }
}

/// What a resource's owner said on the resource itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OwnerSays {
    /// Nothing: only the account's own principals may have access.
    #[default]
    Nothing,
    /// This principal may do this.
    Allow,
    /// This principal may not do this, whatever else is said. Binds the owner's root as well, so that a
    /// service must leave a way to take the denial back (S3: the owner's root may always change the bucket's
    /// policy).
    Deny,
}

/// Circumstances that policies can refer to as `context.…`.
#[derive(Clone, Copy, Debug)]
pub struct RequestContext {
    /// `context.source_ip`, if known.
    pub source_ip: Option<IpAddr>,
    /// `context.secure_transport`: whether the request came over TLS.
    pub secure_transport: bool,
    /// `context.now`.
    pub now: std::time::SystemTime,
}

/// Whether something may be done, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may.
    pub allowed: bool,
    /// What decided.
    pub why: Why,
}

/// What decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// A built-in rule, by its `@id` in `builtin.cedar`.
    Rule(&'static str),
    /// These policies of the principal's account: `policy-name` or `policy-name#2` for the second statement of
    /// one; managed ones as `managed/full-access`.
    Policies(Vec<String>),
    /// No policy of the principal's account allows it.
    NothingAllows,
}

/// Decides without looking at the account's policies where they cannot matter. `None`: [`decide_for_user`].
pub(crate) fn decide_at_once(principal: &Principal, resource: &Resource<'_>) -> Option<Decision> {
    let asker = match principal {
        Principal::Anonymous => Asker::Anonymous,
        Principal::Known(Identity { account, user: None }) => Asker::Root(account),
        Principal::Known(Identity { account, user: Some(_) }) => Asker::User(account),
    };
    builtin::decide(asker, resource.owner, resource.owner_says)
}

/// A user with what its account's policies and the ready-made ones say.
pub(crate) struct UserPolicies<'a> {
    pub(crate) account: &'a AccountId,
    pub(crate) user: &'a UserName,
    pub(crate) managed: &'a std::collections::BTreeSet<ManagedPolicy>,
    pub(crate) policies: &'a AccountPolicies,
}

/// Decides where [`decide_at_once`] could not.
pub(crate) fn decide_for_user(
    who: &UserPolicies<'_>,
    action: &str,
    resource: &Resource<'_>,
    context: &RequestContext,
) -> Decision {
    let mut managed = who.managed.iter().copied();
    let verdict = who.policies.ask(who.user, &mut managed, action, resource, context);
    builtin::with_verdict(who.account == resource.owner, resource.owner_says, verdict)
}
