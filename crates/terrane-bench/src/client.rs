//! The handful of S3 calls that loads and tests need, over one connection.

use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, Result, ensure};

use crate::connection::{Connection, Response};
use crate::sign::{Credentials, Signable, Signer, encode};

/// Where a server listens.
#[derive(Debug, Clone)]
pub struct Endpoint {
    host: String,
    addr: SocketAddr,
}

impl Endpoint {
    /// From a URL such as `http://127.0.0.1:7070`.
    ///
    /// # Errors
    /// If it is no such URL, or its host has no address.
    pub fn parse(url: &str) -> Result<Self> {
        let host = url.strip_prefix("http://").with_context(|| format!("{url}: only http:// is spoken"))?;
        let host = host.trim_end_matches('/');
        let addr = host
            .to_socket_addrs()
            .with_context(|| format!("{url}: no address"))?
            .next()
            .with_context(|| format!("{url}: no address"))?;
        Ok(Self { host: host.to_owned(), addr })
    }

    /// The socket address behind it.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// One page of ListObjectsV2.
#[derive(Debug, Default)]
pub struct ListPage {
    /// Keys in the order received.
    pub keys: Vec<String>,
    /// Token of the next page, if there is one.
    pub next: Option<String>,
}

/// A client with a connection of its own.
#[derive(Debug)]
pub struct Client {
    host: String,
    connection: Connection,
    signer: Signer,
    head: String,
}

/// Signed headers that go with a request: lower-case names, sorted.
pub type Headers<'a> = &'a [(&'a str, &'a str)];

impl Client {
    /// A client that connects at its first request.
    pub fn new(endpoint: &Endpoint, credentials: &Credentials) -> Self {
        Self {
            host: endpoint.host.clone(),
            connection: Connection::new(endpoint.addr),
            signer: Signer::new(credentials.clone(), "us-east-1"),
            head: String::with_capacity(1024),
        }
    }

    /// The same for requests signed for another service than `s3`.
    #[must_use]
    pub fn for_service(mut self, service: &'static str) -> Self {
        self.signer = self.signer.for_service(service);
        self
    }

    /// Sends a signed request and reads the whole answer. `path` and `query` are percent-encoded, the query
    /// sorted and every name in it with `=`.
    ///
    /// # Errors
    /// Of the connection; an error status is an answer.
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        query: &str,
        headers: Headers<'_>,
        body: &[u8],
    ) -> Result<Response> {
        self.write_head(method, path, query, headers, body.len());
        Ok(self.connection.exchange(self.head.as_bytes(), body, method != "HEAD")?)
    }

    fn write_head(&mut self, method: &str, path: &str, query: &str, headers: Headers<'_>, length: usize) {
        self.head.clear();
        for part in [method, " ", path, if query.is_empty() { "" } else { "?" }, query, " HTTP/1.1\r\n"] {
            self.head.push_str(part);
        }
        let request = Signable { method, path, query, host: &self.host, headers };
        self.signer.sign(&request, jiff::Timestamp::now(), &mut self.head);
        if length > 0 || matches!(method, "PUT" | "POST") {
            self.head.push_str(&format!("content-length: {length}\r\n"));
        }
        self.head.push_str("\r\n");
    }

    /// CreateBucket; one that is ours already is fine.
    ///
    /// # Errors
    /// Of the connection, or any other refusal.
    pub fn create_bucket(&mut self, bucket: &str) -> Result<()> {
        let answer = self.request("PUT", &format!("/{bucket}"), "", &[], b"")?;
        ensure!(answer.is_success() || answer.status == 409, "create {bucket}: {}", answer.text());
        Ok(())
    }

    /// PutObject.
    ///
    /// # Errors
    /// Of the connection; an error status is an answer.
    pub fn put(&mut self, bucket: &str, key: &str, headers: Headers<'_>, body: &[u8]) -> Result<Response> {
        self.request("PUT", &format!("/{bucket}/{}", encode(key, true)), "", headers, body)
    }

    /// GetObject.
    ///
    /// # Errors
    /// Of the connection; an error status is an answer.
    pub fn get(&mut self, bucket: &str, key: &str) -> Result<Response> {
        self.request("GET", &format!("/{bucket}/{}", encode(key, true)), "", &[], b"")
    }

    /// GetObject whose body goes to a sink piece by piece.
    ///
    /// # Errors
    /// Of the connection; an error status is an answer.
    pub fn get_into(&mut self, bucket: &str, key: &str, sink: &mut dyn FnMut(&[u8])) -> Result<Response> {
        self.write_head("GET", &format!("/{bucket}/{}", encode(key, true)), "", &[], 0);
        Ok(self.connection.exchange_into(self.head.as_bytes(), b"", true, sink)?)
    }

    /// DeleteObject.
    ///
    /// # Errors
    /// Of the connection; an error status is an answer.
    pub fn delete(&mut self, bucket: &str, key: &str) -> Result<Response> {
        self.request("DELETE", &format!("/{bucket}/{}", encode(key, true)), "", &[], b"")
    }

    /// One page of ListObjectsV2 of at most 1,000 keys.
    ///
    /// # Errors
    /// Of the connection, or an error status.
    pub fn list(
        &mut self,
        bucket: &str,
        prefix: &str,
        start_after: &str,
        token: Option<&str>,
    ) -> Result<ListPage> {
        let mut query = String::new();
        if let Some(token) = token {
            query.push_str(&format!("continuation-token={}&", encode(token, false)));
        }
        query.push_str(&format!("list-type=2&prefix={}", encode(prefix, false)));
        if !start_after.is_empty() && token.is_none() {
            query.push_str(&format!("&start-after={}", encode(start_after, false)));
        }
        let answer = self.request("GET", &format!("/{bucket}"), &query, &[], b"")?;
        ensure!(answer.status == 200, "list {bucket}: {} {}", answer.status, answer.text());
        let xml = String::from_utf8(answer.body).context("a listing is UTF-8")?;
        Ok(ListPage {
            keys: elements(&xml, "Key").map(unescape).collect(),
            next: elements(&xml, "NextContinuationToken").next().map(unescape),
        })
    }

    /// Every key with a prefix, page by page.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn list_all(&mut self, bucket: &str, prefix: &str) -> Result<Vec<String>> {
        let mut all = Vec::new();
        let mut token = None;
        loop {
            let mut page = self.list(bucket, prefix, "", token.as_deref())?;
            all.append(&mut page.keys);
            token = page.next;
            if token.is_none() {
                return Ok(all);
            }
        }
    }
}

/// The texts of all elements of that name.
pub fn elements<'x>(xml: &'x str, name: &str) -> impl Iterator<Item = &'x str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = xml;
    std::iter::from_fn(move || {
        let start = rest.find(&open)? + open.len();
        let length = rest[start..].find(&close)?;
        let text = &rest[start..start + length];
        rest = &rest[start + length + close.len()..];
        Some(text)
    })
}

fn unescape(text: &str) -> String {
    if !text.contains('&') {
        return text.to_owned();
    }
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&#39;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_in_order() {
        let xml = "<R><Key>a</Key><X/><Key>b&amp;lt;</Key><Key>open";
        let keys: Vec<String> = elements(xml, "Key").map(unescape).collect();
        assert_eq!(keys, ["a", "b&lt;"]);
    }

    #[test]
    fn endpoints_are_urls() {
        assert_eq!(Endpoint::parse("http://127.0.0.1:7070/").unwrap().addr().port(), 7070);
        assert!(Endpoint::parse("https://127.0.0.1:7070").is_err());
        assert!(Endpoint::parse("http://127.0.0.1").is_err());
    }
}
