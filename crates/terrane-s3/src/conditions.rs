//! Conditional requests: RFC 9110 section 13 on reads, S3's subset on writes.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use s3s::dto::{ETag, ETagCondition, Timestamp};
use s3s::{S3Error, S3ErrorCode, S3Result};
use terrane_objects::service::{Condition, EtagSet};
use time::OffsetDateTime;

use crate::errors::{custom, with_header};

/// Conditions on a read, or on the source of a copy.
#[derive(Debug, Default)]
pub(crate) struct ReadConditions {
    pub(crate) if_match: Option<EtagSet>,
    pub(crate) if_none_match: Option<EtagSet>,
    pub(crate) if_modified_since: Option<SystemTime>,
    pub(crate) if_unmodified_since: Option<SystemTime>,
}

/// What the conditions say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Proceed,
    NotModified,
    Failed(&'static str),
}

impl ReadConditions {
    pub(crate) fn new(
        if_match: Option<ETagCondition>,
        if_none_match: Option<ETagCondition>,
        if_modified_since: Option<Timestamp>,
        if_unmodified_since: Option<Timestamp>,
    ) -> Self {
        Self {
            if_match: if_match.map(etag_set),
            if_none_match: if_none_match.map(etag_set),
            if_modified_since: if_modified_since.map(system_time),
            if_unmodified_since: if_unmodified_since.map(system_time),
        }
    }

    /// Evaluates in the order of RFC 9110 section 13.2.2. HTTP dates have whole seconds.
    pub(crate) fn evaluate(&self, etag: &str, modified: SystemTime) -> Verdict {
        let modified = whole_seconds(modified);
        if let Some(tags) = &self.if_match {
            if !contains(tags, etag) {
                return Verdict::Failed("If-Match");
            }
        } else if self.if_unmodified_since.is_some_and(|since| modified > since) {
            return Verdict::Failed("If-Unmodified-Since");
        }
        if let Some(tags) = &self.if_none_match {
            if contains(tags, etag) {
                return Verdict::NotModified;
            }
        } else if self.if_modified_since.is_some_and(|since| modified <= since) {
            return Verdict::NotModified;
        }
        Verdict::Proceed
    }

    /// For GET and HEAD: 304 with the validators, or 412.
    pub(crate) fn check(&self, etag: &str, modified: SystemTime) -> S3Result<()> {
        match self.evaluate(etag, modified) {
            Verdict::Proceed => Ok(()),
            Verdict::Failed(name) => Err(precondition_failed(name)),
            Verdict::NotModified => {
                let mut error = custom("NotModified", StatusCode::NOT_MODIFIED, "Not Modified");
                if let Ok(value) = HeaderValue::from_str(&format!("\"{etag}\"")) {
                    error = with_header(error, header::ETAG, value);
                }
                if let Some(value) = http_date(modified) {
                    error = with_header(error, header::LAST_MODIFIED, value);
                }
                Err(error)
            }
        }
    }

    /// For the source of a copy: whatever does not hold is 412.
    pub(crate) fn check_source(&self, etag: &str, modified: SystemTime) -> S3Result<()> {
        match self.evaluate(etag, modified) {
            Verdict::Proceed => Ok(()),
            Verdict::Failed(name) => Err(precondition_failed(name)),
            Verdict::NotModified => Err(precondition_failed("x-amz-copy-source-If-None-Match")),
        }
    }
}

/// `Last-Modified` as HTTP writes it.
pub(crate) fn http_date(at: SystemTime) -> Option<HeaderValue> {
    let mut text = Vec::with_capacity(32);
    Timestamp::from(at).format(s3s::dto::TimestampFormat::HttpDate, &mut text).ok()?;
    HeaderValue::from_bytes(&text).ok()
}

/// Conditions on the current object that a write replaces or removes.
pub(crate) fn on_write(if_match: Option<ETagCondition>, if_none_match: Option<ETagCondition>) -> Condition {
    Condition {
        if_match: if_match.map(etag_set),
        if_none_match: if_none_match.map(etag_set),
        ..Condition::default()
    }
}

