"""Tags of volumes and instances."""

from common import INSTANCES, client, refused, volume

ec2 = client()
one, two = volume(ec2), volume(ec2)


def tags(*filters):
    filters = [{"Name": name, "Values": values} for name, values in filters]
    found = ec2.describe_tags(Filters=filters)["Tags"]
    return [(tag["ResourceId"], tag["Key"], tag["Value"]) for tag in found]


ec2.create_tags(Resources=[one, two, INSTANCES[0]], Tags=[{"Key": "env", "Value": "test"}, {"Key": "x"}])
assert tags(("key", ["env"])) == sorted((id, "env", "test") for id in [one, two, INSTANCES[0]])
assert tags(("resource-type", ["volume"]), ("key", ["x"])) == sorted((id, "x", "") for id in [one, two])
assert tags(("tag:env", ["t*"]), ("resource-id", [one])) == [(one, "env", "test")]
ec2.create_tags(Resources=[one], Tags=[{"Key": "env", "Value": "prod"}])
assert tags(("value", ["prod"])) == [(one, "env", "prod")]
assert ec2.describe_volumes(VolumeIds=[one])["Volumes"][0]["Tags"] == [
    {"Key": "env", "Value": "prod"},
    {"Key": "x", "Value": ""},
]

ec2.delete_tags(Resources=[one, two], Tags=[{"Key": "env", "Value": "test"}, {"Key": "x"}])
assert tags(("resource-type", ["volume"])) == [(one, "env", "prod")]
ec2.delete_tags(Resources=[one])
assert tags(("resource-type", ["volume"])) == []
assert "Tags" not in ec2.describe_volumes(VolumeIds=[one])["Volumes"][0]

many = [{"Key": f"k{number:02}", "Value": ""} for number in range(50)]
ec2.create_tags(Resources=[one], Tags=many)
with refused("TagLimitExceeded"):
    ec2.create_tags(Resources=[two, one], Tags=[{"Key": "more", "Value": ""}])
assert tags(("key", ["more"])) == [], "to all of them or to none"
pages = list(ec2.get_paginator("describe_tags").paginate(PaginationConfig={"PageSize": 7}))
assert all(len(page["Tags"]) <= 7 for page in pages) and len(pages) > 7
paged = [(tag["ResourceId"], tag["Key"], tag["Value"]) for page in pages for tag in page["Tags"]]
assert paged == tags() and len(paged) == 50 + 2 + 2, paged

for bad in [
    [{"Key": "aws:x", "Value": "y"}],
    [{"Key": "", "Value": "y"}],
    [{"Key": "k" * 128, "Value": "y"}],
    [{"Key": "k", "Value": "v" * 256}],
    [{"Key": "k", "Value": "1"}, {"Key": "k", "Value": "2"}],
]:
    with refused("InvalidParameterValue"):
        ec2.create_tags(Resources=[two], Tags=bad)
    with refused("InvalidParameterValue"):
        volume(ec2, TagSpecifications=[{"ResourceType": "volume", "Tags": bad}])
with refused("InvalidParameterValue"):
    volume(ec2, TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "b"}]}])
with refused("InvalidID"):
    ec2.create_tags(Resources=["thing-1"], Tags=[{"Key": "a", "Value": "b"}])
with refused("InvalidVolume.NotFound"):
    ec2.create_tags(Resources=[two, "vol-12345678"], Tags=[{"Key": "a", "Value": "b"}])
with refused("MissingParameter"):
    ec2.create_tags(Resources=[two], Tags=[])
