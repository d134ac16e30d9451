//! Listings.

use crate::server::Server;

fn filled() -> Server {
    let server = Server::with_bucket();
    for key in ["a", "b/1", "b/2", "c", "d/1", "e"] {
        server.put(&format!("/bucket/{key}"), b"x");
    }
    server
}

#[test]
fn delimiters_and_prefixes() {
    let server = filled();
    let reply = server.get("/bucket?delimiter=%2F&list-type=2");
    assert_eq!(reply.elements("Key"), ["a", "c", "e"]);
    assert_eq!(reply.elements("Prefix"), ["", "b/", "d/"]);
    assert_eq!(reply.element("KeyCount").as_deref(), Some("5"));
    assert_eq!(server.get("/bucket?prefix=b%2F").elements("Key"), ["b/1", "b/2"]);
    assert_eq!(server.get("/bucket?list-type=2&start-after=c").elements("Key"), ["d/1", "e"]);
    assert_eq!(server.get("/bucket?marker=c").elements("Key"), ["d/1", "e"]);
}

#[test]
fn pages_join_without_gap_or_overlap() {
    let server = filled();
    for size in 1..=7 {
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let target =
                format!("/bucket?continuation-token={token}&delimiter=%2F&list-type=2&max-keys={size}");
            let reply = server.get(&target);
            reply.expect(200);
            seen.extend(reply.elements("Key"));
            seen.extend(reply.elements("CommonPrefixes"));
            match reply.element("NextContinuationToken") {
                Some(next) => token = next,
                None => break,
            }
        }
        seen.sort();
        let prefixes = ["<Prefix>b/</Prefix>", "<Prefix>d/</Prefix>"];
        assert_eq!(seen, [&prefixes[..], &["a", "c", "e"]].concat(), "pages of {size}");
    }
}

#[test]
fn owners_are_told_on_request() {
    let server = filled();
    assert_eq!(server.get("/bucket?list-type=2").elements("Owner").len(), 0);
    assert_eq!(server.get("/bucket?fetch-owner=true&list-type=2").elements("Owner").len(), 6);
    assert_eq!(server.get("/bucket").elements("Owner").len(), 6);
}

#[test]
fn bad_parameters() {
    let server = filled();
    for query in [
        "max-keys=-1",
        "max-keys=many",
        "continuation-token=never-handed-out&list-type=2",
        "version-id-marker=null&versions",
        "key-marker=a&version-id-marker=x&versions",
    ] {
        server.get(&format!("/bucket?{query}")).expect_error(400, "InvalidArgument");
    }
    let empty = server.get("/bucket?max-keys=0");
    assert_eq!((empty.elements("Key").len(), empty.element("IsTruncated").as_deref()), (0, Some("false")));
}

#[test]
fn versions_page_by_key_and_version() {
    let server = Server::with_bucket();
    server.versioned();
    for body in [&b"1"[..], b"22", b"333"] {
        server.put("/bucket/a", body);
        server.put("/bucket/b", body);
    }
    server.call("DELETE", "/bucket/a").send().expect(204);
    let (mut seen, mut markers) = (Vec::new(), String::new());
    loop {
        let reply = server.get(&format!("/bucket?{markers}max-keys=2&versions"));
        reply.expect(200);
        seen.extend(reply.elements("VersionId"));
        let (Some(key), version) = (reply.element("NextKeyMarker"), reply.element("NextVersionIdMarker"))
        else {
            break;
        };
        markers = format!("key-marker={key}&version-id-marker={}&", version.unwrap());
    }
    let all = server.get("/bucket?versions");
    assert_eq!(all.elements("IsLatest").iter().filter(|l| *l == "true").count(), 2);
    assert_eq!(all.elements("DeleteMarker").len(), 1);
    let mut expected = all.elements("VersionId");
    expected.sort();
    seen.sort();
    assert_eq!((seen.len(), seen), (7, expected));
}
