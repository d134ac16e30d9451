"""Names are guessed, by hundreds: none is found, and it takes its time, though not that of who knows one."""

import secrets
import sys
import threading
import time

from raw import *

address, name = place(sys.argv[1])
witness = Witness(address, name)
asked, over = [], threading.Event()


def guess():
    """Tries names until told to stop, each connection as often as it may."""
    while not over.is_set():
        try:
            raw = Raw(address)
            while not over.is_set():
                kind, said = raw.ask(GO, named(secrets.token_hex(16)))
                assert kind == UNKNOWN and name.encode() not in said
                asked.append(time.monotonic())
        except (OSError, AssertionError) as error:
            assert not str(error) or "hung up" in str(error) or isinstance(error, OSError), error


for almost in (name[:-1], name + "0", name[::-1], name.upper() if name.upper() != name else "x", ""):
    kind, _ = Raw(address).ask(GO, named(almost))
    assert kind == UNKNOWN, almost
threads = [threading.Thread(target=guess, daemon=True) for _ in range(16)]
began = time.monotonic()
for thread in threads:
    thread.start()
while time.monotonic() < began + 4:
    witness.is_served()
    # Who knows a name does not wait for those who guess.
    before = time.monotonic()
    late = transmission(address, name)
    assert time.monotonic() - before < 3, "a known name had to wait"
    late.request(DISC, 1, 0, 0)
over.set()
took = time.monotonic() - began
allowed = 16 + 2 * took + len(threads)
print(f"{len(asked)} guesses in {took:.0f} s", file=sys.stderr)
assert 0 < len(asked) <= allowed, f"{len(asked)} guesses in {took:.0f} s"
witness.is_served()
print("none found")
