"""Codes that clients branch on."""

from common import INSTANCES, client, refused, volume

ec2, careless = client(), client(checked=False)
one, instance = volume(ec2), INSTANCES[0]


def create(**parameters):
    return careless.create_volume(**{"AvailabilityZone": "us-east-1a", "Size": 10, **parameters})


for code, parameters in [
    ("InvalidParameterValue", {"Size": 0}),
    ("InvalidParameterValue", {"Size": -1}),
    ("InvalidParameterValue", {"Size": 65537}),
    ("InvalidParameterValue", {"Size": "ten"}),
    ("InvalidParameterValue", {"VolumeType": "gp9"}),
    ("UnknownVolumeType", {"VolumeType": "standard"}),
    ("InvalidParameterCombination", {"VolumeType": "st1", "Iops": 3000}),
    ("InvalidParameterCombination", {"VolumeType": "gp2", "Iops": 3000}),
    ("InvalidParameterDependency", {"VolumeType": "io1", "Iops": 3000, "Throughput": 200}),
    ("InvalidParameterDependency", {"VolumeType": "gp3", "MultiAttachEnabled": True}),
    ("InvalidParameterDependency", {"KmsKeyId": "alias/x"}),
    ("InvalidParameterValue", {"TagSpecifications": [{"ResourceType": "volume"}]}),
    ("MissingParameter", {"VolumeType": "io2"}),
    ("InvalidParameterValue", {"VolumeType": "gp3", "Iops": 2999}),
    ("InvalidParameterValue", {"VolumeType": "gp3", "Throughput": 2001}),
    ("InvalidZone.NotFound", {"AvailabilityZone": "us-east-1z"}),
    ("InvalidParameterCombination", {"AvailabilityZoneId": "use1-az1"}),
    ("UnsupportedOperation", {"Encrypted": True}),
    ("UnsupportedOperation", {"OutpostArn": "arn:aws:outposts:x"}),
    ("InvalidSnapshot.NotFound", {"SnapshotId": "snap-12345678"}),
    ("InvalidSnapshotID.Malformed", {"SnapshotId": "12345678"}),
    ("InvalidParameterValue", {"ClientToken": "x" * 65}),
]:
    with refused(code):
        create(**parameters)
with refused("MissingParameter"):
    careless.create_volume(Size=1)
with refused("MissingParameter"):
    careless.create_volume(AvailabilityZone="us-east-1a")
with refused("InvalidParameterValue", "maximum is 256000"):
    create(VolumeType="io2", Iops=2147483647, DryRun=True)
for size in [1, 65536]:
    for kind in ["gp2", "gp3", "st1", "sc1"]:
        assert create(Size=size, VolumeType=kind)["Size"] == size
by_id = ec2.create_volume(AvailabilityZoneId="use1-az2", Size=1)
assert by_id["AvailabilityZone"] == "us-east-1b"

first = create(ClientToken="token")
assert create(ClientToken="token")["VolumeId"] == first["VolumeId"]
with refused("IdempotentParameterMismatch"):
    create(ClientToken="token", Size=11)
assert create(ClientToken="other")["VolumeId"] != first["VolumeId"]

for call in [
    lambda id: ec2.delete_volume(VolumeId=id),
    lambda id: ec2.describe_volumes(VolumeIds=[one, id]),
    lambda id: ec2.modify_volume(VolumeId=id, Size=2),
    lambda id: ec2.attach_volume(VolumeId=id, InstanceId=instance, Device="/dev/sdf"),
    lambda id: ec2.detach_volume(VolumeId=id),
    lambda id: ec2.describe_volume_status(VolumeIds=[id]),
    lambda id: ec2.describe_volume_attribute(VolumeId=id, Attribute="productCodes"),
]:
    with refused("InvalidVolume.NotFound"):
        call("vol-0123456789abcdef0")
    with refused("InvalidVolumeID.Malformed"):
        call("vol-xyz")

with refused("InvalidInstanceID.NotFound"):
    ec2.attach_volume(VolumeId=one, InstanceId="i-12345678", Device="/dev/sdf")
with refused("InvalidInstanceID.Malformed"):
    ec2.describe_instances(InstanceIds=["host-1"])
with refused("InvalidParameterValue"):
    ec2.attach_volume(VolumeId=one, InstanceId=instance, Device="C:")
ec2.attach_volume(VolumeId=one, InstanceId=instance, Device="/dev/sdf")
with refused("InvalidParameterValue", "/dev/sdf is already in use"):
    ec2.attach_volume(VolumeId=volume(ec2), InstanceId=instance, Device="/dev/sdf")
with refused("InvalidAttachment.NotFound"):
    ec2.detach_volume(VolumeId=one, InstanceId=INSTANCES[1])
with refused("InvalidAttachment.NotFound"):
    ec2.detach_volume(VolumeId=one, Device="/dev/sdz")
shared = create(VolumeType="io2", Iops=100, MultiAttachEnabled=True)["VolumeId"]
for host in INSTANCES[:2]:
    ec2.attach_volume(VolumeId=shared, InstanceId=host, Device="/dev/sdg")
with refused("InvalidParameterCombination"):
    ec2.detach_volume(VolumeId=shared)
ec2.detach_volume(VolumeId=shared, InstanceId=INSTANCES[1], Force=True)

with refused("UnsupportedOperation"):
    ec2.create_snapshot(VolumeId=one)
assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
with refused("InvalidSnapshot.NotFound"):
    ec2.describe_snapshots(SnapshotIds=["snap-12345678"])
with refused("UnsupportedOperation"):
    ec2.create_vpc(CidrBlock="10.0.0.0/16")
