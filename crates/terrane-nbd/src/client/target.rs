//! Where an export is: NBD URIs.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode, utf8_percent_encode};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::SecretName;
use crate::client::ConnectError;

/// The port of NBD.
const PORT: u16 = 10809;

/// What is escaped in URIs.
const SPECIAL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_').remove(b'~');

/// Where an export is and what it is called. The name is a secret: `Debug` hides it.
#[derive(Clone)]
pub struct Target {
    pub(super) address: Address,
    pub(super) name: SecretName,
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Unix(PathBuf),
    /// `host:port`.
    Tcp(String),
}

/// Certificates of a client, all PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    /// The client's chain, leaf first.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities that the server's certificate must be of.
    pub ca: PathBuf,
}

/// Why a text is not the URI of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Neither of the known schemes.
    #[error("an export's URI begins with nbd://, nbds:// or nbd+unix://")]
    Scheme,
    /// `nbd+unix` without a socket.
    #[error("nbd+unix:///NAME?socket=PATH names the socket")]
    Socket,
    /// No host.
    #[error("nbd://HOST[:PORT]/NAME names the host")]
    Host,
    /// Names are UTF-8.
    #[error("the name of an export is UTF-8")]
    Name,
    /// `nbds` without certificates, or certificates for a Unix socket.
    #[error("TLS is for nbds:// and for nothing else, and needs certificates")]
    Tls,
}

impl Target {
    /// An export on a Unix socket.
    pub fn unix(socket: impl Into<PathBuf>, name: SecretName) -> Self {
        Self { address: Address::Unix(socket.into()), name, tls: None }
    }

    /// Parses `nbd+unix:///NAME?socket=PATH` and `nbd://HOST[:PORT]/NAME`; with certificates
    /// `nbds://HOST[:PORT]/NAME`.
    ///
    /// # Errors
    /// [`ConnectError::Tls`] for certificates; what is no URI is [`TargetError`], as the same.
    pub fn parse(uri: &str, tls: Option<&ClientTls>) -> Result<Self, ConnectError> {
        let target = parse(uri)?;
        match (target, tls) {
            ((false, address, name), None) => Ok(Self { address, name, tls: None }),
            ((true, Address::Tcp(host), name), Some(files)) => {
                let server = host.rsplit_once(':').map_or(host.as_str(), |(host, _)| host);
                let server = ServerName::try_from(server.trim_matches(['[', ']']).to_owned());
                let server = server.map_err(|error| ConnectError::Tls(error.to_string()))?;
                let config = Arc::new(files.load()?);
                Ok(Self { address: Address::Tcp(host), name, tls: Some((config, server)) })
            }
            _ => Err(TargetError::Tls.into()),
        }
    }
}

impl From<TargetError> for ConnectError {
    fn from(error: TargetError) -> Self {
        Self::Io(std::io::Error::new(std::io::ErrorKind::InvalidInput, error))
    }
}

/// The URI of an export on a Unix socket; what is special in URIs is escaped.
pub fn unix_uri(name: &str, socket: &Path) -> String {
    let socket = percent_encode(socket.as_os_str().as_bytes(), SPECIAL);
    format!("nbd+unix:///{}?socket={socket}", utf8_percent_encode(name, SPECIAL))
}

fn decode(text: &str) -> Vec<u8> {
    percent_decode_str(text).collect()
}

/// Whether TLS is wanted, where, and the name.
fn parse(uri: &str) -> Result<(bool, Address, SecretName), TargetError> {
    let (scheme, rest) = uri.split_once("://").ok_or(TargetError::Scheme)?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (host, name) = rest.split_once('/').unwrap_or((rest, ""));
    let name = String::from_utf8(decode(name)).map_err(|_| TargetError::Name)?;
    let name = SecretName::new(name);
    match scheme {
        "nbd+unix" => {
            let socket = query.split('&').find_map(|pair| pair.strip_prefix("socket="));
            let socket = socket.filter(|path| !path.is_empty()).ok_or(TargetError::Socket)?;
            Ok((false, Address::Unix(OsString::from_vec(decode(socket)).into()), name))
        }
        "nbd" | "nbds" if host.is_empty() => Err(TargetError::Host),
        "nbd" | "nbds" => {
            let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            let address = if has_port { host.to_owned() } else { format!("{host}:{PORT}") };
            Ok((scheme == "nbds", Address::Tcp(address), name))
        }
        _ => Err(TargetError::Scheme),
    }
}

impl ClientTls {
    fn load(&self) -> Result<ClientConfig, ConnectError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for ca in certificates(&self.ca)? {
            roots.add(ca).map_err(at(&self.ca))?;
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(at(&self.key))?;
        ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(at(&self.cert))?
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates(&self.cert)?, key)
            .map_err(at(&self.cert))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(at(path))
}

fn at<E: fmt::Display>(path: &Path) -> impl FnOnce(E) -> ConnectError {
    move |error| ConnectError::Tls(format!("{}: {error}", path.display()))
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("address", &self.address).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_of_all_kinds() {
        let (tls, address, name) = parse("nbd+unix:///secret?socket=/run/nbd.sock").unwrap();
        assert_eq!((tls, name.expose()), (false, "secret"));
        assert_eq!(address, Address::Unix("/run/nbd.sock".into()));
        let tcp = |uri| match parse(uri).unwrap() {
            (tls, Address::Tcp(address), name) => (tls, address, name.expose().to_owned()),
            other => panic!("{other:?}"),
        };
        assert_eq!(tcp("nbd://host/a/b"), (false, "host:10809".into(), "a/b".into()));
        assert_eq!(tcp("nbds://[::1]:7/x"), (true, "[::1]:7".into(), "x".into()));
        let odd = Path::new("/run/a b&c=%/nbd.sock");
        let uri = unix_uri("n ä", odd);
        assert_eq!(uri, "nbd+unix:///n%20%C3%A4?socket=/run/a%20b%26c%3D%25/nbd.sock");
        let (_, address, name) = parse(&uri).unwrap();
        assert_eq!((address, name.expose()), (Address::Unix(odd.into()), "n ä"));
        assert_eq!(parse("nbd:///x").unwrap_err(), TargetError::Host);
        assert_eq!(parse("nbd+unix:///x").unwrap_err(), TargetError::Socket);
        assert_eq!(parse("http://x").unwrap_err(), TargetError::Scheme);
        let target = Target::parse("nbd://host/secret", None).unwrap();
        assert!(!format!("{target:?}").contains("secret"));
        assert!(Target::parse("nbds://host/secret", None).is_err());
    }
}
