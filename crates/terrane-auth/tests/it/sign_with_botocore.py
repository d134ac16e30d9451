"""Prints COUNT requests signed by botocore, one JSON object per line. Arguments: COUNT ID SECRET."""
import json
import random
import sys
from urllib.parse import quote

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

count, key_id, secret = int(sys.argv[1]), sys.argv[2], sys.argv[3]
draw = random.Random(7)
CHARS = "abcXYZ019-._~ /+%&=?#!$'()*,;:@[]{}|\\^`<>\"äß漢\U0001f600"


def text(longest):
    return "".join(draw.choice(CHARS) for _ in range(draw.randint(0, longest)))


def query():
    pairs = [(text(5) or "q", text(8)) for _ in range(draw.randint(0, 4))]
    if draw.random() < 0.3:
        pairs.append(("acl", ""))
    return "&".join(quote(k, safe="-_.~") + "=" + quote(v, safe="-_.~") for k, v in pairs)


def headers():
    found = {}
    if draw.random() < 0.5:
        found["x-amz-meta-" + draw.choice("abc")] = draw.choice(["v", " padded ", "two  blanks", "tab\there", '"q  q"'])
    if draw.random() < 0.3:
        found["Content-Type"] = "text/plain; charset=utf-8"
    if draw.random() < 0.3:
        found["Range"] = "bytes=0-9"
    return found


for number in range(count):
    service = draw.choice(["s3", "s3", "ec2"])
    presigned = service == "s3" and draw.random() < 0.5
    method = "GET" if presigned else draw.choice(["GET", "PUT", "POST", "DELETE", "HEAD"])
    body = "" if method in ("GET", "HEAD", "DELETE") else text(20)
    path = "/" + "/".join(quote(text(6), safe="-_.~/") for _ in range(draw.randint(1, 3)))
    if service != "s3" and draw.random() < 0.5:
        path = draw.choice(["/", "//", "/a//b/", "/a/./b/../c", "/../x", "/a%20b"])
    host = draw.choice(["http://localhost:7070", "https://bucket.s3.amazonaws.com"])
    url = host + path
    asked = query()
    if asked:
        url += "?" + asked
    request = AWSRequest(method=method, url=url, headers=headers(), data=body.encode())
    credentials = Credentials(key_id, secret)
    if presigned:
        signer = S3SigV4QueryAuth(credentials, service, "us-east-1", expires=draw.choice([1000, 604800]))
    else:
        signer = (S3SigV4Auth if service == "s3" else SigV4Auth)(credentials, service, "us-east-1")
    signer.add_auth(request)
    print(json.dumps({
        "service": service,
        "presigned": presigned,
        "method": method,
        "url": request.url,
        "headers": [(name, value) for name, value in request.headers.items()],
        "body": body,
    }))
