"""What the boto3 scripts share: clients of two accounts, expected errors, quick waiters."""

import os
from contextlib import contextmanager

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

INSTANCES = os.environ["INSTANCES"].split()
CONFIG = Config(retries={"total_max_attempts": 1})
QUICK = {"Delay": 1, "MaxAttempts": 60}


def client():
    return boto3.client("ec2", config=CONFIG)


def other_client():
    return boto3.client(
        "ec2",
        aws_access_key_id=os.environ["OTHER_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ["OTHER_SECRET_ACCESS_KEY"],
        config=CONFIG,
    )


@contextmanager
def refused(code):
    """The block must end in this error."""
    try:
        yield
    except ClientError as error:
        found = error.response["Error"]
        assert found["Code"] == code, f"{found} instead of {code}"
    else:
        raise AssertionError(f"{code} was expected")


def available(ec2, size=1, **more):
    """A new volume, when it can be attached."""
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=size, **more)["VolumeId"]
    ec2.get_waiter("volume_available").wait(VolumeIds=[volume], WaiterConfig=QUICK)
    return volume


def attach(ec2, volume, instance, device="/dev/sdf"):
    ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device=device)
    ec2.get_waiter("volume_in_use").wait(VolumeIds=[volume], WaiterConfig=QUICK)
