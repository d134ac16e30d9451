//! Who the server is: one small file, made at the first start.

use super::ServerError;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use terrane_block_wire::control::ServerId;

const NAME: &str = "server.json";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Identity {
    version: u32,
    /// 32 hex digits.
    server: String,
}

/// Reads the file, or makes it.
pub(super) fn load_or_create(dir: &Path) -> Result<ServerId, ServerError> {
    let path = dir.join(NAME);
    let io = |source| ServerError::Identity { path: path.clone(), reason: io::Error::to_string(&source) };
    let broken = |reason: String| ServerError::Identity { path: path.clone(), reason };
    fs::create_dir_all(dir).map_err(io)?;
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return create(dir).map_err(io),
        Err(error) => return Err(io(error)),
    };
    let identity: Identity = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
    if identity.version != VERSION {
        return Err(broken(format!("version {}; this program knows {VERSION}", identity.version)));
    }
    let id = u128::from_str_radix(&identity.server, 16).map_err(|error| broken(error.to_string()))?;
    Ok(ServerId(id))
}

fn create(dir: &Path) -> io::Result<ServerId> {
    let id: u128 = rand::random();
    let identity = Identity { version: VERSION, server: format!("{id:032x}") };
    let fresh = dir.join("server.json.new");
    let mut file = File::create(&fresh)?;
    file.write_all(serde_json::to_string(&identity)?.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, dir.join(NAME))?;
    File::open(dir)?.sync_all()?;
    Ok(ServerId(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_once_and_never_made_up_again() {
        let dir = tempfile::tempdir().unwrap();
        let id = load_or_create(dir.path()).unwrap();
        assert_eq!(load_or_create(dir.path()).unwrap(), id);
        for bad in ["", "{}", r#"{"version":2,"server":"00"}"#, r#"{"version":1,"server":"x"}"#] {
            fs::write(dir.path().join(NAME), bad).unwrap();
            assert!(load_or_create(dir.path()).is_err(), "{bad}");
        }
    }

    #[test]
    fn its_form_is_pinned() {
        let dir = tempfile::tempdir().unwrap();
        let text = r#"{"version":1,"server":"000000000000000000000000000000ff"}"#;
        fs::write(dir.path().join(NAME), text).unwrap();
        assert_eq!(load_or_create(dir.path()).unwrap(), ServerId(255));
        let identity = Identity { version: 1, server: format!("{:032x}", 255) };
        assert_eq!(serde_json::to_string(&identity).unwrap(), text);
    }
}
