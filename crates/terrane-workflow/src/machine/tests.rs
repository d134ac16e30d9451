use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::action::StepError;
use crate::template::{Plan, Retry, Step, Template, Undo};

fn plan(steps: &[(&str, &[&str], Undo)]) -> Plan {
    plan_with(Retry { failures_max: 2, first_ms: 100, longest_ms: 1000 }, steps)
}

/// Steps by name, what they follow, and how they are undone.
pub(super) fn plan_with(retry: Retry, steps: &[(&str, &[&str], Undo)]) -> Plan {
    let step = |(id, after, undo): &(&str, &[&str], Undo)| Step {
        id: (*id).into(),
        action: "x".into(),
        after: after.iter().map(|&after| after.into()).collect(),
        undo: *undo,
        retry,
        with: BTreeMap::new(),
    };
    let steps = steps.iter().map(step).collect();
    Plan::new(Template { name: "t".into(), version: 1, params: vec![], steps }).unwrap()
}

fn fail() -> Outcome {
    Err(StepError::Failed("no".into()))
}

fn end(effects: &Effects, outcome: Outcome) -> Input {
    Input::Ended(effects.start[0], outcome)
}

#[test]
fn a_failure_is_tried_again_after_its_pause_and_then_undone() {
    let plan = plan(&[("a", &[], Undo::Action)]);
    let mut run = State::new(&plan);
    let first = run.handle(&plan, 0, Input::Tick);
    assert_eq!(first.start, [Attempt { step: 0, undo: false, number: 1 }]);
    let failed = run.handle(&plan, 1000, end(&first, fail()));
    assert_eq!((failed.start.len(), failed.wake_at_ms), (0, Some(1100)));
    assert!(run.handle(&plan, 1099, Input::Tick).start.is_empty());
    let second = run.handle(&plan, 1100, Input::Tick);
    assert_eq!(second.start[0].number, 2);
    // The answer to the first attempt comes too late to mean anything.
    assert!(run.handle(&plan, 1100, end(&first, Ok("old".into()))).events.is_empty());
    let failed = run.handle(&plan, 1100, end(&second, fail()));
    assert_eq!(failed.wake_at_ms, Some(1300));
    let third = run.handle(&plan, 1300, Input::Tick);
    let undo = run.handle(&plan, 1300, end(&third, fail()));
    assert_eq!(undo.start, [Attempt { step: 0, undo: true, number: 1 }]);
    assert_eq!((run.status(), run.cause()), (Status::Undoing, Some("step a: no")));
    run.handle(&plan, 1300, end(&undo, Ok(String::new())));
    assert_eq!(run.status(), Status::RolledBack);
}

#[test]
fn parallel_steps_run_in_parallel_and_are_waited_for_before_going_back() {
    let plan = plan(&[("a", &[], Undo::Action), ("b", &[], Undo::Action), ("c", &["a", "b"], Undo::Action)]);
    let mut run = State::new(&plan);
    let both = run.handle(&plan, 0, Input::Tick);
    assert_eq!(both.start.len(), 2);
    let refused = Err(StepError::Refused("never".into()));
    let going_back = run.handle(&plan, 0, Input::Ended(both.start[0], refused));
    assert!(going_back.start.is_empty(), "b still goes forward");
    assert_eq!(going_back.interrupt, [both.start[1]]);
    let undos = run.handle(&plan, 0, Input::Ended(both.start[1], Ok(String::new())));
    assert_eq!(undos.start.iter().map(|at| (at.step, at.undo)).collect::<Vec<_>>(), [(0, true), (1, true)]);
}

