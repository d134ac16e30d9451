"""Writes to the part that a volume has grown by, or reads what was written there. Arguments: write or verify, the NBD URL, where
the part begins, and where it ends."""

import sys

import nbd

BLOCK = 4096
what, url, start, end = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
handle = nbd.NBD()
handle.set_uri_allow_local_file(True)
handle.connect_uri(url)
assert handle.get_size() >= end, (handle.get_size(), end)
# Around the old end, in the middle, before the new end, of which the last block is left to the next one.
places = [start - BLOCK, (start + end) // 2, end - 3 * BLOCK]


def pattern(at):
    return at.to_bytes(8, "big") * (2 * BLOCK // 8)


if what == "write":
    assert handle.get_size() == end, (handle.get_size(), end)
    for at in places:
        fresh = handle.pread(2 * BLOCK, at)[BLOCK if at < start else 0 :]
        assert fresh == bytes(len(fresh)), f"not zero at {at}"
        handle.pwrite(pattern(at), at)
    handle.pwrite(pattern(end)[:BLOCK], end - BLOCK)
    handle.flush()
for at in places:
    assert handle.pread(2 * BLOCK, at) == pattern(at), f"lost at {at}"
