//! LIST: one page over any reader, true of the instant that the reader shows.

use std::iter::Peekable;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bucket::Versioning;
use crate::head::{RowHead, RowKind};
use crate::ids::{Incarnation, Lsn};
use crate::lookup;
use crate::reader::{ReadError, RowReader, Rows};
use crate::rows::{self, RowId, RowName, Space, Sub};

/// Which rows to walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// Current objects.
    Current,
    /// All versions and delete markers, newest first within a key.
    Versions,
    /// Unfinished uploads, by key and then by age.
    Uploads,
}

/// Where to begin. Serialisable, to be handed out as a continuation token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListStart {
    /// At the first key.
    #[default]
    Beginning,
    /// After this key, and after all that lies under it if it ends in a common prefix.
    AfterKey(Vec<u8>),
    /// After the version of this key created by that write (newer ones come before it).
    AfterVersion(Vec<u8>, Lsn),
    /// After the upload of this key initiated by that write.
    AfterUpload(Vec<u8>, Lsn),
}

/// Bytes that are no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed continuation token")]
pub struct TokenError;

const TOKEN_VERSION: u8 = 1;

impl ListStart {
    /// As a token's bytes: a version, then the place.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![TOKEN_VERSION]).expect("a token always serialises into memory")
    }

    /// The inverse.
    pub fn decode(bytes: &[u8]) -> Result<Self, TokenError> {
        match bytes.split_first() {
            Some((&TOKEN_VERSION, rest)) => postcard::from_bytes(rest).map_err(|_| TokenError),
            _ => Err(TokenError),
        }
    }
}

/// A listing's parameters.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// The bucket.
    pub incarnation: Incarnation,
    /// Its versioning state (as of the same view).
    pub versioning: Versioning,
    /// What to walk.
    pub kind: ListKind,
    /// Only keys that begin so.
    pub prefix: Vec<u8>,
    /// Roll up what follows the prefix up to this text; empty is none.
    pub delimiter: Vec<u8>,
    /// Where to begin.
    pub start: ListStart,
    /// Most items.
    pub max: usize,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An object, version, delete marker or upload.
    Row {
        /// The key.
        key: Vec<u8>,
        /// Which row.
        sub: Sub,
        /// Its state.
        head: Arc<RowHead>,
        /// Whether it is the key's current version.
        is_latest: bool,
    },
    /// Keys rolled up; includes the delimiter.
    Prefix(Vec<u8>),
}

/// One page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order of keys (bytes).
    pub items: Vec<Item>,
    /// How to go on; `None` at the end.
    pub next: Option<ListStart>,
}

/// One page of a listing.
pub fn list(reader: &dyn RowReader, query: &ListQuery) -> Result<Page, ReadError> {
    if query.max == 0 {
        return Ok(Page::default());
    }
    let space = if query.kind == ListKind::Uploads { Space::Upload } else { Space::Object };
    let prefix = rows::open_prefix(query.incarnation, space, &query.prefix);
    let end = rows::prefix_end(&prefix);
    let from = first_row(query, space).max(prefix);
    let cursor = Cursor { reader, end: &end, rows: reader.scan(&from, &end).peekable() };
    let mut walk = Walk { query, space, cursor, page: Page::default() };
    walk.resume_within_key()?;
    walk.run()?;
    Ok(walk.page)
}

/// Encoded row to begin at.
fn first_row(query: &ListQuery, space: Space) -> Vec<u8> {
    let (incarnation, after_key) =
        (query.incarnation, |key: &[u8]| rows::prefix_end(&rows::key_prefix(query.incarnation, space, key)));
    match &query.start {
        ListStart::Beginning => Vec::new(),
        ListStart::AfterKey(key) => match common_prefix(query, key) {
            Some(prefix) if prefix.len() == key.len() => {
                rows::prefix_end(&rows::open_prefix(incarnation, space, key))
            }
            _ => after_key(key),
        },
        ListStart::AfterUpload(key, initiated) if space == Space::Upload => {
            match initiated.0.checked_add(1) {
                Some(next) => RowId::new(incarnation, key, Sub::Upload(Lsn(next))).as_bytes().to_vec(),
                None => after_key(key),
            }
        }
        ListStart::AfterVersion(key, _) | ListStart::AfterUpload(key, _) => after_key(key),
    }
}

/// The part of a key that is rolled up.
fn common_prefix<'k>(query: &ListQuery, key: &'k [u8]) -> Option<&'k [u8]> {
    let delimiter = &query.delimiter[..];
    let rest = key.strip_prefix(&query.prefix[..])?;
    if delimiter.is_empty() || delimiter.len() > rest.len() {
        return None;
    }
    let at = rest.windows(delimiter.len()).position(|window| window == delimiter)?;
    Some(&key[..query.prefix.len() + at + delimiter.len()])
}

/// How many rows are stepped over before it is cheaper to seek.
const STEPS_BEFORE_SEEK: usize = 16;

struct Cursor<'a> {
    reader: &'a dyn RowReader,
    end: &'a [u8],
    rows: Peekable<Rows<'a>>,
}

impl Cursor<'_> {
    fn next(&mut self) -> Result<Option<(RowName, Arc<RowHead>)>, ReadError> {
        for row in self.rows.by_ref() {
            let (row, head) = row?;
            if let Ok(name) = row.parse() {
                return Ok(Some((name, head)));
            }
        }
        Ok(None)
    }

    /// The next row, if it is of that key.
    fn next_of(&mut self, key_prefix: &[u8]) -> Result<Option<(RowName, Arc<RowHead>)>, ReadError> {
        match self.rows.peek() {
            Some(Ok((row, _))) if !row.as_bytes().starts_with(key_prefix) => Ok(None),
            _ => self.next(),
        }
    }

    fn skip_to(&mut self, target: &[u8]) {
        let before = |row: &Result<_, _>| matches!(row, Ok((id, _)) if RowId::as_bytes(id) < target);
        for _ in 0..STEPS_BEFORE_SEEK {
            if self.rows.next_if(before).is_none() {
                return;
            }
        }
        self.rows = self.reader.scan(target, self.end).peekable();
    }
}

