//! Buckets.

use terrane_s3::S3Config;
use terrane_types::Region;

use crate::server::Server;
use crate::signer::Key;

#[test]
fn names_follow_the_rules() {
    let server = Server::start();
    for bad in [
        "ab",
        "Bucket",
        "a_b",
        "a..b",
        "-ab",
        "ab-",
        "192.168.5.4",
        "xn--abc",
        "a-.b",
        "x-s3alias",
        &"a".repeat(64),
    ] {
        let target = format!("/{bad}");
        server.call("PUT", &target).send().expect_error(400, "InvalidBucketName");
    }
    for good in ["abc", "a.b-c", "1st", &"a".repeat(63)] {
        server.call("PUT", &format!("/{good}")).send().expect(200);
    }
    assert_eq!(server.get("/").elements("Name").len(), 4);
}

#[test]
fn creating_twice() {
    let server = Server::with_bucket();
    server.put("/bucket/key", b"kept");
    server.call("PUT", "/bucket").send().expect(200);
    assert_eq!(server.get("/bucket/key").body, b"kept");
    server.call("PUT", "/bucket").key(Key::of(2)).send().expect_error(409, "BucketAlreadyExists");
    let elsewhere = S3Config { region: Region::parse("eu-west-3").unwrap(), ..S3Config::default() };
    let server = Server::with(elsewhere);
    server.call("PUT", "/bucket").send().expect(200);
    server.call("PUT", "/bucket").send().expect_error(409, "BucketAlreadyOwnedByYou");
}

#[test]
fn locations() {
    let server = Server::start();
    let create = |name: &str, region: &str| {
        let document = format!(
            "<CreateBucketConfiguration><LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
        );
        server.call("PUT", &format!("/{name}")).body(document.as_bytes()).send()
    };
    create("there", "eu-west-3").expect(200);
    assert!(server.get("/there?location").text().contains("eu-west-3"));
    let head = server.call("HEAD", "/there").send();
    assert_eq!(head.header("x-amz-bucket-region"), Some("eu-west-3"));
    create("nowhere", "not a region").expect_error(400, "InvalidLocationConstraint");
    server.call("PUT", "/here").send().expect(200);
    assert!(!server.get("/here?location").text().contains("us-east-1"));
}

#[test]
fn only_empty_buckets_go() {
    let server = Server::with_bucket();
    server.put("/bucket/key", b"x");
    server.call("DELETE", "/bucket").send().expect_error(409, "BucketNotEmpty");
    server.call("DELETE", "/bucket/key").send().expect(204);
    server.call("DELETE", "/bucket").key(Key::of(2)).send().expect_error(403, "AccessDenied");
    server.call("DELETE", "/bucket").send().expect(204);
    server.call("DELETE", "/bucket").send().expect_error(404, "NoSuchBucket");
    server.get("/bucket/key").expect_error(404, "NoSuchBucket");
}

#[test]
fn another_accounts_buckets_are_not_listed() {
    let server = Server::with_bucket();
    assert_eq!(server.get("/").elements("Name"), ["bucket"]);
    let reply = server.call("GET", "/").key(Key::of(2)).send();
    assert_eq!(reply.elements("Name"), [] as [&str; 0]);
    server.call("GET", "/").anonymous().send().expect_error(403, "AccessDenied");
}

#[test]
fn expected_owners() {
    let server = Server::with_bucket();
    let head =
        |owner: &str| server.call("GET", "/bucket").header("x-amz-expected-bucket-owner", owner).send();
    head("000000000001").expect(200);
    head("000000000002").expect_error(403, "AccessDenied");
}

#[test]
fn virtual_hosts() {
    let config = S3Config { domains: vec!["s3.example.com".into()], ..S3Config::default() };
    let server = Server::with(config);
    server.call("PUT", "/").host("bucket.s3.example.com").send().expect(200);
    server.call("PUT", "/a/key").host("bucket.s3.example.com:7070").body(b"x").send().expect(200);
    assert_eq!(server.get("/bucket/a/key").body, b"x");
    assert_eq!(server.call("GET", "/bucket/a/key").host("s3.example.com").send().body, b"x");
}

#[test]
fn tags_and_settings() {
    let server = Server::with_bucket();
    server.get("/bucket?tagging").expect_error(404, "NoSuchTagSet");
    let tags = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>";
    server.call("PUT", "/bucket?tagging").body(tags).send().expect(200);
    assert_eq!(server.get("/bucket?tagging").element("Value").as_deref(), Some("b"));
    server.call("DELETE", "/bucket?tagging").send().expect(204);
    server.get("/bucket?tagging").expect_error(404, "NoSuchTagSet");
    server.get("/bucket?ownershipControls").expect_error(404, "OwnershipControlsNotFoundError");
    server.get("/bucket?publicAccessBlock").expect_error(404, "NoSuchPublicAccessBlockConfiguration");
}
