//! A core at a router that answers at once, or as a test says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;
use terrane_router_model::{Filter, Kind, Rows};

use crate::*;

mod bed;

use bed::{Bed, connection, question, request};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_burst_of_equal_questions_is_one_command() {
    let mut bed = Bed::new(RouterConfig::default());
    for id in 0..10_000 {
        bed.core.handle(bed.now, Input::Ask(Box::new(request(id, 1, question("show arp")))));
    }
    bed.run(SECOND);
    assert_eq!(bed.commands.len(), 1);
    assert_eq!(bed.answers.len(), 10_000);
    assert!(bed.answers.values().all(Result::is_ok));
    assert_eq!(bed.core.counters().joined_waiting, 9_999);
}

#[test]
fn a_command_that_was_sent_before_is_joined_within_max_age_only() {
    let mut bed = Bed::new(RouterConfig::default());
    bed.is_silent = true;
    bed.ask(request(1, 1, question("show arp")));
    bed.run(SECOND);
    let old = Request { max_age: SECOND * 5, ..request(2, 1, question("show arp")) };
    bed.ask(old);
    bed.ask(Request { max_age: Duration::ZERO, ..request(3, 1, question("show arp")) });
    assert_eq!(bed.core.counters().joined_sent, 1);
    bed.is_silent = false;
    bed.reply_all();
    bed.run(SECOND);
    assert_eq!(bed.commands.len(), 2);
    assert_eq!(bed.source(2), Source::Coalesced);
    assert_eq!(bed.source(3), Source::Live);
}

#[test]
fn what_was_observed_is_shown_while_it_is_young_and_only_to_who_owned_it_then() {
    let mut bed = Bed::new(RouterConfig::default());
    bed.ask(request(1, 1, question("show arp")));
    bed.run(SECOND * 2);
    bed.ask(Request { max_age: SECOND * 5, ..request(2, 1, question("show arp")) });
    assert_eq!((bed.source(2), bed.commands.len()), (Source::Cache, 1));
    let new_owner = Request { owned_for: SECOND, max_age: SECOND * 60, ..connection(3, 2, "red") };
    bed.ask(new_owner);
    bed.run(SECOND);
    assert_eq!(bed.commands.len(), 2, "what was there before is not the new owner's to see");
    let stale = Request {
        max_age: Duration::ZERO,
        allow_stale: Some(SECOND * 60),
        ..request(4, 1, question("show arp"))
    };
    bed.core.handle(bed.now, Input::Order(Order::Kill));
    bed.ask(stale);
    assert_eq!(bed.source(4), Source::Stale);
    bed.ask(Request { max_age: Duration::ZERO, ..request(5, 1, question("show arp")) });
    assert_eq!(bed.error(5), AskError::Maintenance);
}

#[test]
fn each_of_two_customers_sees_its_own_of_one_execution() {
    let mut bed = Bed::new(RouterConfig::default());
    bed.core.handle(bed.now, Input::Ask(Box::new(connection(1, 1, "red"))));
    bed.core.handle(bed.now, Input::Ask(Box::new(connection(2, 2, "blue"))));
    bed.run(SECOND);
    assert_eq!(bed.commands.len(), 1);
    for (id, mine) in [(1, "red"), (2, "blue")] {
        let rows = Arc::clone(&bed.answers[&RequestId(id)].as_ref().unwrap().rows);
        let instances: Vec<_> = rows.iter().map(|row| row["network_instance"].clone()).collect();
        assert_eq!(instances, [json!(mine)]);
        assert_eq!(bed.source(id), Source::Live);
    }
}

#[test]
fn plans_pay_for_every_command_and_end_at_a_bound() {
    let config = RouterConfig { rate_max: Rate::per_second(8), steps_max: 30, ..RouterConfig::default() };
    let mut bed = Bed::new(config);
    bed.steps = 20;
    bed.ask(request(1, 1, question("show arp")));
    bed.run(SECOND * 10);
    assert!(bed.answers[&RequestId(1)].is_ok());
    bed.assert_rate(8, 8);
    bed.steps = 31;
    bed.ask(Request { max_age: Duration::ZERO, ..request(2, 1, question("show arp")) });
    bed.run(SECOND * 10);
    assert!(matches!(bed.error(2), AskError::TranslationFailed { .. }));
}

#[test]
fn deadlines_answer_once_and_the_late_result_is_kept() {
    let mut bed = Bed::new(RouterConfig::default());
    bed.is_silent = true;
    bed.ask(Request { deadline: SECOND, ..request(1, 1, question("show arp")) });
    bed.run(SECOND * 2);
    assert_eq!(bed.error(1), AskError::DeadlineExceeded);
    bed.reply_all();
    bed.ask(Request { max_age: SECOND * 10, ..request(2, 1, question("show arp")) });
    assert_eq!(bed.source(2), Source::Cache);
}

#[test]
fn nothing_is_written_after_the_lease() {
    let mut bed = Bed::new(RouterConfig::default());
    bed.lease_until = bed.now.after(SECOND);
    bed.core = bed.fresh_core();
    bed.run(SECOND * 2);
    bed.ask(request(1, 1, question("show arp")));
    bed.run(SECOND);
    assert!(bed.commands.is_empty() && bed.logins == 0);
    bed.lease_until = bed.now.after(SECOND * 600);
    bed.core.handle(bed.now, Input::Lease { until: bed.lease_until });
    bed.run(SECOND * 5);
    assert!(bed.answers[&RequestId(1)].is_ok());
}

