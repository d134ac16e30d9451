use proptest::prelude::*;

use super::*;

fn step(id: &str, after: &[&str], undo: Undo) -> Step {
    Step {
        id: id.into(),
        action: "noop".into(),
        after: after.iter().map(|&s| s.into()).collect(),
        undo,
        retry: Retry::default(),
        with: BTreeMap::new(),
    }
}

fn template(steps: Vec<Step>) -> Template {
    Template { name: "t".into(), version: 1, params: Vec::new(), steps }
}

#[test]
fn a_template_is_data() {
    let text = r#"{ "name": "copy", "version": 2,
        "params": [{ "name": "volume" }, { "name": "zone", "default": "a" }],
        "steps": [
            { "id": "allocate", "action": "volume.allocate", "undo": "action" },
            { "id": "copy", "action": "volume.copy", "after": ["allocate"], "undo": "nothing",
              "retry": { "failures_max": 3, "first_ms": 10, "longest_ms": 50 }, "with": { "class": "low" } },
            { "id": "switch", "action": "volume.switch", "after": ["copy"], "undo": "forward-only" }
        ] }"#;
    let plan = Plan::new(serde_json::from_str(text).unwrap()).unwrap();
    assert_eq!(plan.pivot(), Some(2));
    assert_eq!(plan.before(1), [0]);
    assert!(plan.comes_before(0, 2) && !plan.comes_before(2, 0));
    let given = BTreeMap::from([("volume".to_owned(), "vol-1".to_owned())]);
    assert_eq!(plan.params(&given).unwrap()["zone"], "a");
    assert_eq!(plan.params(&BTreeMap::new()), Err(("volume".into(), "it is missing")));
    let foreign = BTreeMap::from([("size".to_owned(), String::new())]);
    assert!(plan.params(&foreign).is_err());
}

#[test]
fn what_is_wrong_is_said() {
    use TemplateError as E;
    let broken = |steps| Plan::new(template(steps)).unwrap_err();
    let act = Undo::Action;
    assert_eq!(broken(vec![]), E::Steps(0));
    assert_eq!(broken(vec![step("A", &[], act)]), E::Name("A".into()));
    assert_eq!(broken(vec![step("a", &[], act), step("a", &[], act)]), E::Twice("a".into()));
    assert_eq!(broken(vec![step("a", &["b"], act)]), E::Unknown { step: "a".into(), after: "b".into() });
    assert_eq!(broken(vec![step("a", &["a"], act)]), E::Cycle("a".into()));
    assert_eq!(
        broken(vec![step("x", &[], act), step("a", &["b"], act), step("b", &["a"], act)]),
        E::Cycle("a".into())
    );
    let mut often = step("a", &[], act);
    often.retry.failures_max = FAILURES_MAX + 1;
    assert_eq!(broken(vec![often]), E::Retry("a".into()));
}

#[test]
fn forward_only_steps_come_last_and_behind_one_pivot() {
    let only = Undo::ForwardOnly;
    let broken = |steps| matches!(Plan::new(template(steps)), Err(TemplateError::Pivot(..)));
    // Something that can be undone behind, or beside, the pivot.
    assert!(broken(vec![step("p", &[], only), step("a", &["p"], Undo::Action)]));
    assert!(broken(vec![step("p", &[], only), step("a", &[], Undo::Nothing)]));
    // Two pivots.
    assert!(broken(vec![step("p", &[], only), step("q", &[], only)]));
    let good = vec![
        step("q", &["p"], only),
        step("r", &["p"], only),
        step("p", &["a"], only),
        step("a", &[], Undo::Action),
    ];
    assert_eq!(Plan::new(template(good)).unwrap().pivot(), Some(2));
}

#[test]
fn pauses_double_up_to_the_longest() {
    let retry = Retry { failures_max: 9, first_ms: 100, longest_ms: 1000 };
    let pauses: Vec<u64> = (1..6).map(|n| retry.pause_ms(n)).collect();
    assert_eq!(pauses, [100, 200, 400, 800, 1000]);
    assert_eq!(retry.pause_ms(u32::MAX), 1000);
}

fn any_undo() -> impl Strategy<Value = Undo> {
    prop_oneof![Just(Undo::Action), Just(Undo::Nothing), Just(Undo::ForwardOnly)]
}

proptest! {
    /// Any graph is either refused or has an order in which every step runs.
    #[test]
    fn any_graph_is_refused_or_runs(
        edges in prop::collection::vec(prop::collection::vec(0usize..8, 0..3), 1..8),
        undo in prop::collection::vec(any_undo(), 8),
    ) {
        let id = |n: usize| format!("s{n}");
        let steps = edges.iter().enumerate().map(|(n, after)| {
            let after: Vec<String> = after.iter().map(|n| id(*n)).collect();
            step(&id(n), &after.iter().map(String::as_str).collect::<Vec<_>>(), undo[n])
        });
        let Ok(plan) = Plan::new(template(steps.collect())) else { return Ok(()) };
        let mut done = BTreeSet::new();
        for _ in 0..plan.steps().len() {
            let next = (0..plan.steps().len())
                .find(|s| !done.contains(s) && plan.before(*s).iter().all(|b| done.contains(b)));
            done.insert(next.expect("a checked plan never gets stuck"));
        }
    }
}
