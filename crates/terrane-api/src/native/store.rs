//! Backups of the transactional store, made while it runs. Restoring and checking are done offline, by the
//! command line.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use terrane_store::StoreError;
use utoipa::ToSchema;

use super::app::App;
use super::call::Call;
use crate::extract::Json;
use crate::problem::Problem;

const SUFFIX: &str = ".backup";

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/_terrane/v1/store/backups", get(list).post(create))
}

/// A backup to be made.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBackup {
    /// 1 to 64 of `A-Z a-z 0-9 - _`; default: the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A backup that was made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MadeBackup {
    /// Its name.
    pub name: String,
    /// Where it lies on the server.
    pub path: String,
    /// Rows in it.
    pub rows: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// The incarnation of the store that was saved.
    pub incarnation: String,
}

/// A backup on the server.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Backup {
    /// Its name.
    pub name: String,
    /// Where it lies on the server.
    pub path: String,
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// When it was made (RFC 3339).
    pub created: String,
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// Backups on the server by name.
#[utoipa::path(get, path = "/_terrane/v1/store/backups", tag = "store", responses(
    (status = 200, description = "Backups by name", body = Vec<Backup>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(State(app): State<Arc<App>>, call: Call) -> Result<Json<Vec<Backup>>, Problem> {
    call.allow_installation(&app.auth, "terrane:BackupStore").await?;
    let dir = app.installation.backup_dir.clone();
    let found = tokio::task::spawn_blocking(move || read_dir(&dir)).await;
    let found = found.map_err(|error| Problem::internal("backups cannot be listed", &error))?;
    Ok(Json(found.map_err(|error| Problem::internal("backups cannot be listed", &error))?))
}

fn read_dir(dir: &Path) -> std::io::Result<Vec<Backup>> {
    let mut backups = Vec::new();
    if !dir.exists() {
        return Ok(backups);
    }
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let file = entry.file_name();
        let Some(name) = file.to_str().and_then(|file| file.strip_suffix(SUFFIX)) else { continue };
        let metadata = entry.metadata()?;
        let created = jiff::Timestamp::try_from(metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH));
        backups.push(Backup {
            name: name.to_owned(),
            path: entry.path().display().to_string(),
            file_bytes: metadata.len(),
            created: created.unwrap_or_default().to_string(),
        });
    }
    backups.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(backups)
}

/// Writes the store's state of one moment into a file on the server; everything goes on meanwhile.
#[utoipa::path(post, path = "/_terrane/v1/store/backups", tag = "store", request_body = NewBackup, responses(
    (status = 201, description = "Made", body = MadeBackup),
    (status = 409, description = "There is one of that name", body = Problem, content_type = "application/problem+json"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    call: Call,
    Json(new): Json<NewBackup>,
) -> Result<(StatusCode, Json<MadeBackup>), Problem> {
    call.allow_installation(&app.auth, "terrane:BackupStore").await?;
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let name = new.name.unwrap_or(now);
    if !is_name(&name) {
        return Err(Problem::bad_request(format!("{name:?} is not a name: 1 to 64 of A-Z a-z 0-9 - _")));
    }
    call.resource(format!("backup {name}"));
    let dir = &app.installation.backup_dir;
    std::fs::create_dir_all(dir).map_err(|error| Problem::internal("the directory of backups", &error))?;
    let path = dir.join(format!("{name}{SUFFIX}"));
    let report = terrane_store::backup(&app.store, &path).await.map_err(|error| match error {
        StoreError::Config(_) => {
            Problem::new(StatusCode::CONFLICT, "backup-exists", format!("there is a backup {name:?}"))
        }
        error => Problem::internal("the store cannot be backed up", &error),
    })?;
    let made = MadeBackup {
        name,
        path: path.display().to_string(),
        rows: report.rows,
        bytes: report.bytes,
        incarnation: report.incarnation.to_string(),
    };
    Ok((StatusCode::CREATED, Json(made)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_the_directory() {
        assert!(is_name("20260102T030405Z") && is_name("before-upgrade_2"));
        for bad in ["", ".", "..", "../x", "a/b", "a.b", "a\0", &"x".repeat(65)] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
