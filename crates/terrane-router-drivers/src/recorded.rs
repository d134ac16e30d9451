//! Recorded outputs: a directory whose file names are the commands.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use regex::Regex;

use crate::grammar::{Part, PlaceholderType};
use crate::plan::Encoding;
use crate::run::{Answer, Answerable, Source};

/// A directory of outputs, one file per command; whatever is neither a letter nor a digit in a command may be anything
/// of that sort in the name. A placeholder that the query leaves open takes its value from the name of the file.
#[derive(Clone, Debug)]
pub struct Recorded {
    files: Vec<File>,
}

#[derive(Clone, Debug)]
struct File {
    /// The name without its extension, folded.
    name: String,
    extension: String,
    bytes: Vec<u8>,
}

/// A directory of recordings has fewer files than this.
const FILES_MAX: usize = 10_000;

impl Recorded {
    /// Reads a directory.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if !path.is_file() {
                continue;
            }
            if files.len() >= FILES_MAX {
                return Err(io::Error::other(format!("more than {FILES_MAX} files")));
            }
            let part = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
            let name = part(path.file_stem()).unwrap_or_default();
            let extension = part(path.extension()).unwrap_or_default();
            files.push(File { name: fold(&name), extension, bytes: fs::read(&path)? });
        }
        files.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.extension.cmp(&b.extension)));
        Ok(Self { files })
    }

    /// Outputs by command, for tests.
    pub fn of(outputs: &[(&str, &[u8])]) -> Self {
        let file = |(command, bytes): &(&str, &[u8])| {
            let (name, extension) = command.rsplit_once('.').unwrap_or((command, ""));
            File { name: fold(name), extension: extension.to_owned(), bytes: bytes.to_vec() }
        };
        Self { files: outputs.iter().map(file).collect() }
    }

    /// Replaces every output by what the function makes of it. For tests with damaged output.
    pub fn map(mut self, change: impl Fn(&[u8]) -> Vec<u8>) -> Self {
        for file in &mut self.files {
            file.bytes = change(&file.bytes);
        }
        self
    }
}

impl Source for Recorded {
    fn output(&self, asked: &Answerable<'_>) -> Option<Answer> {
        let extensions: &[&str] = match asked.encoding {
            Encoding::Json => &["json", "txt", "text", ""],
            Encoding::Xml => &["xml", "txt", ""],
            Encoding::Text => &["txt", "text", "json", ""],
        };
        let rank = |file: &File| extensions.iter().position(|extension| file.extension == *extension);
        let candidates = asked.commands.iter().flat_map(|(_, parts)| {
            self.files.iter().filter_map(move |file| Some((rank(file)?, matches(&file.name, parts)?, file)))
        });
        // The name that leaves least to open placeholders is the command's own.
        let (_, bound, file) = candidates
            .min_by_key(|(rank, bound, _)| (bound.values().map(String::len).sum::<usize>(), *rank))?;
        Some(Answer { bytes: file.bytes.clone(), bound })
    }
}

fn fold(text: &str) -> String {
    let mut folded = String::new();
    for c in text.chars() {
        if c.is_alphanumeric() {
            folded.extend(c.to_lowercase());
        } else if !folded.ends_with('_') && !folded.is_empty() {
            folded.push('_');
        }
    }
    folded.trim_end_matches('_').to_owned()
}

/// An IPv4 address or prefix as it was before it became part of a name; other values as they are.
fn unfold(value: &str) -> String {
    let parts: Vec<&str> = value.split('_').collect();
    let octets = parts.iter().all(|part| part.parse::<u8>().is_ok());
    match (octets, parts.as_slice()) {
        (true, [a, b, c, d]) => format!("{a}.{b}.{c}.{d}"),
        (true, [a, b, c, d, length]) => format!("{a}.{b}.{c}.{d}/{length}"),
        _ => value.to_owned(),
    }
}

/// The values of the open placeholders, if the name is of that command.
fn matches(name: &str, parts: &[Part]) -> Option<BTreeMap<String, String>> {
    if parts.iter().all(|part| matches!(part, Part::Text(_))) {
        let text: String =
            parts.iter().map(|part| if let Part::Text(text) = part { text } else { "" }).collect();
        return (name == fold(&text)).then(BTreeMap::new);
    }
    let mut pattern = String::from("^");
    let mut open = Vec::new();
    for part in parts {
        match part {
            Part::Text(text) => pattern.push_str(&format!("_*{}_*", regex::escape(&fold(text)))),
            Part::Open { name, ty } => {
                open.push(name.clone());
                pattern.push_str(match ty {
                    PlaceholderType::Address => "([0-9]+_[0-9]+_[0-9]+_[0-9]+|[0-9a-f]+(?:_[0-9a-f]+)*)",
                    PlaceholderType::Prefix => {
                        "([0-9]+_[0-9]+_[0-9]+_[0-9]+(?:_[0-9]+)?|[0-9a-f]+(?:_[0-9a-f]+)*)"
                    }
                    PlaceholderType::Number => "([0-9]+)",
                    PlaceholderType::Name => "([0-9a-z_]+)",
                });
            }
        }
    }
    pattern.push('$');
    let found = Regex::new(&pattern).ok()?.captures(name)?;
    let values = (1..=open.len()).filter_map(|index| found.get(index)).map(|value| unfold(value.as_str()));
    Some(open.into_iter().zip(values).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_commands_and_tell_open_values() {
        let text = |text: &str| Part::Text(text.into());
        assert_eq!(fold("show arp | exclude Incomplete"), fold("show_arp___exclude_Incomplete"));
        assert!(matches("show_version", &[text("show version")]).is_some());
        assert!(matches("show_version_x", &[text("show version")]).is_none());
        let open = |name: &str, ty| Part::Open { name: name.into(), ty };
        let parts = [text("show ip route "), open("prefix", PlaceholderType::Prefix), text(" longer")];
        assert_eq!(matches("show_ip_route_1_0_4_0_24_longer", &parts).unwrap()["prefix"], "1.0.4.0/24");
        assert!(matches("show_ip_route_longer", &parts).is_none());
        let address = PlaceholderType::Address;
        let parts = [text("show ip route "), open("network", address), text(" "), open("mask", address)];
        let bound = matches("show_ip_route_1_0_4_0_255_255_255_0", &parts).unwrap();
        assert_eq!((bound["network"].as_str(), bound["mask"].as_str()), ("1.0.4.0", "255.255.255.0"));
    }
}
