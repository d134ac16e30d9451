//! Signatures made from the specification, independently of s3s and terrane-auth.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// An access key with its secret.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl Key {
    /// The key of an account.
    pub(crate) fn of(account: u8) -> Self {
        Self { id: format!("TESTACCESSKEY000{account}"), secret: format!("secret{account}") }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub(crate) fn sha256(data: &[u8]) -> String {
    hex(&Sha256::digest(data))
}

fn hmac256(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

pub(crate) fn hmac_sha1(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).unwrap();
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

/// `YYYYMMDDTHHMMSSZ`
pub(crate) fn amz_date(offset_seconds: i64) -> String {
    let format = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
    (time::OffsetDateTime::now_utc() + time::Duration::seconds(offset_seconds)).format(format).unwrap()
}

/// `Fri, 20 Nov 2026 07:30:07 GMT`
pub(crate) fn http_date(offset_seconds: i64) -> String {
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    (time::OffsetDateTime::now_utc() + time::Duration::seconds(offset_seconds)).format(format).unwrap()
}

pub(crate) fn scope(date: &str, region: &str) -> String {
    format!("{}/{region}/s3/aws4_request", &date[..8])
}

/// The signature of a string to sign.
pub(crate) fn sign_v4(key: &Key, date: &str, region: &str, string: &str) -> String {
    let mut signing = hmac256(format!("AWS4{}", key.secret).as_bytes(), &date.as_bytes()[..8]);
    for part in [region, "s3", "aws4_request"] {
        signing = hmac256(&signing, part.as_bytes());
    }
    hex(&hmac256(&signing, string.as_bytes()))
}

/// The query in canonical order; the tests write their queries percent-encoded.
fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|p| !p.is_empty())
        .map(|p| if p.contains('=') { p.to_owned() } else { format!("{p}=") })
        .collect();
    pairs.sort();
    pairs.join("&")
}

/// The string to sign of a request. `headers` are the signed ones, lower-case.
pub(crate) fn string_v4(
    (method, path, query): (&str, &str, &str),
    headers: &[(String, String)],
    payload: &str,
    date: &str,
    region: &str,
) -> String {
    let mut sorted = headers.to_vec();
    sorted.sort();
    let lines: String = sorted.iter().map(|(n, v)| format!("{n}:{}\n", v.trim())).collect();
    let names: Vec<&str> = sorted.iter().map(|(n, _)| n.as_str()).collect();
    let query = canonical_query(query);
    let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{}\n{payload}", names.join(";"));
    format!("AWS4-HMAC-SHA256\n{date}\n{}\n{}", scope(date, region), sha256(canonical.as_bytes()))
}

/// The signature of a chunk of a signed streaming body.
pub(crate) fn sign_chunk(key: &Key, date: &str, region: &str, before: &str, data: &[u8]) -> String {
    let string = format!(
        "AWS4-HMAC-SHA256-PAYLOAD\n{date}\n{}\n{before}\n{}\n{}",
        scope(date, region),
        sha256(b""),
        sha256(data)
    );
    sign_v4(key, date, region, &string)
}
