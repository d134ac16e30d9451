//! What clients should not send: each gets the S3 error with its proper code, and nothing is stored.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use terrane_bench::sign::{Signable, Signer, encode};
use terrane_bench::{Client, Credentials, Response};

use crate::installation::Installation;

const BUCKET: &str = "bad-input";

/// The code of an error answer.
fn code(answer: &Response) -> String {
    let xml = answer.text();
    terrane_bench::client::elements(&xml, "Code").next().unwrap_or_default().to_owned()
}

fn assert_refused(what: &str, answer: &Response, status: u16, codes: &[&str]) {
    assert_eq!(answer.status, status, "{what}: {}", answer.text());
    assert!(codes.contains(&code(answer).as_str()), "{what}: {} is none of {codes:?}", answer.text());
    assert!(answer.header("x-amz-request-id").is_some(), "{what}: every answer has a request ID");
}

/// A signed head with whatever time and further lines.
fn head(installation: &Installation, method: &str, path: &str, now: jiff::Timestamp, lines: &str) -> String {
    let url = installation.url();
    let host = url.trim_start_matches("http://");
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    let request = Signable { method, path, query: "", host, headers: &[] };
    Signer::new(installation.credentials(), "us-east-1").sign(&request, now, &mut head);
    head.push_str(lines);
    head.push_str("\r\n");
    head
}

