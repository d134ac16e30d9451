//! What a record keeps for the front end, in bytes: attributes and the parts of multipart objects.
//!
//! A version byte, then postcard. The core does not look inside; what it needs of it (ETag, size, times) it has
//! in fields of its own, which are left out here.

use serde::{Deserialize, Serialize};

use crate::service::{ObjectAttrs, ObjectError, PartInfo, Result};

const VERSION: u8 = 1;

/// Front-end state of an object or upload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ObjectMeta {
    /// Attributes without the ETag.
    pub(crate) attrs: ObjectAttrs,
    /// Parts, of objects that were made by an upload.
    pub(crate) parts: Vec<PartInfo>,
}

impl ObjectMeta {
    /// Splits the ETag off and keeps the rest.
    pub(crate) fn new(mut attrs: ObjectAttrs, parts: Vec<PartInfo>) -> (String, Self) {
        let etag = std::mem::take(&mut attrs.etag);
        (etag, Self { attrs, parts })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![VERSION]).expect("attributes always serialise into memory")
    }

    /// Decodes; anything malformed is damage, for the record's checksum was right.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let decoded = match bytes.split_first() {
            Some((&VERSION, rest)) => postcard::from_bytes(rest).ok(),
            _ => None,
        };
        decoded.ok_or_else(|| ObjectError::Corrupt("attributes of unknown form".into()))
    }
}

/// Bytes of an unfinished part's own state.
pub(crate) fn encode_part(part: &PartInfo) -> Vec<u8> {
    postcard::to_extend(part, vec![VERSION]).expect("a part always serialises into memory")
}

/// The inverse of [`encode_part`].
pub(crate) fn decode_part(bytes: &[u8]) -> Result<PartInfo> {
    let decoded = match bytes.split_first() {
        Some((&VERSION, rest)) => postcard::from_bytes(rest).ok(),
        _ => None,
    };
    decoded.ok_or_else(|| ObjectError::Corrupt("a part's state of unknown form".into()))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use proptest::prelude::*;

    fn part() -> PartInfo {
        let modified = UNIX_EPOCH + Duration::from_millis(1_500);
        PartInfo { number: 3, size: 7, etag: "e".into(), checksums: vec![], modified }
    }

    #[test]
    fn bytes_are_pinned() {
        let attrs = ObjectAttrs {
            etag: "e".into(),
            tags: vec![("k".into(), "v".into())],
            storage_class: Some("GLACIER".into()),
            ..ObjectAttrs::default()
        };
        let (etag, meta) = ObjectMeta::new(attrs, vec![part()]);
        assert_eq!(etag, "e");
        let bytes = meta.encode();
        assert_eq!(hex::encode(&bytes), "0100000001016b017600000107474c4143494552000103070165000180cab5ee01");
        assert_eq!(ObjectMeta::decode(&bytes).unwrap(), meta);
        assert_eq!(hex::encode(encode_part(&part())), "0103070165000180cab5ee01");
        assert_eq!(decode_part(&encode_part(&part())).unwrap(), part());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = ObjectMeta::decode(&bytes);
            bytes.insert(0, VERSION);
            let _ = ObjectMeta::decode(&bytes);
            let _ = decode_part(&bytes);
        }
    }
}
