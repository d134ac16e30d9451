"""SHA-256 of a range of an NBD export."""

import hashlib
import sys

import nbd

uri, offset, length = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
handle = nbd.NBD()
handle.set_uri_allow_local_file(True)
handle.connect_uri(uri)
digest = hashlib.sha256()
for at in range(offset, offset + length, 1 << 20):
    digest.update(handle.pread(1 << 20, at))
print(digest.hexdigest())
