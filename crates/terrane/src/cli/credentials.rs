//! AWS shared-credentials and configuration files, as far as we need them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The settings of one profile.
pub(crate) type Profile = HashMap<String, String>;

/// Reads a profile of a file in the INI dialect that AWS tools share: `[name]` (or `[profile name]`), then
/// `key = value`; `#` and `;` begin comments. Nested settings (indented) are passed over. `None` if the file does
/// not have the profile.
pub(crate) fn profile(text: &str, name: &str) -> Option<Profile> {
    let mut found: Option<Profile> = None;
    let mut inside = false;
    for line in text.lines() {
        let nested = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = line.strip_prefix('[') {
            let section = section.split(']').next().unwrap_or("").trim();
            let section = section.strip_prefix("profile ").map_or(section, str::trim);
            inside = section == name;
            if inside {
                found.get_or_insert_default();
            }
        } else if let (true, false, Some((key, value))) = (inside, nested, line.split_once('=')) {
            found.get_or_insert_default().insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    found
}

/// A file named by a variable, or in `~/.aws`.
pub(crate) fn aws_file(variable: &str, name: &str) -> Option<PathBuf> {
    match std::env::var_os(variable) {
        Some(path) if !path.is_empty() => Some(path.into()),
        _ => Some(Path::new(&std::env::var_os("HOME")?).join(".aws").join(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_found_and_nested_settings_passed_over() {
        let text = "# c\n[default]\naws_access_key_id = A\n\n[profile lab ]\nregion=eu-west-3\ns3 =\n  \
                    addressing_style = path\nAWS_SECRET_ACCESS_KEY = a=b\n";
        assert_eq!(profile(text, "default").unwrap()["aws_access_key_id"], "A");
        let lab = profile(text, "lab").unwrap();
        assert_eq!(lab["region"], "eu-west-3");
        assert_eq!(lab["aws_secret_access_key"], "a=b");
        assert!(!lab.contains_key("addressing_style"));
        assert_eq!(profile(text, "other"), None);
    }
}
