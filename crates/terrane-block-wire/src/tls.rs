//! TLS between processes of a cluster: both ends show a certificate of the cluster's authority.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::WireError;

/// Where the certificates lie, all PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// This process's chain, leaf first; it names the hosts or addresses that others reach it by.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities that the other end's certificate must be of.
    pub ca: PathBuf,
}

/// Certificates in use, for both directions.
#[derive(Clone, Debug)]
pub struct Tls {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`WireError::Tls`] with the file at fault.
    pub fn load(files: &TlsFiles) -> Result<Self, WireError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for ca in certificates(&files.ca)? {
            roots.add(ca).map_err(at(&files.ca))?;
        }
        let roots = Arc::new(roots);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(at(&files.ca))?;
        let key = || PrivateKeyDer::from_pem_file(&files.key).map_err(at(&files.key));
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(at(&files.cert))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificates(&files.cert)?, key()?)
            .map_err(at(&files.cert))?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(at(&files.cert))?
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates(&files.cert)?, key()?)
            .map_err(at(&files.cert))?;
        Ok(Self { server: Arc::new(server), client: Arc::new(client) })
    }
}

fn at<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> WireError {
    move |error| WireError::Tls(format!("{}: {error}", path.display()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, WireError> {
    CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(at(path))
}
