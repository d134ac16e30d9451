"""Clients that break the rules of NBD, and one that keeps them and is served all the time."""

import errno
import os
import socket
import struct
import sys
from urllib.parse import parse_qs, unquote, urlsplit

import nbd

url = urlsplit(sys.argv[1])
path, name = parse_qs(url.query)["socket"][0], unquote(url.path.lstrip("/"))


def connect():
    handle = nbd.NBD()
    handle.set_uri_allow_local_file(True)
    handle.set_strict_mode(0)
    handle.connect_uri(sys.argv[1])
    return handle


good = connect()
size = good.get_size()


def still_served():
    stamp = os.urandom(4096)
    good.pwrite(stamp, 8192)
    assert good.pread(4096, 8192) == stamp


def refused(code, call):
    try:
        call()
    except nbd.Error as error:
        assert error.errnum in code, f"{error} instead of {code}"
    else:
        raise AssertionError(f"{code} was expected")


beyond = [errno.EINVAL, errno.ENOSPC]
for offset, length in [(size, 4096), (size - 4096, 8192), (1 << 62, 4096), (size - 512, 4096)]:
    refused(beyond, lambda: good.pread(length, offset))
    refused(beyond, lambda: good.pwrite(bytes(length), offset))
    refused(beyond, lambda: good.trim(length, offset))
    refused(beyond, lambda: good.zero(length, offset))
    still_served()
step = good.get_block_size(nbd.SIZE_MINIMUM) or 1
if step > 1:
    refused([errno.EINVAL], lambda: good.pwrite(b"x", 1))
    refused([errno.EINVAL], lambda: good.pread(1, step + 1))
refused([errno.EINVAL], lambda: good.pwrite(bytes(4096), 0, 1 << 12))
still_served()


def raw():
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(30)
    client.connect(path)
    return client


def ends(client):
    """The server closes the connection, whatever it says before."""
    try:
        while client.recv(65536):
            pass
    except ConnectionResetError:
        pass
    client.close()


def receive(client, length):
    data = b""
    while len(data) < length:
        part = client.recv(length - len(data))
        assert part, "closed"
        data += part
    return data


def transmission():
    """A connection in the phase of requests, without help of a library."""
    client = raw()
    receive(client, 18)
    client.sendall(struct.pack(">I", 3))
    text = name.encode()
    client.sendall(struct.pack(">8sII", b"IHAVEOPT", 1, len(text)) + text)
    assert struct.unpack(">Q", receive(client, 10)[:8])[0] == size
    return client


# Haggling that makes no sense.
for nonsense in [b"GET / HTTP/1.1\r\n\r\n" * 10, b"\xff" * 4096, struct.pack(">I", 0xFFFFFFFF)]:
    client = raw()
    try:
        client.sendall(nonsense)
        client.shutdown(socket.SHUT_WR)
    except BrokenPipeError:
        pass
    ends(client)
client = raw()
receive(client, 18)
client.sendall(struct.pack(">I", 3) + struct.pack(">8sII", b"IHAVEOPT", 7, 0xFFFFFFF0))
client.shutdown(socket.SHUT_WR)
ends(client)
still_served()

# Requests of the wrong kind: an unknown command is refused, a wrong magic number ends the connection.
client = transmission()
client.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 99, 7, 0, 4096))
magic, code, cookie = struct.unpack(">IIQ", receive(client, 16))
assert (magic, code, cookie) == (0x67446698, errno.EINVAL, 7), (hex(magic), code, cookie)
client.sendall(struct.pack(">IHHQQI", 0xDEADBEEF, 0, 0, 8, 0, 4096))
ends(client)
# One that announces more than it sends, and goes.
client = transmission()
client.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 1, 9, 0, 1 << 20) + bytes(1000))
client.close()
# One that announces more than anyone may.
client = transmission()
client.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 1, 10, 0, 0xFFFFF000))
client.shutdown(socket.SHUT_WR)
ends(client)
still_served()

# Thousands that say nothing, and some that say half of something.
idle = []
for number in range(3000):
    client = socket.socket(socket.AF_UNIX)
    client.setblocking(False)
    try:
        client.connect(path)
    except (BlockingIOError, ConnectionRefusedError):
        client.close()
        still_served()
        continue
    if number % 10 == 0:
        try:
            client.send(struct.pack(">I", 3)[: number % 4])
        except OSError:
            pass
    idle.append(client)
    if number % 500 == 0:
        still_served()
still_served()
late = connect()
assert late.get_size() == size
late.shutdown()
for client in idle:
    client.close()
still_served()
print("all rules")
