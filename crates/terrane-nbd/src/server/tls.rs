//! TLS with client certificates.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Where the certificates lie, all PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's chain, leaf first.
    pub cert: PathBuf,
    /// The server's private key: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
    /// Authorities; a client must have a certificate of one of them.
    pub client_ca: PathBuf,
}

/// Why TLS cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or holds something else.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls_pki_types::pem::Error,
    },
    /// Certificate and key do not belong together, or are of a kind that is not supported.
    #[error("{path}: {source}")]
    Certificate {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// No usable authority for clients.
    #[error("{path}: {source}")]
    ClientAuthority {
        /// The authorities' file.
        path: PathBuf,
        /// What is wrong.
        source: VerifierBuilderError,
    },
}

/// Certificates in use. Every client must show one, also on loopback.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    config: ArcSwap<ServerConfig>,
}

impl Tls {
    /// Reads the files.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let config = ArcSwap::from_pointee(read(&files)?);
        Ok(Self { files, config })
    }

    /// Reads the files again; new connections use them. After an error the old ones stay.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.config.store(Arc::new(read(&self.files)?));
        Ok(())
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }
}

fn read(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificate = |source| TlsError::Certificate { path: files.cert.clone(), source };
    let authority = |source| TlsError::ClientAuthority { path: files.client_ca.clone(), source };

    let mut authorities = RootCertStore::empty();
    for ca in certificates(&files.client_ca)? {
        authorities
            .add(ca)
            .map_err(|source| TlsError::Certificate { path: files.client_ca.clone(), source })?;
    }
    let clients = WebPkiClientVerifier::builder_with_provider(authorities.into(), provider.clone())
        .build()
        .map_err(authority)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|source| TlsError::File { path: files.key.clone(), source })?;
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(certificate)?
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates(&files.cert)?, key)
        .map_err(certificate)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|source| TlsError::File { path: path.to_owned(), source })
}
