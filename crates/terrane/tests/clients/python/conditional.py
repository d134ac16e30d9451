"""Conditions on reads and writes, and a race that exactly one writer wins."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from botocore.exceptions import ClientError
from common import bucket, client, refused

s3 = client()
name = bucket(s3, "conditional")

etag = s3.put_object(Bucket=name, Key="k", Body=b"one")["ETag"]
head = s3.head_object(Bucket=name, Key="k")
assert head["ETag"] == etag
earlier, later = head["LastModified"] - timedelta(hours=1), head["LastModified"] + timedelta(seconds=1)

get = s3.get_object
assert get(Bucket=name, Key="k", IfMatch=etag)["Body"].read() == b"one"
assert get(Bucket=name, Key="k", IfModifiedSince=earlier)["Body"].read() == b"one"
assert get(Bucket=name, Key="k", IfUnmodifiedSince=later)["Body"].read() == b"one"
refused("PreconditionFailed", 412, get, Bucket=name, Key="k", IfMatch='"nothing"')
refused("PreconditionFailed", 412, get, Bucket=name, Key="k", IfUnmodifiedSince=earlier)
refused("304", 304, get, Bucket=name, Key="k", IfNoneMatch=etag)
refused("304", 304, get, Bucket=name, Key="k", IfModifiedSince=later)

put = s3.put_object
refused("PreconditionFailed", 412, put, Bucket=name, Key="k", Body=b"two", IfNoneMatch="*")
refused("PreconditionFailed", 412, put, Bucket=name, Key="k", Body=b"two", IfMatch='"nothing"')
refused("NoSuchKey", 404, put, Bucket=name, Key="missing", Body=b"two", IfMatch='"nothing"')
assert get(Bucket=name, Key="k")["Body"].read() == b"one"
etag = put(Bucket=name, Key="k", Body=b"two", IfMatch=etag)["ETag"]
put(Bucket=name, Key="new", Body=b"three", IfNoneMatch="*")
refused("PreconditionFailed", 412, s3.delete_object, Bucket=name, Key="k", IfMatch='"nothing"')
s3.delete_object(Bucket=name, Key="k", IfMatch=etag)
put(Bucket=name, Key="k", Body=b"again", IfNoneMatch="*")

refused(
    "PreconditionFailed",
    412,
    s3.copy_object,
    Bucket=name,
    Key="copy",
    CopySource={"Bucket": name, "Key": "new"},
    CopySourceIfMatch='"nothing"',
)


def race(writer):
    try:
        client().put_object(Bucket=name, Key="race", Body=str(writer).encode(), IfNoneMatch="*")
        return writer
    except ClientError as error:
        assert error.response["Error"]["Code"] in ("PreconditionFailed", "ConditionalRequestConflict"), error
        return None


with ThreadPoolExecutor(12) as pool:
    winners = [winner for winner in pool.map(race, range(12)) if winner is not None]
assert len(winners) == 1, winners
assert get(Bucket=name, Key="race")["Body"].read() == str(winners[0]).encode()
