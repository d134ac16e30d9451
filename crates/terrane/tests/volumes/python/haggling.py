"""Options and requests that are wrong in every way: each gets the specification's answer, and what may go on goes on."""

import struct
import sys

from raw import *

address, name = place(sys.argv[1])
SIZE = 1 << 30
MIB = 1 << 20
witness = Witness(address, name)


def options():
    raw = Raw(address)
    # None of these ends the connection.
    for option, data, expected in [
        (0x7777, b"", UNSUP),
        (4, b"", UNSUP),
        (LIST, b"", POLICY),
        (LIST, b"x", INVALID),
        (STARTTLS, b"x", INVALID),
        (STRUCTURED_REPLY, b"x", INVALID),
        (GO, b"", INVALID),
        (GO, struct.pack(">I", 0xFFFFFFFF), INVALID),
        (GO, named(name)[:-1], INVALID),
        (GO, named(name) + b"x", INVALID),
        (GO, named(b"\xff\xfe"), INVALID),
        (GO, named(b"a\0b"), INVALID),
        (INFO, named("n" * 5000), INVALID),
        (INFO, named("nobody"), UNKNOWN),
        (GO, named("nobody"), UNKNOWN),
        (SET_CONTEXTS, named(name), INVALID),
        (LIST, bytes(100_000), TOO_BIG),
    ]:
        kind, said = raw.ask(option, data)
        assert kind == expected, f"option {option} {data[:40]}: {kind:#x} instead of {expected:#x}"
        assert name.encode() not in said, "no answer tells a name"
    assert raw.ask(STRUCTURED_REPLY)[0] == ACK
    assert raw.ask(STRUCTURED_REPLY)[0] == INVALID, "twice"
    contexts = struct.pack(">I", len(name)) + name.encode() + struct.pack(">I", 3)
    assert raw.ask(SET_CONTEXTS, contexts)[0] == INVALID, "three were announced"
    kind, said = raw.ask(INFO, named(name, [3]))
    assert kind == ACK and struct.pack(">QH", SIZE, 0)[:8] in said
    # After all that it may still go on; requests as well.
    assert raw.ask(GO, named(name, [0xFFFF]))[0] == ACK
    raw.request(READ, 5, 0, 4096)
    magic, _, kind, cookie, length = struct.unpack(">IHHQI", raw.receive(20))
    assert (magic, cookie) == (0x668E33EF, 5) and kind in (1, 2), (hex(magic), kind)
    raw.receive(length)
    raw.request(DISC, 6, 0, 0)
    raw.ends()


def endings():
    # These do, without a word.
    for flags in (4, 0xFFFFFFFF):
        Raw(address, flags).ends()
    for sent in (b"IHAVEOP?" + bytes(8), struct.pack(">8sII", b"IHAVEOPT", GO, 0xFFFFFFF0), b"GET / HTTP/1.1\r\n\r\n"):
        raw = Raw(address)
        raw.send(sent)
        raw.ends()
    # The oldest way to name an export has no way to say no.
    for wrong in ("nobody", "", name[1:], name + "x", name.upper() + "0"):
        raw = Raw(address)
        raw.option(EXPORT_NAME, wrong.encode())
        raw.ends()
    # Options without end.
    raw = Raw(address)
    try:
        for _ in range(10_000):
            raw.option(0x7777)
            raw.reply(0x7777)
        raise AssertionError("ten thousand options")
    except (AssertionError, OSError) as error:
        assert "ten thousand" not in str(error), error
    raw = Raw(address)
    assert raw.ask(ABORT)[0] == ACK
    raw.ends()


def requests():
    raw = transmission(address, name)
    far = (1 << 64) - 4096
    wrong = [
        (READ, SIZE, 4096, 0, EINVAL),
        (READ, SIZE - 512, 1024, 0, EINVAL),
        (READ, far, 8192, 0, EINVAL),
        (READ, 0, 0, 0, EINVAL),
        (READ, 0, 33 * MIB, 0, EINVAL),
        (READ, 0, 0xFFFFFFFF, 0, EINVAL),
        (READ, 0, 4096, 1 << 12, EINVAL),
        (READ, 0, 4096, 1 << 2, EINVAL),
        (TRIM, SIZE, 4096, 0, EINVAL),
        (TRIM, far, 8192, 0, EINVAL),
        (TRIM, 0, 0, 0, EINVAL),
        (CACHE, SIZE - 1, 2, 0, EINVAL),
        (WRITE_ZEROES, SIZE - 4096, 8192, 0, ENOSPC),
        (WRITE_ZEROES, far, 8192, 0, ENOSPC),
        (WRITE, SIZE, 4096, 0, ENOSPC),
        (WRITE, SIZE - 1, 2, 0, ENOSPC),
        (WRITE, 0, 4096, 1 << 12, EINVAL),
        (WRITE, 0, 0, 0, EINVAL),
        (WRITE, 0, 33 * MIB, 0, EINVAL),
        (FLUSH, 4096, 0, 0, EINVAL),
        (FLUSH, 0, 4096, 0, EINVAL),
        (BLOCK_STATUS, 0, 4096, 0, EINVAL),
        (8, 0, 4096, 0, EINVAL),
        (99, 0, 4096, 0, EINVAL),
        (0xFFFF, far, 0xFFFFFFFF, 0xFFFF, EINVAL),
    ]
    # One after the other ...
    for cookie, (command, offset, length, flags, expected) in enumerate(wrong):
        raw.request(command, cookie, offset, length, bytes(length) if command == WRITE else b"", flags)
        answer = raw.simple()
        assert answer == (expected, cookie, b""), f"{command} {offset} {length} {flags}: {answer}"
    # ... and all together, with right ones between them.
    right = {}
    for cookie, (command, offset, length, flags, expected) in enumerate(wrong):
        if command != WRITE or length < MIB:
            raw.request(command, cookie, offset, length, bytes(length) if command == WRITE else b"", flags)
            right[cookie] = expected
        raw.request(WRITE, 1000 + cookie, MIB + cookie * 4096, 4096, bytes([cookie + 1]) * 4096)
        right[1000 + cookie] = 0
    while right:
        error, cookie, _ = raw.simple()
        assert right.pop(cookie) == error, (cookie, error)
    for cookie in range(len(wrong)):
        raw.request(READ, cookie, MIB + cookie * 4096, 4096)
        assert raw.simple(4096) == (0, cookie, bytes([cookie + 1]) * 4096)
    # Nothing that was refused was done.
    raw.request(READ, 1, SIZE - 4096, 4096)
    assert raw.simple(4096) == (0, 1, bytes(4096))


for part in (options, endings, requests):
    with witness.watching():
        part()
print("all answers")
