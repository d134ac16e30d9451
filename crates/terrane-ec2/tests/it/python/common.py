"""What the scripts share: clients of two accounts, and expected errors."""

import os
from contextlib import contextmanager

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

INSTANCES = os.environ["INSTANCES"].split()
FAST = {"Delay": 0.05, "MaxAttempts": 20}


def client(checked=True):
    config = Config(retries={"total_max_attempts": 1}, parameter_validation=checked)
    return boto3.client("ec2", config=config)


def other_client():
    return boto3.client(
        "ec2",
        aws_access_key_id=os.environ["OTHER_ACCESS_KEY_ID"],
        aws_secret_access_key="any",
        config=Config(retries={"total_max_attempts": 1}),
    )


@contextmanager
def refused(code, contains=""):
    """The block must end in this error."""
    try:
        yield
    except ClientError as error:
        found = error.response["Error"]
        assert found["Code"] == code, f"{found} instead of {code}"
        assert contains in found["Message"], found
    else:
        raise AssertionError(f"{code} was expected")


def volume(ec2, size=1, zone="us-east-1a", **more):
    return ec2.create_volume(AvailabilityZone=zone, Size=size, **more)["VolumeId"]
