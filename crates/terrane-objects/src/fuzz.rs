//! Entries for fuzzing: every decoder of this crate, fed with anything. None may panic.

use bytes::Bytes;

use crate::notify::Webhook;
use crate::service::{OperationId, UploadId, VersionId};
use crate::{Redundancy, convert, data, drives, meta, runs};

/// What records keep for front ends.
pub fn attributes(bytes: &[u8]) {
    if let Ok(decoded) = meta::ObjectMeta::decode(bytes) {
        let again = meta::ObjectMeta::decode(&decoded.encode());
        assert_eq!(again.ok(), Some(decoded), "attributes decode to what was encoded");
    }
    let _ = meta::decode_part(bytes);
}

/// The parts of a spill run, their checksums made right where the bytes are long enough.
pub fn run_file(bytes: &[u8]) {
    runs::decode_anything(&Bytes::copy_from_slice(bytes));
}

/// What drives hold: identities, names of shards, pieces of blocks in any layout.
pub fn drives(bytes: &[u8]) {
    if let Some(identity) = drives::Identity::decode(bytes) {
        assert_eq!(drives::Identity::decode(&identity.encode()), Some(identity));
    }
    data::decode_anything(bytes);
}

/// Texts from clients: versions, uploads, operations, webhooks.
pub fn texts(bytes: &[u8]) {
    let _ = Webhook::parse(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(redundancy) = text.parse::<Redundancy>() {
        assert_eq!(redundancy.to_string(), text, "a redundancy has one text");
    }
    if let Some(version) = VersionId::parse(text) {
        assert_eq!(version.to_string(), text, "a version has one text");
    }
    let _ = convert::upload_lsn(&UploadId(text.into()));
    let _ = convert::operation_key(&OperationId(text.into()), "000000000001");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "[0-9a-f]{0,40}") {
            super::attributes(&bytes);
            super::run_file(&bytes);
            super::drives(&bytes);
            super::texts(&bytes);
            super::texts(text.as_bytes());
        }
    }
}
