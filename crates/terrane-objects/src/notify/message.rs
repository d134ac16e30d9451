//! What a webhook is sent: S3's event message, and beside it the operation.

use terrane_keymap::bucket::BucketState;
use terrane_keymap::completion::Completion;

use crate::convert;

/// The body of a delivery ("Event message structure" of S3's user guide, version 2.1).
pub(super) fn body(bucket: &BucketState, completion: &Completion) -> Vec<u8> {
    let told = convert::completion(completion);
    let key = encode_key(&completion.key);
    let mut object = serde_json::json!({
        "key": key,
        "sequencer": format!("{:016X}", completion.cursor),
    });
    for (name, value) in [("eTag", &told.etag), ("versionId", &told.version)] {
        if let Some(value) = value {
            object[name] = serde_json::json!(value);
        }
    }
    if let Some(size) = told.size {
        object["size"] = serde_json::json!(size);
    }
    let record = serde_json::json!({
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": bucket.region.as_deref().unwrap_or("us-east-1"),
        "eventTime": convert::rfc3339(completion.time),
        "eventName": told.event,
        "s3": {
            "s3SchemaVersion": "1.0",
            "bucket": {
                "name": told.bucket,
                "ownerIdentity": { "principalId": completion.origin.owner.as_str() },
                "arn": format!("arn:aws:s3:::{}", told.bucket),
            },
            "object": object,
        },
        "terrane": {
            "operation": told.operation.0,
            "cursor": told.cursor,
            "superseded": told.superseded,
        },
    });
    serde_json::json!({ "Records": [record] }).to_string().into_bytes()
}

/// Keys are URL-encoded in event messages, with `+` for a space.
fn encode_key(key: &[u8]) -> String {
    let mut text = String::with_capacity(key.len());
    for byte in key {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' | b'*' => {
                text.push(char::from(*byte));
            }
            b' ' => text.push('+'),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_url_encoded() {
        assert_eq!(encode_key("a b/ü+.txt".as_bytes()), "a+b/%C3%BC%2B.txt");
    }
}
