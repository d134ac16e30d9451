//! Tags of objects and buckets: parsing and limits (S3 User Guide, "Categorizing your storage using tags").

use percent_encoding::percent_decode_str;
use s3s::dto;
use s3s::{S3Error, S3ErrorCode, S3Result};

/// Tags of an object.
pub(crate) const OBJECT_TAGS_MAX: usize = 10;
/// Tags of a bucket.
pub(crate) const BUCKET_TAGS_MAX: usize = 50;
const KEY_CHARS_MAX: usize = 128;
const VALUE_CHARS_MAX: usize = 256;

/// Tags as stored: by key.
pub(crate) type Tags = Vec<(String, String)>;

/// `x-amz-tagging`: tags as URL query parameters.
pub(crate) fn from_header(text: &str) -> S3Result<Tags> {
    let bad = || {
        S3Error::with_message(S3ErrorCode::InvalidArgument, "The header 'x-amz-tagging' is not a URL query")
    };
    let decode = |text: &str| -> S3Result<String> {
        let text = text.replace('+', " ");
        Ok(percent_decode_str(&text).decode_utf8().map_err(|_| bad())?.into_owned())
    };
    let mut tags = Tags::new();
    for pair in text.split('&').filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        tags.push((decode(key)?, decode(value)?));
        if tags.len() > OBJECT_TAGS_MAX {
            break;
        }
    }
    checked(tags, OBJECT_TAGS_MAX)
}

/// From a document.
pub(crate) fn from_document(set: dto::TagSet, max: usize) -> S3Result<Tags> {
    let mut tags = Tags::with_capacity(set.len());
    for tag in set {
        let (Some(key), Some(value)) = (tag.key, tag.value) else {
            return Err(S3Error::with_message(S3ErrorCode::MalformedXML, "A tag has a key and a value"));
        };
        tags.push((key, value));
    }
    checked(tags, max)
}

/// As a document.
pub(crate) fn to_document(tags: &Tags) -> dto::TagSet {
    tags.iter().map(|(k, v)| dto::Tag { key: Some(k.clone()), value: Some(v.clone()) }).collect()
}

fn checked(tags: Tags, max: usize) -> S3Result<Tags> {
    let invalid = |message: &str| S3Error::with_message(S3ErrorCode::InvalidTag, message.to_owned());
    if tags.len() > max {
        return Err(invalid(&format!("There can be at most {max} tags")));
    }
    for (at, (key, value)) in tags.iter().enumerate() {
        if key.is_empty() || key.chars().count() > KEY_CHARS_MAX {
            return Err(invalid("The TagKey you have provided is invalid"));
        }
        if value.chars().count() > VALUE_CHARS_MAX {
            return Err(invalid("The TagValue you have provided is invalid"));
        }
        if key.starts_with("aws:") {
            return Err(invalid("System tags cannot be added/updated by requester"));
        }
        if !key.chars().chain(value.chars()).all(is_tag_char) {
            return Err(invalid("Tags consist of letters, digits, spaces and + - = . _ : / @"));
        }
        if tags[..at].iter().any(|(other, _)| other == key) {
            return Err(invalid("Cannot provide multiple Tags with the same key"));
        }
    }
    let mut tags = tags;
    tags.sort();
    Ok(tags)
}

fn is_tag_char(c: char) -> bool {
    c.is_alphanumeric() || c == ' ' || "+-=._:/@".contains(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn headers_are_queries() {
        let tags = from_header("foo=bar&empty=&bare&sp+ace=%C3%A4").unwrap();
        let expected = [("bare", ""), ("empty", ""), ("foo", "bar"), ("sp ace", "ä")];
        assert_eq!(tags, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn limits() {
        let many = |n: usize| (0..n).map(|i| format!("k{i}=v")).collect::<Vec<_>>().join("&");
        assert!(from_header(&many(10)).is_ok() && from_header(&many(11)).is_err());
        let (key, value) = ("k".repeat(128), "v".repeat(256));
        assert!(from_header(&format!("{key}={value}")).is_ok());
        for bad in
            [format!("{key}k=v"), format!("k={value}v"), "a=1&a=2".into(), "aws:x=1".into(), "=v".into()]
        {
            assert!(from_header(&bad).is_err(), "{bad}");
        }
        assert!(from_header("a=%ff").is_err());
    }

    proptest! {
        #[test]
        fn headers_do_not_panic(text in "\\PC{0,200}") {
            let _ = from_header(&text);
        }
    }
}
