//! Modifications and workflows, as people see and ask for them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use terrane_ec2::service::{ServiceError, VolumeChange};
use terrane_store::SCAN_ROWS_MAX;
use terrane_types::{AccountId, VolumeId, Zone};
use terrane_workflow::{RunId, RunView, Wish, WorkflowError};
use utoipa::ToSchema;

use crate::Manager;
use crate::modify::{Shown, run_of};
use crate::rows::{MODIFICATIONS, ModificationStateRow, TraitsRow, VOLUMES, volume_key};
use crate::service::{CallError, modify};

/// What shall be other about a volume, of everything that can be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// What EC2 can say.
    pub settings: VolumeChange,
    /// Where its primary shall lie.
    pub zone: Option<Zone>,
    /// How many copies there shall be beside the primary.
    pub mirrors: Option<u32>,
    /// Data beyond a smaller size may be lost.
    pub allow_truncate: bool,
}

/// A change of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Modification)]
pub struct ModificationDetail {
    /// `vol-…`
    pub volume_id: String,
    /// Counts the modifications of the volume, from 1.
    pub number: u64,
    /// `modifying` (what was before holds), `optimizing` (what was asked for holds, room is being freed), `completed`,
    /// `failed`, `cancelled`.
    pub state: String,
    /// Per cent.
    pub progress: u8,
    /// Seconds until the data have moved, if it goes on as it has gone so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<u64>,
    /// Why it came to nothing, or what is unusual.
    pub message: Option<String>,
    /// Before.
    pub original: TraitsDetail,
    /// After.
    pub target: TraitsDetail,
    /// When it was asked for (RFC 3339).
    pub started: String,
    /// When it came to its end (RFC 3339).
    pub ended: Option<String>,
    /// The workflow that carries it out; none, where it held at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
}

/// What can be changed of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = VolumeSettings)]
pub struct TraitsDetail {
    /// Size in GiB.
    pub size_gib: u32,
    /// Type.
    #[serde(rename = "type")]
    pub kind: String,
    /// IOPS, where the type has them.
    pub iops: Option<u32>,
    /// MiB/s, where the type has them.
    pub throughput: Option<u32>,
    /// Whether several instances may attach it at a time.
    pub multi_attach: bool,
    /// Where its primary was asked to lie.
    pub zone: String,
    /// Copies beside the primary.
    pub mirrors: u32,
}

/// A workflow: a long change of several steps that ends completed or undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Workflow)]
pub struct WorkflowDetail {
    /// Its name.
    pub id: String,
    /// What is done: the template's name.
    pub template: String,
    /// The template's version.
    pub version: u32,
    /// What it is about.
    pub subject: String,
    /// `running`, `undoing`, `pausing`, `paused`, `stuck`, `completed`, `rolled-back`.
    pub status: String,
    /// Per cent.
    pub progress: u64,
    /// Why it goes back, or what is stuck.
    pub cause: Option<String>,
    /// Whether it can only go forward.
    pub past_return: bool,
    /// When it was created (RFC 3339).
    pub created: String,
    /// Its parameters.
    pub params: BTreeMap<String, String>,
    /// Its steps, in order.
    pub steps: Vec<WorkflowStep>,
}

/// A step of a workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkflowStep {
    /// Its name.
    pub id: String,
    /// `waiting`, `running`, `done`, `failed`, `undoing`, `undone`.
    pub state: String,
    /// Attempts at it, forward and back.
    pub attempts: u32,
    /// So much is done, in the step's own unit.
    pub done: u64,
    /// Of so much; 0: not known.
    pub total: u64,
    /// What the last failure said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What people can ask of a workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkflowOrder {
    /// Rest.
    Pause,
    /// Go on; one that is stuck tries again.
    Resume,
    /// Be undone.
    Cancel,
}

impl From<&TraitsRow> for TraitsDetail {
    fn from(row: &TraitsRow) -> Self {
        let settings = row.settings;
        Self {
            size_gib: settings.size_gib,
            kind: settings.kind.0.to_string(),
            iops: settings.iops,
            throughput: settings.throughput,
            multi_attach: settings.multi_attach,
            zone: row.zone.to_string(),
            mirrors: row.copies.saturating_sub(1),
        }
    }
}

impl From<Shown> for ModificationDetail {
    fn from(shown: Shown) -> Self {
        let state = match shown.state() {
            ModificationStateRow::Modifying => "modifying",
            ModificationStateRow::Optimizing => "optimizing",
            ModificationStateRow::Completed => "completed",
            ModificationStateRow::Failed => "failed",
            ModificationStateRow::Cancelled => "cancelled",
        };
        let workflow = run_of(&shown.row.volume, shown.row.number).ok().filter(|_| shown.run.is_some());
        Self {
            volume_id: shown.row.volume.to_string(),
            number: shown.row.number,
            state: state.to_owned(),
            progress: shown.progress(),
            eta_seconds: shown.eta_seconds(Timestamp::now()),
            message: shown.message(),
            original: (&shown.row.original).into(),
            target: (&shown.row.target).into(),
            started: shown.row.started.to_string(),
            ended: shown.row.ended.map(|ended| ended.to_string()),
            workflow: workflow.map(String::from),
        }
    }
}

