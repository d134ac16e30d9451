//! What the harness finds, and that it tries everything.

use std::collections::BTreeMap;

use terrane_workflow::harness::{Fault, Harness, HarnessError, Kind, Report, Scenario};
use terrane_workflow::machine::Status;

use crate::bank::{self, Bank};
use crate::migration::{Bug, Volume, params, template};

async fn migrate(bug: Bug) -> Result<Report, HarnessError> {
    let harness = Harness::new(template(), &params()).unwrap().with_late_calls();
    harness.run(|| Volume::new(bug)).await
}

fn nothing_is_left_out(report: &Report) {
    let kinds = [
        "fail-before",
        "fail-after",
        "refuse-before",
        "refuse-after",
        "exhaust",
        "twice",
        "crash-before",
        "cut",
        "crash-after",
        "late",
        "crash",
        "cancel",
        "pause",
    ];
    for kind in kinds {
        assert!(report.faults.get(kind).is_some_and(|count| *count > 0), "{kind}: {report}");
    }
    assert!(report.completed > 0 && report.rolled_back > 0 && report.stuck > 0, "{report}");
    assert_eq!(report.scenarios, report.completed + report.rolled_back);
}

#[tokio::test]
async fn a_migration_survives_everything_everywhere() {
    let report = migrate(Bug::None).await.unwrap();
    nothing_is_left_out(&report);
    assert!(report.scenarios > 2_000, "{report}");
}

#[tokio::test]
async fn a_payment_survives_everything_everywhere() {
    let harness = Harness::new(bank::template(), &BTreeMap::new()).unwrap().with_late_calls();
    let report = harness.run(Bank::default).await.unwrap();
    nothing_is_left_out(&report);
}

#[tokio::test]
async fn every_planted_mistake_is_found() {
    let bugs =
        [Bug::AllocateTwice, Bug::UndoNeedsOutput, Bug::UndoOnce, Bug::NoUndo, Bug::Torn, Bug::NoFence];
    for bug in bugs {
        let found = migrate(bug).await.expect_err(&format!("{bug:?} was not found"));
        // The scenario alone shows it again, and without the mistake it is harmless.
        let harness = Harness::new(template(), &params()).unwrap().with_late_calls();
        let again = harness.replay(&found.scenario, &Volume::new(bug)).await;
        assert!(again.is_err(), "{bug:?}: {found}");
        harness.replay(&found.scenario, &Volume::new(Bug::None)).await.unwrap();
    }
}

#[tokio::test]
async fn a_scenario_can_be_played_alone() {
    let harness = Harness::new(template(), &params()).unwrap();
    let refused = Fault::Attempt { step: 4, undo: false, kind: Kind::RefuseBefore };
    let scenario = Scenario { newest_first: false, faults: vec![refused] };
    let end = harness.replay(&scenario, &Volume::new(Bug::None)).await.unwrap();
    assert_eq!(end, Status::RolledBack);
}
