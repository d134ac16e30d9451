//! Virtual-hosted buckets: `bucket.DOMAIN`.

use s3s::S3Result;
use s3s::host::{S3Host, VirtualHost};

/// A configured domain is not a host name.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a domain name")]
pub struct BadDomain(String);

/// The configured base domains. A host that lies under none of them is addressed path-style.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    domains: Vec<String>,
}

impl Hosts {
    pub(crate) fn new(domains: &[String]) -> Result<Self, BadDomain> {
        let mut lower = Vec::with_capacity(domains.len());
        for domain in domains {
            let legal = |label: &str| {
                !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            };
            if !domain.split('.').all(legal) {
                return Err(BadDomain(domain.clone()));
            }
            lower.push(domain.to_ascii_lowercase());
        }
        // The longest first, so that the most specific domain wins.
        lower.sort_by_key(|d| std::cmp::Reverse(d.len()));
        Ok(Self { domains: lower })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// The bucket that a `Host` header names.
    pub(crate) fn bucket<'a>(&self, host: &'a str) -> Option<&'a str> {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        self.domains.iter().find_map(|domain| {
            let split = name.len().checked_sub(domain.len() + 1)?;
            let (bucket, rest) = (name.get(..split)?, name.get(split..)?);
            let rest = rest.strip_prefix('.')?;
            (!bucket.is_empty() && rest.eq_ignore_ascii_case(domain)).then_some(bucket)
        })
    }
}

impl S3Host for Hosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        Ok(match self.bucket(host) {
            Some(bucket) => VirtualHost::new(host).with_bucket(bucket),
            None => VirtualHost::new(host),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_read_off_hosts() {
        let hosts = Hosts::new(&["s3.example.com".into(), "example.com".into()]).unwrap();
        assert_eq!(hosts.bucket("b.s3.example.com:7070"), Some("b"));
        assert_eq!(hosts.bucket("a.b.S3.Example.com"), Some("a.b"));
        assert_eq!(hosts.bucket("b.example.com"), Some("b"));
        for path_style in ["s3.example.com.org", ".example.com", "localhost:1", "127.0.0.1", "", "[::1]:80"] {
            assert_eq!(hosts.bucket(path_style), None, "{path_style}");
        }
    }

    #[test]
    fn a_domain_is_a_name() {
        for bad in ["", "a..b", "a b", "x/y", "host:80"] {
            assert!(Hosts::new(&[bad.into()]).is_err(), "{bad}");
        }
    }
}
