//! The searches of every test run: the protocol as it is, and with each rule taken away.

use crate::configs::{AIMED, CONFIGS, Config};
use crate::search::{Found, search};
use terrane_block_core::bugs::Bugs;

/// States of each wide search. Together with the aimed ones some more than five million.
/// `TERRANE_SEARCH_STATES` overrides it for searches by hand (`cargo xtask soak volumes`).
const STATES: usize = 420_000;

fn states() -> usize {
    std::env::var("TERRANE_SEARCH_STATES").ok().and_then(|text| text.parse().ok()).unwrap_or(STATES)
}

fn named(name: &str) -> Config {
    let config = CONFIGS.iter().chain(AIMED).find(|config| config.name == name);
    config.unwrap_or_else(|| panic!("no configuration {name:?}")).clone()
}

/// Nothing is violated in as many states as are looked at.
fn holds(config: &Config, states: usize) {
    let found = search(config, states);
    let Found { states, depth, exhausted, .. } = &found;
    println!("{}: {states} states, {depth} deep, all: {exhausted}", config.name);
    if let Some((schedule, what)) = found.counterexample {
        let lines: Vec<String> = schedule.iter().map(ToString::to_string).collect();
        panic!("{}: {what}\n{}", config.name, lines.join("\n"));
    }
}

macro_rules! searches {
    ($($test:ident $name:literal)*) => {
        $(
            #[test]
            fn $test() {
                holds(&named($name), states());
            }
        )*

        #[test]
        fn no_search_is_left_out() {
            let names: Vec<_> = CONFIGS.iter().map(|config| config.name).collect();
            assert_eq!(names, [$($name),*]);
        }
    };
}

searches! {
    switch "switch"
    leases "leases"
    power "power"
    restart "restart"
    blocks "blocks"
    three "three"
    three_flush "three-flush"
    three_equalise "three-equalise"
    detach "detach"
    sessions "sessions"
    disk "disk"
    fsync "fsync"
    network "network"
    three_join "three-join"
    join_power "join-power"
}

#[test]
fn aimed_searches_hold() {
    for config in AIMED {
        holds(config, 30_000);
    }
}

/// Which search finds which rule missing, within how many states. For those that are too deep there are schedules only.
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
    ("recopies_unlogged", "aim-recopies", 60_000),
    ("bitmap_at_primary", "aim-bitmap", 60_000),
    ("bitmap_starts_empty", "aim-bitmap-log", 60_000),
    ("forget_applies", "aim-log-first", 60_000),
    ("suspects_one_sided", "aim-suspects", 60_000),
    ("serve_suspects", "aim-suspects", 60_000),
    ("retire_in_flight", "aim-retire", 60_000),
    ("join_before_flush", "aim-join-flush", 60_000),
    ("accept_old_session", "aim-session", 60_000),
    ("detach_early", "aim-detach", 60_000),
];

#[test]
fn a_rule_taken_away_is_missed() {
    for (bug, name, states) in FINDS {
        let config = Config { bugs: Bugs::named(bug), ..named(name) };
        let found = search(&config, *states);
        let Some((schedule, what)) = found.counterexample else {
            panic!("{name} does not find {bug} missing in {states} states");
        };
        println!("without {bug}: {what} ({} states)", found.states);
        for action in schedule {
            println!("    {action}");
        }
    }
}
