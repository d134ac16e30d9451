"""The asynchronous headers through a stock SDK, and what is no such header."""

from common import bucket, client, keys, refused

s3 = client()
name = bucket(s3, "asynchronous")
wanted = {}


def add_headers(request, **_):
    for header, value in wanted.items():
        request.headers[header] = value


s3.meta.events.register("before-sign.s3.*", add_headers)


def told(answer):
    return answer["ResponseMetadata"]["HTTPHeaders"].get("x-terrane-keymap")


for number, (headers, states) in enumerate(
    (
        ({"x-terrane-async": "false"}, {"applied"}),
        ({"x-terrane-async": "true"}, {"applied", "pending"}),
        ({"x-terrane-async": "async", "x-terrane-priority": "low"}, {"applied", "pending"}),
        ({"x-terrane-priority": "high"}, {"applied", "pending"}),
        ({"x-terrane-async": "time=30m"}, {"pending"}),
        ({"x-terrane-async": "time=2d"}, {"pending"}),
    )
):
    wanted = headers
    answer = s3.put_object(Bucket=name, Key=f"k{number}", Body=str(number).encode())
    assert told(answer) in states, (headers, told(answer))
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-terrane-operation"]
    wanted = {}
    assert s3.get_object(Bucket=name, Key=f"k{number}")["Body"].read() == str(number).encode()
    assert keys(s3, name) == [f"k{n}" for n in range(number + 1)]

# Overwriting and deleting what is still pending.
wanted = {"x-terrane-async": "time=1h"}
s3.put_object(Bucket=name, Key="k4", Body=b"later")
assert s3.get_object(Bucket=name, Key="k4")["Body"].read() == b"later"
assert told(s3.delete_object(Bucket=name, Key="k5")) == "pending"
assert keys(s3, name) == ["k0", "k1", "k2", "k3", "k4"]

for headers in (
    {"x-terrane-async": "maybe"},
    {"x-terrane-async": ""},
    {"x-terrane-async": "time="},
    {"x-terrane-async": "time=0s"},
    {"x-terrane-async": "time=-1h"},
    {"x-terrane-async": "time=5w"},
    {"x-terrane-async": "time=1y"},
    {"x-terrane-async": "time=1.5h"},
    {"x-terrane-async": "time=99999999999999999999s"},
    {"x-terrane-async": "true", "x-terrane-priority": "urgent"},
):
    wanted = headers
    refused("InvalidArgument", 400, s3.put_object, Bucket=name, Key="bad", Body=b"x")
    refused("InvalidArgument", 400, s3.delete_object, Bucket=name, Key="k0")
wanted = {}
assert keys(s3, name) == ["k0", "k1", "k2", "k3", "k4"], "nothing was stored, nothing was deleted"
