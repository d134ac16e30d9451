//! Reading the record behind a row.

use bytes::Bytes;
use terrane_keymap::Record;
use terrane_keymap::head::RowHead;
use terrane_keymap::record::{Payload, RowState};
use terrane_log::{LogError, LogReader};

use crate::driver::place;
use crate::service::ObjectError;

/// The payload of an object's or part's state.
pub(crate) fn payload_of(state: &RowState) -> Option<&Payload> {
    match state {
        RowState::Object(payload) | RowState::Part(payload) => Some(payload),
        _ => None,
    }
}

/// Why a record could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordReadError {
    /// The log's segment was compacted away: the reader's view is too old.
    #[error("the record has moved")]
    Moved,
    /// Damaged, or not the record that the row says it is.
    #[error("{0}")]
    Corrupt(String),
    /// The log could not be read.
    #[error("{0}")]
    Log(LogError),
}

impl From<RecordReadError> for ObjectError {
    fn from(error: RecordReadError) -> Self {
        match error {
            RecordReadError::Corrupt(what) => Self::Corrupt(what),
            // Whoever can read again has done so.
            RecordReadError::Moved => Self::Corrupt("a row names a record that is gone".into()),
            RecordReadError::Log(error) => Self::Unavailable(error.to_string()),
        }
    }
}

/// The full state of a row and the inline bytes of its record.
pub(crate) fn read_state(log: &LogReader, head: &RowHead) -> Result<(RowState, Bytes), RecordReadError> {
    let bytes = match log.read(place(head.record)) {
        Ok(bytes) => bytes,
        Err(LogError::NotFound { .. }) => return Err(RecordReadError::Moved),
        Err(error @ LogError::Corrupt { .. }) => return Err(RecordReadError::Corrupt(error.to_string())),
        Err(error) => return Err(RecordReadError::Log(error)),
    };
    let mut record = Record::decode(&bytes).map_err(|e| RecordReadError::Corrupt(e.to_string()))?;
    let at = record
        .changes
        .iter()
        .position(|change| record.guard(change) == head.guard && fits(head, &change.state));
    let Some(at) = at else {
        return Err(RecordReadError::Corrupt(format!("the record at {:?} is of another row", head.record)));
    };
    Ok((record.changes.swap_remove(at).state, record.inline))
}

fn fits(head: &RowHead, state: &RowState) -> bool {
    use terrane_keymap::head::RowKind;
    matches!(
        (head.kind, state),
        (RowKind::Tombstone, RowState::Tombstone)
            | (RowKind::Object, RowState::Object(_))
            | (RowKind::DeleteMarker, RowState::DeleteMarker { .. })
            | (RowKind::Upload, RowState::Upload { .. })
            | (RowKind::Part, RowState::Part(_))
            | (RowKind::Bucket, RowState::Bucket(_))
    )
}
