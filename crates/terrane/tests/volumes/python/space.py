"""Checks that a new volume is all zeros, also around small writes; then fills parts of it for the next one to find."""

import random
import sys

import nbd

MIB, SECRET = 1 << 20, b"\xee"
handle = nbd.NBD()
handle.set_uri_allow_local_file(True)
handle.connect_uri(sys.argv[1])
size = handle.get_size()
chance = random.Random(7)
for at in range(0, size, 32 * MIB):
    assert not handle.pread(32 * MIB, at).strip(b"\0"), f"not zero after {at}"
# A few bytes in blocks that were never written: what is around them is zero.
step = handle.get_block_size(nbd.SIZE_MINIMUM) or 1
for _ in range(200):
    block = chance.randrange(size // 4096) * 4096
    handle.zero(4096, block)
    handle.pwrite(b"x" * step, block + 1024)
    assert handle.pread(4096, block) == bytes(1024) + b"x" * step + bytes(4096 - 1024 - step)
for number in range(96):
    handle.pwrite(SECRET * MIB, chance.randrange(size // MIB) * MIB)
for number in range(200):
    handle.pwrite(SECRET * 4096, chance.randrange(size // 4096) * 4096)
# Trimmed and written again in part.
for number in range(20):
    at = chance.randrange(size // MIB) * MIB
    handle.trim(MIB, at)
    handle.pwrite(SECRET * 4096, at + 64 * 4096)
    assert handle.pread(MIB, at) == bytes(64 * 4096) + SECRET * 4096 + bytes(MIB - 65 * 4096)
handle.flush()
print("zeros, then full")
