"""A volume's life on real servers, step by step with boto3's waiters."""

import time

from common import INSTANCES, QUICK, client, refused

ec2 = client()
made = ec2.create_volume(
    AvailabilityZone="us-east-1b",
    Size=3,
    VolumeType="gp3",
    TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": "Name", "Value": "life"}]}],
)
volume, (one, two) = made["VolumeId"], INSTANCES
assert made["State"] in ("creating", "available") and made["Size"] == 3, made
ec2.get_waiter("volume_available").wait(VolumeIds=[volume], WaiterConfig=QUICK)
(status,) = ec2.describe_volume_status(VolumeIds=[volume])["VolumeStatuses"]
assert status["VolumeStatus"]["Status"] == "ok", status
ec2.get_waiter("instance_running").wait(InstanceIds=INSTANCES, WaiterConfig=QUICK)


def attachment():
    (seen,) = ec2.describe_volumes(VolumeIds=[volume])["Volumes"]
    return seen["Attachments"]


def becomes(state):
    for _ in range(600):
        if [found["State"] for found in attachment()] == [state]:
            return
        time.sleep(0.1)
    raise AssertionError(f"{attachment()} is not {state}")


for instance in (one, two, one):
    attached = ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/sdf")
    assert attached["State"] in ("attaching", "attached"), attached
    ec2.get_waiter("volume_in_use").wait(VolumeIds=[volume], WaiterConfig=QUICK)
    becomes("attached")
    (found,) = attachment()
    assert found["InstanceId"] == instance and found["Device"] == "/dev/sdf", found
    (host,) = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"]
    assert [m["Ebs"]["VolumeId"] for m in host["BlockDeviceMappings"]] == [volume]
    with refused("VolumeInUse"):
        ec2.delete_volume(VolumeId=volume)
    detaching = ec2.detach_volume(VolumeId=volume)
    assert detaching["State"] in ("detaching", "detached"), detaching
    ec2.get_waiter("volume_available").wait(VolumeIds=[volume], WaiterConfig=QUICK)
    assert attachment() == []

# What can simply be granted is granted: IOPS at once, a larger size when every copy has it.
changed = ec2.modify_volume(VolumeId=volume, Iops=4000, Size=5)["VolumeModification"]
assert (changed["OriginalSize"], changed["TargetSize"]) == (3, 5), changed
for _ in range(600):
    (modification,) = ec2.describe_volumes_modifications(VolumeIds=[volume])["VolumesModifications"]
    if modification["ModificationState"] == "completed":
        break
    time.sleep(0.1)
assert modification["ModificationState"] == "completed" and modification["Progress"] == 100, modification
assert modification["EndTime"] >= modification["StartTime"], modification
(seen,) = ec2.describe_volumes(VolumeIds=[volume])["Volumes"]
assert (seen["Iops"], seen["Size"]) == (4000, 5), seen
with refused("UnsupportedOperation"):
    ec2.modify_volume(VolumeId=volume, Size=4)

ec2.delete_volume(VolumeId=volume)
ec2.get_waiter("volume_deleted").wait(VolumeIds=[volume], WaiterConfig=QUICK)
with refused("InvalidVolume.NotFound"):
    ec2.delete_volume(VolumeId=volume)
