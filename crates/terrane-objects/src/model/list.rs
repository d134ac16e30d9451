//! LIST of the model: writes every line of the bucket out, then cuts the page from it.

use super::uploads::{upload_lsn, upload_text};
use super::{Bucket, State, Version};
use crate::service::*;

/// A place in the listing: everything at or before it was seen. Newer versions come first within a key, so
/// ranks count down there, and up for uploads.
enum After {
    Nothing,
    /// All up to this key, and what lies under it if it is a common prefix.
    Key(String),
    /// This key down to the version or upload of this sequence number.
    Row(String, u64),
}

struct Line {
    key: String,
    rank: u64,
    entry: ListEntry,
}

impl State {
    pub(super) fn list(&mut self, request: &ListRequest) -> Result<ListPage> {
        let bucket = self.bucket(&request.bucket)?;
        let after = start(request, bucket)?;
        let mut page = ListPage { entries: Vec::new(), next: None };
        let mut token = None;
        let mut rolled: Option<String> = None;
        for line in lines(bucket, request.kind) {
            let Some(rest) = line.key.strip_prefix(request.prefix.as_str()) else { continue };
            let delimiter = request.delimiter.as_deref().filter(|d| !d.is_empty());
            let common = delimiter
                .and_then(|d| rest.find(d).map(|at| request.prefix.len() + at + d.len()))
                .map(|end| line.key[..end].to_owned());
            if common.is_some() && common == rolled || seen(&after, &line, common.as_deref(), request.kind) {
                continue;
            }
            if page.entries.len() >= request.max_keys {
                page.next = token;
                break;
            }
            if let Some(common) = common {
                token = Some(format!("p{common}"));
                page.entries.push(ListEntry::CommonPrefix(common.clone()));
                rolled = Some(common);
            } else {
                token = Some(match request.kind {
                    ListKind::Current => format!("k{}", line.key),
                    _ => format!("r{:016x}{}", line.rank, line.key),
                });
                page.entries.push(line.entry);
            }
        }
        page.next = page.next.map(hex::encode);
        Ok(page)
    }
}

fn start(request: &ListRequest, bucket: &Bucket) -> Result<After> {
    Ok(match &request.start {
        ListStart::Beginning => After::Nothing,
        ListStart::AfterKey(key) => After::Key(key.clone()),
        ListStart::AfterVersion(key, id) => {
            let rank = bucket.keys.get(key).and_then(|all| all.iter().find(|v| v.id == *id)).map(|v| v.born);
            After::Row(key.clone(), rank.unwrap_or(u64::MAX))
        }
        ListStart::AfterUpload(key, id) => After::Row(key.clone(), upload_lsn(id).unwrap_or(0)),
        ListStart::Token(token) => parse_token(token).ok_or(ObjectError::BadToken)?,
    })
}

fn parse_token(token: &str) -> Option<After> {
    let text = String::from_utf8(hex::decode(token).ok()?).ok()?;
    let rest = text.get(1..)?;
    Some(match text.as_bytes().first()? {
        b'k' | b'p' => After::Key(rest.into()),
        b'r' => After::Row(rest.get(16..)?.into(), u64::from_str_radix(rest.get(..16)?, 16).ok()?),
        _ => return None,
    })
}

fn seen(after: &After, line: &Line, common: Option<&str>, kind: ListKind) -> bool {
    match after {
        After::Nothing => false,
        After::Key(key) => line.key <= *key || common == Some(key),
        After::Row(key, rank) if line.key == *key => match kind {
            ListKind::Uploads => line.rank <= *rank,
            _ => line.rank >= *rank,
        },
        After::Row(key, _) => line.key < *key,
    }
}

fn lines(bucket: &Bucket, kind: ListKind) -> Vec<Line> {
    let mut lines = Vec::new();
    if kind == ListKind::Uploads {
        for ((key, lsn), upload) in &bucket.uploads {
            let entry = ListEntry::Upload {
                key: key.clone(),
                upload: upload_text(*lsn),
                initiated: upload.initiated,
                attrs: upload.attrs.clone(),
            };
            lines.push(Line { key: key.clone(), rank: *lsn, entry });
        }
        return lines;
    }
    for (key, versions) in &bucket.keys {
        for (index, version) in versions.iter().enumerate() {
            let wanted = kind == ListKind::Versions || (index == 0 && version.object.is_some());
            if wanted {
                let entry = version_entry(key, version, index == 0);
                lines.push(Line { key: key.clone(), rank: version.born, entry });
            }
        }
    }
    lines
}

fn version_entry(key: &str, version: &Version, is_latest: bool) -> ListEntry {
    let (key, id, modified) = (key.to_owned(), version.id.clone(), version.modified);
    let Some(object) = &version.object else {
        return ListEntry::DeleteMarker { key, version: id, is_latest, modified };
    };
    ListEntry::Object {
        key,
        version: id,
        is_latest,
        size: object.bytes.len() as u64,
        etag: object.attrs.etag.clone(),
        modified,
        storage_class: object.attrs.storage_class.clone(),
        checksum_algorithms: object.attrs.checksums.iter().map(|(name, _)| name.clone()).collect(),
        checksum_type: object.attrs.checksum_type.clone(),
    }
}
