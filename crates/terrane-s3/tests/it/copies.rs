//! Copies.

use crate::server::Server;
use crate::signer::Key;

#[test]
fn what_a_copy_keeps() {
    let server = Server::with_bucket();
    let put = server.call("PUT", "/bucket/a").header("x-amz-meta-k", "v").header("x-amz-tagging", "t=1");
    put.header("content-type", "text/plain").body(b"data").send().expect(200);
    let copy = |target: &str, headers: &[(&str, &str)]| {
        let call = server.call("PUT", target).header("x-amz-copy-source", "/bucket/a");
        headers.iter().fold(call, |call, (n, v)| call.header(n, v)).send()
    };
    copy("/bucket/b", &[]).expect(200);
    let b = server.get("/bucket/b");
    assert_eq!((b.body.as_slice(), b.header("x-amz-meta-k")), (&b"data"[..], Some("v")));
    assert_eq!((b.header("content-type"), b.header("x-amz-tagging-count")), (Some("text/plain"), Some("1")));
    copy("/bucket/c", &[("x-amz-metadata-directive", "REPLACE"), ("x-amz-meta-n", "w")]).expect(200);
    let c = server.get("/bucket/c");
    assert_eq!((c.header("x-amz-meta-k"), c.header("x-amz-meta-n")), (None, Some("w")));
    copy("/bucket/d", &[("x-amz-metadata-directive", "SHUFFLE")]).expect_error(400, "InvalidArgument");
    copy("/bucket/a", &[]).expect_error(400, "InvalidRequest");
    copy("/bucket/a", &[("x-amz-metadata-directive", "REPLACE")]).expect(200);
    copy("/bucket/e", &[("x-amz-checksum-algorithm", "SHA256")]).expect(200);
    let e = server.call("HEAD", "/bucket/e").header("x-amz-checksum-mode", "ENABLED").send();
    assert_eq!(e.header("x-amz-checksum-sha256"), Some("Om6weQ85rIfJTzhWst0sXREOaBFgImGpqSPTuyOtyLc="));
}

#[test]
fn conditions_on_both_ends() {
    let server = Server::with_bucket();
    let etag = server.put("/bucket/a", b"data").header("etag").unwrap().to_owned();
    let copy = |name: &str, value: &str| {
        server.call("PUT", "/bucket/b").header("x-amz-copy-source", "bucket/a").header(name, value).send()
    };
    copy("x-amz-copy-source-if-match", "\"other\"").expect_error(412, "PreconditionFailed");
    copy("x-amz-copy-source-if-none-match", &etag).expect_error(412, "PreconditionFailed");
    let old = "Sat, 01 Jan 2000 00:00:00 GMT";
    copy("x-amz-copy-source-if-unmodified-since", old).expect_error(412, "PreconditionFailed");
    server.get("/bucket/b").expect_error(404, "NoSuchKey");
    copy("if-none-match", "*").expect(200);
    copy("if-none-match", "*").expect_error(412, "PreconditionFailed");
}

#[test]
fn sources_must_be_there_and_readable() {
    let server = Server::with_bucket();
    let copy = |source: &str, key: u8| {
        let call = server.call("PUT", "/theirs/b").key(Key::of(key));
        call.header("x-amz-copy-source", source).send()
    };
    server.call("PUT", "/theirs").key(Key::of(2)).send().expect(200);
    server.put("/bucket/a", b"data");
    copy("bucket/a", 2).expect_error(403, "AccessDenied");
    copy("theirs/none", 2).expect_error(404, "NoSuchKey");
    copy("nowhere/a", 2).expect_error(404, "NoSuchBucket");
    copy("bucket/a", 1).expect_error(403, "AccessDenied");
}
