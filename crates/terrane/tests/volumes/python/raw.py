"""NBD byte by byte, for scripts that say what no library would."""

import os
import socket
import struct
from contextlib import contextmanager
from urllib.parse import parse_qs, unquote, urlsplit

# Options, and types of their replies.
EXPORT_NAME, ABORT, LIST, STARTTLS, INFO, GO, STRUCTURED_REPLY, LIST_CONTEXTS, SET_CONTEXTS = 1, 2, 3, 5, 6, 7, 8, 9, 10
ACK, INFO_REPLY = 1, 3
UNSUP, POLICY, INVALID, TLS_REQD, UNKNOWN, TOO_BIG = ((1 << 31) + code for code in (1, 2, 3, 5, 6, 9))
# Commands.
READ, WRITE, DISC, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS = range(8)
# Errors.
EINVAL, ENOSPC, EOVERFLOW = 22, 28, 75
PATIENCE = 60


def place(url):
    """Address of a URL's server, and the export's name."""
    url = urlsplit(url)
    name = unquote(url.path.lstrip("/"))
    if url.scheme == "nbd+unix":
        return parse_qs(url.query)["socket"][0], name
    return (url.hostname, url.port), name


class Raw:
    """A connection in the negotiation."""

    def __init__(self, address, flags=3):
        self.socket = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(address)
        assert self.receive(16) == b"NBDMAGICIHAVEOPT"
        assert struct.unpack(">H", self.receive(2))[0] & 1, "fixed newstyle"
        if flags is not None:
            self.send(struct.pack(">I", flags))

    def send(self, data):
        self.socket.sendall(data)

    def receive(self, length):
        data = b""
        while len(data) < length:
            part = self.socket.recv(length - len(data))
            assert part, "the server has hung up"
            data += part
        return data

    def option(self, option, data=b"", length=None):
        self.send(struct.pack(">8sII", b"IHAVEOPT", option, len(data) if length is None else length) + data)

    def reply(self, option):
        magic, answers, kind, length = struct.unpack(">QIII", self.receive(20))
        assert magic == 0x3E889045565A9 and answers == option, (hex(magic), answers)
        return kind, self.receive(length)

    def ask(self, option, data=b"", length=None):
        """The type of the last reply to an option, and what all said."""
        self.option(option, data, length)
        said = b""
        while True:
            kind, data = self.reply(option)
            said += data
            if kind not in (INFO_REPLY, 2, 4):
                return kind, said

    def ends(self):
        """The server hangs up, without saying anything more."""
        try:
            rest = self.socket.recv(65536)
        except ConnectionResetError:
            rest = b""
        assert not rest, rest
        self.socket.close()

    def request(self, command, cookie, offset, length, data=b"", flags=0):
        self.send(struct.pack(">IHHQQI", 0x25609513, flags, command, cookie, offset, length) + data)

    def simple(self, length=0):
        """A simple reply: error, cookie, and so many bytes if there was none."""
        magic, error, cookie = struct.unpack(">IIQ", self.receive(16))
        assert magic == 0x67446698, hex(magic)
        return error, cookie, self.receive(length) if not error else b""


def named(name, infos=()):
    """Data of INFO and GO."""
    text = name if isinstance(name, bytes) else name.encode()
    return struct.pack(">I", len(text)) + text + struct.pack(f">H{len(infos)}H", len(infos), *infos)


def transmission(address, name):
    """A connection that sends requests; simple replies."""
    raw = Raw(address)
    kind, _ = raw.ask(GO, named(name))
    assert kind == ACK, hex(kind)
    return raw


class Witness:
    """A client that keeps the rules and is served all the time."""

    def __init__(self, address, name):
        self.raw = transmission(address, name)
        self.cookie = 0

    def is_served(self):
        stamp = os.urandom(4096)
        self.cookie += 1
        self.raw.request(WRITE, self.cookie, 8192, 4096, stamp)
        assert self.raw.simple() == (0, self.cookie, b"")
        self.raw.request(READ, self.cookie, 8192, 4096)
        assert self.raw.simple(4096) == (0, self.cookie, stamp)

    @contextmanager
    def watching(self):
        self.is_served()
        yield
        self.is_served()
