"""Checksums in trailers: what botocore does over HTTPS, where the body need not be signed."""

import base64
import hashlib
import io
import zlib

from common import bucket, client, keys

s3 = client()
name = bucket(s3, "trailers")
body = b"The quick brown fox jumps over the lazy dog" * 10_000
expected = {
    "CRC32": base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode(),
    "SHA1": base64.b64encode(hashlib.sha1(body).digest()).decode(),
    "SHA256": base64.b64encode(hashlib.sha256(body).digest()).decode(),
}
seen = []
s3.meta.events.register("before-send.s3.PutObject", lambda request, **_: seen.append(request.headers))


class Stream(io.RawIOBase):
    """A body that can be read once: no checksum can be known before."""

    def __init__(self):
        self.left = io.BytesIO(body)

    def read(self, size=-1):
        return self.left.read(size)

    def readable(self):
        return True


for algorithm, value in expected.items():
    for key, content in (("bytes", body), ("file", io.BytesIO(body)), ("stream", Stream())):
        key = f"{algorithm}/{key}"
        extra = {"ContentLength": len(body)} if key.endswith("stream") else {}
        put = s3.put_object(Bucket=name, Key=key, Body=content, ChecksumAlgorithm=algorithm, **extra)
        assert put[f"Checksum{algorithm}"] == value, put
        head = s3.head_object(Bucket=name, Key=key, ChecksumMode="ENABLED")
        assert (head[f"Checksum{algorithm}"], head["ContentLength"]) == (value, len(body)), head
        assert s3.get_object(Bucket=name, Key=key)["Body"].read() == body
assert len(keys(s3, name)) == 9
assert all(headers["x-amz-trailer"] for headers in seen), "they were trailers"
