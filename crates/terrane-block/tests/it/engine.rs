//! The storage engine by each of the ways in which bytes get to the drive.

#![allow(clippy::duplicate_mod, reason = "the same tests, another path")]

#[path = "engine/suite.rs"]
mod portable;
#[path = "engine/suite.rs"]
mod ring;

use terrane_block::engine::media::DataPath;

#[test]
fn the_best_path_here_is_the_ring() {
    assert_eq!(DataPath::best(), DataPath::Ring, "the tests of the other path need it, too");
}
