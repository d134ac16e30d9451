//! Cedar over the policies of one account.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::str::FromStr as _;
use std::sync::LazyLock;

use cedar_policy::{
    Authorizer, Context, Decision as CedarDecision, Entities, Entity, EntityId, EntityTypeName, EntityUid,
    Policy, PolicyId, PolicySet, Request, RestrictedExpression,
};
use jiff::Timestamp;

use super::builtin::Verdict;
use super::{RequestContext, Resource, Target, actions, schema};
use crate::model::{ManagedPolicy, PolicyName, UserName};

/// What a managed policy is called in Cedar and in [`super::Why::Policies`].
fn managed_id(policy: ManagedPolicy) -> &'static str {
    match policy {
        ManagedPolicy::FullAccess => "full-access",
        ManagedPolicy::ReadOnly => "read-only",
    }
}

/// The managed policies as text, for people and for the policy sets.
const MANAGED: [(ManagedPolicy, &str); 2] = [
    (ManagedPolicy::FullAccess, r#"permit (principal in ManagedPolicy::"full-access", action, resource);"#),
    (
        ManagedPolicy::ReadOnly,
        r#"permit (principal in ManagedPolicy::"read-only", action in Action::"read", resource);"#,
    ),
];

/// A stored policy that the present schema refuses.
#[derive(Debug, thiserror::Error)]
#[error("policy {name}: {problem}")]
pub struct PolicyProblem {
    name: String,
    problem: String,
}

/// The parsed policies of an account.
#[derive(Debug)]
pub(crate) struct AccountPolicies {
    set: PolicySet,
    /// Whether any text has the word `context`: if none, the circumstances need not be put together.
    uses_context: bool,
}

impl AccountPolicies {
    /// Parses stored policies. They were validated when stored; one that no longer parses is an error,
    /// never left out: it might be a `forbid`.
    pub(crate) fn parse<'a>(
        stored: impl IntoIterator<Item = (&'a PolicyName, &'a str)>,
    ) -> Result<Self, PolicyProblem> {
        let mut set = PolicySet::new();
        let mut uses_context = false;
        for (policy, text) in MANAGED {
            let id = PolicyId::new(format!("managed/{}", managed_id(policy)));
            let parsed = Policy::parse(Some(id), text).expect("a test parses the managed policies");
            set.add(parsed).expect("the two have different names");
        }
        for (name, text) in stored {
            uses_context |= text.contains("context");
            let problem = |problem: String| PolicyProblem { name: name.to_string(), problem };
            let parsed = PolicySet::from_str(text).map_err(|error| problem(error.to_string()))?;
            let mut statements: Vec<&Policy> = parsed.policies().collect();
            // Cedar numbers the statements of a text policy0, policy1, …
            statements.sort_by_key(|statement| {
                statement.id().to_string().split_off("policy".len()).parse::<u32>().ok()
            });
            for (i, statement) in statements.into_iter().enumerate() {
                let id = if i == 0 { name.to_string() } else { format!("{name}#{}", i + 1) };
                set.add(statement.new_id(PolicyId::new(id))).map_err(|error| problem(error.to_string()))?;
            }
        }
        Ok(Self { set, uses_context })
    }

    /// Asks the policies about a user.
    pub(crate) fn ask(
        &self,
        user: &UserName,
        managed: &mut dyn Iterator<Item = ManagedPolicy>,
        action: &str,
        resource: &Resource<'_>,
        context: &RequestContext,
    ) -> Verdict {
        let context = self.uses_context.then_some(context);
        let Some((request, entities)) = assemble(user, managed, action, resource, context) else {
            // Cannot happen (attributes are plain values); if it does, nothing is allowed.
            return Verdict::Silent;
        };
        let response = AUTHORIZER.is_authorized(&request, &self.set, &entities);
        let mut ids: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
        ids.sort();
        // A `forbid` whose evaluation fails might have applied (Cedar itself would skip it).
        let mut failed: Vec<String> =
            response.diagnostics().errors().filter_map(|error| self.forbid_of(error)).collect();
        if !failed.is_empty() {
            failed.sort();
            return Verdict::Forbidden(failed);
        }
        match (response.decision(), ids.is_empty()) {
            (CedarDecision::Allow, _) => Verdict::Permitted(ids),
            (CedarDecision::Deny, false) => Verdict::Forbidden(ids),
            (CedarDecision::Deny, true) => Verdict::Silent,
        }
    }

    fn forbid_of(&self, error: &cedar_policy::AuthorizationError) -> Option<String> {
        let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
        let policy = self.set.policy(error.policy_id())?;
        (policy.effect() == cedar_policy::Effect::Forbid).then(|| error.policy_id().to_string())
    }
}

static AUTHORIZER: LazyLock<Authorizer> = LazyLock::new(Authorizer::new);

