"""Checksums of every kind, of whole objects and of parts."""

import base64
import hashlib
import zlib

from common import bucket, client, keys, refused

s3 = client()
name = bucket(s3, "checksums")
body = b"The quick brown fox jumps over the lazy dog" * 1000
crc32 = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
sha1 = base64.b64encode(hashlib.sha1(body).digest()).decode()
sha256 = base64.b64encode(hashlib.sha256(body).digest()).decode()

# Given in headers: kept, and told to who asks.
for field, value in (("ChecksumCRC32", crc32), ("ChecksumSHA1", sha1), ("ChecksumSHA256", sha256)):
    put = s3.put_object(Bucket=name, Key=field, Body=body, **{field: value})
    assert put[field] == value, put
    head = s3.head_object(Bucket=name, Key=field, ChecksumMode="ENABLED")
    assert head[field] == value, head
    assert s3.get_object(Bucket=name, Key=field, ChecksumMode="ENABLED")["Body"].read() == body

# Wrong ones: refused, nothing stored.
wrong = base64.b64encode(b"\0" * 32).decode()
refused("BadDigest", 400, s3.put_object, Bucket=name, Key="wrong", Body=body, ChecksumSHA256=wrong)
refused("BadDigest", 400, s3.put_object, Bucket=name, Key="wrong", Body=body, ChecksumCRC32="AAAAAA==")
md5 = base64.b64encode(b"\0" * 16).decode()
refused("BadDigest", 400, s3.put_object, Bucket=name, Key="wrong", Body=body, ContentMD5=md5)
refused("InvalidDigest", 400, s3.put_object, Bucket=name, Key="wrong", Body=body, ContentMD5="nonsense")
assert "wrong" not in keys(s3, name)


# Of a multipart object: one over the parts' checksums, or one over the whole.
size = 5 * 1024 * 1024
parts = [bytes([65 + number]) * (size if number < 2 else 1000) for number in range(3)]
for kind in ("COMPOSITE", "FULL_OBJECT"):
    upload = s3.create_multipart_upload(
        Bucket=name, Key=kind, ChecksumAlgorithm="CRC32", ChecksumType=kind
    )["UploadId"]
    done = []
    for number, part in enumerate(parts, 1):
        answer = s3.upload_part(
            Bucket=name, Key=kind, UploadId=upload, PartNumber=number, Body=part, ChecksumAlgorithm="CRC32"
        )
        own = base64.b64encode(zlib.crc32(part).to_bytes(4, "big")).decode()
        assert answer["ChecksumCRC32"] == own, answer
        done.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": own})
    complete = s3.complete_multipart_upload(
        Bucket=name, Key=kind, UploadId=upload, MultipartUpload={"Parts": done}
    )
    if kind == "FULL_OBJECT":
        expected = base64.b64encode(zlib.crc32(b"".join(parts)).to_bytes(4, "big")).decode()
    else:
        of_parts = b"".join(zlib.crc32(part).to_bytes(4, "big") for part in parts)
        expected = base64.b64encode(zlib.crc32(of_parts).to_bytes(4, "big")).decode() + "-3"
    assert complete["ChecksumCRC32"] == expected, complete
    head = s3.head_object(Bucket=name, Key=kind, ChecksumMode="ENABLED")
    assert (head["ChecksumCRC32"], head["ChecksumType"]) == (expected, kind), head
    assert s3.get_object(Bucket=name, Key=kind)["Body"].read() == b"".join(parts)
    about = s3.get_object_attributes(
        Bucket=name, Key=kind, ObjectAttributes=["Checksum", "ObjectParts", "ObjectSize"]
    )
    assert about["ObjectSize"] == 2 * size + 1000
    assert about["ObjectParts"]["TotalPartsCount"] == 3
