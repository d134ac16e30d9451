"""The holder of a volume whose node manager is about to freeze. Told what to do on stdin; answers each line.

Everything that it writes is 0xAA or 0xAB; the next owner writes 0xBB everywhere."""

import sys
import threading

import nbd

from inflight import outcome

BLOCK, BLOCKS = 4096, 256
handle = nbd.NBD()
handle.set_uri_allow_local_file(True)
handle.connect_uri(sys.argv[1])
other = nbd.NBD()
other.set_uri_allow_local_file(True)
other.connect_uri(sys.argv[1])
cookies = {"writes": [], "reads": []}


def stream():
    """Writes on a connection of its own until that ends."""
    number = 0
    try:
        while True:
            other.pwrite(b"\xab" * BLOCK, number % BLOCKS * BLOCK)
            number += 1
    except nbd.Error:
        pass

for line in sys.stdin:
    words = line.split()
    if words[0] == "write":
        for number in range(int(words[1])):
            handle.pwrite(b"\xaa" * BLOCK, number * BLOCK)
        print("written")
    elif words[0] == "stream":
        threading.Thread(target=stream, daemon=True).start()
        print("streaming")
    elif words[0] == "queue":
        for number in range(int(words[1])):
            buffer = nbd.Buffer.from_bytearray(bytearray(b"\xaa" * BLOCK))
            cookies["writes"].append(handle.aio_pwrite(buffer, number * BLOCK))
            cookies["reads"].append(handle.aio_pread(nbd.Buffer(BLOCK), (128 + number) * BLOCK))
        print("queued")
    elif words[0] == "outcome":
        found = []
        for kind, list_of in cookies.items():
            failed = [outcome(handle, cookie) for cookie in list_of].count(False)
            found.append(f"{failed} {kind} failed")
        print(", ".join(found))