fn uid(kind: &'static str, id: &str) -> EntityUid {
    static KINDS: LazyLock<HashMap<&'static str, EntityTypeName>> = LazyLock::new(|| {
        const KINDS: [&str; 10] = [
            "User",
            "Action",
            "ManagedPolicy",
            "Account",
            "Installation",
            "Bucket",
            "Object",
            "Volume",
            "Snapshot",
            "Instance",
        ];
        KINDS.into_iter().map(|kind| (kind, kind.parse().expect("an identifier"))).collect()
    });
    EntityUid::from_type_name_and_id(KINDS[kind].clone(), EntityId::new(id))
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

type Attributes = HashMap<String, RestrictedExpression>;
type Thing = (EntityUid, Attributes, HashSet<EntityUid>);

/// The resource, then what it is in.
fn resource_entities(resource: &Resource<'_>) -> (Thing, Option<Thing>) {
    let owner = ("owner".to_owned(), text(resource.owner.as_str()));
    let bucket_thing = |name: &str, owner| {
        let attributes = HashMap::from([owner, ("name".to_owned(), text(name))]);
        (uid("Bucket", name), attributes, HashSet::new())
    };
    let plain = |kind, id: &str, owner| {
        let attributes = HashMap::from([owner, ("id".to_owned(), text(id))]);
        ((uid(kind, id), attributes, HashSet::new()), None)
    };
    match resource.target {
        Target::Volume(id) => plain("Volume", id, owner),
        Target::Snapshot(id) => plain("Snapshot", id, owner),
        Target::Instance(id) => plain("Instance", id, owner),
        Target::Account => {
            ((uid("Account", resource.owner.as_str()), HashMap::from([owner]), HashSet::new()), None)
        }
        Target::Installation => {
            ((uid("Installation", "terrane"), HashMap::from([owner]), HashSet::new()), None)
        }
        Target::Bucket(name) => (bucket_thing(name, owner), None),
        Target::Object { bucket, key } => {
            let parent = bucket_thing(bucket, owner.clone());
            let attributes =
                HashMap::from([owner, ("bucket".to_owned(), text(bucket)), ("key".to_owned(), text(key))]);
            let parents = HashSet::from([parent.0.clone()]);
            ((uid("Object", &format!("{bucket}/{key}")), attributes, parents), Some(parent))
        }
    }
}

fn assemble(
    user: &UserName,
    managed: &mut dyn Iterator<Item = ManagedPolicy>,
    action: &str,
    resource: &Resource<'_>,
    context: Option<&RequestContext>,
) -> Option<(Request, Entities)> {
    let user_id = uid("User", user.as_str());
    let managed: HashSet<EntityUid> =
        managed.map(|policy| uid("ManagedPolicy", managed_id(policy))).collect();
    let attributes = HashMap::from([("name".to_owned(), text(user.as_str()))]);
    let action = action_entity(action);
    let action_id = action.uid();
    let ((resource_id, attributes_of_it, parents), container) = resource_entities(resource);
    let mut entities = vec![
        Entity::new(user_id.clone(), attributes, managed).ok()?,
        action,
        Entity::new(resource_id.clone(), attributes_of_it, parents).ok()?,
    ];
    if let Some((uid, attributes, parents)) = container {
        entities.push(Entity::new(uid, attributes, parents).ok()?);
    }
    let entities = Entities::from_entities(entities, None).ok()?;
    let context = context.map_or_else(|| Some(Context::empty()), circumstances)?;
    let request = Request::new(user_id, action_id, resource_id, context, None).ok()?;
    Some((request, entities))
}

/// An action with the groups that it is in; made once for those in the table.
fn action_entity(name: &str) -> Entity {
    static KNOWN: LazyLock<HashMap<&'static str, Entity>> = LazyLock::new(|| {
        let entity = |action: &actions::Action| {
            let groups = schema::groups_of(action).iter().map(|group| uid("Action", group)).collect();
            Entity::new_no_attrs(uid("Action", action.name), groups)
        };
        actions::all().iter().map(|action| (action.name, entity(action))).collect()
    });
    KNOWN.get(name).cloned().unwrap_or_else(|| Entity::new_no_attrs(uid("Action", name), HashSet::new()))
}

fn circumstances(context: &RequestContext) -> Option<Context> {
    let now = Timestamp::try_from(context.now).ok()?;
    let mut pairs = vec![
        (
            "now".to_owned(),
            RestrictedExpression::new_datetime(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        ),
        ("secure_transport".to_owned(), RestrictedExpression::new_bool(context.secure_transport)),
    ];
    if let Some(ip) = context.source_ip.map(|ip: IpAddr| ip.to_canonical()) {
        pairs.push(("source_ip".to_owned(), RestrictedExpression::new_ip(ip.to_string())));
    }
    Context::from_pairs(pairs).ok()
}

#[cfg(test)]
mod tests;
