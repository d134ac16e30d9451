"""Snapshots built and read block by block by boto3, as two accounts; EC2's calls about them."""

import base64
import concurrent.futures
import datetime
import hashlib
import os
import random
import urllib.error
import urllib.request

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import ClientError

BLOCK = 524288
# The server is asked what botocore would not send.
CONFIG = Config(retries={"total_max_attempts": 1}, max_pool_connections=16, parameter_validation=False)
QUICK = {"Delay": 1, "MaxAttempts": 120}


def clients(**keys):
    return boto3.client("ec2", config=CONFIG, **keys), boto3.client("ebs", config=CONFIG, **keys)


ec2, ebs = clients()
other = {
    "aws_access_key_id": os.environ["OTHER_ACCESS_KEY_ID"],
    "aws_secret_access_key": os.environ["OTHER_SECRET_ACCESS_KEY"],
}
other_ec2, other_ebs = clients(**other)
other_account = boto3.client("sts", config=CONFIG, **other).get_caller_identity()["Account"]


def refused(code, call, reason=None, **arguments):
    """The call must end in this error."""
    try:
        call(**arguments)
    except ClientError as error:
        found = error.response["Error"]["Code"]
        assert found == code, f"{error.response} instead of {code}"
        assert reason is None or error.response.get("Reason") == reason, error.response
    else:
        raise AssertionError(f"{code} was expected")


def sha256(data):
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def block(seed):
    return random.Random(seed).randbytes(BLOCK)


def put(client, snapshot, index, data, checksum=None):
    return client.put_snapshot_block(
        SnapshotId=snapshot,
        BlockIndex=index,
        BlockData=data,
        DataLength=BLOCK,
        Checksum=checksum or sha256(data),
        ChecksumAlgorithm="SHA256",
    )


def build(client, blocks, parent=None, size=1, **more):
    """A completed snapshot of these blocks, written in any order by eight threads."""
    if parent:
        more["ParentSnapshotId"] = parent
    snapshot = client.start_snapshot(VolumeSize=size, **more)["SnapshotId"]
    order = list(blocks)
    random.Random(snapshot).shuffle(order)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda index: put(client, snapshot, index, blocks[index]), order))
    digests = b"".join(hashlib.sha256(blocks[index]).digest() for index in sorted(blocks))
    client.complete_snapshot(
        SnapshotId=snapshot,
        ChangedBlocksCount=len(blocks),
        Checksum=sha256(digests),
        ChecksumAlgorithm="SHA256",
        ChecksumAggregationMethod="LINEAR",
    )
    return snapshot


def completed(client, snapshot):
    client.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot], WaiterConfig=QUICK)
    return snapshot


def listed(client, snapshot):
    """Index to token of every block, over pages."""
    pages = pages_of(client, snapshot)
    return {entry["BlockIndex"]: entry["BlockToken"] for page in pages for entry in page["Blocks"]}


def pages_of(client, snapshot):
    more = {}
    while True:
        page = client.list_snapshot_blocks(SnapshotId=snapshot, MaxResults=100, **more)
        assert len(page["Blocks"]) <= 100 and page["BlockSize"] == BLOCK
        yield page
        if not page.get("NextToken"):
            return
        more = {"NextToken": page["NextToken"]}


def read(client, snapshot, index, token):
    answer = client.get_snapshot_block(SnapshotId=snapshot, BlockIndex=index, BlockToken=token)
    data = answer["BlockData"].read()
    assert answer["DataLength"] == len(data) == BLOCK
    assert answer["ChecksumAlgorithm"] == "SHA256" and answer["Checksum"] == sha256(data)
    return data


def image(client, snapshot):
    return {index: read(client, snapshot, index, token) for index, token in listed(client, snapshot).items()}


# Built, and read back bit by bit.
blocks = {index: block(index) for index in [*range(0, 16, 2), 1023, 1024, 2047]}
started = ebs.start_snapshot(VolumeSize=3, Description="first", Tags=[{"Key": "Name", "Value": "one"}])
assert started["Status"] == "pending" and started["BlockSize"] == BLOCK and started["VolumeSize"] == 3
assert started["Tags"] == [{"Key": "Name", "Value": "one"}]
age = datetime.datetime.now(datetime.timezone.utc) - started["StartTime"]
assert abs(age.total_seconds()) < 60
ec2.delete_snapshot(SnapshotId=started["SnapshotId"])
one = completed(ec2, build(ebs, blocks, Description="first", Tags=[{"Key": "Name", "Value": "one"}]))
assert image(ebs, one) == blocks