struct Walk<'a> {
    query: &'a ListQuery,
    space: Space,
    cursor: Cursor<'a>,
    page: Page,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<(), ReadError> {
        while self.page.next.is_none() {
            let Some((name, head)) = self.cursor.next()? else { break };
            match self.query.kind {
                ListKind::Current => self.current(name, head)?,
                ListKind::Versions => self.versions(name, head)?,
                ListKind::Uploads => {
                    if !head.is_tombstone() {
                        self.emit(name.key, name.sub, head, false);
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds a row, rolled up if it is under a common prefix. False once the page is full.
    fn emit(&mut self, key: Vec<u8>, sub: Sub, head: Arc<RowHead>, is_latest: bool) -> bool {
        let rolled = common_prefix(self.query, &key).map(<[u8]>::to_vec);
        if self.page.items.len() == self.query.max {
            self.page.next = self.page.items.last().map(|last| self.after(last));
            return false;
        }
        match rolled {
            None => self.page.items.push(Item::Row { key, sub, head, is_latest }),
            Some(prefix) => {
                let open = rows::open_prefix(self.query.incarnation, self.space, &prefix);
                self.cursor.skip_to(&rows::prefix_end(&open));
                self.page.items.push(Item::Prefix(prefix));
                return false;
            }
        }
        true
    }

    fn after(&self, item: &Item) -> ListStart {
        match item {
            Item::Prefix(prefix) => ListStart::AfterKey(prefix.clone()),
            Item::Row { key, head, .. } => match self.query.kind {
                ListKind::Current => ListStart::AfterKey(key.clone()),
                ListKind::Versions => ListStart::AfterVersion(key.clone(), head.created),
                ListKind::Uploads => ListStart::AfterUpload(key.clone(), head.created),
            },
        }
    }

    fn key_prefix(&self, key: &[u8]) -> Vec<u8> {
        rows::key_prefix(self.query.incarnation, self.space, key)
    }

    fn current(&mut self, name: RowName, head: Arc<RowHead>) -> Result<(), ReadError> {
        let key_prefix = self.key_prefix(&name.key);
        let mut best = (!head.is_tombstone()).then_some((name.sub, head));
        // Rows come as null, then versions from the newest: the first live version ends the search.
        while best.as_ref().is_none_or(|(sub, _)| *sub == Sub::Null) {
            let Some((next, head)) = self.cursor.next_of(&key_prefix)? else { break };
            if head.is_tombstone() {
                continue;
            }
            if best.as_ref().is_none_or(|(_, null)| null.created < head.created) {
                best = Some((next.sub, head));
            } else {
                break;
            }
        }
        self.cursor.skip_to(&rows::prefix_end(&key_prefix));
        if let Some((sub, head)) = best
            && head.kind == RowKind::Object
        {
            self.emit(name.key, sub, head, true);
        }
        Ok(())
    }

    fn versions(&mut self, name: RowName, head: Arc<RowHead>) -> Result<(), ReadError> {
        let key_prefix = self.key_prefix(&name.key);
        let mut null = None;
        let mut first = None;
        if !head.is_tombstone() {
            *(if name.sub == Sub::Null { &mut null } else { &mut first }) = Some((name.sub, head));
        }
        self.rest_of_versions(&name.key, &key_prefix, null, first, true)
    }

    /// Emits versions of one key in the order of their creation, newest first, with `null` where it belongs.
    fn rest_of_versions(
        &mut self,
        key: &[u8],
        key_prefix: &[u8],
        mut null: Option<(Sub, Arc<RowHead>)>,
        mut next: Option<(Sub, Arc<RowHead>)>,
        mut is_latest: bool,
    ) -> Result<(), ReadError> {
        loop {
            while next.is_none() {
                let Some((name, head)) = self.cursor.next_of(key_prefix)? else { break };
                next = (!head.is_tombstone()).then_some((name.sub, head));
            }
            let null_first = match (&null, &next) {
                (Some((_, null)), Some((_, next))) => null.created > next.created,
                (null, _) => null.is_some(),
            };
            let Some((sub, head)) = (if null_first { null.take() } else { next.take() }) else {
                return Ok(());
            };
            if !self.emit(key.to_vec(), sub, head, is_latest) {
                return Ok(());
            }
            is_latest = false;
        }
    }

    /// The rest of the key in whose versions the previous page stopped.
    fn resume_within_key(&mut self) -> Result<(), ReadError> {
        let ListStart::AfterVersion(key, created) = &self.query.start else { return Ok(()) };
        let (reader, incarnation) = (self.cursor.reader, self.query.incarnation);
        if self.query.kind != ListKind::Versions || !key.starts_with(&self.query.prefix) {
            return Ok(());
        }
        let current = lookup::current(reader, incarnation, key, Versioning::Enabled)?;
        let is_latest = current.is_some_and(|found| found.head.created < *created);
        let null = lookup::version(reader, incarnation, key, Sub::Null)?
            .filter(|found| found.head.created < *created)
            .map(|found| (Sub::Null, found.head));
        let key_prefix = self.key_prefix(key);
        let from = RowId::new(incarnation, key, Sub::Version(created.prev()));
        self.cursor.rows = reader.scan(from.as_bytes(), self.cursor.end).peekable();
        if created.0 > 0 {
            self.rest_of_versions(key, &key_prefix, null, None, is_latest)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
