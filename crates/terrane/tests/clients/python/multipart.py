"""Multipart uploads: parts in any order, listed, copied, replaced, aborted, completed once."""

from common import bucket, client, keys, refused

MIB = 1024 * 1024
s3 = client()
name = bucket(s3, "multipart")


def begin(key, **extra):
    return s3.create_multipart_upload(Bucket=name, Key=key, **extra)["UploadId"]


def part(key, upload, number, body):
    answer = s3.upload_part(Bucket=name, Key=key, UploadId=upload, PartNumber=number, Body=body)
    return {"PartNumber": number, "ETag": answer["ETag"]}


def complete(key, upload, parts):
    return s3.complete_multipart_upload(
        Bucket=name, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
    )


upload = begin("k", Metadata={"a": "b"}, ContentType="text/x-parts")
third = part("k", upload, 30, b"end")
part("k", upload, 1, b"x" * MIB)
first = part("k", upload, 1, b"1" * 5 * MIB)
second = part("k", upload, 7, b"2" * 5 * MIB)
listed = s3.list_parts(Bucket=name, Key="k", UploadId=upload, MaxParts=2)
assert [p["PartNumber"] for p in listed["Parts"]] == [1, 7] and listed["IsTruncated"]
rest = s3.list_parts(Bucket=name, Key="k", UploadId=upload, PartNumberMarker=listed["NextPartNumberMarker"])
assert [(p["PartNumber"], p["Size"]) for p in rest["Parts"]] == [(30, 3)]
uploads = s3.list_multipart_uploads(Bucket=name)["Uploads"]
assert [(u["Key"], u["UploadId"]) for u in uploads] == [("k", upload)]
assert keys(s3, name) == [], "an unfinished upload is no object"

arguments = {"Bucket": name, "Key": "k", "UploadId": upload}
for code, parts in (
    ("InvalidPartOrder", [second, first, third]),
    ("InvalidPart", [first, {"PartNumber": 8, "ETag": second["ETag"]}]),
    ("InvalidPart", [first, {"PartNumber": 7, "ETag": '"nothing"'}]),
    ("EntityTooSmall", [first, part("k", upload, 8, b"small"), third]),
):
    refused(code, 400, s3.complete_multipart_upload, MultipartUpload={"Parts": parts}, **arguments)

answer = complete("k", upload, [first, second, third])
assert answer["ETag"].endswith('-3"')
head = s3.head_object(Bucket=name, Key="k")
assert (head["ContentLength"], head["Metadata"]) == (10 * MIB + 3, {"a": "b"})
assert head["ContentType"] == "text/x-parts"
body = s3.get_object(Bucket=name, Key="k")["Body"].read()
assert body == b"1" * 5 * MIB + b"2" * 5 * MIB + b"end"
one = s3.get_object(Bucket=name, Key="k", PartNumber=2)
assert (one["Body"].read(), one["PartsCount"]) == (b"2" * 5 * MIB, 3)
border = s3.get_object(Bucket=name, Key="k", Range=f"bytes={5 * MIB - 2}-{5 * MIB + 1}")
assert border["Body"].read() == b"1122"

# Parts copied from objects.
upload = begin("copied")
parts = []
for number, span in ((1, (0, 5 * MIB)), (2, (10 * MIB, 10 * MIB + 3))):
    answer = s3.upload_part_copy(
        Bucket=name,
        Key="copied",
        UploadId=upload,
        PartNumber=number,
        CopySource={"Bucket": name, "Key": "k"},
        CopySourceRange=f"bytes={span[0]}-{span[1] - 1}",
    )
    parts.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
s3.delete_object(Bucket=name, Key="k")
complete("copied", upload, parts)
assert s3.get_object(Bucket=name, Key="copied")["Body"].read() == b"1" * 5 * MIB + b"end"

upload = begin("aborted")
part("aborted", upload, 1, b"x")
s3.abort_multipart_upload(Bucket=name, Key="aborted", UploadId=upload)
refused("NoSuchUpload", 404, s3.list_parts, Bucket=name, Key="aborted", UploadId=upload)
refused("NoSuchUpload", 404, s3.list_parts, Bucket=name, Key="aborted", UploadId="made-up")
assert "Uploads" not in s3.list_multipart_uploads(Bucket=name)
assert keys(s3, name) == ["copied"]
