"""Every command and flag of NBD on an attached volume, with libnbd's own checks."""

import sys

import nbd

BLOCK = 4096
handle = nbd.NBD()
handle.set_uri_allow_local_file(True)
handle.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
handle.connect_uri(sys.argv[1])
size = handle.get_size()


def holes(offset, length):
    """What block status says of a range: (length, is a hole) in order."""
    found = []
    handle.block_status(length, offset, lambda _, __, entries, ___: found.extend(entries) or 0)
    pairs = list(zip(found[::2], found[1::2]))
    return [(min(length, span), bool(flags & nbd.STATE_HOLE)) for span, flags in pairs]


start = size // 2
handle.pwrite(b"a" * BLOCK, start)
handle.pwrite(b"b" * BLOCK, start + BLOCK, nbd.CMD_FLAG_FUA)
handle.flush()
assert handle.pread(2 * BLOCK, start) == b"a" * BLOCK + b"b" * BLOCK
assert handle.pread_structured(BLOCK, start, lambda *_: 0, nbd.CMD_FLAG_DF) == b"a" * BLOCK
handle.cache(2 * BLOCK, start)
handle.zero(BLOCK, start)
assert handle.pread(2 * BLOCK, start) == bytes(BLOCK) + b"b" * BLOCK
handle.zero(BLOCK, start + BLOCK, nbd.CMD_FLAG_NO_HOLE)
assert handle.pread(2 * BLOCK, start) == bytes(2 * BLOCK)
handle.pwrite(b"c" * 2 * BLOCK, start)
handle.trim(2 * BLOCK, start, nbd.CMD_FLAG_FUA)
assert handle.pread(2 * BLOCK, start) == bytes(2 * BLOCK)
assert holes(start, 2 * BLOCK)[0][1], "what was trimmed is a hole"
handle.pwrite(b"d" * BLOCK, start + BLOCK)
assert holes(start, 2 * BLOCK)[:2] == [(BLOCK, True), (BLOCK, False)], holes(start, 2 * BLOCK)
# Unaligned as far as the server allows.
step = handle.get_block_size(nbd.SIZE_MINIMUM) or 1
handle.pwrite(b"e" * step, start + BLOCK + step)
assert handle.pread(BLOCK, start + BLOCK) == b"d" * step + b"e" * step + b"d" * (BLOCK - 2 * step)
# The last block.
handle.pwrite(b"f" * BLOCK, size - BLOCK)
assert handle.pread(BLOCK, size - BLOCK) == b"f" * BLOCK
# Another connection sees all of it, and its flush covers what this one wrote.
if handle.can_multi_conn():
    other = nbd.NBD()
    other.set_uri_allow_local_file(True)
    other.connect_uri(sys.argv[1])
    assert other.pread(BLOCK, size - BLOCK) == b"f" * BLOCK
    other.flush()
print("all commands")