#[test]
fn a_silent_router_is_left_alone_and_probed() {
    let mut bed = Bed::new(RouterConfig { command_timeout: SECOND, ..RouterConfig::default() });
    bed.is_silent = true;
    for id in 0..40 {
        bed.ask(Request { max_age: Duration::ZERO, ..request(id, 1, question("show arp")) });
        bed.run(SECOND / 2);
    }
    assert_eq!(bed.answers.len(), 40);
    assert!(bed.core.counters().tripped > 1);
    assert!(bed.commands.len() < 10, "{}", bed.commands.len());
    let tripped = |error: &Result<Answered, AskError>| {
        matches!(error, Err(AskError::RouterUnreachable { why: Unreachable::Tripped, .. }))
    };
    assert!(bed.answers.values().any(tripped));
}

#[test]
fn a_refused_credential_is_not_tried_again() {
    let mut bed = Bed::new(RouterConfig::default());
    bed.login = Login::Refused;
    for id in 0..30 {
        bed.ask(request(id, 1, question("show arp")));
        bed.run(SECOND);
    }
    assert_eq!((bed.logins, bed.answers.len()), (1, 30));
    let why = Unreachable::CredentialSuspended;
    assert!(matches!(bed.error(29), AskError::RouterUnreachable { why: found, .. } if found == why));
}

#[test]
fn orders_stop_what_they_say() {
    let mut bed = Bed::new(RouterConfig::default());
    bed.is_silent = true;
    bed.ask(request(1, 1, question("show arp")));
    bed.run(SECOND * 3);
    bed.ask(request(2, 1, question("show version")));
    bed.core.handle(bed.now, Input::Order(Order::Maintenance));
    bed.run(SECOND);
    bed.reply_all();
    bed.run(SECOND);
    assert!(bed.answers[&RequestId(1)].is_ok(), "what had begun may end");
    bed.core.handle(bed.now, Input::Order(Order::Serve));
    bed.ask(request(3, 1, question("show clock")));
    bed.run(SECOND);
    bed.core.handle(bed.now, Input::Order(Order::Kill));
    bed.run(SECOND);
    assert_eq!(bed.error(3), AskError::Maintenance);
    assert_eq!(bed.open_sessions(), 0);
}

#[test]
fn a_flood_waits_in_its_own_line() {
    let mut bed = Bed::new(RouterConfig::default());
    for id in 0..1_000 {
        bed.ask(request(id, 1, question(&format!("show arp {id}"))));
    }
    let throttled = |result: &&Result<Answered, AskError>| {
        matches!(
            result,
            Err(AskError::Throttled { scope: Throttle::Client, .. } | AskError::RouterBusy { .. })
        )
    };
    assert!(bed.answers.values().filter(throttled).count() > 900);
    bed.ask(request(5_000, 2, question("show version")));
    bed.run(SECOND * 2);
    assert!(bed.answers[&RequestId(5_000)].is_ok(), "the second client is served next");
}

#[test]
fn the_lowest_class_makes_room_at_the_bound() {
    let config = RouterConfig { runs_max: 4, ..RouterConfig::default() };
    let mut bed = Bed::new(config);
    bed.is_silent = true;
    for id in 0..8 {
        let class = if id < 4 { Class::Background } else { Class::Internal };
        bed.core.handle(
            bed.now,
            Input::Ask(Box::new(Request {
                class,
                ..request(id, id as u64, question(&format!("show {id}")))
            })),
        );
    }
    bed.drain();
    let dropped = bed
        .answers
        .values()
        .filter(|result| matches!(result, Err(AskError::Throttled { scope: Throttle::Priority, .. })));
    assert_eq!(dropped.count(), 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Whatever happens in whatever order, every request that is taken gets exactly one answer by its deadline, and
    /// bounds hold.
    #[test]
    fn one_answer_each(steps in proptest::collection::vec((0u8..12, 0u64..5, 0u64..3_000), 1..120)) {
        let config = RouterConfig { runs_max: 16, lines_max: 4, line_runs_max: 6, waiters_max: 40, ..RouterConfig::default() };
        let mut bed = Bed::new(config);
        let mut cancelled = Vec::new();
        let mut asked = 0u128;
        for (what, which, pause) in steps {
            match what {
                0..=5 => {
                    let class = Class::ALL[usize::try_from(which % 3).unwrap()];
                    let deadline = Duration::from_millis(200 + pause);
                    bed.ask(Request { class, deadline, max_age: Duration::ZERO, ..request(asked, which, question(&format!("show {}", pause % 7))) });
                    asked += 1;
                }
                6 => bed.is_silent = !bed.is_silent,
                7 => bed.break_sessions(which % 2 == 0),
                8 => bed.reply_all(),
                9 => bed.core.handle(bed.now, Input::Order([Order::Serve, Order::Serve, Order::Maintenance, Order::Kill, Order::Serve][usize::try_from(which).unwrap()])),
                10 => {
                    let id = RequestId(u128::from(pause) % asked.max(1));
                    if id.0 < asked && !bed.answers.contains_key(&id) {
                        cancelled.push(id);
                    }
                    bed.core.handle(bed.now, Input::Cancel(id));
                }
                _ => bed.steps = u32::try_from(which).unwrap(),
            }
            bed.run(Duration::from_millis(pause));
            let status = bed.core.status();
            prop_assert!(status.waiting <= 16 && status.lines <= 4 && status.open <= 40);
        }
        bed.run(Duration::from_secs(10));
        for id in (0..asked).map(RequestId) {
            prop_assert!(bed.answers.contains_key(&id) != cancelled.contains(&id), "{id:?}");
        }
        prop_assert_eq!(bed.core.status().open, 0);
    }
}
