//! HTTPS with a certificate that is replaced without a restart.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Where certificate chain and private key lie, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The key: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// Why HTTPS cannot be offered.
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
    Key {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
}

/// The certificate in use.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    current: Arc<Current>,
    config: Arc<ServerConfig>,
}

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Tls {
    /// Reads the files.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let current = Arc::new(Current(ArcSwap::from_pointee(read(&files, &provider)?)));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Key { path: files.cert.clone(), source })?
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { files, current, config: Arc::new(config) })
    }

    /// What connections are accepted with.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// Reads the files again; new connections see the new certificate. After an error the old one stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        let provider = self.config.crypto_provider();
        self.current.0.store(Arc::new(read(&self.files, provider)?));
        Ok(())
    }

    /// When the files were last changed; compare with an earlier answer.
    pub fn stamp(&self) -> Stamp {
        Stamp([stamp(&self.files.cert), stamp(&self.files.key)])
    }
}

/// State of the files; differs when one of them was replaced or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp([Option<(SystemTime, u64)>; 2]);

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read(files: &TlsFiles, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let file = |path: &Path, source| TlsError::File { path: path.into(), source };
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| file(&files.cert, source))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|source| file(&files.key, source))?;
    CertifiedKey::from_der(chain, key, provider)
        .map_err(|source| TlsError::Key { path: files.cert.clone(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_pair(dir: &Path, name: &str) -> TlsFiles {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let files = TlsFiles { cert: dir.join("cert.pem"), key: dir.join("key.pem") };
        fs::write(&files.cert, made.cert.pem()).unwrap();
        fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        files
    }

    #[test]
    fn a_bad_replacement_leaves_the_old_certificate_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let tls = Tls::load(write_pair(dir.path(), "one.example")).unwrap();
        let first = tls.current.0.load().cert[0].clone();
        let stamp = tls.stamp();
        write_pair(dir.path(), "number-two.example");
        assert_ne!(tls.stamp(), stamp);
        tls.reload().unwrap();
        let second = tls.current.0.load().cert[0].clone();
        assert_ne!(first, second);
        fs::write(dir.path().join("cert.pem"), "nonsense").unwrap();
        assert!(tls.reload().is_err());
        assert_eq!(tls.current.0.load().cert[0], second);
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let mut files = write_pair(dir.path(), "one.example");
        files.key = write_pair(other.path(), "two.example").key;
        assert!(matches!(Tls::load(files), Err(TlsError::Key { .. })));
    }
}
