use terrane_sim::runner::{Plan, assert_finds_bugs, assert_holds, assert_repeats, fresh_seed, run};
use terrane_sim::switches::Switches;
use terrane_sim::worlds::MirrorWorld;

#[test]
fn holds() {
    assert_holds(&MirrorWorld, 0, 2_000);
}

#[test]
fn holds_on_fresh_seeds() {
    let first = fresh_seed();
    println!("first seed {first}");
    assert_holds(&MirrorWorld, first, 500);
}

#[test]
fn finds_its_bugs() {
    assert_finds_bugs(&MirrorWorld);
}

#[test]
fn repeats() {
    assert_repeats(&MirrorWorld);
}

/// The only drive that knew of an override could not be read at a start, and one that had been given up was served
/// from: against what an operator is told, and told by nothing that is still readable.
#[test]
fn what_was_given_up_stays_away_while_those_that_know_cannot_be_read() {
    let plan = Plan { events: 585, ..Plan::new(&MirrorWorld, 1_795_189_680_705, Switches::NONE) };
    assert_eq!(run(&MirrorWorld, &plan, false).result, Ok(()));
}

/// An operator who had to choose between two histories threw away the drive that was just becoming a member of the one
/// that was kept.
#[test]
fn what_becomes_a_member_is_not_thrown_away_with_the_other_history() {
    let plan = Plan { events: 1642, ..Plan::new(&MirrorWorld, 6_007_850, Switches::NONE) };
    assert_eq!(run(&MirrorWorld, &plan, false).result, Ok(()));
}
