//! AWS Signature Version 4 of the client's side (`Authorization` header; the payload is not signed).
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// What stands in `x-amz-content-sha256`: the body is covered by its checksum or by nothing.
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// An access key and its secret.
#[derive(Clone)]
pub struct Credentials {
    /// Access key ID.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads the first profile of an AWS shared-credentials file.
    ///
    /// # Errors
    /// If the file cannot be read or lacks either half.
    pub fn from_file(file: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let value = |name: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find(|(key, _)| key.trim() == name)
                .map(|(_, value)| value.trim().to_owned())
                .with_context(|| format!("{} has no {name}", file.display()))
        };
        Ok(Self { access_key: value("aws_access_key_id")?, secret_key: value("aws_secret_access_key")? })
    }
}

/// Signs requests for one key, region and service; derives the signing key once a day.
#[derive(Debug)]
pub struct Signer {
    credentials: Credentials,
    region: String,
    service: &'static str,
    day: String,
    key: [u8; 32],
}

/// The parts of a request that the signature covers.
#[derive(Debug)]
pub struct Signable<'a> {
    /// The method in capitals.
    pub method: &'a str,
    /// The path as it is sent: percent-encoded, beginning with `/`.
    pub path: &'a str,
    /// The query as it is sent: encoded, sorted by name, every name with `=`.
    pub query: &'a str,
    /// The `Host` header.
    pub host: &'a str,
    /// Further headers that are sent and signed: lower-case names, sorted.
    pub headers: &'a [(&'a str, &'a str)],
}

impl Signer {
    /// A signer for the service `s3`.
    pub fn new(credentials: Credentials, region: &str) -> Self {
        Self { credentials, region: region.to_owned(), service: "s3", day: String::new(), key: [0; 32] }
    }

    /// A signer for another service, as the native API wants it.
    #[must_use]
    pub fn for_service(mut self, service: &'static str) -> Self {
        self.service = service;
        self.day.clear();
        self
    }

    /// Appends the header lines `host`, `x-amz-content-sha256`, `x-amz-date`, those of the request and
    /// `authorization` to `head`.
    pub fn sign(&mut self, request: &Signable<'_>, now: jiff::Timestamp, head: &mut String) {
        let date = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = &date[..8];
        if self.day != day {
            self.derive(day);
        }
        let mut headers = vec![
            ("host", request.host),
            ("x-amz-content-sha256", UNSIGNED_PAYLOAD),
            ("x-amz-date", date.as_str()),
        ];
        headers.extend_from_slice(request.headers);
        headers.sort_unstable();

        let mut names = String::with_capacity(64);
        let mut canonical = format!("{}\n{}\n{}\n", request.method, request.path, request.query);
        for (name, value) in &headers {
            for part in [name, ":", value, "\n"] {
                canonical.push_str(part);
            }
            for part in [name, ": ", value, "\r\n"] {
                head.push_str(part);
            }
            if !names.is_empty() {
                names.push(';');
            }
            names.push_str(name);
        }
        canonical.push('\n');
        canonical.push_str(&names);
        canonical.push('\n');
        canonical.push_str(UNSIGNED_PAYLOAD);

        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let digest = hex::encode(Sha256::digest(canonical.as_bytes()));
        let signature = hmac(&self.key, format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{digest}").as_bytes());
        let authorization = format!(
            "authorization: AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={names},Signature={}\r\n",
            self.credentials.access_key,
            hex::encode(signature),
        );
        head.push_str(&authorization);
    }

    fn derive(&mut self, day: &str) {
        let secret = format!("AWS4{}", self.credentials.secret_key);
        let by_day = hmac(secret.as_bytes(), day.as_bytes());
        let by_region = hmac(&by_day, self.region.as_bytes());
        let by_service = hmac(&by_region, self.service.as_bytes());
        self.key = hmac(&by_service, b"aws4_request");
        day.clone_into(&mut self.day);
    }
}

fn hmac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(data);
    mac.finalize().into_bytes().into()
}

/// Percent-encodes everything but unreserved characters, as canonical requests want it.
pub fn encode(text: &str, keep_slash: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for &byte in text.as_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b'/' if keep_slash => out.push('/'),
            _ => {
                out.push('%');
                out.push_str(&hex::encode_upper([byte]));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chain of HMACs against the example in the "Signature Version 4 signing process" documentation.
    #[test]
    fn signing_key_of_the_documentation() {
        let credentials = Credentials {
            access_key: "AKIDEXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
        };
        let mut signer = Signer::new(credentials, "us-east-1").for_service("iam");
        signer.derive("20150830");
        assert_eq!(
            hex::encode(signer.key),
            "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"
        );
    }

    #[test]
    fn what_is_signed_is_sent_sorted() {
        let credentials = Credentials { access_key: "AK".into(), secret_key: "secret".into() };
        let mut head = String::new();
        let request = Signable {
            method: "PUT",
            path: "/b/k",
            query: "",
            host: "h:1",
            headers: &[("x-terrane-async", "true"), ("if-none-match", "*")],
        };
        Signer::new(credentials, "us-east-1").sign(&request, jiff::Timestamp::UNIX_EPOCH, &mut head);
        let names: Vec<&str> = head.lines().filter_map(|line| line.split(':').next()).collect();
        assert_eq!(
            names,
            [
                "host",
                "if-none-match",
                "x-amz-content-sha256",
                "x-amz-date",
                "x-terrane-async",
                "authorization"
            ]
        );
        assert!(!head.contains("secret"));
    }

    #[test]
    fn encoding_is_that_of_canonical_requests() {
        assert_eq!(encode("a b/ü~", false), "a%20b%2F%C3%BC~");
        assert_eq!(encode("a/b", true), "a/b");
    }
}
