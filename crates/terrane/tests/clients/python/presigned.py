"""Presigned URLs of both kinds, used by a client that knows nothing of S3."""

import http.client
import urllib.parse

from common import bucket, client, keys


def http_call(method, url, body=None, headers=None):
    """Sends nothing that was not asked for: version 2 signs the Content-Type, too."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc)
    target = parts.path + ("?" + parts.query if parts.query else "")
    connection.request(method, target, body=body, headers=headers or {})
    answer = connection.getresponse()
    return answer.status, answer.read()


for version in ("s3v4", "s3"):
    s3 = client(signature_version=version)
    name = bucket(s3, f"presigned-{version}")
    what = {"Bucket": name, "Key": "dir/a key with ümläuts+plus"}

    put = s3.generate_presigned_url("put_object", Params=what, ExpiresIn=60)
    status, answer = http_call("PUT", put, b"by URL")
    assert status == 200, answer
    get = s3.generate_presigned_url("get_object", Params=what, ExpiresIn=60)
    assert http_call("GET", get) == (200, b"by URL")
    parts = urllib.parse.urlsplit(get)
    assert ("X-Amz-Signature" if version == "s3v4" else "Signature") in parts.query

    # Another method, another key, a changed signature, an expired URL: all refused.
    assert http_call("PUT", get, b"x")[0] == 403
    assert http_call("GET", get.replace("/dir/", "/other/"))[0] == 403
    query = urllib.parse.parse_qs(parts.query)
    signature = query["X-Amz-Signature" if version == "s3v4" else "Signature"][0]
    swapped = signature[::-1] if signature[::-1] != signature else "x" + signature[1:]
    broken = get.replace(urllib.parse.quote(signature, safe=""), urllib.parse.quote(swapped, safe=""))
    assert broken != get
    assert http_call("GET", broken)[0] == 403
    expired = s3.generate_presigned_url("get_object", Params=what, ExpiresIn=-10)
    status, answer = http_call("GET", expired)
    assert status in (400, 403), (status, answer)
    delete = s3.generate_presigned_url("delete_object", Params=what, ExpiresIn=60)
    assert http_call("DELETE", delete)[0] == 204
    assert keys(s3, name) == []

# A form upload with a signed policy.
s3 = client(signature_version="s3v4")
name = bucket(s3, "forms")
form = s3.generate_presigned_post(name, "form/f.txt", Conditions=[["content-length-range", 1, 100]], ExpiresIn=60)
boundary = "terrane-boundary"


def multipart(fields, content):
    lines = []
    for key, value in fields.items():
        lines.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode())
    lines.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="f.txt"\r\n\r\n'.encode()
        + content
        + b"\r\n"
    )
    lines.append(f"--{boundary}--\r\n".encode())
    return b"".join(lines)


kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
status, answer = http_call("POST", form["url"], multipart(form["fields"], b"from a form"), kind)
assert status in (200, 201, 204), (status, answer)
assert s3.get_object(Bucket=name, Key="form/f.txt")["Body"].read() == b"from a form"
status, answer = http_call("POST", form["url"], multipart(form["fields"], b"x" * 101), kind)
assert status == 400, (status, answer)
changed = dict(form["fields"], key="elsewhere/f.txt")
status, answer = http_call("POST", form["url"], multipart(changed, b"y"), kind)
assert status in (400, 403), (status, answer)
assert keys(s3, name) == ["form/f.txt"]