impl WorkflowDetail {
    fn of(id: &RunId, run: &RunView) -> Self {
        let created = i64::try_from(run.created_unix_ms).ok();
        let created =
            created.and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::UNIX_EPOCH);
        let steps = run.steps.iter().map(|step| WorkflowStep {
            id: step.id.clone(),
            state: step.state.clone(),
            attempts: step.attempts.0.saturating_add(step.attempts.1),
            done: step.progress.0,
            total: step.progress.1,
            error: Some(step.error.clone()).filter(|error| !error.is_empty()),
        });
        Self {
            id: id.to_string(),
            template: run.template.clone(),
            version: run.version,
            subject: run.subject.clone(),
            status: run.status.to_string(),
            progress: run.percent(),
            cause: run.cause.clone(),
            past_return: run.pivot_started,
            created: created.to_string(),
            params: run.params.clone(),
            steps: steps.collect(),
        }
    }
}

/// In the words of services.
fn refused(error: WorkflowError) -> ServiceError {
    let incorrect = |run: RunId, state: String, expected| ServiceError::IncorrectState {
        what: format!("workflow {run}"),
        state,
        expected,
    };
    match error {
        WorkflowError::Store(error) => CallError::from(error).into(),
        WorkflowError::PointOfNoReturn(run) => {
            incorrect(run, "past its point of no return".to_owned(), "before it to be undone")
        }
        WorkflowError::WrongState { run, status, .. } => incorrect(run, status.to_string(), "under way"),
        error => ServiceError::Unsupported(error.to_string()),
    }
}

impl Manager {
    /// Changes a volume: at once, where its servers can grant it as it is; else a workflow does.
    ///
    /// # Errors
    /// No such volume or zone; settings that its type has not; no room; too many changes at a time.
    pub async fn modify(
        &self,
        account: &AccountId,
        id: &VolumeId,
        change: &Change,
    ) -> Result<ModificationDetail, ServiceError> {
        let config = self.config();
        let shown = self.call(|tx| modify::modify(tx, config, account, id, change)).await?;
        Ok(shown.into())
    }

    /// Gives up the latest modification of a volume, if it has not taken effect.
    ///
    /// # Errors
    /// No such volume; there is nothing to be given up.
    pub async fn cancel_modification(
        &self,
        account: &AccountId,
        id: &VolumeId,
    ) -> Result<ModificationDetail, ServiceError> {
        let config = self.config();
        let shown = self.call(|tx| modify::cancel(tx, config, account, id)).await?;
        Ok(shown.into())
    }

    /// The modifications of a volume that are remembered, the latest first; without a volume, the latest one of each of
    /// the account's volumes.
    ///
    /// # Errors
    /// No such volume.
    pub async fn modifications(
        &self,
        account: &AccountId,
        id: Option<&VolumeId>,
    ) -> Result<Vec<ModificationDetail>, ServiceError> {
        self.look(|tx| async move {
            let mut found = Vec::new();
            match id {
                Some(id) => {
                    let missing = || ServiceError::VolumeNotFound(vec![id.clone()]);
                    VOLUMES.get(&tx, &volume_key(account, id)).await?.ok_or_else(missing)?;
                    let prefix = id.as_str().to_owned();
                    for (_, row) in MODIFICATIONS.scan_prefix(&tx, &prefix, None, SCAN_ROWS_MAX).await? {
                        found.push(Shown::of(&tx, row).await?.into());
                    }
                    found.reverse();
                }
                None => {
                    let own: (AccountId,) = (account.clone(),);
                    for (_, volume) in VOLUMES.scan_prefix(&tx, &own, None, SCAN_ROWS_MAX).await? {
                        found.extend(modify::latest(&tx, &volume).await?.map(ModificationDetail::from));
                    }
                }
            }
            Ok(found)
        })
        .await
    }

    /// Workflows in the order of their names, behind one; at most `limit`.
    ///
    /// # Errors
    /// The store's; no name of a workflow.
    pub async fn workflow_list(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<WorkflowDetail>, ServiceError> {
        let after = after.map(RunId::parse).transpose().map_err(refused)?;
        let runs = self.workflows().list(after.as_ref(), limit.min(SCAN_ROWS_MAX)).await.map_err(refused)?;
        Ok(runs.iter().map(|(id, run)| WorkflowDetail::of(id, run)).collect())
    }

    /// A workflow, if there is one of this name.
    ///
    /// # Errors
    /// The store's.
    pub async fn workflow(&self, id: &str) -> Result<Option<WorkflowDetail>, ServiceError> {
        let Ok(id) = RunId::parse(id) else { return Ok(None) };
        match self.workflows().get(&id).await {
            Ok(run) => Ok(Some(WorkflowDetail::of(&id, &run))),
            Err(WorkflowError::NoSuchRun(_)) => Ok(None),
            Err(error) => Err(refused(error)),
        }
    }

    /// Pauses, resumes or cancels a workflow.
    ///
    /// # Errors
    /// There is none of this name; it is not in a state in which that can be asked.
    pub async fn order_workflow(
        &self,
        id: &str,
        order: WorkflowOrder,
    ) -> Result<WorkflowDetail, ServiceError> {
        let run = RunId::parse(id).map_err(refused)?;
        let workflows = self.workflows();
        let asked = match order {
            WorkflowOrder::Pause => workflows.wish(&run, Wish::Pause).await,
            WorkflowOrder::Cancel => workflows.wish(&run, Wish::Cancel).await,
            WorkflowOrder::Resume => {
                let stuck = workflows.get(&run).await.map_err(refused)?.status;
                if stuck == terrane_workflow::machine::Status::Stuck {
                    workflows.retry(&run).await
                } else {
                    workflows.wish(&run, Wish::Go).await
                }
            }
        };
        asked.map_err(refused)?;
        let now = workflows.get(&run).await.map_err(refused)?;
        Ok(WorkflowDetail::of(&run, &now))
    }
}
