//! What is kept with an object: headers, user metadata, storage class, and what is refused because it is
//! not offered.

use std::collections::BTreeMap;

use s3s::dto::{Metadata, StorageClass, Timestamp, TimestampFormat};
use s3s::{S3Error, S3ErrorCode, S3Result};
use terrane_objects::service::ObjectAttrs;

use crate::errors::not_implemented;
use crate::tags;

/// Content type of objects that were stored without.
pub(crate) const DEFAULT_CONTENT_TYPE: &str = "binary/octet-stream";
/// Where an object redirects to, kept with the headers.
pub(crate) const REDIRECT: &str = "x-amz-website-redirect-location";

/// Headers of PutObject, CopyObject and CreateMultipartUpload that describe the object. The three inputs of
/// s3s have the same fields but no common type, hence the macro [`described`].
#[derive(Default)]
pub(crate) struct Described {
    pub(crate) cache_control: Option<String>,
    pub(crate) content_disposition: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) content_language: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) redirect: Option<String>,
    pub(crate) storage_class: Option<StorageClass>,
    pub(crate) tagging: Option<String>,
    /// Server-side encryption, with keys of ours or the client's.
    pub(crate) encrypted: bool,
    /// Retention or legal hold.
    pub(crate) locked: bool,
}

/// Takes the describing headers out of an input.
macro_rules! described {
    ($input:expr) => {
        $crate::attrs::Described {
            cache_control: $input.cache_control.take(),
            content_disposition: $input.content_disposition.take(),
            content_encoding: $input.content_encoding.take(),
            content_language: $input.content_language.take(),
            content_type: $input.content_type.take(),
            expires: $input.expires.take(),
            metadata: $input.metadata.take(),
            redirect: $input.website_redirect_location.take(),
            storage_class: $input.storage_class.take(),
            tagging: $input.tagging.take(),
            encrypted: $input.server_side_encryption.is_some()
                || $input.sse_customer_algorithm.is_some()
                || $input.sse_customer_key.is_some()
                || $input.ssekms_key_id.is_some(),
            locked: $input.object_lock_mode.is_some()
                || $input.object_lock_legal_hold_status.is_some()
                || $input.object_lock_retain_until_date.is_some(),
        }
    };
}
pub(crate) use described;

impl Described {
    /// Checks and translates. ETag, checksums and ACL are the caller's to add.
    pub(crate) fn into_attrs(self, metadata_max: usize) -> S3Result<ObjectAttrs> {
        if self.encrypted {
            return Err(not_implemented("Server-side encryption"));
        }
        if self.locked {
            let message = "Bucket is missing Object Lock Configuration";
            return Err(S3Error::with_message(S3ErrorCode::InvalidRequest, message));
        }
        check_storage_class(self.storage_class.as_ref())?;
        let tags = self.tagging.as_deref().map(tags::from_header).transpose()?.unwrap_or_default();
        let user_metadata = user_metadata(self.metadata, metadata_max)?;
        let mut headers = BTreeMap::new();
        let mut keep = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                headers.insert(name.to_owned(), value);
            }
        };
        keep("cache-control", self.cache_control);
        keep("content-disposition", self.content_disposition);
        keep("content-encoding", self.content_encoding.and_then(without_aws_chunked));
        keep("content-language", self.content_language);
        keep("content-type", Some(self.content_type.unwrap_or_else(|| DEFAULT_CONTENT_TYPE.into())));
        keep("expires", self.expires.and_then(http_date));
        keep(REDIRECT, self.redirect);
        Ok(ObjectAttrs { headers, user_metadata, tags, ..ObjectAttrs::default() })
    }

    /// Whether anything is said that would change a copy.
    pub(crate) fn changes_something(&self) -> bool {
        self.storage_class.is_some() || self.redirect.is_some() || self.encrypted
    }
}

fn check_storage_class(class: Option<&StorageClass>) -> S3Result<()> {
    match class.map(StorageClass::as_str) {
        None | Some(StorageClass::STANDARD) => Ok(()),
        Some(_) => Err(S3Error::with_message(
            S3ErrorCode::InvalidStorageClass,
            "The storage class you specified is not valid",
        )),
    }
}

fn user_metadata(metadata: Option<Metadata>, max: usize) -> S3Result<BTreeMap<String, String>> {
    let metadata: BTreeMap<String, String> = metadata.into_iter().flatten().collect();
    let bytes: usize = metadata.iter().map(|(k, v)| k.len() + v.len()).sum();
    if bytes > max {
        let message = "Your metadata headers exceed the maximum allowed metadata size";
        return Err(S3Error::with_message(S3ErrorCode::MetadataTooLarge, message));
    }
    Ok(metadata)
}

/// `aws-chunked` is how the body travelled, not what the object is.
fn without_aws_chunked(encoding: String) -> Option<String> {
    if !encoding.contains("aws-chunked") {
        return Some(encoding);
    }
    let kept: Vec<&str> = encoding.split(',').map(str::trim).filter(|e| *e != "aws-chunked").collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

fn http_date(at: Timestamp) -> Option<String> {
    let mut text = Vec::with_capacity(32);
    at.format(TimestampFormat::HttpDate, &mut text).ok()?;
    String::from_utf8(text).ok()
}

/// A stored HTTP date as s3s wants it.
pub(crate) fn parse_date(text: Option<&String>) -> Option<Timestamp> {
    text.and_then(|t| Timestamp::parse(TimestampFormat::HttpDate, t).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_encoding_is_not_kept() {
        for (given, kept) in [
            ("gzip", Some("gzip")),
            ("aws-chunked", None),
            ("aws-chunked,gzip", Some("gzip")),
            ("gzip, aws-chunked, br", Some("gzip,br")),
        ] {
            assert_eq!(without_aws_chunked(given.into()).as_deref(), kept, "{given}");
        }
    }

    #[test]
    fn what_is_not_offered_is_refused() {
        let code = |d: Described| d.into_attrs(2048).unwrap_err().code().as_str().to_owned();
        assert_eq!(code(Described { encrypted: true, ..Default::default() }), "NotImplemented");
        assert_eq!(code(Described { locked: true, ..Default::default() }), "InvalidRequest");
        let cold = Some(StorageClass::from_static("GLACIER"));
        assert_eq!(code(Described { storage_class: cold, ..Default::default() }), "InvalidStorageClass");
        let metadata = Some([("k".to_owned(), "v".repeat(2048))].into_iter().collect());
        assert_eq!(code(Described { metadata, ..Default::default() }), "MetadataTooLarge");
    }
}
