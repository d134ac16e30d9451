//! Recorded device output, outside the repository: `../shared/corpora/napalm` beside it.

mod corpus;
mod damaged;

use std::path::{Path, PathBuf};

/// The corpus, if it is there. In CI it must be.
fn corpus() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora/napalm");
    if dir.is_dir() {
        return Some(dir);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing", dir.display());
    None
}

/// One case: platform, getter, name.
struct Case {
    platform: String,
    getter: String,
    name: String,
    dir: PathBuf,
}

fn cases(corpus: &Path) -> Vec<Case> {
    let children = |dir: &Path| -> Vec<PathBuf> {
        let entries = dir.read_dir().expect("the corpus can be read");
        let paths = entries.map(|entry| entry.expect("the corpus can be read").path());
        let mut paths: Vec<PathBuf> = paths.filter(|path| path.is_dir()).collect();
        paths.sort();
        paths
    };
    let name =
        |path: &Path| path.file_name().expect("a listed path has a name").to_string_lossy().into_owned();
    let mut cases = Vec::new();
    for platform in children(corpus) {
        for getter in children(&platform) {
            for dir in children(&getter) {
                let case = Case {
                    platform: name(&platform),
                    getter: name(&getter),
                    name: name(&dir),
                    dir: dir.clone(),
                };
                cases.push(case);
            }
        }
    }
    cases
}
