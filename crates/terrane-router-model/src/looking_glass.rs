//! RFC 8522, the looking glass command set: which path asks what, and the JSend-like envelope of its answers.

use serde_json::{Value, json};

use crate::{Filter, Kind, Query, QueryError};

/// A request below `/.well-known/looking-glass/v1/`: the command and its parameter, already decoded. A command that
/// is optional in the RFC and not offered, and one that the RFC does not have, are refused.
pub fn query(command: &str, parameter: &str, instance: Option<&str>) -> Result<Query, QueryError> {
    let network_instance = instance.map(str::to_owned);
    let (kind, filter) = match command {
        // Section 3.3.3 and 3.3.4: `show route {prefix}` and `show bgp {prefix}`.
        "show/route" => (Kind::RouteTo, Filter { prefix: Some(parameter.into()), ..Filter::default() }),
        "show/bgp" => (Kind::LocRib, Filter { prefix: Some(parameter.into()), ..Filter::default() }),
        "show/bgp/summary" => (Kind::BgpSummary, Filter::default()),
        "show/bgp/neighbors" => {
            (Kind::BgpNeighbors, Filter { neighbor: Some(parameter.into()), ..Filter::default() })
        }
        other => {
            let what = format!("`{other}` is not a command that is offered");
            return Err(QueryError::InvalidParameter { field: "command", what });
        }
    };
    let query = Query { kind, network_instance, filter };
    query.validate()?;
    Ok(query)
}

/// Section 3.1: the envelope of an answer that worked. `output` is text rendered from filtered rows, never what the
/// router printed; `performed_at` is RFC 3339.
pub fn success(router: &str, performed_at: &str, runtime_s: f64, output: &[String]) -> Value {
    json!({
        "status": "success",
        "data": {
            "router": router,
            "performed_at": performed_at,
            "runtime": runtime_s,
            "format": "text/plain",
            "output": output,
        },
    })
}

/// Section 3.1: the envelope of a request that cannot be answered.
pub fn fail(reason: &str) -> Value {
    json!({"status": "fail", "data": {"error": reason}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_become_validated_queries() {
        let query = query("show/route", "192.0.2.0/24", None).unwrap();
        assert_eq!(query.kind, Kind::RouteTo);
        assert!(super::query("show/route", "192.0.2.0/24; reload", None).is_err());
        assert!(super::query("configure", "", None).is_err());
        assert_eq!(success("r1", "2026-01-01T00:00:00Z", 0.1, &[])["status"], "success");
    }
}
