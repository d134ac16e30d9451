"""Reads the same 64 blocks again and again. Told what to do on stdin; answers each line."""

import sys

import nbd

from inflight import outcome

BLOCK, BLOCKS = 4096, 64
handle = nbd.NBD()
handle.set_uri_allow_local_file(True)
handle.connect_uri(sys.argv[1])
cookies = []

for line in sys.stdin:
    word = line.strip()
    if word == "warm":
        for number in range(BLOCKS):
            assert handle.pread(BLOCK, number * BLOCK) == bytes(BLOCK)
        print(f"{BLOCKS} blocks read")
    elif word == "queue":
        cookies = [handle.aio_pread(nbd.Buffer(BLOCK), number * BLOCK) for number in range(BLOCKS)]
        print("queued")
    elif word == "outcome":
        failed = [outcome(handle, cookie) for cookie in cookies].count(False)
        print(f"{failed} reads failed")
