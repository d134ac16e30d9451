//! A tree of real files to store: the unpacked sources of crates that cargo has fetched.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Where cargo unpacks the sources of what we depend on.
fn sources() -> PathBuf {
    let home = std::env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cargo"),
        PathBuf::from,
    );
    let registries = home.join("registry/src");
    fs::read_dir(&registries)
        .unwrap_or_else(|e| panic!("{}: {e}: the tests store cargo's unpacked sources", registries.display()))
        .map(|entry| entry.unwrap().path())
        .max_by_key(|dir| fs::read_dir(dir).map_or(0, Iterator::count))
        .expect("cargo has unpacked some sources")
}

/// Copies crates, in the order of their names, until `files` files are there. Files over 256 KiB are left out:
/// they are few and would make the tests' time one of MD5.
pub(crate) fn copy(into: &Path, files: usize) -> usize {
    let mut crates: Vec<PathBuf> =
        fs::read_dir(sources()).unwrap().map(|entry| entry.unwrap().path()).collect();
    crates.sort();
    let mut copied = 0;
    for dir in crates {
        if copied >= files {
            break;
        }
        copied += copy_dir(&dir, &into.join(dir.file_name().unwrap()));
    }
    assert!(copied >= files, "cargo has only {copied} files of sources");
    copied
}

fn copy_dir(from: &Path, to: &Path) -> usize {
    let mut copied = 0;
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            copied += copy_dir(&entry.path(), &target);
        } else if kind.is_file() && entry.metadata().unwrap().len() <= 256 * 1024 {
            fs::create_dir_all(to).unwrap();
            fs::copy(entry.path(), target).unwrap();
            copied += 1;
        }
    }
    copied
}

/// Every file's path and digest.
pub(crate) fn digests(root: &Path) -> BTreeMap<String, [u8; 32]> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, Sha256::digest(fs::read(&path).unwrap()).into());
            }
        }
    }
    found
}

/// Panics with the first few differences unless both trees hold the same files.
pub(crate) fn assert_same(a: &Path, b: &Path) {
    let (a, b) = (digests(a), digests(b));
    let differ: Vec<&String> =
        a.keys().chain(b.keys()).filter(|name| a.get(*name) != b.get(*name)).take(10).collect();
    assert!(differ.is_empty(), "the trees differ: {differ:?}");
}
