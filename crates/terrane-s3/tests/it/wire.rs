//! HTTP/1.1 over a socket, with every header under the test's control.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::signer::{self, Key};

/// A request to be.
#[derive(Clone)]
pub(crate) struct Call<'a> {
    address: SocketAddr,
    method: &'a str,
    target: &'a str,
    key: Option<Key>,
    host: String,
    headers: Vec<(String, String)>,
    unsigned: Vec<(String, String)>,
    body: Vec<u8>,
    length: Option<usize>,
    payload: Option<String>,
    region: String,
    skew: i64,
    half_close: bool,
}

impl<'a> Call<'a> {
    pub(crate) fn new(address: SocketAddr, method: &'a str, target: &'a str) -> Self {
        Self {
            address,
            method,
            target,
            key: None,
            host: address.to_string(),
            headers: Vec::new(),
            unsigned: Vec::new(),
            body: Vec::new(),
            length: None,
            payload: None,
            region: "us-east-1".into(),
            skew: 0,
            half_close: false,
        }
    }

    pub(crate) fn key(mut self, key: Key) -> Self {
        self.key = Some(key);
        self
    }

    pub(crate) fn anonymous(mut self) -> Self {
        self.key = None;
        self
    }

    pub(crate) fn host(mut self, host: &str) -> Self {
        self.host = host.into();
        self
    }

    /// A signed header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// A header that is not signed.
    pub(crate) fn unsigned(mut self, name: &str, value: &str) -> Self {
        self.unsigned.push((name.into(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    /// Declares another length than the body has; the connection's write side is closed after the body.
    pub(crate) fn declare(mut self, length: usize) -> Self {
        self.length = Some(length);
        self.half_close = true;
        self
    }

    /// Another `x-amz-content-sha256` than the body's.
    pub(crate) fn payload(mut self, payload: &str) -> Self {
        self.payload = Some(payload.into());
        self
    }

    pub(crate) fn region(mut self, region: &str) -> Self {
        self.region = region.into();
        self
    }

    /// Signs as if it were so many seconds later.
    pub(crate) fn skew(mut self, seconds: i64) -> Self {
        self.skew = seconds;
        self
    }

    /// Date and signature that the request will carry, for chunks.
    pub(crate) fn seed(&self, date: &str) -> String {
        let (headers, payload) = self.signed_headers(date);
        let key = self.key.clone().unwrap();
        let string = signer::string_v4(self.parts(), &headers, &payload, date, &self.region);
        signer::sign_v4(&key, date, &self.region, &string)
    }

    fn parts(&self) -> (&str, &str, &str) {
        let (path, query) = self.target.split_once('?').unwrap_or((self.target, ""));
        (self.method, path, query)
    }

    fn signed_headers(&self, date: &str) -> (Vec<(String, String)>, String) {
        let payload = self.payload.clone().unwrap_or_else(|| signer::sha256(&self.body));
        let mut headers = self.headers.clone();
        headers.push(("host".into(), self.host.clone()));
        headers.push(("x-amz-date".into(), date.into()));
        headers.push(("x-amz-content-sha256".into(), payload.clone()));
        (headers, payload)
    }

    pub(crate) fn send(self) -> Reply {
        let date = signer::amz_date(self.skew);
        self.send_at(&date)
    }

    pub(crate) fn send_at(self, date: &str) -> Reply {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if let Some(key) = &self.key {
            let signature = self.seed(date);
            let (headers, _) = self.signed_headers(date);
            let mut names: Vec<&str> = headers.iter().map(|(n, _)| n.as_str()).collect();
            names.sort_unstable();
            let scope = signer::scope(date, &self.region);
            head += &format!(
                "authorization: AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={}, Signature={signature}\r\n",
                key.id,
                names.join(";")
            );
            for (name, value) in &headers {
                head += &format!("{name}: {value}\r\n");
            }
        } else {
            head += &format!("host: {}\r\n", self.host);
            for (name, value) in &self.headers {
                head += &format!("{name}: {value}\r\n");
            }
        }
        for (name, value) in &self.unsigned {
            head += &format!("{name}: {value}\r\n");
        }
        let chunked = self.unsigned.iter().any(|(n, _)| n == "transfer-encoding");
        if !chunked && (!self.body.is_empty() || self.length.is_some() || self.method == "PUT") {
            head += &format!("content-length: {}\r\n", self.length.unwrap_or(self.body.len()));
        }
        head += "connection: close\r\n\r\n";
        raw(self.address, &[head.as_bytes(), &self.body].concat(), self.half_close, self.method == "HEAD")
    }
}

/// Sends bytes and reads the answer.
pub(crate) fn raw(address: SocketAddr, request: &[u8], half_close: bool, head: bool) -> Reply {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // A server that refuses early may close before all is sent.
    let _ = stream.write_all(request);
    if half_close {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    let mut buffer = [0; 65_536];
    while let Ok(n) = stream.read(&mut buffer) {
        if n == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..n]);
    }
    Reply::parse(&answer, head)
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    fn parse(answer: &[u8], head: bool) -> Self {
        let split = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| {
            panic!("no answer: {:?}", String::from_utf8_lossy(answer));
        });
        let text = String::from_utf8_lossy(&answer[..split]).into_owned();
        let mut lines = text.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": ").or_else(|| line.split_once(':')))
            .map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned()))
            .collect();
        let mut body = answer[split + 4..].to_vec();
        if headers.iter().any(|(n, v)| n == "transfer-encoding" && v == "chunked") && !head {
            body = dechunk(&body);
        }
        Self { status, headers, body }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The text of the first element of that name.
    pub(crate) fn element(&self, name: &str) -> Option<String> {
        let text = self.text();
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(inner, _)| inner.to_owned())
    }

    /// The texts of all elements of that name.
    pub(crate) fn elements(&self, name: &str) -> Vec<String> {
        let text = self.text();
        text.split(&format!("<{name}>"))
            .skip(1)
            .filter_map(|rest| rest.split_once(&format!("</{name}>")).map(|(inner, _)| inner.to_owned()))
            .collect()
    }

    #[track_caller]
    pub(crate) fn expect(&self, status: u16) {
        assert_eq!(self.status, status, "{}", self.text());
    }

    /// An error of that status and code, with what every error document has.
    #[track_caller]
    pub(crate) fn expect_error(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.element("Code").as_deref()), (status, Some(code)), "{}", self.text());
        assert_eq!(self.element("RequestId").as_deref(), self.header("x-amz-request-id"));
        assert!(self.element("Resource").is_some());
    }
}

fn dechunk(mut body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = body.windows(2).position(|w| w == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap().trim(), 16).unwrap();
        body = &body[end + 2..];
        if size == 0 || body.len() < size + 2 {
            break;
        }
        out.extend_from_slice(&body[..size]);
        body = &body[size + 2..];
    }
    out
}
