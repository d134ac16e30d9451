"""Both versions of LIST, page by page, with every parameter."""

from common import bucket, client, keys, refused

s3 = client()
name = bucket(s3, "listing")
all_keys = sorted(
    [f"dir/{number:03}" for number in range(250)]
    + ["a", "b/c/d", "b/c/e", "b/f", "space and +", "ümläut", "z/", "z/z", "<&>\"'"]
    + [f"deep/{number % 7}/{number}" for number in range(50)],
    key=lambda key: key.encode(),
)
for key in reversed(all_keys):
    s3.put_object(Bucket=name, Key=key, Body=key.encode())

assert keys(s3, name) == all_keys
for size in (1, 7, 100, 1000):
    sized = {"PageSize": size}
    assert keys(s3, name, Prefix="dir/", PaginationConfig=sized) == [k for k in all_keys if k.startswith("dir/")]
assert keys(s3, name, StartAfter="dir/200") == [k for k in all_keys if k.encode() > b"dir/200"]
pages = s3.get_paginator("list_objects").paginate(Bucket=name, PaginationConfig={"PageSize": 13})
assert [entry["Key"] for page in pages for entry in page["Contents"]] == all_keys


def rolled_up(call, prefix, size):
    """Keys and common prefixes of one level, over as many pages as it takes."""
    found, prefixes = [], []
    pages = s3.get_paginator(call).paginate(
        Bucket=name, Prefix=prefix, Delimiter="/", PaginationConfig={"PageSize": size}
    )
    for page in pages:
        found += [entry["Key"] for entry in page.get("Contents", [])]
        prefixes += [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
    return found, prefixes


def expected(prefix):
    rest = [(key, key[len(prefix) :]) for key in all_keys if key.startswith(prefix)]
    found = [key for key, tail in rest if "/" not in tail]
    prefixes = sorted({prefix + tail.split("/")[0] + "/" for _, tail in rest if "/" in tail}, key=str.encode)
    return found, prefixes


for call in ("list_objects", "list_objects_v2"):
    for size in (1, 2, 5, 1000):
        for prefix in ("", "b/", "b/c", "deep/", "z/", "nothing"):
            assert rolled_up(call, prefix, size) == expected(prefix), (call, size, prefix)

page = s3.list_objects_v2(Bucket=name, MaxKeys=2, FetchOwner=True)
assert (page["KeyCount"], page["IsTruncated"], len(page["Contents"])) == (2, True, 2)
assert page["Contents"][0]["Owner"]["ID"]
assert page["Contents"][0]["Size"] == len(all_keys[0].encode())
assert s3.list_objects_v2(Bucket=name, MaxKeys=0)["KeyCount"] == 0
refused("InvalidArgument", 400, s3.list_objects_v2, Bucket=name, ContinuationToken="made up")

# A token stays good while keys before and after it come and go.
token = s3.list_objects_v2(Bucket=name, MaxKeys=100)["NextContinuationToken"]
s3.delete_object(Bucket=name, Key=all_keys[99])
s3.put_object(Bucket=name, Key="0", Body=b"")
assert s3.list_objects_v2(Bucket=name, ContinuationToken=token)["Contents"][0]["Key"] == all_keys[100]

# Versions, with markers.
versioned = bucket(s3, "listing-versions")
s3.put_bucket_versioning(Bucket=versioned, VersioningConfiguration={"Status": "Enabled"})
written = []
for key in ("a", "b", "c"):
    for _ in range(5):
        written.append((key, s3.put_object(Bucket=versioned, Key=key, Body=b"")["VersionId"]))
s3.delete_object(Bucket=versioned, Key="b")
for size in (1, 3, 1000):
    pages = s3.get_paginator("list_object_versions").paginate(
        Bucket=versioned, PaginationConfig={"PageSize": size}
    )
    found, markers = [], 0
    for page in pages:
        found += [(entry["Key"], entry["VersionId"]) for entry in page.get("Versions", [])]
        markers += len(page.get("DeleteMarkers", []))
    newest_first = [entry for key in "abc" for entry in reversed(written) if entry[0] == key]
    assert (found, markers) == (newest_first, 1), size
