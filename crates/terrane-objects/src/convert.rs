//! Between the service's words and the core's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use terrane_keymap::bucket::{self, BucketState};
use terrane_keymap::class;
use terrane_keymap::completion::{Completion as CoreCompletion, OperationKey};
use terrane_keymap::write::{self, WriteError};
use terrane_keymap::{Incarnation, Lsn, Sub, Timestamp};
use terrane_types::RandomId;

use crate::service::*;

pub(crate) fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

pub(crate) fn now() -> Timestamp {
    timestamp(SystemTime::now())
}

pub(crate) fn system_time(time: Timestamp) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(time.0)).unwrap_or(UNIX_EPOCH)
}

/// RFC 3339 in UTC.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    let time = i64::try_from(time.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.unwrap_or(jiff::Timestamp::MAX).to_string()
}

pub(crate) fn incarnation(bucket: &BucketInfo) -> Incarnation {
    Incarnation(bucket.incarnation.0)
}

pub(crate) fn sub_of(version: &VersionId) -> Sub {
    match version {
        VersionId::Null => Sub::Null,
        VersionId::Id(lsn) => Sub::Version(Lsn(*lsn)),
    }
}

pub(crate) fn version_of(sub: Sub) -> VersionId {
    match sub {
        Sub::Version(lsn) => VersionId::Id(lsn.0),
        _ => VersionId::Null,
    }
}

/// An upload's text form: the form of versions, for the same reasons.
pub(crate) fn upload_id(lsn: Lsn) -> UploadId {
    UploadId(VersionId::Id(lsn.0).to_string())
}

pub(crate) fn upload_lsn(id: &UploadId) -> Result<Lsn> {
    match VersionId::parse(&id.0) {
        Some(VersionId::Id(lsn)) => Ok(Lsn(lsn)),
        _ => Err(ObjectError::NoSuchUpload),
    }
}

pub(crate) fn versioning_of(versioning: bucket::Versioning) -> Versioning {
    match versioning {
        bucket::Versioning::Off => Versioning::Off,
        bucket::Versioning::Enabled => Versioning::Enabled,
        bucket::Versioning::Suspended => Versioning::Suspended,
    }
}

fn core_versioning(versioning: Versioning) -> bucket::Versioning {
    match versioning {
        Versioning::Off => bucket::Versioning::Off,
        Versioning::Enabled => bucket::Versioning::Enabled,
        Versioning::Suspended => bucket::Versioning::Suspended,
    }
}

fn core_mode(mode: WriteMode) -> class::WriteMode {
    match mode {
        WriteMode::Sync => class::WriteMode::Sync,
        WriteMode::Async(Class::High) => class::WriteMode::High,
        WriteMode::Async(Class::Low) => class::WriteMode::Low,
        WriteMode::Async(Class::Delay(delay)) => class::WriteMode::Delay { ms: millis(delay) },
    }
}

