//! What a view promises, across crashes of every kind that files can show.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crash;
mod model;

use std::path::Path;

use terrane_view::{Opened, View, ViewConfig};

fn config() -> ViewConfig {
    ViewConfig { cache_bytes: 1 << 20, memtable_bytes: 64 << 10, free_bytes_min: 0 }
}

fn open(dir: &Path) -> (View, Opened) {
    View::open(dir, &["rows", "meta"], config()).unwrap()
}

/// What a crash leaves: the files as they are now, under another name.
fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
