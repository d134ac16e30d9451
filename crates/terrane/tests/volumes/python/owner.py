"""The next owner of a volume: writes all blocks, or checks that they are as it wrote them."""

import sys

import nbd

LENGTH = 1 << 20
handle = nbd.NBD()
handle.set_uri_allow_local_file(True)
handle.connect_uri(sys.argv[1])
if sys.argv[2] == "write":
    handle.pwrite(b"\xbb" * LENGTH, 0)
    handle.flush()
    print("written")
else:
    found = handle.pread(LENGTH, 0)
    wrong = [at // 4096 for at in range(0, LENGTH, 4096) if found[at : at + 4096] != b"\xbb" * 4096]
    print(f"blocks {wrong} are not as written" if wrong else "as written")
