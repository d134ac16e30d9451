"""Filters, pages, paginators; and nobody sees what is another's."""

from common import INSTANCES, client, other_client, refused, volume

ec2, other = client(), other_client()
ids = []
for number in range(13):
    tags = [{"Key": "n", "Value": str(number)}, {"Key": "odd" if number % 2 else "even", "Value": ""}]
    zone = "us-east-1b" if number % 3 == 0 else "us-east-1a"
    specification = [{"ResourceType": "volume", "Tags": tags}]
    ids.append(volume(ec2, 1 + number, zone, VolumeType="st1", TagSpecifications=specification))
ec2.attach_volume(VolumeId=ids[0], InstanceId=INSTANCES[0], Device="/dev/sdf")


def found(*filters, **more):
    filters = [{"Name": name, "Values": values} for name, values in filters]
    return {v["VolumeId"] for v in ec2.describe_volumes(Filters=filters, **more)["Volumes"]}


assert found() == set(ids)
assert found(("availability-zone", ["us-east-1b"])) == set(ids[::3])
assert found(("availability-zone", ["*a"]), ("tag-key", ["odd"])) == set(ids[1::2]) - set(ids[::3])
assert found(("tag:n", ["1?"])) == set(ids[10:])
assert found(("size", ["1", "2"])) == set(ids[:2])
assert found(("status", ["in-use"])) == {ids[0]}
assert found(("attachment.instance-id", [INSTANCES[0]]), ("attachment.device", ["/dev/sd?"])) == {ids[0]}
assert found(("volume-type", ["gp3"])) == set()
assert found(("size", ["1"]), VolumeIds=ids[:3]) == {ids[0]}
with refused("InvalidParameterValue", "The filter 'colour' is invalid"):
    found(("colour", ["red"]))

pages = list(ec2.get_paginator("describe_volumes").paginate(PaginationConfig={"PageSize": 5}))
assert [len(page["Volumes"]) for page in pages] == [5, 5, 3]
assert {v["VolumeId"] for page in pages for v in page["Volumes"]} == set(ids)
filtered = ec2.get_paginator("describe_volumes").paginate(
    Filters=[{"Name": "tag-key", "Values": ["even"]}], PaginationConfig={"PageSize": 5}
)
assert [len(page["Volumes"]) for page in filtered] == [5, 2]
with refused("InvalidParameterValue"):
    ec2.describe_volumes(MaxResults=1)
with refused("InvalidParameterCombination"):
    ec2.describe_volumes(MaxResults=5, VolumeIds=ids)
with refused("InvalidNextToken"):
    ec2.describe_volumes(NextToken="nonsense")
status = ec2.get_paginator("describe_volume_status").paginate(PaginationConfig={"PageSize": 6})
assert sum(len(page["VolumeStatuses"]) for page in status) == 13

# The other account has none of these, and cannot tell that they are there.
assert other.describe_volumes()["Volumes"] == []
for call in [
    lambda: other.describe_volumes(VolumeIds=ids[:1]),
    lambda: other.delete_volume(VolumeId=ids[1]),
    lambda: other.modify_volume(VolumeId=ids[1], Size=100),
    lambda: other.create_tags(Resources=ids[:1], Tags=[{"Key": "a", "Value": "b"}]),
    lambda: other.attach_volume(VolumeId=ids[1], InstanceId=INSTANCES[2], Device="/dev/sdf"),
    lambda: other.create_snapshot(VolumeId=ids[1]),
]:
    with refused("InvalidVolume.NotFound"):
        call()
mine = volume(other)
with refused("InvalidInstanceID.NotFound"):
    other.attach_volume(VolumeId=mine, InstanceId=INSTANCES[0], Device="/dev/sdf")
assert [r["Instances"][0]["InstanceId"] for r in other.describe_instances()["Reservations"]] == [INSTANCES[2]]
