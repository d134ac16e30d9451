//! Requests, read and checked as far as they themselves decide.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use terrane_types::SnapshotId;

use super::{ALGORITHM, EbsError, RESULTS_MAX, RESULTS_MIN};
use crate::service::{
    BLOCK_BYTES, BlockPage, Completion, DESCRIPTION_CHARS_MAX, PutBlock, SIZE_GIB_MAX, StartSnapshot,
    TAGS_MAX, Tags,
};

/// Characters of an idempotency token.
const TOKEN_CHARS_MAX: usize = 255;
/// Characters of page and block tokens.
const PAGE_TOKEN_CHARS_MAX: usize = 256;
/// Minutes after which a snapshot that nobody writes to is given up, if the request says nothing.
const TIMEOUT_MINUTES: u32 = 60;

/// A request that has been read.
#[derive(Clone, Debug)]
pub enum Call {
    /// `StartSnapshot`.
    Start(StartSnapshot),
    /// `PutSnapshotBlock`.
    Put {
        /// Where to.
        snapshot: SnapshotId,
        /// The block; its checksum was compared.
        block: PutBlock,
    },
    /// `CompleteSnapshot`.
    Complete {
        /// Which one.
        snapshot: SnapshotId,
        /// What was written.
        completion: Completion,
    },
    /// `ListSnapshotBlocks`.
    List {
        /// Of which one.
        snapshot: SnapshotId,
        /// From where on.
        page: Page,
    },
    /// `ListChangedBlocks`.
    Changed {
        /// The earlier one.
        first: SnapshotId,
        /// The later one.
        second: SnapshotId,
        /// From where on.
        page: Page,
    },
    /// `GetSnapshotBlock`.
    Get {
        /// From where.
        snapshot: SnapshotId,
        /// Which block.
        index: u64,
        /// By which word.
        token: String,
    },
}

/// Which page is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    token: Option<String>,
    first: u64,
    limit: usize,
}

impl Page {
    pub(super) fn borrow(&self) -> BlockPage<'_> {
        BlockPage { token: self.token.as_deref(), first: self.first, limit: self.limit }
    }
}

/// The parameters in a query.
struct Query(BTreeMap<String, String>);

impl Query {
    fn parse(query: Option<&str>) -> Result<Self, EbsError> {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query.unwrap_or_default())
            .map_err(|_| EbsError::parameter("query", query.unwrap_or_default(), "it does not decode"))?;
        Ok(Self(pairs.into_iter().collect()))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn page(&self) -> Result<Page, EbsError> {
        let token = self.get("pageToken").map(page_token).transpose()?;
        let first = self.get("startingBlockIndex").map(block_index).transpose()?.unwrap_or(0);
        let limit = match self.get("maxResults") {
            None => RESULTS_MAX,
            Some(text) => {
                let limit = text.parse().ok().filter(|n| (RESULTS_MIN..=RESULTS_MAX).contains(n));
                limit
                    .ok_or_else(|| EbsError::parameter("MaxResults", text, "it must be from 100 to 10000"))?
            }
        };
        Ok(Page { token, first, limit })
    }
}

impl Call {
    pub(super) fn parse(
        method: &Method,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Self, EbsError> {
        let mut parts = path.strip_prefix('/').unwrap_or(path).split('/');
        let parts = [(); 4].map(|()| parts.next()).into_iter().chain([parts.next()]).collect::<Vec<_>>();
        let query = Query::parse(query)?;
        match (method, &*parts) {
            (&Method::POST, [Some("snapshots"), None, ..]) => start(&body),
            (&Method::POST, [Some("snapshots"), Some("completion"), Some(id), None, _]) => {
                Ok(Self::Complete { snapshot: snapshot_id(id)?, completion: completion(headers)? })
            }
            (&Method::PUT, [Some("snapshots"), Some(id), Some("blocks"), Some(index), None]) => {
                let snapshot = snapshot_id(id)?;
                Ok(Self::Put { snapshot, block: put(block_index(index)?, headers, body)? })
            }
            (&Method::GET, [Some("snapshots"), Some(id), Some("blocks"), Some(index), None]) => {
                let token = query.get("blockToken").ok_or_else(|| EbsError::missing("BlockToken"))?;
                Ok(Self::Get {
                    snapshot: snapshot_id(id)?,
                    index: block_index(index)?,
                    token: block_token(token)?,
                })
            }
            (&Method::GET, [Some("snapshots"), Some(id), Some("blocks"), None, _]) => {
                Ok(Self::List { snapshot: snapshot_id(id)?, page: query.page()? })
            }
            (&Method::GET, [Some("snapshots"), Some(id), Some("changedblocks"), None, _]) => {
                let first =
                    query.get("firstSnapshotId").ok_or_else(|| EbsError::missing("FirstSnapshotId"))?;
                Ok(Self::Changed {
                    first: snapshot_id(first)?,
                    second: snapshot_id(id)?,
                    page: query.page()?,
                })
            }
            _ => {
                const TEXT: &str = "The EBS direct APIs have no operation of this method and path.";
                Err(EbsError::new("UnknownOperationException", None, TEXT))
            }
        }
    }

    /// The operation, as policies know it after `ebs:`.
    pub fn action(&self) -> &'static str {
        match self {
            Self::Start(_) => "StartSnapshot",
            Self::Put { .. } => "PutSnapshotBlock",
            Self::Complete { .. } => "CompleteSnapshot",
            Self::List { .. } => "ListSnapshotBlocks",
            Self::Changed { .. } => "ListChangedBlocks",
            Self::Get { .. } => "GetSnapshotBlock",
        }
    }

