use terrane_sim::runner::{assert_finds_bugs, assert_holds, assert_repeats, fresh_seed};
use terrane_sim::worlds::KeymapWorld;

#[test]
fn holds() {
    assert_holds(&KeymapWorld, 0, 2_000);
}

#[test]
fn holds_on_fresh_seeds() {
    let first = fresh_seed();
    println!("first seed {first}");
    // A smaller batch must not go through everything, only violate nothing.
    let report =
        terrane_sim::runner::run_many(&KeymapWorld, first, 200, terrane_sim::switches::Switches::NONE);
    if let Some((plan, violation)) = &report.failure {
        panic!("{}", terrane_sim::runner::explain(&KeymapWorld, plan, violation));
    }
}

#[test]
fn finds_its_bugs() {
    assert_finds_bugs(&KeymapWorld);
}

#[test]
fn repeats() {
    assert_repeats(&KeymapWorld);
}