/// The same from headers, where s3s does not parse them (copy).
pub(crate) fn on_write_headers(headers: &HeaderMap) -> S3Result<Condition> {
    let read = |name: HeaderName| {
        let Some(value) = headers.get(&name) else { return Ok(None) };
        let text = value.to_str().unwrap_or_default();
        parse_set(text).map(Some).ok_or_else(|| {
            S3Error::with_message(
                S3ErrorCode::InvalidArgument,
                format!("{name} is not a list of entity tags"),
            )
        })
    };
    Ok(Condition {
        if_match: read(header::IF_MATCH)?,
        if_none_match: read(header::IF_NONE_MATCH)?,
        ..Condition::default()
    })
}

/// `*`, or entity tags separated by commas; S3 clients also leave the quotes out.
pub(crate) fn parse_set(text: &str) -> Option<EtagSet> {
    let text = text.trim();
    if text == "*" {
        return Some(EtagSet::Any);
    }
    let mut tags = Vec::new();
    for tag in text.split(',') {
        let tag = tag.trim();
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        let bare = tag.strip_prefix('"').map_or(Some(tag), |t| t.strip_suffix('"'))?;
        if bare.is_empty() || bare.contains('"') {
            return None;
        }
        tags.push(bare.to_owned());
    }
    Some(EtagSet::Tags(tags))
}

fn etag_set(condition: ETagCondition) -> EtagSet {
    match condition {
        ETagCondition::Any => EtagSet::Any,
        ETagCondition::ETag(ETag::Strong(tag) | ETag::Weak(tag)) => EtagSet::Tags(vec![tag]),
    }
}

fn contains(set: &EtagSet, etag: &str) -> bool {
    match set {
        EtagSet::Any => true,
        EtagSet::Tags(tags) => tags.iter().any(|t| t == etag),
    }
}

pub(crate) fn system_time(at: Timestamp) -> SystemTime {
    SystemTime::from(OffsetDateTime::from(at))
}

fn whole_seconds(at: SystemTime) -> SystemTime {
    match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs()),
        Err(_) => at,
    }
}

pub(crate) fn precondition_failed(name: &str) -> S3Error {
    let message = format!("At least one of the pre-conditions you specified did not hold: {name}");
    S3Error::with_message(S3ErrorCode::PreconditionFailed, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn tags(tag: &str) -> Option<EtagSet> {
        parse_set(tag)
    }

    #[test]
    fn entity_tags_win_over_dates() {
        let conditions = ReadConditions {
            if_match: tags("\"a\""),
            if_unmodified_since: Some(at(1)),
            ..ReadConditions::default()
        };
        assert_eq!(conditions.evaluate("a", at(5)), Verdict::Proceed);
        assert_eq!(conditions.evaluate("b", at(0)), Verdict::Failed("If-Match"));
        let conditions = ReadConditions {
            if_none_match: tags("\"a\", W/\"b\""),
            if_modified_since: Some(at(9)),
            ..ReadConditions::default()
        };
        assert_eq!(conditions.evaluate("b", at(1)), Verdict::NotModified);
        assert_eq!(conditions.evaluate("c", at(1)), Verdict::Proceed);
    }

    #[test]
    fn dates_count_in_whole_seconds() {
        let late = at(5) + Duration::from_millis(900);
        let modified = ReadConditions { if_modified_since: Some(at(5)), ..ReadConditions::default() };
        assert_eq!(modified.evaluate("a", late), Verdict::NotModified);
        assert_eq!(modified.evaluate("a", at(6)), Verdict::Proceed);
        let unmodified = ReadConditions { if_unmodified_since: Some(at(5)), ..ReadConditions::default() };
        assert_eq!(unmodified.evaluate("a", late), Verdict::Proceed);
        assert_eq!(unmodified.evaluate("a", at(6)), Verdict::Failed("If-Unmodified-Since"));
    }

    #[test]
    fn sets() {
        assert_eq!(parse_set(" * "), Some(EtagSet::Any));
        assert_eq!(parse_set("abc"), Some(EtagSet::Tags(vec!["abc".into()])));
        assert_eq!(parse_set("\"a\",\"b\""), Some(EtagSet::Tags(vec!["a".into(), "b".into()])));
        for bad in ["", "\"", "\"a", "\"a\",,", "a\"b"] {
            assert_eq!(parse_set(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn sets_do_not_panic(text in "\\PC{0,60}") {
            let _ = parse_set(&text);
        }
    }
}