    /// The snapshots that the call names.
    pub fn snapshots(&self) -> Vec<&SnapshotId> {
        match self {
            Self::Start(start) => start.parent.iter().collect(),
            Self::Put { snapshot, .. }
            | Self::Complete { snapshot, .. }
            | Self::List { snapshot, .. }
            | Self::Get { snapshot, .. } => vec![snapshot],
            Self::Changed { first, second, .. } => vec![first, second],
        }
    }

    /// Whether it changes anything.
    pub fn mutates(&self) -> bool {
        matches!(self, Self::Start(_) | Self::Put { .. } | Self::Complete { .. })
    }
}

fn snapshot_id(text: &str) -> Result<SnapshotId, EbsError> {
    SnapshotId::parse(text).map_err(|_| {
        let text = format!("{:?} is not the identifier of a snapshot.", crate::error::shortened(text));
        EbsError::invalid("INVALID_SNAPSHOT_ID", text)
    })
}

fn block_index(text: &str) -> Result<u64, EbsError> {
    // The model's type is a 32-bit integer.
    text.parse::<i32>().ok().and_then(|index| u64::try_from(index).ok()).ok_or_else(|| {
        let text = format!("{:?} is not the index of a block.", crate::error::shortened(text));
        EbsError::invalid("INVALID_BLOCK", text)
    })
}

fn is_base64(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
    (1..=PAGE_TOKEN_CHARS_MAX).contains(&text.len()) && text.bytes().all(legal)
}

fn page_token(text: &str) -> Result<String, EbsError> {
    match is_base64(text) {
        true => Ok(text.to_owned()),
        false => Err(EbsError::invalid("INVALID_PAGE_TOKEN", "This is not the token of a page.")),
    }
}

fn block_token(text: &str) -> Result<String, EbsError> {
    match is_base64(text) {
        true => Ok(text.to_owned()),
        false => Err(EbsError::invalid("INVALID_BLOCK_TOKEN", "This is not the token of a block.")),
    }
}

/// A header as text.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, EbsError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    value.to_str().map(Some).map_err(|_| EbsError::parameter(name, "", "it must be ASCII"))
}

/// The checksum that a request has in its headers.
fn checksum(headers: &HeaderMap) -> Result<Option<[u8; 32]>, EbsError> {
    if let Some(algorithm) = header(headers, "x-amz-checksum-algorithm")?
        && algorithm != ALGORITHM
    {
        return Err(EbsError::parameter("ChecksumAlgorithm", algorithm, "it must be SHA256"));
    }
    let Some(text) = header(headers, "x-amz-checksum")? else { return Ok(None) };
    let bytes = STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    let refused = || EbsError::parameter("Checksum", text, "it must be a SHA-256 in base64");
    bytes.map(Some).ok_or_else(refused)
}

fn put(index: u64, headers: &HeaderMap, data: Bytes) -> Result<PutBlock, EbsError> {
    let length = header(headers, "x-amz-data-length")?.ok_or_else(|| EbsError::missing("DataLength"))?;
    if length.parse() != Ok(BLOCK_BYTES) {
        return Err(EbsError::parameter("DataLength", length, "it must be 524288"));
    }
    if data.len() != BLOCK_BYTES {
        let text = format!("The block has {} bytes, and must have {BLOCK_BYTES}.", data.len());
        return Err(EbsError::invalid("INVALID_BLOCK", text));
    }
    if let Some(text) = header(headers, "x-amz-progress")?
        && text.parse::<u8>().ok().is_none_or(|percent| percent > 100)
    {
        return Err(EbsError::parameter("Progress", text, "it must be from 0 to 100"));
    }
    if header(headers, "x-amz-checksum-algorithm")?.is_none() {
        return Err(EbsError::missing("ChecksumAlgorithm"));
    }
    let sha256 = checksum(headers)?.ok_or_else(|| EbsError::missing("Checksum"))?;
    if <[u8; 32]>::from(Sha256::digest(&data)) != sha256 {
        return Err(EbsError::invalid("INVALID_BLOCK", "The checksum is not the block's."));
    }
    Ok(PutBlock { index, data, sha256 })
}

fn completion(headers: &HeaderMap) -> Result<Completion, EbsError> {
    const NAME: &str = "ChangedBlocksCount";
    let text = header(headers, "x-amz-changedblockscount")?.ok_or_else(|| EbsError::missing(NAME))?;
    let blocks = text.parse::<i32>().ok().and_then(|count| u64::try_from(count).ok());
    let blocks = blocks.ok_or_else(|| EbsError::parameter(NAME, text, "it must not be negative"))?;
    if let Some(method) = header(headers, "x-amz-checksum-aggregation-method")?
        && method != "LINEAR"
    {
        return Err(EbsError::parameter("ChecksumAggregationMethod", method, "it must be LINEAR"));
    }
    Ok(Completion { blocks, sha256: checksum(headers)? })
}

