"""The codes that clients branch on, of volumes that are really there, attached and not."""

from common import INSTANCES, QUICK, attach, available, client, other_client, refused

ec2, other = client(), other_client()
one, two = INSTANCES
free, used, foreign = available(ec2), available(ec2), available(other)
attach(ec2, used, one)

calls = {
    "delete": lambda id: ec2.delete_volume(VolumeId=id),
    "describe": lambda id: ec2.describe_volumes(VolumeIds=[free, id]),
    "modify": lambda id: ec2.modify_volume(VolumeId=id, Size=2),
    "attach": lambda id: ec2.attach_volume(VolumeId=id, InstanceId=one, Device="/dev/sdh"),
    "detach": lambda id: ec2.detach_volume(VolumeId=id),
    "status": lambda id: ec2.describe_volume_status(VolumeIds=[id]),
    "attribute": lambda id: ec2.describe_volume_attribute(VolumeId=id, Attribute="autoEnableIO"),
    "tags": lambda id: ec2.create_tags(Resources=[free, id], Tags=[{"Key": "a", "Value": "b"}]),
}
for name, call in calls.items():
    # Unknown, and known but another's: nobody can tell these apart.
    for id in ["vol-0123456789abcdef0", foreign]:
        with refused("InvalidVolume.NotFound"):
            call(id)
    if name != "tags":
        for id in ["vol-xyz", "volume"]:
            with refused("InvalidVolumeID.Malformed"):
                call(id)

# Instances: unknown, malformed, another's.
with refused("InvalidInstanceID.NotFound"):
    ec2.attach_volume(VolumeId=free, InstanceId="i-0123456789abcdef0", Device="/dev/sdh")
with refused("InvalidInstanceID.Malformed"):
    ec2.attach_volume(VolumeId=free, InstanceId="machine", Device="/dev/sdh")
with refused("InvalidInstanceID.NotFound"):
    other.attach_volume(VolumeId=foreign, InstanceId=one, Device="/dev/sdh")
assert other.describe_instances()["Reservations"] == []

# Wrong states.
with refused("VolumeInUse"):
    ec2.attach_volume(VolumeId=used, InstanceId=two, Device="/dev/sdh")
with refused("VolumeInUse"):
    ec2.delete_volume(VolumeId=used)
with refused("IncorrectState"):
    ec2.detach_volume(VolumeId=free)
with refused("InvalidAttachment.NotFound"):
    ec2.detach_volume(VolumeId=used, InstanceId=two)
with refused("InvalidParameterValue"):
    ec2.attach_volume(VolumeId=free, InstanceId=one, Device="/dev/sdf")
with refused("DryRunOperation"):
    ec2.delete_volume(VolumeId=free, DryRun=True)
with refused("InvalidVolumeModification.NotFound"):
    ec2.describe_volumes_modifications(VolumeIds=[free])
with refused("InvalidAttachment.NotFound"):
    ec2.detach_volume(VolumeId=used, InstanceId=one, Device="/dev/sdz")
with refused("InvalidInstanceID.NotFound"):
    ec2.describe_instances(InstanceIds=["i-0123456789abcdef0"])

# Settings that the type has not.
with refused("InvalidParameterValue"):
    ec2.modify_volume(VolumeId=free, VolumeType="gp3", Iops=1)
with refused("InvalidParameterValue"):
    ec2.modify_volume(VolumeId=free, Size=65537)
with refused("InvalidParameterCombination"):
    ec2.modify_volume(VolumeId=free, VolumeType="st1", Iops=3000)
with refused("InvalidParameterDependency"):
    ec2.modify_volume(VolumeId=free, VolumeType="gp2", Throughput=200)
with refused("MissingParameter"):
    ec2.modify_volume(VolumeId=free)
with refused("MissingParameter"):
    ec2.create_volume(AvailabilityZone="us-east-1a", Size=1, VolumeType="io2")
with refused("MissingParameter"):
    ec2.create_tags(Resources=[], Tags=[{"Key": "a", "Value": "b"}])
with refused("InvalidID"):
    ec2.create_tags(Resources=["volume"], Tags=[{"Key": "a", "Value": "b"}])

# Listings.
with refused("InvalidParameterCombination"):
    ec2.describe_volumes(VolumeIds=[free], MaxResults=5)
with refused("InvalidNextToken"):
    ec2.describe_volumes(NextToken="nonsense")
with refused("InvalidParameterValue"):
    ec2.describe_volumes(Filters=[{"Name": "colour", "Values": ["red"]}])

# What is not offered is refused in EC2's own way.
with refused("InvalidZone.NotFound"):
    ec2.create_volume(AvailabilityZone="us-east-1z", Size=1)
with refused("InvalidParameterValue"):
    ec2.create_volume(AvailabilityZone="us-east-1a", Size=65537)
with refused("UnsupportedOperation"):
    ec2.create_volume(AvailabilityZone="us-east-1a", Size=1, Encrypted=True)
with refused("UnsupportedOperation"):
    ec2.create_snapshot(VolumeId=free)
with refused("InvalidSnapshot.NotFound"):
    ec2.describe_snapshots(SnapshotIds=["snap-0123456789abcdef0"])
ec2.create_volume(AvailabilityZone="us-east-1a", Size=1, ClientToken="a")
with refused("IdempotentParameterMismatch"):
    ec2.create_volume(AvailabilityZone="us-east-1a", Size=2, ClientToken="a")

ec2.detach_volume(VolumeId=used)
ec2.get_waiter("volume_available").wait(VolumeIds=[used], WaiterConfig=QUICK)
# All of this has left the volumes as they were.
for volume in (free, used):
    (seen,) = ec2.describe_volumes(VolumeIds=[volume])["Volumes"]
    assert seen["State"] == "available" and seen["Attachments"] == [] and "Tags" not in seen, seen
