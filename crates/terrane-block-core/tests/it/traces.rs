//! Schedules that once broke the protocol, or break it with one rule taken away. Kept for ever.

use crate::actions::Action;
use crate::configs::{AIMED, CONFIGS, Config};
use crate::world::World;
use std::fs;
use std::path::Path;
use terrane_block_core::bugs::Bugs;

/// A file of `traces/`: comments, the switch, the configuration, and a named event per line.
struct Trace {
    bug: String,
    config: Config,
    schedule: Vec<String>,
}

fn parse(text: &str) -> Trace {
    let mut lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let mut word = |name: &str| {
        let line = lines.next().unwrap_or_default();
        line.strip_prefix(name).unwrap_or_else(|| panic!("{line:?} is not {name}")).trim().to_owned()
    };
    let bug = word("bug");
    let name = word("config");
    let config = CONFIGS.iter().chain(AIMED).find(|config| config.name == name);
    let config = config.unwrap_or_else(|| panic!("no configuration {name:?}")).clone();
    Trace { bug, config, schedule: lines.map(str::to_owned).collect() }
}

/// Follows the schedule. An event that cannot happen is left out: without the bug things go differently.
fn replay(trace: &Trace, bugs: Bugs) -> (usize, Option<String>) {
    let config = Config { bugs, ..trace.config.clone() };
    let mut world = World::new(&config);
    let mut happened = 0;
    for name in &trace.schedule {
        let named = |action: &Action| action.to_string() == *name;
        let Some(action) = world.actions(&config).into_iter().find(named) else { continue };
        world.act(&config, action);
        happened += 1;
        if let Some(what) = world.violation {
            return (happened, Some(what));
        }
    }
    (happened, None)
}

#[test]
fn every_trace_breaks_the_switched_off_rule_and_only_that() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/traces");
    let mut seen = Vec::new();
    for entry in fs::read_dir(dir).expect("the directory of traces is there") {
        let path = entry.expect("the directory can be read").path();
        let trace = parse(&fs::read_to_string(&path).expect("a trace is a text"));
        assert!(Bugs::NAMES.contains(&trace.bug.as_str()), "{path:?}: no switch {:?}", trace.bug);
        let (happened, broken) = replay(&trace, Bugs::named(&trace.bug));
        assert!(broken.is_some(), "{path:?}: nothing is violated any more");
        assert_eq!(happened, trace.schedule.len(), "{path:?}: the schedule does not fit any more");
        assert_eq!(replay(&trace, Bugs::NONE).1, None, "{path:?} breaks the protocol as it is");
        seen.push(trace.bug);
    }
    let missing: Vec<_> = Bugs::NAMES.iter().filter(|name| !seen.iter().any(|bug| bug == *name)).collect();
    assert_eq!(missing, [&"never_go_back"; 1], "a trace for every switch; the last is a test of the manager");
}