/// The document of `StartSnapshot`. What is not known is passed over, as the protocol has it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Start {
    volume_size: Option<i64>,
    parent_snapshot_id: Option<String>,
    #[serde(default)]
    tags: Option<Vec<Tag>>,
    description: Option<String>,
    client_token: Option<String>,
    encrypted: Option<bool>,
    kms_key_arn: Option<String>,
    timeout: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: Option<String>,
    value: Option<String>,
}

fn start(body: &[u8]) -> Result<Call, EbsError> {
    let Start {
        volume_size,
        parent_snapshot_id,
        tags,
        description,
        client_token,
        encrypted,
        kms_key_arn,
        timeout,
    } = serde_json::from_slice(body)
        .map_err(|error| EbsError::parameter("request", &error.to_string(), "it must be a JSON document"))?;
    let size = volume_size.ok_or_else(|| EbsError::missing("VolumeSize"))?;
    let size_gib = u32::try_from(size).ok().filter(|size| (1..=SIZE_GIB_MAX).contains(size));
    let size_gib = size_gib.ok_or_else(|| {
        let text = format!("A volume of {size} GiB is not possible: 1 to {SIZE_GIB_MAX} are.");
        EbsError::invalid("INVALID_VOLUME_SIZE", text)
    })?;
    if encrypted.is_some() && parent_snapshot_id.is_some() {
        const TEXT: &str = "Encrypted and ParentSnapshotId exclude each other.";
        return Err(EbsError::invalid("INVALID_PARAMETER_VALUE", TEXT));
    }
    if encrypted == Some(true) || kms_key_arn.is_some() {
        const TEXT: &str = "Encryption by keys of KMS is not offered; snapshots are always sealed with a key of the account.";
        return Err(EbsError::invalid("INVALID_CUSTOMER_KEY", TEXT));
    }
    let timeout_minutes = match timeout {
        None => TIMEOUT_MINUTES,
        Some(minutes) => {
            let legal = u32::try_from(minutes).ok().filter(|minutes| (10..=4320).contains(minutes));
            let refused =
                || EbsError::parameter("Timeout", &minutes.to_string(), "it must be from 10 to 4320");
            legal.ok_or_else(refused)?
        }
    };
    let description = description.unwrap_or_default();
    if description.chars().count() > DESCRIPTION_CHARS_MAX {
        return Err(EbsError::parameter("Description", &description, "at most 255 characters"));
    }
    let legal_token = |text: &String| {
        (1..=TOKEN_CHARS_MAX).contains(&text.chars().count()) && !text.contains(char::is_whitespace)
    };
    if let Some(token) = client_token.as_ref().filter(|token| !legal_token(token)) {
        return Err(EbsError::parameter("ClientToken", token, "1 to 255 characters without blanks"));
    }
    Ok(Call::Start(StartSnapshot {
        size_gib,
        parent: parent_snapshot_id.as_deref().map(snapshot_id).transpose()?,
        description,
        tags: tags_of(tags.unwrap_or_default())?,
        token: client_token,
        timeout_minutes,
    }))
}

fn tags_of(given: Vec<Tag>) -> Result<Tags, EbsError> {
    let refused = |text: String| EbsError::invalid("INVALID_TAG", text);
    let mut tags = Tags::new();
    for Tag { key, value } in given {
        let (key, value) = (key.unwrap_or_default(), value.unwrap_or_default());
        let legal = (1..=127).contains(&key.chars().count()) && value.chars().count() <= 255;
        if !legal || key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
            let text = "Keys of tags have 1 to 127 characters and do not begin with aws:, values up to 255.";
            return Err(refused(text.into()));
        }
        if tags.insert(key, value).is_some() {
            return Err(refused("A key of a tag is given twice.".into()));
        }
    }
    if tags.len() > TAGS_MAX {
        return Err(refused(format!("A snapshot may have {TAGS_MAX} tags.")));
    }
    Ok(tags)
}

/// Reads whatever bytes are as requests of all operations; for fuzzing.
pub fn fuzz_decode(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = start(bytes);
    let (path, query) = text.split_once('?').unwrap_or((&text, ""));
    let mut headers = HeaderMap::new();
    if let Ok(value) = http::HeaderValue::from_bytes(bytes) {
        for name in ["x-amz-checksum", "x-amz-data-length", "x-amz-changedblockscount", "x-amz-progress"] {
            headers.insert(name, value.clone());
        }
    }
    for method in [Method::GET, Method::PUT, Method::POST] {
        let body = Bytes::copy_from_slice(bytes);
        if let Ok(call) = Call::parse(&method, path, Some(query), &headers, body) {
            assert!(call.snapshots().iter().all(|id| SnapshotId::parse(id.as_str()).is_ok()));
        }
    }
    let _ = completion(&headers);
}
