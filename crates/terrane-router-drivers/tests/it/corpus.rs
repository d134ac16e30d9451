//! Every recorded case gives the expected answer.

use serde_json::Value;
use terrane_router_drivers::{KnowledgeBase, Recorded, Variables, translate};

use crate::{Case, cases, corpus};

/// How many cases the corpus has.
const CASES: usize = 154;

/// Cases whose expectation does not follow from their recording.
const NOT_RECORDED: [&str; 1] = [
    // The model, serial number and names are those of a mock device, not of the recording.
    "junos/get_facts/normal",
];

fn variables(case: &Case) -> Variables {
    let mut variables = Variables::from([("now".to_owned(), Value::from(1_500_000_000))]);
    if case.getter == "get_arp_table_with_vrf" {
        variables.insert("vrf".into(), "TEST".into());
    }
    variables
}

/// `"..."` stands for anything; numbers are compared by value.
fn agrees(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::String(any), _) if any == "..." => true,
        (Value::Number(a), Value::Number(b)) => {
            a == b || a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| (a - b).abs() <= f64::EPSILON * a.abs())
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| agrees(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| agrees(a, b)))
        }
        (a, b) => a == b,
    }
}

#[test]
fn every_case_gives_the_expected_answer() {
    let Some(corpus) = corpus() else { return };
    let cases = cases(&corpus);
    assert_eq!(cases.len(), CASES);
    let base = KnowledgeBase::embedded();
    let mut failed = Vec::new();
    for case in &cases {
        let name = format!("{}/{}/{}", case.platform, case.getter, case.name);
        if NOT_RECORDED.contains(&name.as_str()) {
            continue;
        }
        let text = std::fs::read_to_string(case.dir.join("expected_result.json")).unwrap();
        let expected: Value = serde_json::from_str(&text).unwrap();
        let recorded = Recorded::open(&case.dir).unwrap();
        match translate(&base, &case.platform, &case.getter, &variables(case), &recorded) {
            Ok(found) if agrees(&expected, &found) => {}
            Ok(_) => failed.push(format!("{name}: another answer")),
            Err(error) => failed.push(format!("{name}: {error}")),
        }
    }
    assert!(failed.is_empty(), "{} of {CASES} failed:\n{}", failed.len(), failed.join("\n"));
}
