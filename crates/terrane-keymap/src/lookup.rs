//! Point reads: the current object of a key, a version, uploads and their parts.

use std::sync::Arc;

use crate::bucket::Versioning;
use crate::head::RowHead;
use crate::ids::{Incarnation, Lsn};
use crate::reader::{ReadError, RowReader};
use crate::rows::{self, RowId, Space, Sub};

/// A live row of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which row of the key.
    pub sub: Sub,
    /// Its state: an object, delete marker, upload or part.
    pub head: Arc<RowHead>,
}

/// The current version of a key, delete markers included: the live row with the greatest creation LSN among the
/// `null` row and the versions. `versioning` spares the search for versions where there can be none.
pub fn current(
    reader: &dyn RowReader,
    incarnation: Incarnation,
    key: &[u8],
    versioning: Versioning,
) -> Result<Option<Found>, ReadError> {
    let null = version(reader, incarnation, key, Sub::Null)?;
    if versioning == Versioning::Off {
        return Ok(null);
    }
    let newest = newest_version(reader, incarnation, key)?;
    Ok(match (null, newest) {
        (Some(null), Some(newest)) if null.head.created > newest.head.created => Some(null),
        (null, newest) => newest.or(null),
    })
}

fn newest_version(
    reader: &dyn RowReader,
    incarnation: Incarnation,
    key: &[u8],
) -> Result<Option<Found>, ReadError> {
    let from = RowId::new(incarnation, key, Sub::Version(Lsn(u64::MAX)));
    let to = rows::prefix_end(&rows::key_prefix(incarnation, Space::Object, key));
    for row in reader.scan(from.as_bytes(), &to) {
        let (row, head) = row?;
        if !head.is_tombstone()
            && let Ok(name) = row.parse()
        {
            return Ok(Some(Found { sub: name.sub, head }));
        }
    }
    Ok(None)
}

/// One row of a key, if it lives.
pub fn version(
    reader: &dyn RowReader,
    incarnation: Incarnation,
    key: &[u8],
    sub: Sub,
) -> Result<Option<Found>, ReadError> {
    let head = reader.get(&RowId::new(incarnation, key, sub))?;
    Ok(head.filter(|head| !head.is_tombstone()).map(|head| Found { sub, head }))
}

/// Live parts of an upload with numbers above `after`, ascending, at most `max`.
pub fn parts(
    reader: &dyn RowReader,
    incarnation: Incarnation,
    key: &[u8],
    upload: Lsn,
    after: u32,
    max: usize,
) -> Result<Vec<(u32, Arc<RowHead>)>, ReadError> {
    let Some(first) = after.checked_add(1) else { return Ok(Vec::new()) };
    let from = RowId::new(incarnation, key, Sub::Part(upload, first));
    let to = rows::prefix_end(&rows::parts_prefix(incarnation, key, upload));
    let mut parts = Vec::new();
    for row in reader.scan(from.as_bytes(), &to) {
        let (row, head) = row?;
        if parts.len() == max {
            break;
        }
        if let Ok(name) = row.parse()
            && let Sub::Part(_, number) = name.sub
            && !head.is_tombstone()
        {
            parts.push((number, head));
        }
    }
    Ok(parts)
}

/// Whether any row of the bucket's objects lives (objects, versions, delete markers).
pub fn has_objects(reader: &dyn RowReader, incarnation: Incarnation) -> Result<bool, ReadError> {
    let from = rows::space_prefix(incarnation, Space::Object);
    for row in reader.scan(&from, &rows::prefix_end(&from)) {
        if !row?.1.is_tombstone() {
            return Ok(true);
        }
    }
    Ok(false)
}
