//! Space that changes hands.

use std::path::Path;

use terrane_testbed::{Installation, Up};

use crate::setup::{BINARY, attached, nbd_script};

/// Written, trimmed, deleted: whoever gets the space next finds zeros, also around what he writes himself.
#[test]
fn freed_space_reads_as_zeros_in_the_next_volume() {
    let up = Up::start(Path::new(BINARY)).unwrap();
    let instance = up.instance().unwrap();
    for round in 0..2 {
        let (volume, url) = attached(&up, &instance);
        assert_eq!(nbd_script("space.py", &[&url]).trim(), "zeros, then full", "round {round}");
        up.detach(&volume, &[]).unwrap();
        up.cli(&["volume", "delete", &volume]).unwrap();
    }
}
