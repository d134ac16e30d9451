use super::*;

fn request(snapshot: Version, reads: &[&[u8]], writes: &[&[u8]]) -> CommitRequest {
    CommitRequest {
        snapshot,
        reads: reads.iter().map(|key| KeyRange::key(key)).collect(),
        writes: writes.iter().map(|key| (Bytes::copy_from_slice(key), None)).collect(),
        id: None,
        retry: false,
    }
}

fn committer() -> Committer {
    Committer::new(10, 0, Limits { history_keys: 4, ids: 2 }, Bugs::default())
}

#[test]
fn commits_in_flight_count_and_undone_ones_do_not() {
    let mut c = committer();
    assert_eq!(c.submit(&request(10, &[], &[b"a"])), Decision::Accepted(11));
    assert_eq!(c.submit(&request(10, &[b"a"], &[b"b"])), Decision::Conflict);
    assert_eq!(c.submit(&request(10, &[b"b"], &[b"a"])), Decision::Accepted(12));
    c.abort();
    assert_eq!(c.submit(&request(10, &[b"a"], &[b"b"])), Decision::Accepted(13));
    c.durable();
    assert_eq!(c.submit(&request(12, &[b"b"], &[])), Decision::Conflict);
    assert_eq!(c.submit(&request(13, &[b"b"], &[])), Decision::Accepted(14));
}

#[test]
fn aborting_restores_what_was_remembered_before() {
    let mut c = committer();
    c.submit(&request(10, &[], &[b"a"]));
    c.durable();
    c.submit(&request(11, &[], &[b"a"]));
    c.submit(&request(11, &[], &[b"a"]));
    c.abort();
    assert_eq!(c.submit(&request(10, &[b"a"], &[])), Decision::Conflict, "version 11 still counts");
    assert_eq!(c.submit(&request(11, &[b"a"], &[])), Decision::Accepted(14));
}

#[test]
fn ranges_conflict_with_keys_that_were_not_there() {
    let mut c = committer();
    c.submit(&request(10, &[], &[b"m"]));
    let mut scan = request(10, &[], &[b"z"]);
    scan.reads = vec![KeyRange::new(&b"a"[..], &b"m"[..])];
    assert_eq!(c.submit(&scan), Decision::Accepted(12));
    scan.reads = vec![KeyRange::new(&b"a"[..], &b"n"[..])];
    assert_eq!(c.submit(&scan), Decision::Conflict);
    scan.reads = vec![KeyRange::new(&b"n"[..], &b"a"[..])];
    assert_eq!(c.submit(&scan), Decision::Accepted(13), "an empty range reads nothing");
}

#[test]
fn snapshots_outside_the_retained_history_are_refused() {
    let mut c = committer();
    for key in [b"a", b"b", b"c", b"d", b"e", b"f"] {
        c.submit(&request(c.last(), &[], &[key]));
        c.durable();
    }
    // Six keys were written, four are remembered.
    assert_eq!(c.submit(&request(11, &[b"x"], &[])), Decision::TooOld);
    assert_eq!(c.submit(&request(12, &[b"x"], &[])), Decision::Accepted(17));
    assert_eq!(c.submit(&request(99, &[b"x"], &[])), Decision::TooOld, "from another life");
}

#[test]
fn an_identifier_commits_once() {
    let mut c = committer();
    let with_id = |id, retry| CommitRequest { id: Some(CommitId(id)), retry, ..request(10, &[], &[b"a"]) };
    assert_eq!(c.submit(&with_id(1, false)), Decision::Accepted(11));
    assert_eq!(c.submit(&with_id(1, true)), Decision::Duplicate(11));
    c.abort();
    assert_eq!(c.submit(&with_id(1, true)), Decision::Accepted(12), "it had not been stored");
    assert!(c.durable().is_empty());
    assert_eq!(c.submit(&with_id(1, true)), Decision::Duplicate(12));
    c.submit(&with_id(2, false));
    c.submit(&with_id(3, false));
    assert_eq!(c.durable(), [(12, CommitId(1))]);
    assert_eq!(c.submit(&with_id(1, true)), Decision::Forgotten);
    let newer = CommitRequest { snapshot: 12, ..with_id(1, true) };
    assert_eq!(c.submit(&newer), Decision::Accepted(15), "it cannot have been stored before its snapshot");
    c.abort();
    assert_eq!(c.submit(&with_id(4, false)), Decision::Accepted(16), "a first attempt cannot be a duplicate");
}
