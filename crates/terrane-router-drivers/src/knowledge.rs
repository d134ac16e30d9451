//! The knowledge base: every plan, by platform, kind and view.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use terrane_router_model::Kind;

use crate::plan::{Plan, PlanError, Platform};

mod files;

/// The plans, as text; each is compiled when it is asked for.
#[derive(Clone, Debug)]
pub struct KnowledgeBase {
    /// By platform, then by the file's name without `.toml`: `arp`, `lldp.summary`, `platform`.
    texts: BTreeMap<String, BTreeMap<String, String>>,
}

/// Why a plan cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KnowledgeError {
    /// No plans at all for the platform.
    #[error("unknown platform `{0}`")]
    Platform(String),
    /// The platform has no plan of that kind.
    #[error("UnsupportedQuery: no plan for {kind} on {platform}")]
    Plan {
        /// What was asked.
        kind: Kind,
        /// Of what.
        platform: String,
    },
    /// The plan does not compile.
    #[error("{platform}/{file}: {source}")]
    Faulty {
        /// The platform.
        platform: String,
        /// The file.
        file: String,
        /// What is wrong.
        source: Box<PlanError>,
    },
}

impl KnowledgeBase {
    /// The plans that are part of this program.
    pub fn embedded() -> Self {
        let mut texts: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (platform, file, text) in files::FILES {
            texts.entry((*platform).into()).or_default().insert((*file).into(), (*text).into());
        }
        Self { texts }
    }

    /// The plans in a directory, for writing new ones.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let mut texts = BTreeMap::new();
        for platform in fs::read_dir(dir)? {
            let platform = platform?.path();
            if !platform.is_dir() {
                continue;
            }
            let mut files = BTreeMap::new();
            for file in fs::read_dir(&platform)? {
                let file = file?.path();
                let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                files.insert(stem, fs::read_to_string(&file)?);
            }
            let name = platform.file_name().unwrap_or_default().to_string_lossy().into_owned();
            texts.insert(name, files);
        }
        Ok(Self { texts })
    }

    /// Names of the platforms.
    pub fn platforms(&self) -> impl Iterator<Item = &str> {
        self.texts.keys().map(String::as_str)
    }

    /// What holds for a platform.
    pub fn platform(&self, platform: &str) -> Result<Platform, KnowledgeError> {
        let files = self.texts.get(platform).ok_or_else(|| KnowledgeError::Platform(platform.into()))?;
        match files.get("platform") {
            Some(text) => Platform::parse(text).map_err(|error| faulty(platform, "platform", error)),
            None => Ok(Platform::default()),
        }
    }

    /// The plan for a kind; the one for the view, where there is one.
    pub fn plan(&self, platform: &str, kind: Kind, view: Option<&str>) -> Result<Plan, KnowledgeError> {
        let files = self.texts.get(platform).ok_or_else(|| KnowledgeError::Platform(platform.into()))?;
        let of_view = view.map(|view| format!("{kind}.{view}"));
        let names = of_view.into_iter().chain([kind.to_string()]);
        for name in names {
            if let Some(text) = files.get(&name) {
                return Plan::parse(text).map_err(|error| faulty(platform, &name, error));
            }
        }
        Err(KnowledgeError::Plan { kind, platform: platform.into() })
    }

    /// Compiles everything: a knowledge base with a fault is refused as a whole.
    pub fn check(&self) -> Result<usize, KnowledgeError> {
        let mut count = 0;
        for (platform, files) in &self.texts {
            for (file, text) in files {
                if file == "platform" {
                    Platform::parse(text).map_err(|error| faulty(platform, file, error))?;
                } else {
                    Plan::parse(text).map_err(|error| faulty(platform, file, error))?;
                    count += 1;
                }
            }
        }
        Ok(count)
    }
}

fn faulty(platform: &str, file: &str, source: PlanError) -> KnowledgeError {
    KnowledgeError::Faulty {
        platform: platform.into(),
        file: format!("{file}.toml"),
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_embedded_and_compiles() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("knowledge");
        let on_disk = KnowledgeBase::open(&dir).unwrap();
        let embedded = KnowledgeBase::embedded();
        let names = |base: &KnowledgeBase| -> Vec<String> {
            let files =
                base.texts.iter().flat_map(|(p, files)| files.keys().map(move |f| format!("{p}/{f}")));
            files.collect()
        };
        assert_eq!(names(&on_disk), names(&embedded), "list every plan in src/knowledge/files.rs");
        assert!(embedded.check().unwrap() > 0);
    }

    #[test]
    fn names_of_files_are_kinds_and_views() {
        for files in KnowledgeBase::embedded().texts.values() {
            for (name, text) in files.iter().filter(|(name, _)| *name != "platform") {
                let kind: Kind = name.split('.').next().unwrap_or_default().parse().unwrap();
                assert_eq!(Plan::parse(text).unwrap().kind, kind);
            }
        }
    }
}
