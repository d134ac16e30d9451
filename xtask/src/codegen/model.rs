//! The model of a service, as botocore carries it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::sh;

/// A service.
#[derive(Debug, Deserialize)]
pub(super) struct Model {
    pub(super) operations: BTreeMap<String, Operation>,
    pub(super) shapes: BTreeMap<String, Shape>,
}

/// An operation.
#[derive(Debug, Deserialize)]
pub(super) struct Operation {
    pub(super) input: Option<Reference>,
    pub(super) output: Option<Reference>,
}

/// A type.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Shape {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) members: BTreeMap<String, Reference>,
    #[serde(default)]
    pub(super) required: Vec<String>,
    /// Of a list.
    pub(super) member: Option<Box<Reference>>,
    /// Of a string.
    #[serde(rename = "enum")]
    pub(super) words: Option<Vec<String>>,
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
    pub(super) documentation: Option<String>,
}

/// A use of a type, and how it is called there.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reference {
    pub(super) shape: String,
    pub(super) location_name: Option<String>,
    pub(super) query_name: Option<String>,
    pub(super) documentation: Option<String>,
}

impl Model {
    /// Reads a model that gzip has packed.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = sh::output(Command::new("gzip").arg("-dc").arg(path))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not a model", path.display()))
    }

    pub(super) fn shape(&self, name: &str) -> Result<&Shape> {
        self.shapes.get(name).with_context(|| format!("the model has no shape {name}"))
    }
}

impl Reference {
    /// The parameter's name in a request of the `ec2` protocol: `queryName`, else `locationName` with its
    /// first letter in upper case, else the member's own.
    pub(super) fn name_in_request(&self, member: &str) -> String {
        match (&self.query_name, &self.location_name) {
            (Some(name), _) => name.clone(),
            (None, Some(name)) => {
                let mut chars = name.chars();
                let first = chars.next().map(|c| c.to_ascii_uppercase());
                first.into_iter().chain(chars).collect()
            }
            (None, None) => member.to_owned(),
        }
    }

    /// The element's name in an answer: `locationName`, else the member's own.
    pub(super) fn name_in_answer<'a>(&'a self, member: &'a str) -> &'a str {
        self.location_name.as_deref().unwrap_or(member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_ec2_protocol() {
        let reference = |query: Option<&str>, location: Option<&str>| Reference {
            shape: "String".into(),
            query_name: query.map(str::to_owned),
            location_name: location.map(str::to_owned),
            documentation: None,
        };
        let both = reference(Some("A"), Some("b"));
        assert_eq!((both.name_in_request("C").as_str(), both.name_in_answer("C")), ("A", "b"));
        let location = reference(None, Some("volumeSet"));
        assert_eq!(location.name_in_request("Volumes"), "VolumeSet");
        assert_eq!(location.name_in_answer("Volumes"), "volumeSet");
        let none = reference(None, None);
        assert_eq!((none.name_in_request("Iops").as_str(), none.name_in_answer("Iops")), ("Iops", "Iops"));
    }
}