fn mode_of(mode: class::WriteMode) -> WriteMode {
    match mode {
        class::WriteMode::Sync => WriteMode::Sync,
        class::WriteMode::High => WriteMode::Async(Class::High),
        class::WriteMode::Low => WriteMode::Async(Class::Low),
        class::WriteMode::Delay { ms } => WriteMode::Async(Class::Delay(Duration::from_millis(ms))),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn bucket_info(state: &BucketState) -> BucketInfo {
    BucketInfo {
        name: state.name.clone(),
        incarnation: RandomId(state.incarnation.0),
        owner: state.owner.clone(),
        created: system_time(state.created),
        region: state.region.clone(),
        versioning: versioning_of(state.versioning),
        default_mode: state.default_mode.map(mode_of),
        settings: state.settings.clone(),
    }
}

pub(crate) fn bucket_change(change: BucketChange) -> bucket::BucketChange {
    match change {
        BucketChange::Versioning(versioning) => bucket::BucketChange::Versioning(core_versioning(versioning)),
        BucketChange::DefaultMode(mode) => bucket::BucketChange::DefaultMode(mode.map(core_mode)),
        BucketChange::Setting(name, value) => bucket::BucketChange::Setting(name, value),
    }
}

pub(crate) fn mode_request(mode: ModeRequest) -> class::ModeRequest {
    class::ModeRequest {
        explicit: mode.explicit.map(|explicit| match explicit {
            ExplicitMode::Async => class::ExplicitMode::Async,
            ExplicitMode::Sync => class::ExplicitMode::Sync,
            ExplicitMode::Delay(delay) => class::ExplicitMode::Delay(millis(delay)),
        }),
        priority: mode.priority.map(|priority| match priority {
            Priority::High => class::Priority::High,
            Priority::Low => class::Priority::Low,
        }),
    }
}

pub(crate) fn condition(condition: Condition) -> write::Condition {
    let etags = |set: EtagSet| match set {
        EtagSet::Any => write::EtagSet::Any,
        EtagSet::Tags(tags) => write::EtagSet::Tags(tags),
    };
    write::Condition {
        if_match: condition.if_match.map(etags),
        if_none_match: condition.if_none_match.map(etags),
        if_match_size: condition.if_match_size,
        if_match_mtime_seconds: condition.if_match_last_modified.map(|time| timestamp(time).0 / 1_000),
    }
}

pub(crate) fn written(written: &write::Written, owner: &str) -> Written {
    Written {
        version: version_of(written.sub),
        delete_marker: written.delete_marker,
        modified: system_time(written.mtime),
        keymap: match written.keymap {
            write::KeymapState::Applied => KeymapState::Applied,
            write::KeymapState::Pending => KeymapState::Pending,
        },
        operation: written.operation.map(|key| operation_id(key, owner)),
    }
}

/// Text form of an operation: version of the form, shard, key, and a tag that ties it to its account.
pub(crate) fn operation_id(key: OperationKey, owner: &str) -> OperationId {
    let mut bytes = vec![OPERATION_VERSION];
    bytes.extend_from_slice(&SHARD.to_be_bytes());
    bytes.extend_from_slice(&key.encode());
    bytes.extend_from_slice(&operation_tag(key, owner).to_be_bytes());
    OperationId(hex::encode(bytes))
}

/// The operation behind a text, if it is one of this account.
pub(crate) fn operation_key(id: &OperationId, owner: &str) -> Option<OperationKey> {
    let bytes = hex::decode(&id.0).ok()?;
    let rest = bytes.strip_prefix(&[OPERATION_VERSION])?.strip_prefix(&SHARD.to_be_bytes())?;
    let (key, tag) = rest.split_first_chunk::<{ OperationKey::ENCODED }>()?;
    let key = OperationKey::decode(key)?;
    (*tag == operation_tag(key, owner).to_be_bytes()).then_some(key)
}

const OPERATION_VERSION: u8 = 1;
/// The only shard of this release.
const SHARD: u16 = 0;

fn operation_tag(key: OperationKey, owner: &str) -> u32 {
    crc_fast::crc32_iscsi(&[&key.encode()[..], owner.as_bytes()].concat())
}

pub(crate) fn completion(completion: &CoreCompletion) -> Completion {
    let etag = completion.etag.to_string();
    Completion {
        cursor: completion.cursor,
        operation: operation_id(completion.operation, completion.origin.owner.as_str()),
        event: completion.event.as_str().into(),
        bucket: completion.origin.bucket.to_string(),
        key: String::from_utf8_lossy(&completion.key).into_owned(),
        version: match completion.sub {
            Sub::Version(_) => Some(version_of(completion.sub).to_string()),
            _ => None,
        },
        size: (!etag.is_empty()).then_some(completion.size),
        etag: (!etag.is_empty()).then_some(etag),
        superseded: completion.superseded,
    }
}

/// The service's word for a refusal. `name` and `asker` are those of the bucket concerned and of who asked.
pub(crate) fn refusal(error: WriteError, name: &str, asker: Option<&str>) -> ObjectError {
    match error {
        WriteError::NoSuchBucket => ObjectError::NoSuchBucket(name.into()),
        WriteError::BucketExists(owner) => {
            ObjectError::BucketExists { name: name.into(), ours: asker == Some(owner.as_str()) }
        }
        WriteError::BucketNotEmpty => ObjectError::BucketNotEmpty(name.into()),
        WriteError::TooManyBuckets(limit) => ObjectError::TooManyBuckets { limit },
        WriteError::NoSuchKey => ObjectError::NoSuchKey,
        WriteError::NoSuchVersion => ObjectError::NoSuchVersion,
        WriteError::NoSuchUpload => ObjectError::NoSuchUpload,
        WriteError::InvalidPart(part) => ObjectError::InvalidPart(part),
        WriteError::InvalidPartOrder => ObjectError::InvalidPartOrder,
        WriteError::PartTooSmall { part, size, minimum } => ObjectError::PartTooSmall { part, size, minimum },
        WriteError::PreconditionFailed(what) => ObjectError::PreconditionFailed(what),
        WriteError::Conflict | WriteError::SourceMoved(_) => ObjectError::ConditionalConflict,
        WriteError::SlowDown { what, retry_after_ms } => {
            ObjectError::SlowDown { what, retry_after: Duration::from_millis(retry_after_ms) }
        }
        WriteError::NoSpace => ObjectError::NoSpace("writes"),
        WriteError::Unavailable(why) => ObjectError::Unavailable(why.to_string()),
        other => ObjectError::Unavailable(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use terrane_keymap::class::Class as CoreClass;
    use terrane_keymap::ids::Slot;

    use super::*;

    #[test]
    fn operations_belong_to_their_account() {
        let key = OperationKey { slot: Slot(3), class: CoreClass::High, lsn: Lsn(77) };
        let id = operation_id(key, "000000000001");
        assert_eq!(id.0, "0100000301000000000000004db27f2a12");
        assert_eq!(operation_key(&id, "000000000001"), Some(key));
        assert_eq!(operation_key(&id, "000000000002"), None);
        for bad in ["", "01", &id.0[2..], &format!("{}00", id.0), "zz"] {
            assert_eq!(operation_key(&OperationId(bad.into()), "000000000001"), None, "{bad}");
        }
    }

    #[test]
    fn times_keep_milliseconds() {
        let time = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        assert_eq!(system_time(timestamp(time)), time);
        assert_eq!(timestamp(UNIX_EPOCH - Duration::from_secs(1)), Timestamp(0));
    }

    #[test]
    fn uploads_have_texts_like_versions() {
        assert_eq!(upload_lsn(&upload_id(Lsn(9))).unwrap(), Lsn(9));
        assert!(upload_lsn(&UploadId("null".into())).is_err());
    }
}
