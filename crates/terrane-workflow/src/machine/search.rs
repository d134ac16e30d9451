//! Every history of two small templates, breadth first: each attempt ends in each possible way, in each
//! order; a bounded number of crashes, pauses, cancellations and retries strikes anywhere.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::tests::plan_with;
use super::*;
use crate::action::StepError;
use crate::template::{Plan, Retry, Undo};

fn plan(steps: &[(&str, &[&str], Undo)]) -> Plan {
    // No pauses: time does not matter here.
    plan_with(Retry { failures_max: 1, first_ms: 0, longest_ms: 0 }, steps)
}

/// A state, and how many crashes, commands and interruptions may still come.
type Node = (State, u8, u8, u8);

fn inputs(node: &Node) -> Vec<(Input, Node)> {
    let (state, crashes, commands, interruptions) = node.clone();
    let mut inputs = Vec::new();
    for attempt in state.running() {
        let outcomes =
            [Ok(String::new()), Err(StepError::Failed("f".into())), Err(StepError::Refused("r".into()))];
        for outcome in outcomes {
            inputs.push((Input::Ended(attempt, outcome), node.clone()));
        }
        if let Some(fewer) = interruptions.checked_sub(1) {
            let outcome = Err(StepError::Interrupted);
            inputs.push((Input::Ended(attempt, outcome), (state.clone(), crashes, commands, fewer)));
        }
    }
    if let Some(fewer) = crashes.checked_sub(1) {
        inputs.push((Input::Recovered, (state.clone(), fewer, commands, interruptions)));
    }
    // What is paused or stuck is always let go on; asking for it costs nothing.
    for command in [Command::Resume, Command::Retry] {
        inputs.push((Input::Command(command), node.clone()));
    }
    if let Some(fewer) = commands.checked_sub(1) {
        for command in [Command::Pause, Command::Cancel] {
            inputs.push((Input::Command(command), (state.clone(), crashes, fewer, interruptions)));
        }
    }
    inputs
}

fn check(plan: &Plan, before: &State, after: &State, effects: &Effects) {
    let mut replayed = before.clone();
    for event in &effects.events {
        replayed.apply(plan, 0, event);
    }
    assert_eq!(replayed, *after, "the events are all that happened");
    for attempt in &effects.start {
        let running = before.running();
        let ends_now = effects.events.iter().any(|event| {
            matches!(event, Event::Ended { step, undo, .. } | Event::Lost { step, undo }
                if (*step, *undo) == (attempt.step, attempt.undo))
        });
        assert!(ends_now || !running.iter().any(|r| (r.step, r.undo) == (attempt.step, attempt.undo)));
        let forward_runs = after.running().iter().any(|running| !running.undo);
        if attempt.undo {
            assert!(!forward_runs, "back only when nothing goes forward");
            assert_eq!(after.phase(), Phase::Backward);
            assert_eq!(plan.steps()[attempt.step].undo, Undo::Action);
            let later = (0..plan.steps().len()).filter(|later| plan.comes_before(attempt.step, *later));
            for later in later {
                assert!(!after.stands(plan, later), "what was built on it is undone first");
            }
        } else {
            assert_eq!(after.phase(), Phase::Forward);
            for earlier in plan.before(attempt.step) {
                assert_eq!(after.step(*earlier).forward.at, LegAt::Done);
            }
        }
    }
    if matches!(after.phase(), Phase::Backward | Phase::RolledBack) {
        assert!(!after.pivot_started(plan), "no way back behind the pivot");
    }
    match after.status() {
        Status::Running | Status::Undoing | Status::Pausing => {
            assert!(!after.running().is_empty(), "something goes on: {after:?}");
        }
        Status::Stuck => assert!(after.failed().is_some()),
        Status::Completed => assert!(after.all_done() && after.running().is_empty()),
        Status::RolledBack => assert!(after.all_undone(plan) && after.running().is_empty()),
        Status::Paused => assert!(after.running().is_empty()),
    }
}

/// Explores everything; returns how many states there are, and how many ended in each way.
fn explore(plan: &Plan, crashes: u8, commands: u8, interruptions: u8) -> (usize, BTreeMap<Status, usize>) {
    let mut first = State::new(plan);
    first.handle(plan, 0, Input::Tick);
    let first = (first, crashes, commands, interruptions);
    let mut seen = BTreeSet::from([first.clone()]);
    let mut queue = VecDeque::from([first]);
    let mut ends = BTreeMap::new();
    while let Some(node) = queue.pop_front() {
        *ends.entry(node.0.status()).or_default() += 1;
        for (input, mut next) in inputs(&node) {
            let retries = matches!(input, Input::Command(Command::Retry));
            let effects = next.0.handle(plan, 0, input);
            check(plan, &node.0, &next.0, &effects);
            if retries && next.0.status() != Status::Stuck && node.0.status() == Status::Stuck {
                // Retried failures could go round for ever: once is enough to see that it goes on.
                continue;
            }
            if seen.insert(next.clone()) {
                queue.push_back(next);
            }
        }
    }
    (seen.len(), ends)
}

#[test]
fn every_history_of_a_diamond_with_a_pivot() {
    let plan = plan(&[
        ("a", &[], Undo::Action),
        ("b", &["a"], Undo::Action),
        ("c", &["a"], Undo::Nothing),
        ("p", &["b", "c"], Undo::ForwardOnly),
    ]);
    let (states, ends) = explore(&plan, 1, 1, 0);
    assert!(states > 500, "{states}");
    for status in [Status::Completed, Status::RolledBack, Status::Stuck, Status::Paused, Status::Pausing] {
        assert!(ends.contains_key(&status), "{status} was never reached: {ends:?}");
    }
}

#[test]
fn every_history_of_a_chain_with_interruptions() {
    let plan =
        plan(&[("a", &[], Undo::Action), ("p", &["a"], Undo::ForwardOnly), ("z", &["p"], Undo::ForwardOnly)]);
    let (states, ends) = explore(&plan, 1, 2, 1);
    assert!(states > 500, "{states}");
    assert_eq!(ends.len(), 7, "{ends:?}");
}
