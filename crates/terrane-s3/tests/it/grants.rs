//! ACLs: what they open, and to whom.

use crate::server::Server;
use crate::signer::Key;

#[test]
fn public_reads() {
    let server = Server::with_bucket();
    let put = server.call("PUT", "/bucket/open").header("x-amz-acl", "public-read").body(b"data");
    put.send().expect(200);
    server.put("/bucket/closed", b"data");
    let anonymous = |method: &str, target: &str| server.call(method, target).anonymous().send();
    assert_eq!(anonymous("GET", "/bucket/open").body, b"data");
    anonymous("GET", "/bucket/closed").expect_error(403, "AccessDenied");
    // Who may not list does not learn what exists.
    anonymous("GET", "/bucket/missing").expect_error(403, "AccessDenied");
    anonymous("GET", "/bucket").expect_error(403, "AccessDenied");
    anonymous("PUT", "/bucket/new").expect_error(403, "AccessDenied");
    anonymous("DELETE", "/bucket/open").expect_error(403, "AccessDenied");
    let reply = anonymous("GET", "/bucket/open?response-content-type=text/html");
    reply.expect_error(400, "InvalidRequest");
    server.call("PUT", "/bucket?acl").header("x-amz-acl", "public-read").send().expect(200);
    assert_eq!(anonymous("GET", "/bucket").elements("Key"), ["closed", "open"]);
    anonymous("GET", "/bucket/missing").expect_error(404, "NoSuchKey");
}

#[test]
fn grants_to_an_account() {
    let server = Server::with_bucket();
    let acl = |headers: &[(&str, &str)]| {
        let call = server.call("PUT", "/bucket?acl");
        headers.iter().fold(call, |call, (n, v)| call.header(n, v)).send()
    };
    acl(&[("x-amz-grant-write", "id=000000000009")]).expect_error(400, "InvalidArgument");
    acl(&[("x-amz-grant-write", "id=nobody")]).expect_error(400, "InvalidArgument");
    acl(&[("x-amz-acl", "public-ready")]).expect_error(400, "InvalidArgument");
    acl(&[("x-amz-acl", "private"), ("x-amz-grant-read", "id=000000000002")])
        .expect_error(400, "InvalidRequest");
    acl(&[("x-amz-grant-write", "id=\"000000000002\"")]).expect(200);
    let theirs = || server.call("PUT", "/bucket/key").key(Key::of(2));
    theirs().body(b"theirs").send().expect(200);
    // Whoever writes owns.
    server.get("/bucket/key").expect_error(403, "AccessDenied");
    assert_eq!(server.call("GET", "/bucket/key").key(Key::of(2)).send().body, b"theirs");
    theirs().header("x-amz-acl", "bucket-owner-full-control").body(b"shared").send().expect(200);
    assert_eq!(server.get("/bucket/key").body, b"shared");
}

#[test]
fn public_access_can_be_blocked() {
    let server = Server::with_bucket();
    server.call("PUT", "/bucket/key").header("x-amz-acl", "public-read").body(b"x").send().expect(200);
    let block = b"<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls></PublicAccessBlockConfiguration>";
    server.call("PUT", "/bucket?publicAccessBlock").body(block).send().expect(200);
    server.call("GET", "/bucket/key").anonymous().send().expect_error(403, "AccessDenied");
    let call = server.call("PUT", "/bucket/key?acl").header("x-amz-acl", "public-read");
    call.send().expect_error(403, "AccessDenied");
    server.call("DELETE", "/bucket?publicAccessBlock").send().expect(204);
    server.call("GET", "/bucket/key").anonymous().send().expect(200);
}

#[test]
fn acls_can_be_switched_off() {
    let server = Server::with_bucket();
    server.call("PUT", "/bucket/key").header("x-amz-acl", "public-read").body(b"x").send().expect(200);
    let controls = b"<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>";
    server.call("PUT", "/bucket?ownershipControls").body(controls).send().expect(200);
    server.call("GET", "/bucket/key").anonymous().send().expect_error(403, "AccessDenied");
    let call = server.call("PUT", "/bucket/new").header("x-amz-acl", "public-read").body(b"x");
    call.send().expect_error(400, "AccessControlListNotSupported");
}

#[test]
fn the_list_is_told() {
    let server = Server::with_bucket();
    let reply = server.get("/bucket?acl");
    assert_eq!(reply.elements("Permission"), ["FULL_CONTROL"]);
    assert_eq!(reply.elements("ID"), ["000000000001"; 2]);
    let foreign = b"<AccessControlPolicy><Owner><ID>000000000002</ID></Owner><AccessControlList></AccessControlList></AccessControlPolicy>";
    server.call("PUT", "/bucket?acl").body(foreign).send().expect_error(403, "AccessDenied");
}
