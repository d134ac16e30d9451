"""What every script needs: a client, an expected error, a bucket."""

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

S3_CONFIG = Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"})


def client(**extra):
    """A client that takes endpoint and credentials from the environment."""
    return boto3.client("s3", config=S3_CONFIG.merge(Config(**extra)))


def bucket(s3, name):
    s3.create_bucket(Bucket=name)
    return name


def refused(code, status, call, **arguments):
    """The call must fail with this code and this status."""
    try:
        call(**arguments)
    except ClientError as error:
        got = (error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"])
        assert got == (code, status), f"{got} instead of {(code, status)}"
        return error.response
    raise AssertionError(f"{call.__name__} succeeded; {code} was expected")


def keys(s3, name, **arguments):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=name, **arguments)
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]
