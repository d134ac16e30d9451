"""Metadata, tags, copies, ranges, and deleting many at once."""

from common import bucket, client, keys, refused

s3 = client()
name = bucket(s3, "attributes")

s3.put_object(
    Bucket=name,
    Key="k",
    Body=b"0123456789",
    ContentType="text/x-test",
    CacheControl="no-store",
    ContentDisposition="inline",
    ContentLanguage="de",
    Metadata={"colour": "green", "unusual-name": "v v"},
    Tagging="a=1&b=two%20words",
)
head = s3.head_object(Bucket=name, Key="k")
assert head["Metadata"] == {"colour": "green", "unusual-name": "v v"}, head
assert (head["ContentType"], head["CacheControl"]) == ("text/x-test", "no-store")
assert (head["ContentDisposition"], head["ContentLanguage"]) == ("inline", "de")


def tags(key):
    return {tag["Key"]: tag["Value"] for tag in s3.get_object_tagging(Bucket=name, Key=key)["TagSet"]}


assert tags("k") == {"a": "1", "b": "two words"}
s3.put_object_tagging(Bucket=name, Key="k", Tagging={"TagSet": [{"Key": "c", "Value": ""}]})
assert tags("k") == {"c": ""}
many = [{"Key": str(number), "Value": "x"} for number in range(11)]
refused("InvalidTag", 400, s3.put_object_tagging, Bucket=name, Key="k", Tagging={"TagSet": many})
long = [{"Key": "x" * 129, "Value": "x"}]
refused("InvalidTag", 400, s3.put_object_tagging, Bucket=name, Key="k", Tagging={"TagSet": long})
assert tags("k") == {"c": ""}

for wanted, content, told in (
    ("bytes=2-4", b"234", "bytes 2-4/10"),
    ("bytes=7-", b"789", "bytes 7-9/10"),
    ("bytes=-2", b"89", "bytes 8-9/10"),
    ("bytes=5-100", b"56789", "bytes 5-9/10"),
):
    got = s3.get_object(Bucket=name, Key="k", Range=wanted)
    assert (got["Body"].read(), got["ContentRange"]) == (content, told)
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
refused("InvalidRange", 416, s3.get_object, Bucket=name, Key="k", Range="bytes=10-")

source = {"Bucket": name, "Key": "k"}
s3.copy_object(Bucket=name, Key="same", CopySource=source)
assert s3.head_object(Bucket=name, Key="same")["Metadata"]["colour"] == "green"
assert tags("same") == {"c": ""}
s3.copy_object(
    Bucket=name, Key="other", CopySource=source, MetadataDirective="REPLACE", Metadata={"colour": "red"}
)
assert s3.head_object(Bucket=name, Key="other")["Metadata"] == {"colour": "red"}
refused("InvalidRequest", 400, s3.copy_object, Bucket=name, Key="k", CopySource=source)
s3.delete_object(Bucket=name, Key="k")
assert s3.get_object(Bucket=name, Key="same")["Body"].read() == b"0123456789", "a copy outlives its source"

s3.delete_object_tagging(Bucket=name, Key="same")
assert tags("same") == {}

for number in range(30):
    s3.put_object(Bucket=name, Key=f"many/{number}", Body=b"")
answer = s3.delete_objects(
    Bucket=name, Delete={"Objects": [{"Key": f"many/{number}"} for number in range(31)]}
)
assert len(answer["Deleted"]) == 31 and "Errors" not in answer, "deleting what is not there is no error"
assert keys(s3, name) == ["other", "same"]
refused("NoSuchKey", 404, s3.get_object, Bucket=name, Key="k")
refused("BucketNotEmpty", 409, s3.delete_bucket, Bucket=name)
refused("NoSuchBucket", 404, s3.list_objects_v2, Bucket="unheard-of")
