"""Paginators and filters over volumes that are really there."""

from common import QUICK, client, other_client

ec2, other = client(), other_client()
ids = set()
for number in range(12):
    tags = [{"Key": "number", "Value": str(number)}]
    made = ec2.create_volume(
        AvailabilityZone="us-east-1a" if number % 2 else "us-east-1b",
        Size=1 + number,
        TagSpecifications=[{"ResourceType": "volume", "Tags": tags}],
        ClientToken=f"token {number}",
    )
    ids.add(made["VolumeId"])
ec2.get_waiter("volume_available").wait(VolumeIds=sorted(ids), WaiterConfig=QUICK)
# The same once more is the same volume.
again = ec2.create_volume(
    AvailabilityZone="us-east-1b",
    Size=1,
    TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": "number", "Value": "0"}]}],
    ClientToken="token 0",
)
assert again["VolumeId"] in ids

pages = list(ec2.get_paginator("describe_volumes").paginate(PaginationConfig={"PageSize": 5}))
assert [len(page["Volumes"]) for page in pages] == [5, 5, 2]
assert {volume["VolumeId"] for page in pages for volume in page["Volumes"]} == ids
pages = list(ec2.get_paginator("describe_volume_status").paginate(PaginationConfig={"PageSize": 7}))
assert sum(len(page["VolumeStatuses"]) for page in pages) == 12
filters = [{"Name": "tag:number", "Values": ["1?"]}, {"Name": "status", "Values": ["available"]}]
found = ec2.describe_volumes(Filters=filters)["Volumes"]
assert sorted(volume["Size"] for volume in found) == [11, 12], found
pages = list(ec2.get_paginator("describe_tags").paginate(PaginationConfig={"PageSize": 5}))
assert sum(len(page["Tags"]) for page in pages) == 12 and len(pages) == 3

assert other.describe_volumes()["Volumes"] == []
for volume in ids:
    ec2.delete_volume(VolumeId=volume)
ec2.get_waiter("volume_deleted").wait(VolumeIds=sorted(ids), WaiterConfig=QUICK)
