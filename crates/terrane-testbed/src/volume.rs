//! A volume as `terrane volume show --output json` tells it.

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// What a copy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Orders all I/O.
    Primary,
    /// Follows it.
    Mirror,
}

/// How a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyState {
    /// Has everything.
    InSync,
    /// Catches up.
    Joining,
    /// Gone, or not there yet.
    Absent,
}

/// A copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Its server's name.
    pub server: String,
    /// Its zone.
    pub zone: String,
    /// What it is for.
    pub role: Role,
    /// How it is.
    pub state: CopyState,
}

/// A volume.
#[derive(Clone, Debug)]
pub struct Volume {
    /// `available`, `in-use`, …
    pub state: String,
    /// The highest generation of its stripes.
    pub generation: u64,
    /// Its copies.
    pub copies: Vec<Copy>,
    /// Instances and NBD URLs of attachments that are served.
    pub attachments: Vec<(String, String)>,
    /// All of it, as printed.
    pub raw: Value,
}

impl Volume {
    /// Reads what was printed.
    ///
    /// # Errors
    /// It has not the shape that is promised.
    pub fn parse(raw: Value) -> Result<Self> {
        let copies = raw["copies"].as_array().context("copies")?.iter().map(copy).collect::<Result<_>>()?;
        let attachments = raw["attachments"].as_array().context("attachments")?;
        let served = |attachment: &Value| {
            let url = attachment["nbd_url"].as_str()?;
            Some((attachment["instance_id"].as_str()?.to_owned(), url.to_owned()))
        };
        Ok(Self {
            state: raw["state"].as_str().context("state")?.to_owned(),
            generation: raw["generation"].as_u64().context("generation")?,
            copies,
            attachments: attachments.iter().filter_map(served).collect(),
            raw,
        })
    }

    /// The name of the server of the copy with this role.
    ///
    /// # Errors
    /// There is none.
    pub fn server(&self, role: Role) -> Result<&str> {
        let copy = self.copies.iter().find(|copy| copy.role == role && copy.state == CopyState::InSync);
        Ok(&copy.with_context(|| format!("no {role:?} in sync: {}", self.raw))?.server)
    }

    /// Whether it has so many copies and all are in sync.
    #[must_use]
    pub fn is_redundant(&self, copies: usize) -> bool {
        self.copies.len() == copies && self.copies.iter().all(|copy| copy.state == CopyState::InSync)
    }
}

fn copy(value: &Value) -> Result<Copy> {
    let text = |field: &str| value[field].as_str().with_context(|| format!("no {field} in {value}"));
    let role = match text("role")? {
        "primary" => Role::Primary,
        "mirror" => Role::Mirror,
        other => bail!("a copy's role is {other:?}"),
    };
    let state = match text("state")? {
        "in_sync" => CopyState::InSync,
        "joining" => CopyState::Joining,
        "lost" | "creating" => CopyState::Absent,
        other => bail!("a copy's state is {other:?}"),
    };
    Ok(Copy { server: text("server")?.to_owned(), zone: text("zone")?.to_owned(), role, state })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_printed_is_read() {
        let copy = |server: &str, role: &str, state: &str| json!({"server": server, "zone": "z", "role": role, "state": state});
        let value = json!({
            "state": "in-use",
            "generation": 3,
            "copies": [copy("a", "primary", "in_sync"), copy("b", "mirror", "joining")],
            "attachments": [
                {"instance_id": "i-1", "nbd_url": null},
                {"instance_id": "i-2", "nbd_url": "nbd+unix:///x?socket=y"},
            ],
        });
        let volume = Volume::parse(value.clone()).unwrap();
        assert_eq!(volume.server(Role::Primary).unwrap(), "a");
        assert!(volume.server(Role::Mirror).is_err(), "it is not in sync");
        assert!(!volume.is_redundant(2));
        assert_eq!(volume.attachments, [("i-2".to_owned(), "nbd+unix:///x?socket=y".to_owned())]);
        let mut strange = value;
        strange["copies"][1]["state"] = json!("dreaming");
        assert!(Volume::parse(strange).is_err());
    }
}
