//! Rules about the crates: who may import whom, and what each must bring.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Finding;
use crate::sh;

/// The crates from the ground floor up. A crate imports only from above it in this list: a lower crate
/// that knows a higher one cannot be tested, reused or understood alone.
const FLOORS: &[&str] = &[
    "terrane-bench",
    "terrane-testbed",
    "terrane-types",
    "terrane-adjust",
    "terrane-log",
    "terrane-view",
    "terrane-telemetry",
    "terrane-store",
    "terrane-auth",
    "terrane-workflow",
    "terrane-snapshot",
    "terrane-keymap",
    "terrane-block-core",
    "terrane-block-wire",
    "terrane-qos",
    "terrane-block",
    "terrane-objects",
    "terrane-nbd",
    "terrane-device",
    "terrane-s3",
    "terrane-ec2",
    "terrane-snapshots",
    "terrane-volumes",
    "terrane-node",
    "terrane-router-model",
    "terrane-routers-core",
    "terrane-router-drivers",
    "terrane-api",
    "terrane-sim",
    "terrane",
    "xtask",
];

/// Protocol cores, and the only crates of ours that they may import.
const CORE_IMPORTS: &[(&str, &[&str])] = &[
    ("terrane-keymap", &["terrane-types"]),
    ("terrane-block-core", &["terrane-types"]),
    ("terrane-qos", &[]),
    ("terrane-adjust", &["terrane-types"]),
    ("terrane-routers-core", &["terrane-types", "terrane-router-model"]),
];

/// What `cargo metadata` says of one crate of the workspace.
struct Crate {
    name: String,
    dir: std::path::PathBuf,
    /// Names of imported crates and whether they are for tests only.
    imports: Vec<(String, bool)>,
}

pub(super) fn check(root: &Path, findings: &mut Vec<Finding>) -> Result<()> {
    let architecture = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap_or_default();
    for member in members()? {
        let relative = member.dir.strip_prefix(root).unwrap_or(&member.dir).to_path_buf();
        let manifest = relative.join("Cargo.toml");
        let mut report =
            |file: &Path, what: String| findings.push(Finding { file: file.to_path_buf(), line: 0, what });

        if !member.dir.join("README.md").is_file() {
            report(
                &relative,
                "no README.md: say what the crate is for, what it promises and how to try it".into(),
            );
        }
        if !architecture.contains(&format!("`{}`", member.name)) {
            report(Path::new("ARCHITECTURE.md"), format!("`{}` is missing from the code map", member.name));
        }
        if relative.file_name().is_none_or(|name| name != member.name.as_str()) {
            report(&manifest, format!("directory and crate `{}` have different names", member.name));
        }
        for broken in direction(&member.name, &member.imports) {
            report(&manifest, broken);
        }
        let text = fs::read_to_string(member.dir.join("Cargo.toml"))?;
        for broken in own_versions(&text) {
            report(&manifest, broken);
        }
    }
    Ok(())
}

/// Imports that go up, or that a core may not have.
fn direction(name: &str, imports: &[(String, bool)]) -> Vec<String> {
    let floor = |name: &str| FLOORS.iter().position(|known| *known == name);
    let Some(own) = floor(name) else {
        return vec![format!("`{name}` has no floor: add it to the list in xtask/src/tidy/crates.rs")];
    };
    let mut broken = Vec::new();
    for (import, only_tests) in imports {
        let Some(theirs) = floor(import) else { continue };
        if theirs >= own {
            broken.push(format!(
                "`{name}` imports `{import}`, which is on a higher floor (xtask/src/tidy/crates.rs)"
            ));
        }
        let core = CORE_IMPORTS.iter().find(|(core, _)| *core == name);
        if let Some((_, allowed)) = core
            && !only_tests
            && !allowed.contains(&import.as_str())
        {
            broken.push(format!(
                "`{name}` is a protocol core and imports `{import}`: a core knows types, no services"
            ));
        }
    }
    broken
}

/// Dependencies whose version or features are not chosen in the root: two feature sets build everything twice.
fn own_versions(manifest: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let mut in_dependencies = false;
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            in_dependencies = section.trim_end_matches(']').ends_with("dependencies");
        } else if in_dependencies && line.contains('=') && !line.contains("workspace = true") {
            broken.push(format!(
                "`{line}`: versions and features are chosen in the root's [workspace.dependencies]"
            ));
        }
    }
    broken
}

fn members() -> Result<Vec<Crate>> {
    let text = sh::output(sh::cargo().args(["metadata", "--no-deps", "--offline", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata is not JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    packages.iter().map(member).collect()
}

fn member(package: &Value) -> Result<Crate> {
    let text = |value: &Value| value.as_str().map(str::to_owned).context("cargo metadata: not a string");
    let manifest = text(&package["manifest_path"])?;
    let imports = package["dependencies"]
        .as_array()
        .context("cargo metadata: no dependencies")?
        .iter()
        .map(|dependency| Ok((text(&dependency["name"])?, dependency["kind"] == "dev")))
        .collect::<Result<_>>()?;
    let dir = Path::new(&manifest).parent().context("a manifest has a directory")?.to_path_buf();
    Ok(Crate { name: text(&package["name"])?, dir, imports })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_go_down_only() {
        let import = |name: &str, only_tests| vec![(name.to_owned(), only_tests)];
        assert!(direction("terrane-store", &import("terrane-log", false)).is_empty());
        assert_eq!(direction("terrane-log", &import("terrane-store", false)).len(), 1);
        assert_eq!(direction("terrane-log", &import("terrane-store", true)).len(), 1);
        assert_eq!(direction("terrane-keymap", &import("terrane-log", false)).len(), 1);
        assert!(direction("terrane-keymap", &import("terrane-log", true)).is_empty());
        assert_eq!(direction("unheard-of", &[]).len(), 1);
    }

    #[test]
    fn versions_are_chosen_in_the_root() {
        assert!(own_versions("[dependencies]\nbytes.workspace = true\n[features]\nx = []\n").is_empty());
        assert_eq!(own_versions("[dev-dependencies]\nbytes = \"1\"\n").len(), 1);
    }
}