#[test]
fn behind_the_pivot_a_run_is_stuck_rather_than_undone_and_goes_on_when_told() {
    let plan = plan(&[("p", &[], Undo::ForwardOnly), ("z", &["p"], Undo::ForwardOnly)]);
    let mut run = State::new(&plan);
    let p = run.handle(&plan, 0, Input::Tick);
    assert!(run.handle(&plan, 0, Input::Command(Command::Cancel)).events.is_empty());
    let z = run.handle(&plan, 0, end(&p, Ok(String::new())));
    run.handle(&plan, 0, end(&z, Err(StepError::Refused("no".into()))));
    assert_eq!((run.status(), run.stuck()), (Status::Stuck, Some((1, false))));
    assert!(run.handle(&plan, 0, Input::Tick).start.is_empty());
    let again = run.handle(&plan, 0, Input::Command(Command::Retry));
    run.handle(&plan, 0, end(&again, Ok(String::new())));
    assert_eq!(run.status(), Status::Completed);
}

#[test]
fn a_pivot_that_says_it_did_not_happen_lets_the_run_go_back() {
    let plan = plan(&[("a", &[], Undo::Action), ("p", &["a"], Undo::ForwardOnly)]);
    let mut run = State::new(&plan);
    let a = run.handle(&plan, 0, Input::Tick);
    let p = run.handle(&plan, 0, end(&a, Ok(String::new())));
    let undo = run.handle(&plan, 0, end(&p, Err(StepError::Refused("too late".into()))));
    assert_eq!(undo.start, [Attempt { step: 0, undo: true, number: 1 }]);
}

#[test]
fn a_step_that_takes_its_engine_down_each_time_fails_in_the_end() {
    let plan = plan(&[("a", &[], Undo::Action)]);
    let mut run = State::new(&plan);
    run.handle(&plan, 0, Input::Tick);
    for _ in 0..LOST_MAX {
        assert_eq!(run.handle(&plan, 0, Input::Recovered).start.len(), 1);
    }
    run.handle(&plan, 0, Input::Recovered);
    assert_eq!(run.status(), Status::Undoing);
}

#[test]
fn a_pause_interrupts_and_costs_no_patience() {
    let plan = plan(&[("a", &[], Undo::Action)]);
    let mut run = State::new(&plan);
    let mut at = run.handle(&plan, 0, Input::Tick);
    for _ in 0..10 {
        let pause = run.handle(&plan, 0, Input::Command(Command::Pause));
        assert_eq!((pause.interrupt.clone(), run.status()), (at.start.clone(), Status::Pausing));
        assert!(run.handle(&plan, 0, end(&at, Err(StepError::Interrupted))).start.is_empty());
        assert_eq!(run.status(), Status::Paused);
        assert!(run.rests());
        at = run.handle(&plan, 0, Input::Command(Command::Resume));
    }
    assert_eq!(run.step(0).forward.failures, 0);
    run.handle(&plan, 0, end(&at, Ok("out".into())));
    assert_eq!((run.status(), run.step(0).output.as_str()), (Status::Completed, "out"));
}

proptest! {
    /// Whatever the log says, reading it does no harm.
    #[test]
    fn any_events_can_be_folded(events in prop::collection::vec((0u8..10, 0usize..5, any::<bool>()), 0..60)) {
        let plan = plan(&[("a", &[], Undo::Action), ("b", &["a"], Undo::ForwardOnly)]);
        let mut run = State::new(&plan);
        for (kind, step, undo) in events {
            let event = match kind {
                0 => Event::Started { step, undo },
                1 => Event::ended(step, undo, Ok(String::new())),
                2 => Event::ended(step, undo, fail()),
                3 => Event::Lost { step, undo },
                4 => Event::Paused,
                5 => Event::Resumed,
                6 => Event::RollingBack { cause: String::new() },
                7 => Event::Stuck { step, undo },
                8 => Event::Retried,
                _ => Event::ended(step, undo, Err(StepError::Refused(String::new()))),
            };
            run.apply(&plan, 0, &event);
        }
        run.handle(&plan, u64::MAX, Input::Recovered);
        for _ in 0..1000 {
            let Some(attempt) = run.running().first().copied() else { break };
            run.handle(&plan, u64::MAX, Input::Ended(attempt, Ok(String::new())));
        }
        prop_assert!(run.running().is_empty());
    }
}