# An increment: some other blocks, one of zeros, one new, one as it was.
changes = {0: block("other"), 2: bytes(BLOCK), 3: block("new"), 4: blocks[4]}
two = completed(ec2, build(ebs, changes, parent=one))
expected = {**blocks, **changes}
del expected[2]
assert image(ebs, two) == expected
changed = ebs.list_changed_blocks(FirstSnapshotId=one, SecondSnapshotId=two)
kinds = {b["BlockIndex"]: ("FirstBlockToken" in b, "SecondBlockToken" in b) for b in changed["ChangedBlocks"]}
assert kinds == {0: (True, True), 2: (True, False), 3: (False, True)}, kinds
first = changed["ChangedBlocks"][0]
assert read(ebs, one, 0, first["FirstBlockToken"]) == blocks[0]
assert read(ebs, two, 0, first["SecondBlockToken"]) == changes[0]
tail = ebs.list_changed_blocks(FirstSnapshotId=one, SecondSnapshotId=two, StartingBlockIndex=3)
assert [b["BlockIndex"] for b in tail["ChangedBlocks"]] == [3]

# Wrong tokens, indices, identifiers, pages.
tokens = listed(ebs, one)
get = ebs.get_snapshot_block
refused("ValidationException", get, "INVALID_BLOCK_TOKEN", SnapshotId=one, BlockIndex=4, BlockToken=tokens[2])
refused("ValidationException", get, "INVALID_BLOCK_TOKEN", SnapshotId=two, BlockIndex=4, BlockToken=tokens[4])
refused("ValidationException", get, "INVALID_BLOCK_TOKEN", SnapshotId=one, BlockIndex=4, BlockToken="AAAA")
list_blocks = ebs.list_snapshot_blocks
refused("ValidationException", list_blocks, "INVALID_PAGE_TOKEN", SnapshotId=one, NextToken=tokens[4])
refused("ValidationException", list_blocks, "INVALID_PARAMETER_VALUE", SnapshotId=one, MaxResults=99)
refused("ValidationException", list_blocks, "INVALID_SNAPSHOT_ID", SnapshotId="snap-XYZ")
nobody = "snap-00000000000000001"
refused("ResourceNotFoundException", list_blocks, "SNAPSHOT_NOT_FOUND", SnapshotId=nobody)
refused("ValidationException", ebs.list_changed_blocks, SecondSnapshotId=one)

# Wrong checksums and lengths; nothing of them is kept.
three = ebs.start_snapshot(VolumeSize=1, ClientToken="t")["SnapshotId"]
assert ebs.start_snapshot(VolumeSize=1, ClientToken="t")["SnapshotId"] == three
refused("ConflictException", ebs.start_snapshot, VolumeSize=2, ClientToken="t")
wrong = {"client": ebs, "snapshot": three, "index": 0, "data": block(0)}
refused("ValidationException", put, "INVALID_BLOCK", checksum=sha256(b"x"), **wrong)
refused("ValidationException", put, "INVALID_PARAMETER_VALUE", checksum="AAAA", **wrong)
refused("ValidationException", put, "INVALID_BLOCK", **{**wrong, "data": b"short"})
refused("ValidationException", put, "INVALID_BLOCK", **{**wrong, "index": 2048})
refused("ValidationException", list_blocks, "INVALID_SNAPSHOT_ID", SnapshotId=three)
put(ebs, three, 0, block(0))
complete = ebs.complete_snapshot
refused("ValidationException", complete, SnapshotId=three, ChangedBlocksCount=2)
refused(
    "ValidationException",
    complete,
    SnapshotId=three,
    ChangedBlocksCount=1,
    Checksum=sha256(b"x"),
    ChecksumAlgorithm="SHA256",
    ChecksumAggregationMethod="LINEAR",
)
complete(SnapshotId=three, ChangedBlocksCount=1)
completed(ec2, three)
refused("ValidationException", put, "INVALID_SNAPSHOT_ID", client=ebs, snapshot=three, index=1, data=block(1))
unrelated = {"FirstSnapshotId": one, "SecondSnapshotId": three}
refused("ValidationException", ebs.list_changed_blocks, "UNRELATED_SNAPSHOTS", **unrelated)
refused("ValidationException", ebs.start_snapshot, "INVALID_VOLUME_SIZE", VolumeSize=65537)
refused("ValidationException", ebs.start_snapshot, VolumeSize=1, Encrypted=True)

# Another account: it is not there, until it is shared.
refused("ResourceNotFoundException", other_ebs.list_snapshot_blocks, "SNAPSHOT_NOT_FOUND", SnapshotId=one)
foreign = {"SnapshotId": one, "BlockIndex": 4, "BlockToken": tokens[4]}
refused("ResourceNotFoundException", other_ebs.get_snapshot_block, **foreign)
pending = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
refused("ResourceNotFoundException", put, client=other_ebs, snapshot=pending, index=0, data=block(0))
refused("ResourceNotFoundException", other_ebs.complete_snapshot, SnapshotId=pending, ChangedBlocksCount=0)
refused("ResourceNotFoundException", other_ebs.start_snapshot, VolumeSize=1, ParentSnapshotId=one)
for call in (other_ec2.delete_snapshot, other_ec2.unlock_snapshot):
    refused("InvalidSnapshot.NotFound", call, SnapshotId=one)
