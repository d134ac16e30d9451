//! The drives of the object store: how they stand, having them verified, taking new ones into use.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use terrane_objects::service::{DriveState, DriveStatus, DrivesStatus, ScrubStatus};
use utoipa::ToSchema;

use super::app::App;
use super::call::Call;
use crate::extract::Json;
use crate::problem::Problem;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/_terrane/v1/drives", get(list))
        .route("/_terrane/v1/drives/scrub", post(scrub))
        .route("/_terrane/v1/drives/replace", post(replace))
}

/// A drive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Drive {
    /// Its place in the configuration, from 0; metrics name it so.
    pub number: usize,
    /// Its directory.
    pub path: String,
    /// Its identity, where it has one.
    pub id: Option<String>,
    /// `live`, `missing` (not there or not known at the start) or `failed` (out until the next start).
    pub state: String,
    /// Why it is not live.
    pub cause: Option<String>,
    /// How its copy of the log stands: `current`, `behind`, `copying`, `lost`; absent where it holds none.
    pub log: Option<String>,
    /// Free bytes of its file system.
    pub free_bytes: u64,
    /// Bytes of data segments on it.
    pub data_bytes: u64,
    /// Failures, and damage met on it, since the start.
    pub errors: u64,
    /// Blocks written anew since the start.
    pub repaired_blocks: u64,
}

impl From<DriveStatus> for Drive {
    fn from(drive: DriveStatus) -> Self {
        let DriveStatus { number, path, id, cause, log, free_bytes, data_bytes, errors, .. } = drive;
        let state = match drive.state {
            DriveState::Live => "live",
            DriveState::Missing => "missing",
            DriveState::Failed => "failed",
        };
        let (state, repaired_blocks) = (state.to_owned(), drive.repaired_blocks);
        Self { number, path, id, state, cause, log, free_bytes, data_bytes, errors, repaired_blocks }
    }
}

/// The pass that verifies all shards of data segments and writes anew what is damaged or missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Scrub {
    /// Whether one is under way or about to be.
    pub running: bool,
    /// Passes finished since the start.
    pub passes: u64,
    /// Segments that the present, else the last, pass has looked at.
    pub segments_done: u64,
    /// Segments that it has to look at.
    pub segments_total: u64,
    /// Bytes read and verified by it.
    pub bytes: u64,
    /// Blocks that it wrote anew.
    pub repaired_blocks: u64,
    /// Shards that it made anew because they were missing.
    pub rebuilt_shards: u64,
    /// Blocks of objects of which too few shards are left: their bytes are lost.
    pub lost_blocks: u64,
    /// What kept it from something, the latest.
    pub problem: Option<String>,
}

impl From<ScrubStatus> for Scrub {
    fn from(scrub: ScrubStatus) -> Self {
        let ScrubStatus { running, passes, segments_done, segments_total, bytes, .. } = scrub;
        let ScrubStatus { repaired_blocks, rebuilt_shards, lost_blocks, problem, .. } = scrub;
        Self {
            running,
            passes,
            segments_done,
            segments_total,
            bytes,
            repaired_blocks,
            rebuilt_shards,
            lost_blocks,
            problem,
        }
    }
}

/// All drives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Drives {
    /// In the order of the configuration.
    pub drives: Vec<Drive>,
    /// Data segments of which a shard is on no drive in use.
    pub degraded_segments: u64,
    /// The scrubber.
    pub scrub: Scrub,
}

impl From<DrivesStatus> for Drives {
    fn from(status: DrivesStatus) -> Self {
        let DrivesStatus { drives, degraded_segments, scrub } = status;
        Self { drives: drives.into_iter().map(Drive::from).collect(), degraded_segments, scrub: scrub.into() }
    }
}

/// A directory of the configuration that is to be taken into use.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Replacement {
    /// The directory, as configured; it must be empty.
    pub path: String,
}

async fn status(app: &App) -> Result<Json<Drives>, Problem> {
    Ok(Json(app.objects.drives().await?.into()))
}

/// All drives, and how verification stands.
#[utoipa::path(get, path = "/_terrane/v1/drives", tag = "drives", responses(
    (status = 200, description = "The drives", body = Drives),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(State(app): State<Arc<App>>, call: Call) -> Result<Json<Drives>, Problem> {
    call.allow_installation(&app.auth, "terrane:ListDrives").await?;
    status(&app).await
}

/// Has everything on all drives verified and rebuilt, in the background. `GET` shows the progress.
#[utoipa::path(post, path = "/_terrane/v1/drives/scrub", tag = "drives", responses(
    (status = 202, description = "Under way", body = Drives),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn scrub(
    State(app): State<Arc<App>>,
    call: Call,
) -> Result<(StatusCode, Json<Drives>), Problem> {
    call.allow_installation(&app.auth, "terrane:ControlDrives").await?;
    call.resource("scrub drives".to_owned());
    app.objects.scrub().await?;
    Ok((StatusCode::ACCEPTED, status(&app).await?))
}

/// Takes the empty directory of a missing drive into use, and has its share rebuilt in the background.
#[utoipa::path(post, path = "/_terrane/v1/drives/replace", tag = "drives", request_body = Replacement, responses(
    (status = 202, description = "In use; rebuilding", body = Drives),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn replace(
    State(app): State<Arc<App>>,
    call: Call,
    Json(replacement): Json<Replacement>,
) -> Result<(StatusCode, Json<Drives>), Problem> {
    call.allow_installation(&app.auth, "terrane:ControlDrives").await?;
    call.resource(format!("replace drive {}", replacement.path));
    app.objects.replace_drive(&replacement.path).await?;
    Ok((StatusCode::ACCEPTED, status(&app).await?))
}
