//! HTML forms.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::server::Server;
use crate::signer::{Key, hmac_sha1};
use crate::wire::Reply;

/// Posts a form whose policy has these conditions, signed with version 2.
fn post(server: &Server, conditions: &str, fields: &[(&str, &str)], file: &str) -> Reply {
    let policy = BASE64.encode(format!(
        "{{\"expiration\": \"2100-01-01T00:00:00.000Z\", \"conditions\": [{{\"bucket\": \"bucket\"}}, {conditions}]}}"
    ));
    let key = Key::of(1);
    let signature = BASE64.encode(hmac_sha1(key.secret.as_bytes(), policy.as_bytes()));
    let signed = [("AWSAccessKeyId", key.id.as_str()), ("policy", &policy), ("signature", &signature)];
    let mut body = String::new();
    for (name, value) in fields.iter().chain(&signed) {
        body += &format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    body += "--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f.txt\"\r\n";
    body += &format!("Content-Type: text/plain\r\n\r\n{file}\r\n--XX--\r\n");
    let call = server.call("POST", "/bucket").anonymous().body(body.as_bytes());
    call.header("content-type", "multipart/form-data; boundary=XX").send()
}

#[test]
fn forms_do_what_their_policy_says_and_no_more() {
    let server = Server::with_bucket();
    let key = "[\"starts-with\", \"$key\", \"up/\"]";
    post(&server, key, &[("key", "up/a")], "data").expect(204);
    assert_eq!(server.get("/bucket/up/a").body, b"data");
    post(&server, key, &[("key", "up/empty")], "").expect(204);
    assert_eq!(server.get("/bucket/up/empty").header("content-length"), Some("0"));
    let elsewhere = post(&server, key, &[("key", "down/a")], "data");
    assert_eq!(elsewhere.status / 100, 4, "{}", elsewhere.text());
    let extra = post(&server, key, &[("key", "up/b"), ("x-amz-meta-a", "b")], "data");
    extra.expect_error(403, "AccessDenied");
    let open = format!("{key}, {{\"acl\": \"public-read\"}}");
    // A form's `acl` is not read: what it makes is private.
    post(&server, &open, &[("key", "up/b"), ("acl", "public-read")], "data").expect(204);
    server.call("GET", "/bucket/up/b").anonymous().send().expect_error(403, "AccessDenied");
    post(&server, key, &[("key", "up/${filename}")], "data").expect_error(501, "NotImplemented");
    assert_eq!(server.get("/bucket").elements("Key"), ["up/a", "up/b", "up/empty"]);
}

#[test]
fn digests_in_forms_are_compared() {
    let server = Server::with_bucket();
    let conditions = "[\"starts-with\", \"$key\", \"\"], [\"starts-with\", \"$x-amz-checksum-crc32\", \"\"]";
    let wrong = post(&server, conditions, &[("key", "a"), ("x-amz-checksum-crc32", "AAAAAA==")], "123456789");
    wrong.expect_error(400, "BadDigest");
    let right = post(&server, conditions, &[("key", "a"), ("x-amz-checksum-crc32", "y/Q5Jg==")], "123456789");
    right.expect(204);
}