/// Sends bytes, says that there are no more, and reads until the server has said all.
fn raw(installation: &Installation, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(installation.endpoint().addr()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // The server may answer and close before it has read everything.
    drop(stream.write_all(bytes));
    drop(stream.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

fn start() -> (Installation, Client) {
    let installation = Installation::start();
    let mut client = installation.client();
    client.create_bucket(BUCKET).unwrap();
    (installation, client)
}

fn assert_empty(client: &mut Client) {
    assert_eq!(client.list_all(BUCKET, "").unwrap(), Vec::<String>::new(), "nothing was stored");
}

#[test]
fn broken_signatures() {
    let (installation, mut client) = start();
    let own = installation.credentials();
    let path = format!("/{BUCKET}/k");
    let with = |access_key: &str, secret_key: &str| {
        let credentials = Credentials { access_key: access_key.into(), secret_key: secret_key.into() };
        Client::new(&installation.endpoint(), &credentials).put(BUCKET, "k", &[], b"x").unwrap()
    };
    assert_refused("wrong secret", &with(&own.access_key, "wrong"), 403, &["SignatureDoesNotMatch"]);
    assert_refused("unknown key", &with("AKIAUNHEARDOF0000000", "wrong"), 403, &["InvalidAccessKeyId"]);

    let hour = jiff::SignedDuration::from_hours(1);
    for (what, now) in
        [("an hour slow", jiff::Timestamp::now() - hour), ("an hour fast", jiff::Timestamp::now() + hour)]
    {
        let bytes = head(&installation, "PUT", &path, now, "content-length: 1\r\n") + "x";
        let answer = raw(&installation, bytes.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 403"), "{what}: {answer}");
        assert!(answer.contains("RequestTimeTooSkewed"), "{what}: {answer}");
    }
    for authorization in [
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 nonsense",
        "AWS4-HMAC-SHA256 Credential=a/b/c,SignedHeaders=,Signature=",
        "AWS4-HMAC-SHA256 Credential=////,SignedHeaders=host,Signature=00",
        "AWS nonsense",
        "Bearer \u{7f}",
        "Basic dXNlcjpwYXNz",
    ] {
        let bytes = format!(
            "PUT {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: {authorization}\r\ncontent-length: 1\r\n\r\nx"
        );
        let answer = raw(&installation, bytes.as_bytes());
        assert!(
            answer.starts_with("HTTP/1.1 400")
                || answer.starts_with("HTTP/1.1 403")
                || answer.starts_with("HTTP/1.1 401"),
            "{authorization}: {answer}"
        );
    }
    // Nobody in particular.
    let anonymous = raw(
        &installation,
        format!("PUT {path} HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\nx").as_bytes(),
    );
    assert!(anonymous.starts_with("HTTP/1.1 403") && anonymous.contains("AccessDenied"), "{anonymous}");
    assert_empty(&mut client);
}

#[test]
fn broken_framing() {
    let (installation, mut client) = start();
    let path = format!("/{BUCKET}/k");
    let now = jiff::Timestamp::now();

    let mut short = head(&installation, "PUT", &path, now, "content-length: 100000\r\n");
    short.push_str(&"x".repeat(50_000));
    let answer = raw(&installation, short.as_bytes());
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "a body that ends early: {answer}");
    assert_empty(&mut client);

    let unknown_length =
        head(&installation, "PUT", &path, now, "transfer-encoding: chunked\r\n") + "1\r\nx\r\n0\r\n\r\n";
    let answer = raw(&installation, unknown_length.as_bytes());
    assert!(
        answer.starts_with("HTTP/1.1 411") && answer.contains("MissingContentLength"),
        "no length: {answer}"
    );

    for (what, line) in [
        ("a length that is no number", "content-length: many\r\n".to_owned()),
        ("a negative length", "content-length: -1\r\n".to_owned()),
        ("two lengths", "content-length: 1\r\ncontent-length: 2\r\n".to_owned()),
        ("a header of a megabyte", format!("x-amz-meta-a: {}\r\ncontent-length: 1\r\n", "a".repeat(1 << 20))),
        ("a thousand headers", "x-amz-meta-a: a\r\n".repeat(1000) + "content-length: 1\r\n"),
    ] {
        let answer = raw(&installation, (head(&installation, "PUT", &path, now, &line) + "x").as_bytes());
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{what}: {answer}");
    }
    assert!(raw(&installation, b"\x16\x03\x01\x02\x00 this is not HTTP\r\n\r\n").len() < 1000);
    assert_empty(&mut client);

    // Longer than declared: what was declared is stored, the rest is no request.
    let long = head(&installation, "PUT", &path, now, "content-length: 5\r\n") + "12345 and more";
    assert!(raw(&installation, long.as_bytes()).starts_with("HTTP/1.1 200"));
    assert_eq!(client.get(BUCKET, "k").unwrap().text(), "12345");
}

#[test]
fn bucket_names() {
    let (installation, mut client) = start();
    let long = "x".repeat(64);
    for name in [
        "ab",
        "UPPER",
        "under_score",
        "a..b",
        ".a.b",
        "-abc",
        "abc-",
        "192.168.0.1",
        "a%20b",
        "xn--abc",
        &long,
    ] {
        let answer = client.request("PUT", &format!("/{name}"), "", &[], b"").unwrap();
        assert_refused(name, &answer, 400, &["InvalidBucketName"]);
    }
    for name in ["..", "%2e%2e", "%2e%2e%2fetc", "_terrane2"] {
        let answer = client.request("PUT", &format!("/{name}"), "", &[], b"").unwrap();
        assert!((400..500).contains(&answer.status), "{name}: {}", answer.status);
    }
    let listed = client.request("GET", "/", "", &[], b"").unwrap().text();
    assert_eq!(terrane_bench::client::elements(&listed, "Name").collect::<Vec<_>>(), [BUCKET]);
    drop(installation);
}

#[test]
fn object_keys() {
    let (_installation, mut client) = start();
    let too_long = "k".repeat(1025);
    assert_refused(
        "1025 bytes",
        &client.put(BUCKET, &too_long, &[], b"x").unwrap(),
        400,
        &["KeyTooLongError"],
    );
    let invalid = client.request("PUT", &format!("/{BUCKET}/%FF%FE"), "", &[], b"x").unwrap();
    assert!((400..500).contains(&invalid.status), "not UTF-8: {}", invalid.text());
    assert_empty(&mut client);

    // Odd, and legal: a key is text, not a path.
    let longest = "ü".repeat(512);
    let mut odd = vec![
        "../../etc/passwd",
        "..",
        ".",
        "a/../b",
        "a/./b",
        "//",
        "/leading",
        "trailing/",
        "a//b",
        " ",
        "a b+c&d=e?f#g",
        "%2F",
        "\u{1}\u{7f}",
        "\u{feff}",
        "\u{10ffff}",
        "e\u{301}",
        "\u{e9}",
        "<Key>&amp;",
        longest.as_str(),
    ];
    for key in &odd {
        let put = client.put(BUCKET, key, &[], key.as_bytes()).unwrap();
        assert!(put.is_success(), "{key:?}: {}", put.text());
    }
    for key in &odd {
        assert_eq!(client.get(BUCKET, key).unwrap().text(), *key);
    }
    odd.sort_unstable();
    // Control characters cannot stand in XML: such clients ask for encoded keys.
    let listed = client
        .request("GET", &format!("/{BUCKET}"), "encoding-type=url&list-type=2", &[], b"")
        .unwrap()
        .text();
    let listed: Vec<String> = terrane_bench::client::elements(&listed, "Key")
        .map(|key| key.replace("%2F", "/").replace('+', "%20"))
        .collect();
    let expected: Vec<String> = odd.iter().map(|key| encode(key, false).replace("%2F", "/")).collect();
    assert_eq!(listed, expected, "in the order of their bytes");
    for key in &odd {
        assert!(client.delete(BUCKET, key).unwrap().is_success());
    }
    assert_empty(&mut client);
}

#[test]
fn broken_documents_and_arguments() {
    let (_installation, mut client) = start();
    let bucket = format!("/{BUCKET}");
    let key = format!("/{BUCKET}/k");
    for body in [
        "",
        "<",
        "not xml",
        "<Delete>",
        "<Delete></Wrong>",
        "<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY b \"c\">]><Delete>&b;</Delete>",
    ] {
        let answer = client.request("POST", &bucket, "delete=", &[], body.as_bytes()).unwrap();
        assert!((400..500).contains(&answer.status), "delete {body:?}: {} {}", answer.status, answer.text());
    }
    for query in ["versioning=", "tagging=", "cors="] {
        let answer = client.request("PUT", &bucket, query, &[], b"<Nonsense/>").unwrap();
        assert!((400..=501).contains(&answer.status), "{query}: {} {}", answer.status, answer.text());
    }
    let mut argument = |what: &str, path: &str, query: &str, codes: &[&str]| {
        let answer = client.request("GET", path, query, &[], b"").unwrap();
        assert_refused(what, &answer, 400, codes);
    };
    argument("max-keys is no number", &bucket, "list-type=2&max-keys=many", &["InvalidArgument"]);
    argument("max-keys is negative", &bucket, "list-type=2&max-keys=-1", &["InvalidArgument"]);
    argument("a made-up token", &bucket, "continuation-token=made-up&list-type=2", &["InvalidArgument"]);
    argument("encoding-type", &bucket, "encoding-type=rot13&list-type=2", &["InvalidArgument"]);
    let answer = client.request("PUT", &key, "partNumber=0&uploadId=x", &[], b"x").unwrap();
    assert!((400..500).contains(&answer.status), "part number 0: {}", answer.text());
    let answer = client.request("PUT", &key, "partNumber=10001&uploadId=x", &[], b"x").unwrap();
    assert!((400..500).contains(&answer.status), "part number 10001: {}", answer.text());
    let answer = client.request("BREW", &key, "", &[], b"").unwrap();
    assert!((400..=501).contains(&answer.status), "a method of teapots: {}", answer.text());
    assert_empty(&mut client);
}

#[test]
fn regions_where_a_list_is_configured() {
    let installation =
        Installation::start_with("region = \"eu-test-1\"\nallowed_regions = [\"eu-test-1\"]\n");
    let mut client = installation.client();
    let answer = client.request("GET", "/", "", &[], b"").unwrap();
    assert_refused("another region", &answer, 400, &["AuthorizationHeaderMalformed"]);
}
