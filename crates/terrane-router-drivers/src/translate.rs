//! From recorded output to the answer of a NAPALM getter.

use serde_json::Value;
use terrane_router_model::Kind;
use terrane_router_model::napalm::Getter;

use crate::{KnowledgeBase, KnowledgeError, RunError, Source, Variables, run};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum TranslateError {
    /// No getter of that name.
    #[error("unknown getter `{0}`")]
    Getter(String),
    /// No plan.
    #[error(transparent)]
    Knowledge(#[from] KnowledgeError),
    /// The plan did not come through.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Runs a platform's plan for a getter and gives the answer NAPALM's shape. `variables` are the getter's arguments by
/// NAPALM's names, and `now`, seconds since 1970.
pub fn translate(
    base: &KnowledgeBase,
    platform: &str,
    getter: &str,
    variables: &Variables,
    source: &dyn Source,
) -> Result<Value, TranslateError> {
    let getter = Getter::named(getter).ok_or_else(|| TranslateError::Getter(getter.into()))?;
    let plan = base.plan(platform, getter.kind, getter.view)?;
    let mut variables = variables.clone();
    for (theirs, ours) in [("destination", "prefix"), ("neighbor_address", "neighbor")] {
        if let Some(value) = variables.get(theirs).cloned() {
            variables.entry(ours.into()).or_insert(value);
        }
    }
    // What NAPALM's own recordings were asked for; an empty argument asks for every protocol.
    if getter.kind == Kind::RouteTo {
        variables.entry("protocol".into()).or_insert_with(|| "bgp".into());
        variables.retain(|name, value| name != "protocol" || *value != "");
    }
    let mut rows = run(&base.platform(platform)?, &plan, &variables, source)?;
    if let Some(vrf) = variables.get("vrf")
        && rows.schema().field("network_instance").is_some()
    {
        rows.retain(|row| row.get("network_instance") == Some(vrf));
    }
    Ok(getter.project(&rows, &plan.napalm))
}
