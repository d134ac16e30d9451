"""Writes and reads blocks of an NBD export one by one, checks each read, and prints how answers come."""

import signal
import struct
import sys
import time

import nbd

BLOCK, BLOCKS, GAP, TELL = 4096, 64, 0.020, 0.100
uri, offset, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))

handle = nbd.NBD()
handle.set_uri_allow_local_file(True)
handle.connect_uri(uri)
written = [None] * BLOCKS
count = 0


def one(number):
    """One write, or one read of what an earlier one has written."""
    if number % 3 == 2:
        at = number * 7 % BLOCKS
        if written[at] is None:
            return
        found = handle.pread(BLOCK, offset + at * BLOCK)
        expected = struct.pack("<Q", written[at]) * (BLOCK // 8)
        if found != expected:
            stamps = sorted(set(struct.unpack("<512Q", found)))[:4]
            sys.exit(f"block {at} has {stamps} where {written[at]} was acknowledged")
    else:
        at = number % BLOCKS
        handle.pwrite(struct.pack("<Q", number) * (BLOCK // 8), offset + at * BLOCK)
        written[at] = number


one(0)
print("begun")
last = told = time.monotonic()
while not stopped:
    count += 1
    sent = time.monotonic()
    one(count)
    now = time.monotonic()
    if now - sent > GAP:
        print(f"gap {sent:.6f} {now:.6f}")
    # When the request was sent that was answered last.
    if now - told > TELL:
        print(f"at {sent:.6f}")
        told = now
    time.sleep(pause)
print(f"done {count}")
