//! Reads through the real readers, compared with the model's state at the LSN of the same view.

use std::collections::BTreeMap;

use terrane_keymap::head::{RowHead, RowKind};
use terrane_keymap::list::{Item, ListKind, ListQuery, ListStart, list};
use terrane_keymap::reader::RowReader;
use terrane_keymap::{Incarnation, Lsn, Sub, lookup};

use super::model::{Bucket, Row, State};
use crate::runner::Violation;

fn violated<T>(what: String) -> Result<T, Violation> {
    Err(Violation(what))
}

/// Whether a head is what the model says of the row.
fn same(row: &Row, head: &RowHead) -> bool {
    let common = row.lsn == head.guard.lsn && row.created == head.created;
    match &row.object {
        None => common && head.kind == RowKind::DeleteMarker,
        Some(object) => {
            common
                && head.kind == RowKind::Object
                && head.size == object.size
                && head.mtime.0 == object.mtime
                && head.etag.matches(&object.etag)
                && head.upload() == object.upload
        }
    }
}

/// GET (or HEAD) of the current version.
pub(super) fn get(
    rows: &dyn RowReader,
    bucket: &Bucket,
    key: &[u8],
) -> Result<Option<(Sub, std::sync::Arc<RowHead>)>, Violation> {
    let found = lookup::current(rows, bucket.incarnation, key, bucket.versioning).map_err(Violation::new)?;
    let expected = bucket.current(key);
    match (&found, &expected) {
        (None, None) => Ok(None),
        (Some(found), Some((sub, row))) if found.sub == *sub && same(row, &found.head) => {
            Ok(Some((found.sub, found.head.clone())))
        }
        _ => violated(format!(
            "GET {:?}: found {found:?}, expected {expected:?}",
            String::from_utf8_lossy(key)
        )),
    }
}

/// GET of a version.
pub(super) fn get_version(
    rows: &dyn RowReader,
    bucket: &Bucket,
    key: &[u8],
    sub: Sub,
) -> Result<(), Violation> {
    let found = lookup::version(rows, bucket.incarnation, key, sub).map_err(Violation::new)?;
    let expected = bucket.rows.get(&(key.to_vec(), sub));
    match (&found, expected) {
        (None, None) => Ok(()),
        (Some(found), Some(row)) if same(row, &found.head) => Ok(()),
        _ => violated(format!("GET {key:?} {sub:?}: found {found:?}, expected {expected:?}")),
    }
}

/// What a line of a listing says.
type Line = (Vec<u8>, Option<(Sub, Lsn, bool)>);

/// One page of LIST. Gives where the next begins.
pub(super) fn page(
    rows: &dyn RowReader,
    bucket: &Bucket,
    query: &ListQuery,
) -> Result<Option<ListStart>, Violation> {
    let page = list(rows, query).map_err(Violation::new)?;
    let line = |item: &Item| -> Line {
        match item {
            Item::Prefix(prefix) => (prefix.clone(), None),
            Item::Row { key, sub, head, is_latest } => {
                (key.clone(), Some((*sub, head.guard.lsn, *is_latest)))
            }
        }
    };
    let found: Vec<Line> = page.items.iter().map(line).collect();
    let all = all_lines(bucket, query);
    let expected = &all[..all.len().min(query.max)];
    if found != expected || page.next.is_some() != (all.len() > query.max && query.max > 0) {
        return violated(format!("LIST {query:?}: found {found:?} next {:?}, expected {all:?}", page.next));
    }
    Ok(page.next)
}

/// All lines from the query's start on, naively.
fn all_lines(bucket: &Bucket, query: &ListQuery) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut add = |key: &[u8], line: (Sub, Lsn, bool)| {
        let Some(rest) = key.strip_prefix(&query.prefix[..]) else { return };
        let at = rest.windows(query.delimiter.len().max(1)).position(|window| window == query.delimiter);
        match at.filter(|_| !query.delimiter.is_empty()) {
            None => lines.push((key.to_vec(), Some(line))),
            Some(at) => {
                let prefix = key[..query.prefix.len() + at + query.delimiter.len()].to_vec();
                let passed = matches!(&query.start, ListStart::AfterKey(after) if *after == prefix);
                if !passed && lines.last().is_none_or(|(last, _)| *last != prefix) {
                    lines.push((prefix, None));
                }
            }
        }
    };
    if query.kind == ListKind::Uploads {
        for ((key, upload), _) in &bucket.uploads {
            let after = match &query.start {
                ListStart::Beginning => true,
                ListStart::AfterUpload(after, lsn) => (key, upload) > (after, lsn),
                ListStart::AfterKey(after) | ListStart::AfterVersion(after, _) => key > after,
            };
            if after {
                add(key, (Sub::Upload(*upload), *upload, false));
            }
        }
        return lines;
    }
    let mut keys: Vec<&Vec<u8>> = bucket.rows.keys().map(|(key, _)| key).collect();
    keys.dedup();
    for key in keys {
        for (index, (sub, row)) in bucket.versions(key).into_iter().enumerate() {
            let after = match &query.start {
                ListStart::Beginning => true,
                ListStart::AfterVersion(after, lsn) if query.kind == ListKind::Versions => {
                    key > after || (key == after && row.created < *lsn)
                }
                ListStart::AfterKey(after)
                | ListStart::AfterVersion(after, _)
                | ListStart::AfterUpload(after, _) => key > after,
            };
            let wanted = query.kind == ListKind::Versions || (index == 0 && row.object.is_some());
            if after && wanted {
                add(key, (sub, row.lsn, index == 0));
            }
        }
    }
    lines
}

/// Every live row against the whole state.
pub(super) fn everything(rows: &dyn RowReader, state: &State) -> Result<(), Violation> {
    let mut expected: BTreeMap<(Incarnation, Vec<u8>, Sub), Lsn> = BTreeMap::new();
    for (name, bucket) in &state.buckets {
        let incarnation = bucket.incarnation;
        expected.insert((Incarnation::BUCKETS, name.clone().into_bytes(), Sub::Null), Lsn::ZERO);
        for ((key, sub), row) in &bucket.rows {
            expected.insert((incarnation, key.clone(), *sub), row.lsn);
        }
        for ((key, upload), parts) in &bucket.uploads {
            expected.insert((incarnation, key.clone(), Sub::Upload(*upload)), *upload);
            for (number, part) in parts {
                expected.insert((incarnation, key.clone(), Sub::Part(*upload, *number)), part.lsn);
            }
        }
    }
    let mut found = BTreeMap::new();
    for row in rows.scan(&[], &[]) {
        let (row, head) = row.map_err(Violation::new)?;
        let name = row.parse().map_err(Violation::new)?;
        if !head.is_tombstone() {
            let bucket = name.incarnation == Incarnation::BUCKETS;
            let lsn = if bucket { Lsn::ZERO } else { head.guard.lsn };
            found.insert((name.incarnation, name.key, name.sub), lsn);
        }
    }
    if found == expected {
        return Ok(());
    }
    let missing: Vec<_> = expected.iter().filter(|(key, lsn)| found.get(*key) != Some(*lsn)).collect();
    let extra: Vec<_> = found.iter().filter(|(key, lsn)| expected.get(*key) != Some(*lsn)).collect();
    violated(format!("rows differ: expected {missing:?}, found {extra:?}"))
}
