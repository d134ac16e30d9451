//! Modifications as people see them.

use jiff::Timestamp;
use terrane_ec2::service::{ModificationState, VolumeModification};
use terrane_store::{StoreError, Tx};
use terrane_workflow::RunView;
use terrane_workflow::machine::Status;

use super::{Stage, run_of};
use crate::rows::{ModificationRow, ModificationStateRow};

/// Per cent that are told while new copies catch up: from, to. What comes before and behind takes a moment.
const JOINING: (u64, u64) = (2, 95);

/// A modification with its run, if that is there.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) row: ModificationRow,
    pub(crate) run: Option<RunView>,
}

impl Shown {
    /// Of a row that was read in this transaction.
    pub(crate) async fn of(tx: &Tx, row: ModificationRow) -> Result<Self, StoreError> {
        let run = match run_of(&row.volume, row.number) {
            Ok(run) => RunView::read(tx, &run).await?,
            Err(_) => None,
        };
        Ok(Self { row, run })
    }

    /// Whether nothing more will become of it. A run that was cancelled before its first step leaves no trace in the
    /// row.
    pub(crate) fn has_ended(&self) -> bool {
        self.row.ended.is_some() || self.run.as_ref().is_none_or(|run| run.status.is_final())
    }

    /// How far it is.
    pub(crate) fn state(&self) -> ModificationStateRow {
        match &self.run {
            _ if self.row.ended.is_some() || !self.has_ended() => self.row.state,
            Some(run) if run.status == Status::Completed => ModificationStateRow::Completed,
            _ => ModificationStateRow::Cancelled,
        }
    }

    /// Why it came to nothing, what is unusual, or what it waits for.
    pub(crate) fn message(&self) -> Option<String> {
        let run = self.run.as_ref().filter(|run| run.status == Status::Stuck || run.status == Status::Paused);
        let waits = run.map(|run| match &run.cause {
            Some(cause) => format!("{}: {cause}", run.status),
            None => run.status.to_string(),
        });
        waits.or_else(|| self.row.message.clone())
    }

    /// Per cent.
    pub(crate) fn progress(&self) -> u8 {
        let joining = || {
            let (done, total) = self.moved()?;
            let part = (JOINING.1 - JOINING.0).saturating_mul(done.min(total)).checked_div(total)?;
            Some(JOINING.0 + part)
        };
        let percent = match self.state() {
            ModificationStateRow::Completed => 100,
            ModificationStateRow::Failed | ModificationStateRow::Cancelled => 0,
            ModificationStateRow::Optimizing => 98,
            ModificationStateRow::Modifying if self.has_done(Stage::Join) => JOINING.1,
            ModificationStateRow::Modifying => joining().unwrap_or(0),
        };
        u8::try_from(percent).unwrap_or(100)
    }

    /// Seconds until new copies are in sync, if it goes on as it has gone so far.
    pub(crate) fn eta_seconds(&self, now: Timestamp) -> Option<u64> {
        let (done, total) = self.moved().filter(|(done, _)| *done > 0)?;
        let since = u128::try_from(now.as_millisecond() - self.row.moving?.as_millisecond()).ok()?;
        let left = u128::from(total.saturating_sub(done));
        u64::try_from(left * since / u128::from(done) / 1000).ok()
    }

    /// Bytes that have moved to new copies, of how many.
    fn moved(&self) -> Option<(u64, u64)> {
        let steps = self.run.iter().flat_map(|run| &run.steps);
        let mut join = steps.filter(|step| step.id == Stage::Join.name() && step.state == "running");
        join.next().map(|step| step.progress).filter(|(_, total)| *total > 0)
    }

    fn has_done(&self, stage: Stage) -> bool {
        let mut steps = self.run.iter().flat_map(|run| &run.steps);
        steps.any(|step| step.id == stage.name() && step.state == "done")
    }

    /// In the words of EC2, which knows no cancelling.
    pub(crate) fn ec2(&self) -> VolumeModification {
        let state = self.state();
        VolumeModification {
            volume: self.row.volume.clone(),
            state: match state {
                ModificationStateRow::Modifying => ModificationState::Modifying,
                ModificationStateRow::Optimizing => ModificationState::Optimizing,
                ModificationStateRow::Completed => ModificationState::Completed,
                ModificationStateRow::Failed | ModificationStateRow::Cancelled => ModificationState::Failed,
            },
            message: self
                .message()
                .or_else(|| (state == ModificationStateRow::Cancelled).then(|| "cancelled".to_owned())),
            original: self.row.original.settings.into(),
            target: self.row.target.settings.into(),
            progress: self.progress(),
            started: self.row.started,
            ended: self.row.ended,
        }
    }
}
