//! Code and Cedar text must decide alike.

use std::collections::{HashMap, HashSet};
use std::str::FromStr as _;

use cedar_policy::{
    Authorizer, Context, Decision as CedarDecision, Entities, Entity, EntityUid, PolicySet, Request,
    RestrictedExpression,
};

use super::*;

const BUILTIN: &str = include_str!("../builtin.cedar");

#[derive(Clone, Copy, Debug, PartialEq)]
enum Says {
    Permit,
    Forbid,
    Nothing,
}

fn entity(uid: &str, attributes: &[(&str, &str)]) -> Entity {
    let attributes: HashMap<_, _> = attributes
        .iter()
        .map(|(name, value)| (name.to_string(), RestrictedExpression::new_string(value.to_string())))
        .collect();
    Entity::new(EntityUid::from_str(uid).unwrap(), attributes, HashSet::new()).unwrap()
}

/// Cedar's answer, and the `@id`s of the built-in rules that determined it.
fn cedar(principal: &str, owner: &str, owner_says: &str, policies: Says) -> (bool, Vec<String>) {
    let policies = match policies {
        Says::Permit => "permit (principal is User, action, resource);",
        Says::Forbid => "forbid (principal is User, action, resource);",
        Says::Nothing => "",
    };
    let set = PolicySet::from_str(&format!("{BUILTIN}\n{policies}")).unwrap();
    let account = |kind: &str| entity(&format!("{kind}::\"p\""), &[("account", "000000000007")]);
    let principal = match principal {
        "Anonymous" => entity("Anonymous::\"p\"", &[]),
        kind => account(kind),
    };
    let resource = entity("Thing::\"t\"", &[("owner", owner), ("owner_says", owner_says)]);
    let request = Request::new(
        principal.uid(),
        EntityUid::from_str("Action::\"a\"").unwrap(),
        resource.uid(),
        Context::empty(),
        None,
    );
    let entities = Entities::from_entities([principal, resource], None).unwrap();
    let response = Authorizer::new().is_authorized(&request.unwrap(), &set, &entities);
    assert_eq!(response.diagnostics().errors().count(), 0);
    let rules = response.diagnostics().reason().filter_map(|id| set.annotation(id, "id").map(str::to_owned));
    (response.decision() == CedarDecision::Allow, rules.collect())
}

fn code(principal: &str, owner: &AccountId, owner_says: OwnerSays, policies: Says) -> Decision {
    let me = AccountId::parse("000000000007").unwrap();
    let asker = match principal {
        "Anonymous" => Asker::Anonymous,
        "Root" => Asker::Root(&me),
        _ => Asker::User(&me),
    };
    decide(asker, owner, owner_says).unwrap_or_else(|| {
        assert_eq!(principal, "User", "policies of accounts speak of users only");
        let verdict = match policies {
            Says::Permit => Verdict::Permitted(vec!["p".into()]),
            Says::Forbid => Verdict::Forbidden(vec!["p".into()]),
            Says::Nothing => Verdict::Silent,
        };
        with_verdict(me == *owner, owner_says, verdict)
    })
}

#[test]
fn code_and_cedar_text_decide_alike() {
    let mut combinations = 0;
    for principal in ["Anonymous", "Root", "User"] {
        for owner in ["000000000007", "000000000008"] {
            for (owner_says, says) in
                [(OwnerSays::Nothing, "nothing"), (OwnerSays::Allow, "allow"), (OwnerSays::Deny, "deny")]
            {
                for policies in [Says::Permit, Says::Forbid, Says::Nothing] {
                    let (allowed, rules) = cedar(principal, owner, says, policies);
                    let owner_id = AccountId::parse(owner).unwrap();
                    let decision = code(principal, &owner_id, owner_says, policies);
                    let case = format!("{principal} {owner} {says} {policies:?}: {decision:?} {rules:?}");
                    assert_eq!(decision.allowed, allowed, "{case}");
                    if let Why::Rule(rule) = decision.why {
                        assert!(rules.iter().any(|id| id == rule), "{case}");
                    }
                    combinations += 1;
                }
            }
        }
    }
    assert_eq!(combinations, 54);
}
