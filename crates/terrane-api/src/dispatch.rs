//! Which family of protocols a request belongs to, told by its path and by what it was signed for.

use std::borrow::Cow;

use http::{Method, Request, header};
use terrane_auth::sigv4;

/// A family of protocols behind the front door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// S3: everything unsigned, signed with version 2, or signed for `s3`.
    S3,
    /// Our own API under `/_terrane/`.
    Native,
    /// `/.well-known/looking-glass`, reserved for the router service.
    LookingGlass,
    /// STS.
    Sts,
    /// EC2: signed for `ec2`, or a call of a query protocol that is not signed at all.
    Ec2,
    /// EBS direct APIs.
    Ebs,
    /// Signed for a service that nobody here has heard of.
    Unknown(String),
}

/// Tells families apart. `domains` are the base domains of virtual-hosted buckets: under these, a path is a
/// key and means nothing else.
pub(crate) fn family<B>(request: &Request<B>, domains: &[String]) -> Family {
    let service = sigv4::service_of(request.into());
    if !is_bucket_host(request, domains) {
        if service.is_none() && is_query_call(request) {
            return Family::Ec2;
        }
        let path = request.uri().path();
        if path == "/_terrane" || path.starts_with("/_terrane/") {
            return Family::Native;
        }
        if path == "/.well-known/looking-glass" || path.starts_with("/.well-known/looking-glass/") {
            return Family::LookingGlass;
        }
    }
    match service {
        None => Family::S3,
        Some(service) => match &*service {
            "s3" => Family::S3,
            "sts" => Family::Sts,
            "ec2" => Family::Ec2,
            "ebs" => Family::Ebs,
            _ => Family::Unknown(service.into_owned()),
        },
    }
}

/// Whether this is a call of EC2's protocol, going by its form. S3 has nothing of that form under `/`: no POST at
/// all, and no parameter `Action`.
fn is_query_call<B>(request: &Request<B>) -> bool {
    if request.uri().path() != "/" {
        return false;
    }
    let kind =
        request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_form = kind
        .split(';')
        .next()
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"));
    let query = request.uri().query().unwrap_or_default();
    match *request.method() {
        Method::POST => is_form,
        Method::GET => query.split('&').any(|parameter| parameter.starts_with("Action=")),
        _ => false,
    }
}

/// Whether the host is `bucket.DOMAIN`.
fn is_bucket_host<B>(request: &Request<B>, domains: &[String]) -> bool {
    if domains.is_empty() {
        return false;
    }
    let host: Option<Cow<'_, str>> = match request.uri().authority() {
        Some(authority) => Some(authority.host().into()),
        None => request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).map(Into::into),
    };
    let Some(host) = host else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => &host,
    };
    domains.iter().any(|domain| {
        let Some(at) = name.len().checked_sub(domain.len()).filter(|at| *at > 1) else { return false };
        name.is_char_boundary(at) && name[at..].eq_ignore_ascii_case(domain) && name[..at].ends_with('.')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed_for(service: &str) -> Request<()> {
        let value = format!(
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/{service}/aws4_request, \
             SignedHeaders=host, Signature=00"
        );
        Request::get("/").header("authorization", value).body(()).unwrap()
    }

    #[test]
    fn the_scopes_service_decides() {
        for (service, expected) in [
            ("s3", Family::S3),
            ("sts", Family::Sts),
            ("ec2", Family::Ec2),
            ("ebs", Family::Ebs),
            ("sqs", Family::Unknown("sqs".into())),
        ] {
            assert_eq!(family(&signed_for(service), &[]), expected);
        }
        let presigned =
            Request::get("/b/k?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fx%2Fsts%2Faws4_request");
        assert_eq!(family(&presigned.body(()).unwrap(), &[]), Family::Sts);
    }

    #[test]
    fn unsigned_and_version_2_are_s3() {
        let plain = Request::get("/bucket/key").body(()).unwrap();
        assert_eq!(family(&plain, &[]), Family::S3);
        let list = Request::get("/?prefix=Action=x").body(()).unwrap();
        assert_eq!(family(&list, &[]), Family::S3);
        let v2 = Request::get("/bucket/key?AWSAccessKeyId=A&Signature=B&Expires=1").body(()).unwrap();
        assert_eq!(family(&v2, &[]), Family::S3);
    }

    #[test]
    fn unsigned_calls_of_a_query_protocol_are_ec2s() {
        let form = |path| {
            let kind = "application/x-www-form-urlencoded; charset=utf-8";
            Request::post(path).header("content-type", kind).body(()).unwrap()
        };
        assert_eq!(family(&form("/"), &[]), Family::Ec2);
        assert_eq!(family(&form("/bucket"), &[]), Family::S3);
        let get = Request::get("/?Action=DescribeVolumes&Version=2016-11-15").body(()).unwrap();
        assert_eq!(family(&get, &[]), Family::Ec2);
        let mut to_bucket = form("/");
        to_bucket.headers_mut().insert("host", "b.s3.example.org".parse().unwrap());
        assert_eq!(family(&to_bucket, &["s3.example.org".to_owned()]), Family::S3);
    }

    #[test]
    fn our_own_paths_are_keys_under_a_buckets_host() {
        let domains = ["s3.example.org".to_owned()];
        let request = |host: &str, path: &str| Request::get(path).header("host", host).body(()).unwrap();
        for (host, path, expected) in [
            ("s3.example.org", "/_terrane/health", Family::Native),
            ("s3.example.org:7070", "/_terrane", Family::Native),
            ("other.org", "/_terrane/v1/queues", Family::Native),
            ("b.s3.example.org", "/_terrane/health", Family::S3),
            ("B.S3.Example.ORG:7070", "/_terrane/health", Family::S3),
            ("xs3.example.org", "/_terrane/health", Family::Native),
            (".s3.example.org", "/_terrane/health", Family::Native),
            ("b.s3.example.org", "/.well-known/looking-glass", Family::S3),
            ("127.0.0.1:7070", "/.well-known/looking-glass/v1/routers", Family::LookingGlass),
            ("127.0.0.1:7070", "/_terraneous/x", Family::S3),
        ] {
            assert_eq!(family(&request(host, path), &domains), expected, "{host} {path}");
        }
    }
}
