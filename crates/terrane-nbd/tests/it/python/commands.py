# Run by nbdsh, with `socket` set. libnbd's own checks are off, so that the server's are met.
import errno


def connect(name, *, structured=True):
    handle = nbd.NBD()
    handle.set_strict_mode(0)
    handle.add_meta_context("base:allocation")
    handle.set_request_structured_replies(structured)
    handle.set_export_name(name)
    handle.connect_unix(socket)
    return handle


def refused(code, call, *arguments):
    try:
        call(*arguments)
    except nbd.Error as error:
        assert error.errnum == code, (error.errnum, code, str(error))
        return
    raise AssertionError(f"not refused: {call} {arguments}")


MIB = 1 << 20
END = 64 * MIB


def commands(h):
    h.pwrite(b"a" * 1000, 500)
    assert h.pread(1000, 500) == b"a" * 1000
    assert h.pread(500, 0) == bytes(500)
    h.pwrite(b"b" * 4096, 4096, nbd.CMD_FLAG_FUA)
    h.flush()
    h.cache(4096, 0)
    h.zero(4096, 4096, nbd.CMD_FLAG_FUA)
    h.zero(4096, 8192, nbd.CMD_FLAG_NO_HOLE)
    h.zero(4096, 8192, nbd.CMD_FLAG_FAST_ZERO)
    refused(errno.ENOTSUP, h.zero, 4096, 8192, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE)
    assert h.pread(8192, 4096) == bytes(8192)
    h.trim(END, 0, nbd.CMD_FLAG_FUA)
    assert h.pread(MIB, 0) == bytes(MIB)

    # Beyond the end: writes have no space, the rest is invalid. Nothing is written.
    refused(errno.EINVAL, h.pread, 2, END - 1)
    refused(errno.EINVAL, h.pread, 1, 1 << 62)
    refused(errno.ENOSPC, h.pwrite, b"xx", END - 1)
    refused(errno.ENOSPC, h.zero, 2, END - 1)
    refused(errno.EINVAL, h.trim, 2, END - 1)
    refused(errno.EINVAL, h.cache, 2, END - 1)
    assert h.pread(1, END - 1) == b"\0"

    # Empty, oversized, and with flags that belong elsewhere.
    refused(errno.EINVAL, h.pwrite, b"", 0)
    refused(errno.EINVAL, h.trim, 0, 0)
    refused(errno.EINVAL, h.pwrite, bytes(33 * MIB), 0)
    refused(errno.EINVAL, h.trim, 1, 0, nbd.CMD_FLAG_NO_HOLE)
    refused(errno.EINVAL, h.pwrite, b"x", 0, nbd.CMD_FLAG_DF)
    refused(errno.EINVAL, h.flush, nbd.CMD_FLAG_REQ_ONE)
    assert h.pread(1, 0) == b"\0"


def status(h, length, offset, flags=0):
    entries = []

    def collect(_context, _offset, extents, _error):
        entries.extend(zip(extents[::2], extents[1::2]))

    h.block_status(length, offset, collect, flags)
    return entries


def chunks(h):
    h.trim(END, 0)
    h.pwrite(b"c" * 4096, 8192)
    assert status(h, 16384, 0) == [(8192, 3), (4096, 0), (4096, 3)]
    assert status(h, 16384, 0, nbd.CMD_FLAG_REQ_ONE) == [(8192, 3)]
    assert status(h, 100, 0, nbd.CMD_FLAG_REQ_ONE) == [(100, 3)]
    refused(errno.EINVAL, status, h, 2, END - 1)

    def read(flags):
        seen = []
        data = h.pread_structured(16384, 0, lambda _buf, at, kind, _error: seen.append((at, kind)), flags)
        assert data == bytes(8192) + b"c" * 4096 + bytes(4096)
        return seen

    hole, data = nbd.READ_HOLE, nbd.READ_DATA
    assert read(0) == [(0, hole), (8192, data), (12288, hole)]
    assert read(nbd.CMD_FLAG_DF) == [(0, data)]
    refused(errno.EOVERFLOW, h.pread, 32 * MIB + 1, 0)


h = connect("disk")
assert h.get_structured_replies_negotiated() and h.can_meta_context("base:allocation")
commands(h)
chunks(h)
h.shutdown()

h = connect("disk", structured=False)
assert not h.get_structured_replies_negotiated()
commands(h)
refused(errno.EINVAL, h.pread, 32 * MIB + 1, 0)
h.shutdown()

h = connect("read-only")
for call, arguments in [(h.pwrite, (b"x", 0)), (h.trim, (1, 0)), (h.zero, (1, 0))]:
    refused(errno.EPERM, call, *arguments)
assert h.pread(1, 0) == b"\0"
h.shutdown()

# Many requests in flight, answered in any order.
h = connect("disk")
buffers = {h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray([n % 251]) * 4096), n * 4096): n for n in range(512)}
while h.aio_in_flight() > 0:
    h.poll(-1)
    for cookie in list(buffers):
        if h.aio_command_completed(cookie):
            del buffers[cookie]
assert all(h.pread(4096, n * 4096) == bytes([n % 251]) * 4096 for n in range(512))
h.shutdown()

print("all commands")