refused("InvalidSnapshot.NotFound", other_ec2.describe_snapshots, SnapshotIds=[one])
bad = clients(aws_access_key_id="AKIAIOSFODNN7EXAMPLE", aws_secret_access_key="x")[1]
refused("UnrecognizedClientException", bad.list_snapshot_blocks, SnapshotId=one)
mine = clients(aws_access_key_id=other["aws_access_key_id"], aws_secret_access_key="x")[1]
refused("InvalidSignatureException", mine.list_snapshot_blocks, SnapshotId=one)
attribute = {"SnapshotId": one, "Attribute": "createVolumePermission"}
ec2.modify_snapshot_attribute(**attribute, OperationType="add", UserIds=[other_account])
shown = ec2.describe_snapshot_attribute(**attribute)["CreateVolumePermissions"]
assert shown == [{"UserId": other_account}], shown
assert image(other_ebs, one) == blocks
seen = other_ec2.describe_snapshots(RestorableByUserIds=["self"])["Snapshots"]
assert [s["SnapshotId"] for s in seen] == [one] and "Tags" not in seen[0]
assert other_ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
copy = other_ec2.copy_snapshot(SourceSnapshotId=one, SourceRegion="us-east-1", Description="mine")
copy = completed(other_ec2, copy["SnapshotId"])
ec2.reset_snapshot_attribute(**attribute)
refused("InvalidSnapshot.NotFound", other_ec2.describe_snapshots, SnapshotIds=[one])
assert image(other_ebs, copy) == blocks

# EC2: filters, tags, pages, locks, tiers, what is not offered.
found = ec2.describe_snapshots(OwnerIds=["self"], Filters=[{"Name": "tag:Name", "Values": ["one"]}])["Snapshots"]
assert [s["SnapshotId"] for s in found] == [one]
assert (found[0]["State"], found[0]["Progress"], found[0]["VolumeSize"]) == ("completed", "100%", 1)
assert found[0]["FullSnapshotSizeInBytes"] == len(blocks) * BLOCK
ec2.create_tags(Resources=[one, two], Tags=[{"Key": "Team", "Value": "db"}])
tagged = {t["ResourceId"] for t in ec2.describe_tags(Filters=[{"Name": "key", "Values": ["Team"]}])["Tags"]}
assert tagged == {one, two}
ec2.delete_tags(Resources=[two], Tags=[{"Key": "Team"}])
found = ec2.describe_snapshots(Filters=[{"Name": "tag-key", "Values": ["Team"]}])["Snapshots"]
assert [s["SnapshotId"] for s in found] == [one]
pages = ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"], PaginationConfig={"PageSize": 5})
ids = [s["SnapshotId"] for page in pages for s in page["Snapshots"]]
assert sorted(ids) == sorted([one, two, three, pending]), ids
locked = ec2.lock_snapshot(SnapshotId=one, LockMode="governance", LockDuration=1)
assert locked["LockState"] == "governance" and locked["LockDuration"] == 1
refused("OperationNotPermitted", ec2.delete_snapshot, SnapshotId=one)
assert [s["SnapshotId"] for s in ec2.describe_locked_snapshots()["Snapshots"]] == [one]
ec2.unlock_snapshot(SnapshotId=one)
assert ec2.describe_locked_snapshots()["Snapshots"] == []
tiers = ec2.describe_snapshot_tier_status()["SnapshotTierStatuses"]
assert {t["StorageTier"] for t in tiers} == {"standard"}
refused("UnsupportedOperation", ec2.modify_snapshot_tier, SnapshotId=one, StorageTier="archive")
refused("IncorrectState", ec2.restore_snapshot_tier, SnapshotId=one, PermanentRestore=True)
refused("InvalidSnapshot.NotFound", ec2.restore_snapshot_from_recycle_bin, SnapshotId=one)
refused("InvalidSnapshotID.Malformed", ec2.delete_snapshot, SnapshotId="snap-x")
refused("DryRunOperation", ec2.delete_snapshot, SnapshotId=one, DryRun=True)

# Deleting any of a chain leaves the others.
ec2.delete_snapshot(SnapshotId=one)
refused("InvalidSnapshot.NotFound", ec2.delete_snapshot, SnapshotId=one)
refused("ResourceNotFoundException", list_blocks, SnapshotId=one)
assert image(ebs, two) == expected
assert image(other_ebs, copy) == blocks

# What it all lies in cannot be seen or touched.
s3 = boto3.client("s3", config=CONFIG)
assert s3.list_buckets()["Buckets"] == []
hidden = "_terrane-snapshots"
for path in (hidden, f"{hidden}/accounts"):
    request = AWSRequest("GET", f"{os.environ['AWS_ENDPOINT_URL']}/{path}")
    S3SigV4Auth(boto3.Session().get_credentials(), "s3", "us-east-1").add_auth(request)
    prepared = request.prepare()
    try:
        urllib.request.urlopen(urllib.request.Request(prepared.url, headers=dict(prepared.headers)))
    except urllib.error.HTTPError as error:
        assert error.code in (400, 403, 404), error.code
    else:
        raise AssertionError(f"{path} was answered")
print("snapshots block by block")
