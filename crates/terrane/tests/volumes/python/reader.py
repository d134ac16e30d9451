"""Reads the same 64 blocks again and again. Told what to do on stdin; answers each line."""

import sys

import nbd

BLOCK, BLOCKS = 4096, 64
handle = nbd.NBD()
handle.set_uri_allow_local_file(True)
handle.connect_uri(sys.argv[1])
cookies = []


def outcome(cookie):
    """Whether a request succeeded. A connection that ends fails all that is in flight."""
    while True:
        try:
            if handle.aio_command_completed(cookie):
                return True
        except nbd.Error:
            return False
        if handle.aio_is_dead() or handle.aio_is_closed():
            return False
        try:
            handle.poll(1000)
        except nbd.Error:
            pass


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
        failed = [outcome(cookie) for cookie in cookies].count(False)
        print(f"{failed} reads failed")
