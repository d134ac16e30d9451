//! The searches of every test run: the protocol as it is, and with each rule taken away.

use crate::configs::{AIMED, CONFIGS, Config};
use crate::search::{Found, search, search_from};
use crate::traces::most_of;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use terrane_block_core::bugs::Bugs;

/// States of each wide search. `TERRANE_SEARCH_STATES` overrides it for searches by hand (`cargo xtask soak volumes`).
const STATES: usize = 335_000;
/// States of each aimed search; most have fewer.
const AIMED_STATES: usize = 30_000;
/// States of all searches together, at least.
const TOTAL: usize = 5_000_000;

fn states() -> usize {
    std::env::var("TERRANE_SEARCH_STATES").ok().and_then(|text| text.parse().ok()).unwrap_or(STATES)
}

fn named(name: &str) -> Config {
    let config = CONFIGS.iter().chain(AIMED).find(|config| config.name == name);
    config.unwrap_or_else(|| panic!("no configuration {name:?}")).clone()
}

/// Nothing is violated in as many states as are looked at; how many that were.
fn holds(config: &Config, states: usize) -> usize {
    let found = search(config, states);
    let Found { states, depth, exhausted, .. } = &found;
    println!("{}: {states} states, {depth} deep, all: {exhausted}", config.name);
    if let Some((schedule, what)) = found.counterexample {
        let lines: Vec<String> = schedule.iter().map(ToString::to_string).collect();
        panic!("{}: {what}\n{}", config.name, lines.join("\n"));
    }
    found.states
}

/// Hands each piece of work to the next free core. Large searches take gigabytes: they come one after the other.
fn on_all_cores<T: Sync>(work: &[T], run: impl Fn(&T) + Sync) {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let cores = if states() > STATES { 1 } else { cores };
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(item) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    run(item);
                }
            });
        }
    });
}

#[test]
fn the_protocol_holds_in_five_million_states() {
    let wide = CONFIGS.iter().map(|config| (config, states()));
    let searches: Vec<_> = wide.chain(AIMED.iter().map(|config| (config, AIMED_STATES))).collect();
    let total = AtomicUsize::new(0);
    on_all_cores(&searches, |(config, states)| {
        total.fetch_add(holds(config, *states), Ordering::Relaxed);
    });
    let total = total.into_inner();
    println!("{total} states in {} searches, nothing violated", searches.len());
    assert!(total >= TOTAL, "only {total} states");
}

/// Which search finds which rule missing, within how many states.
const FINDS: &[(&str, &str, usize)] = &[
    ("client_overlaps", "aim-client", 60_000),
    ("primary_overlaps", "aim-read-uncommitted", 60_000),
    ("ack_before_mirror", "aim-read-uncommitted", 60_000),
    ("apply_duplicates", "network", 60_000),
    ("accept_old_generation", "network", 60_000),
    ("act_before_confirmation", "aim-confirm", 60_000),
    ("keep_restarted", "aim-keep", 60_000),
    ("skip_settling", "aim-settle", 60_000),
    ("one_lease", "aim-one-lease", 60_000),
    ("skip_grants", "aim-grants", 60_000),
    ("shrink_alone", "aim-shrink", 60_000),
    ("joiner_skips_flush", "aim-joiner-flush", 60_000),
    ("data_before_log", "aim-log-first", 60_000),
    ("recopies_unlogged", "aim-recopies", 150_000),
    ("bitmap_at_primary", "aim-bitmap", 60_000),
    ("bitmap_starts_empty", "aim-bitmap-log", 60_000),
    ("trust_forgotten", "aim-forgotten", 60_000),
    ("forget_applies", "aim-log-first", 60_000),
    ("suspects_one_sided", "aim-suspects", 60_000),
    ("serve_suspects", "aim-suspects", 60_000),
    ("retire_in_flight", "aim-retire", 60_000),
    ("join_before_flush", "aim-join-flush", 60_000),
    ("accept_old_session", "aim-session", 60_000),
    ("detach_early", "aim-detach", 60_000),
    ("serve_relinquished", "aim-hand-over", 60_000),
    ("resume_relinquished", "aim-release", 60_000),
    ("relinquish_undrained", "aim-hand-over", 60_000),
    ("believe_old_release", "aim-release", 60_000),
];

#[test]
fn a_rule_taken_away_is_missed() {
    let found = Mutex::new(0);
    on_all_cores(FINDS, |(bug, name, states)| {
        let config = Config { bugs: Bugs::named(bug), ..named(name) };
        let counterexample = search(&config, *states);
        let Some((schedule, what)) = counterexample.counterexample else {
            panic!("{name} does not find {bug} missing in {states} states");
        };
        let lines: Vec<String> = schedule.iter().map(|action| format!("    {action}\n")).collect();
        println!("without {bug}: {what} ({} states)\n{}", counterexample.states, lines.concat());
        *found.lock().expect("no search panics while counting") += 1;
    });
    assert_eq!(found.into_inner().ok(), Some(FINDS.len()));
}

/// Those that are too deep for a search from the start: a kept schedule leads most of the way, but for so many events.
const DEEP: &[(&str, usize)] = &[
    ("trust_broken_bitmap", 6),
    ("drop_bitmaps", 7),
    ("flush_before_suspects", 5),
    ("joiner_retires", 5),
    ("retire_later_writes", 6),
    ("retire_only_now", 5),
];

#[test]
fn a_rule_taken_away_deep_down_is_missed() {
    for (bug, left_out) in DEEP {
        let (config, world, mut lines) = most_of(bug, *left_out);
        let found = search_from(&config, world, 60_000);
        let Some((schedule, what)) = found.counterexample else {
            panic!("{bug} is not found missing in {} states", found.states);
        };
        lines.extend(schedule.iter().map(ToString::to_string));
        println!("without {bug}: {what} ({} states)\n    {}\n", found.states, lines.join("\n    "));
    }
}
