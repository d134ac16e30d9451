//! Rules about single files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Finding;

/// A file longer than this does more than one thing.
const LINES_MAX: usize = 800;

/// Directories that hold nothing of ours.
const SKIPPED_DIRS: &[&str] = &["target", ".git", "terrane-data", "__pycache__", "corpus", "artifacts"];

/// Ends of the names of the files that are looked at.
const TEXT: &[&str] =
    &["rs", "toml", "md", "py", "sh", "service", "yml", "yaml", "Containerfile", "run", "txt"];

const UNSAFE: &str = concat!("unsafe ", "{");

/// The files that may contain that, each the only one of its crate: io_uring takes addresses of memory that it uses later.
const UNSAFE_FILES: &[&str] = &["crates/terrane-block/src/engine/media/ring.rs"];

/// Words that no source file may contain, and why. Split, so that this file passes its own rules.
const BANNED: &[(&str, &str)] = &[
    (concat!("#[ign", "ore"), "a test that does not run proves nothing: make it fast, or move it to `soak`"),
    (concat!("to", "do!("), "no stubs: what is not offered answers with a typed error"),
    (concat!("unimple", "mented!("), "no stubs: what is not offered answers with a typed error"),
    (UNSAFE, "nothing here needs it; the kernel is reached through checked wrappers"),
    (concat!("allow(clippy::too_many", "_lines"), "split the function: nobody reviews 70 lines at once"),
    (concat!("static ", "mut "), "state has one owner"),
];

/// Sources of the protocol cores: they take time, randomness and I/O as arguments, or no history can be
/// replayed. (Paths relative to the root; the simulator's binary, and the runner that spreads seeds over the
/// machine's cores and prints what failed, are programs like any other.)
const CORES: &[&str] =
    &["crates/terrane-block-core/src/", "crates/terrane-keymap/src/", "crates/terrane-sim/src/"];
const CORE_EXEMPT: &[&str] = &["crates/terrane-sim/src/main.rs", "crates/terrane-sim/src/runner"];

const BANNED_IN_CORES: &[(&str, &str)] = &[
    ("tokio", "a core is driven, it does not run"),
    ("std::net", "a core yields outputs; its driver owns sockets"),
    ("std::fs", "a core yields outputs; its driver owns files"),
    ("std::thread", "a core is a state machine of one owner"),
    ("Instant::now", "time is handed in, so that a history can be replayed"),
    ("SystemTime::now", "time is handed in, so that a history can be replayed"),
    ("HashMap", "its order of iteration differs between runs: use BTreeMap"),
    ("HashSet", "its order of iteration differs between runs: use BTreeSet"),
    ("rand::rng(", "randomness is seeded and handed in"),
    ("rand::random", "randomness is seeded and handed in"),
    ("OsRng", "randomness is seeded and handed in"),
    ("SysRng", "randomness is seeded and handed in"),
];

/// A file and its text.
pub(super) struct SourceFile {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// Reads every text file of the workspace.
pub(super) fn list(root: &Path) -> Result<Vec<SourceFile>> {
    let mut found = Vec::new();
    let mut dirs = vec![root.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_dir() {
                if !SKIPPED_DIRS.contains(&name.as_str()) {
                    dirs.push(entry.path());
                }
            } else if TEXT.contains(&name.rsplit('.').next().unwrap_or_default()) {
                let text = fs::read_to_string(entry.path())
                    .with_context(|| format!("{} is not UTF-8", entry.path().display()))?;
                let path = entry.path().strip_prefix(root).unwrap_or(&entry.path()).to_path_buf();
                found.push(SourceFile { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Checks one file.
pub(super) fn check(file: &SourceFile, findings: &mut Vec<Finding>) {
    let path = file.path.to_string_lossy();
    let is_rust = path.ends_with(".rs");
    let is_core =
        CORES.iter().any(|core| path.starts_with(core)) && !CORE_EXEMPT.iter().any(|e| path.starts_with(e));
    let mut report =
        |line: usize, what: String| findings.push(Finding { file: file.path.clone(), line, what });

    let lines = file.text.lines().count();
    if lines > LINES_MAX && !path.ends_with(".lock") {
        report(0, format!("{lines} lines (at most {LINES_MAX}): split it by what its parts do"));
    }
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        report(lines, "no newline at the end: tools that append or diff trip over it".into());
    }
    if path.ends_with("src/lib.rs") && !file.text.starts_with("//!") {
        report(1, "a crate says first what it is for (`//!`)".into());
    }
    for (number, line) in (1..).zip(file.text.lines()) {
        if line.ends_with([' ', '\t', '\r']) {
            report(number, "white space at the end of the line: it hides in diffs".into());
        }
        if !is_rust {
            continue;
        }
        let code = code_of(line);
        let core_rules = if is_core { BANNED_IN_CORES } else { &[] };
        for (word, why) in BANNED.iter().chain(core_rules) {
            let allowed = *word == UNSAFE && UNSAFE_FILES.contains(&path.as_ref());
            if code.contains(word) && !allowed {
                report(number, format!("`{word}`: {why}"));
            }
        }
    }
}

/// A line without its comment. (A `//` within a string ends the line early, which only hides what follows.)
fn code_of(line: &str) -> &str {
    line.find("//").map_or(line, |at| &line[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        check(&SourceFile { path: path.into(), text: text.into() }, &mut found);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn clean_file_passes() {
        assert!(findings("crates/x/src/a.rs", "//! Fine.\nfn f() {}\n").is_empty());
    }

    #[test]
    fn what_is_unsafe_has_one_place() {
        let text = format!("fn f() {{ {UNSAFE} g() }} }}\n");
        assert!(findings(UNSAFE_FILES[0], &text).is_empty());
        assert_eq!(findings("crates/terrane-block/src/engine/media/file.rs", &text).len(), 1);
    }

    #[test]
    fn every_banned_word_is_found_with_its_place() {
        for (word, _) in BANNED {
            let found = findings("crates/x/src/a.rs", &format!("\nlet x = {word}x\n"));
            assert_eq!(found.len(), 1, "{word}: {found:?}");
            assert!(found[0].starts_with("crates/x/src/a.rs:2: "), "{found:?}");
        }
    }

    #[test]
    fn cores_are_pure_and_their_binary_is_not_a_core() {
        for (word, _) in BANNED_IN_CORES {
            let text = format!("use {word};\n");
            assert!(!findings("crates/terrane-keymap/src/overlay.rs", &text).is_empty(), "{word}");
            assert!(findings("crates/terrane-sim/src/main.rs", &text).is_empty(), "{word}");
            assert!(findings("crates/terrane-log/src/disk.rs", &text).is_empty(), "{word}");
        }
        assert!(findings("crates/terrane-keymap/src/a.rs", "// no HashMap here\n").is_empty());
    }

    #[test]
    fn long_files_loose_ends_and_silent_crates_are_found() {
        assert_eq!(findings("a.rs", &"x\n".repeat(LINES_MAX + 1)).len(), 1);
        assert_eq!(findings("a.md", "text \n").len(), 1);
        assert_eq!(findings("a.md", "text").len(), 1);
        assert_eq!(findings("crates/x/src/lib.rs", "pub mod a;\n").len(), 1);
    }
}
