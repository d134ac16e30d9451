//! LIST.

use std::sync::Arc;

use terrane_keymap::head::{RowHead, RowKind};
use terrane_keymap::list::{self, Item, ListQuery};
use terrane_keymap::lookup;
use terrane_keymap::record::RowState;
use terrane_keymap::{Lsn, Sub};

use super::Store;
use super::view::{Seen, Stale, unreadable};
use crate::convert;
use crate::meta::ObjectMeta;
use crate::records;
use crate::service::*;

impl Store {
    pub(super) async fn list(self: &Arc<Self>, request: ListRequest) -> Result<ListPage> {
        let bucket = request.bucket.clone();
        self.read_blocking(&bucket, move |store, seen| store.page(seen, &request)).await
    }

    fn page(&self, seen: &Seen, request: &ListRequest) -> Result<ListPage, Stale> {
        let query = ListQuery {
            incarnation: seen.bucket.incarnation,
            versioning: seen.bucket.versioning,
            kind: match request.kind {
                ListKind::Current => list::ListKind::Current,
                ListKind::Versions => list::ListKind::Versions,
                ListKind::Uploads => list::ListKind::Uploads,
            },
            prefix: request.prefix.clone().into_bytes(),
            delimiter: request.delimiter.clone().unwrap_or_default().into_bytes(),
            start: start(seen, &request.start)?,
            max: request.max_keys,
        };
        let page = list::list(&seen.view.rows(), &query).map_err(unreadable)?;
        let entries = page.items.into_iter().map(|item| self.entry(item));
        Ok(ListPage {
            entries: entries.collect::<Result<_, Stale>>()?,
            next: page.next.map(|next| hex::encode(next.encode())),
        })
    }

    fn entry(&self, item: Item) -> Result<ListEntry, Stale> {
        match item {
            Item::Prefix(prefix) => Ok(ListEntry::CommonPrefix(text(prefix))),
            Item::Row { key, sub: Sub::Upload(lsn), head, .. } => self.upload_entry(key, lsn, &head),
            Item::Row { key, sub, head, is_latest } => Ok(object_entry(key, sub, &head, is_latest)),
        }
    }

    fn upload_entry(&self, key: Vec<u8>, lsn: Lsn, head: &RowHead) -> Result<ListEntry, Stale> {
        let (state, _) = records::read_state(&self.driver.reader, head)?;
        let RowState::Upload { mtime, meta } = state else {
            return Err(ObjectError::Corrupt("an upload's row names a record of another kind".into()).into());
        };
        Ok(ListEntry::Upload {
            key: text(key),
            upload: convert::upload_id(lsn),
            initiated: convert::system_time(mtime),
            attrs: Arc::new(ObjectMeta::decode(&meta)?.attrs),
        })
    }
}

fn object_entry(key: Vec<u8>, sub: Sub, head: &RowHead, is_latest: bool) -> ListEntry {
    let (key, version) = (text(key), convert::version_of(sub));
    let modified = convert::system_time(head.mtime);
    if head.kind == RowKind::DeleteMarker {
        return ListEntry::DeleteMarker { key, version, is_latest, modified };
    }
    ListEntry::Object {
        key,
        version,
        is_latest,
        size: head.size,
        etag: head.etag.to_string(),
        modified,
        storage_class: head.storage_class().map(Into::into),
        checksum_algorithms: head.checksums.algorithms().map(Into::into).collect(),
        checksum_type: head.checksums.kind().map(Into::into),
    }
}

/// Keys come in as text, so they are text.
fn text(key: Vec<u8>) -> String {
    String::from_utf8(key).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

fn start(seen: &Seen, start: &ListStart) -> Result<list::ListStart> {
    Ok(match start {
        ListStart::Beginning => list::ListStart::Beginning,
        ListStart::AfterKey(key) => list::ListStart::AfterKey(key.clone().into_bytes()),
        ListStart::AfterVersion(key, version) => {
            let key = key.clone().into_bytes();
            let created = match version {
                VersionId::Id(lsn) => Lsn(*lsn),
                // Where the null version stands among the others is in its row; if it is gone, nothing is left out.
                VersionId::Null => {
                    let rows = seen.view.rows();
                    let null = lookup::version(&rows, seen.bucket.incarnation, &key, Sub::Null);
                    null.map_err(unreadable)?.map_or(Lsn(u64::MAX), |found| found.head.created)
                }
            };
            list::ListStart::AfterVersion(key, created)
        }
        ListStart::AfterUpload(key, upload) => {
            let lsn = convert::upload_lsn(upload).unwrap_or(Lsn::ZERO);
            list::ListStart::AfterUpload(key.clone().into_bytes(), lsn)
        }
        ListStart::Token(token) => {
            let bytes = hex::decode(token).map_err(|_| ObjectError::BadToken)?;
            list::ListStart::decode(&bytes).map_err(|_| ObjectError::BadToken)?
        }
    })
}
