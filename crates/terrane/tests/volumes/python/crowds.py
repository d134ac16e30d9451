"""Thousands that connect and say nothing, half of something, or the same again and again: others are served meanwhile.

Arguments: the URL, and the number of the server's process.
"""

import errno
import os
import sys
import time

from raw import *

address, name = place(sys.argv[1])
process = sys.argv[2]
witness = Witness(address, name)
# What a client may have said before it falls silent.
HALVES = [
    b"",
    b"\0",
    struct.pack(">I", 3),
    struct.pack(">I8s", 3, b"IHAVEOPT"),
    struct.pack(">I8sII", 3, b"IHAVEOPT", GO, 4000) + b"half of a name",
    struct.pack(">I8sII", 3, b"IHAVEOPT", LIST, 0),
]


def open_files():
    return len(os.listdir(f"/proc/{process}/fd"))


def crowd(count):
    """So many connections; those that are turned away at once are made again."""
    made = []
    while len(made) < count:
        client = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        client.settimeout(PATIENCE)
        try:
            client.connect(address)
            client.send(HALVES[len(made) % len(HALVES)])
        except OSError as error:
            assert error.errno in (errno.EAGAIN, errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE), error
        made.append(client)
        if len(made) % 250 == 0:
            witness.is_served()
    return made


before = open_files()
for _ in range(2):
    made = crowd(2000)
    # Bounded, whatever connects. Those that were turned away may still be on their way out.
    deadline = time.monotonic() + PATIENCE
    while open_files() > before + 300:
        assert time.monotonic() < deadline, f"{open_files()} open files after {before}"
        witness.is_served()
    late = Witness(address, name)
    late.is_served()
    late.raw.request(DISC, 1, 0, 0)
    for client in made:
        client.close()
# Connections that know the name are bounded as well, and idle ones harm nobody.
idle = []
for _ in range(1100):
    raw = Raw(address)
    kind, _ = raw.ask(GO, named(name))
    if kind != ACK:
        assert kind == POLICY, hex(kind)
        break
    idle.append(raw)
assert 1000 <= len(idle) < 1100, len(idle)
witness.is_served()
for raw in idle:
    raw.socket.close()
while open_files() > before + 300:
    witness.is_served()
Witness(address, name).is_served()
witness.is_served()
print("served all the time")
