//! STARTTLS with client certificates, as stock clients do it.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use terrane_nbd::{MemoryExport, Tls, TlsFiles};

use crate::site::{Site, output, run};

/// An authority, a certificate of the server, and one of a client, under the names that clients look for.
fn certificates(dir: &Path) {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    std::fs::write(dir.join("ca-cert.pem"), authority.pem()).unwrap();
    let issuer = Issuer::new(params, authority_key);
    for (name, host) in [("server", "localhost"), ("client", "client.test")] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let cert = params.signed_by(&key, &issuer).unwrap();
        std::fs::write(dir.join(format!("{name}-cert.pem")), cert.pem()).unwrap();
        std::fs::write(dir.join(format!("{name}-key.pem")), key.serialize_pem()).unwrap();
    }
}

pub(crate) async fn site() -> (Site, Arc<MemoryExport>) {
    let dir = TempDir::new().unwrap();
    certificates(dir.path());
    let tls = Tls::load(TlsFiles {
        cert: dir.path().join("server-cert.pem"),
        key: dir.path().join("server-key.pem"),
        client_ca: dir.path().join("ca-cert.pem"),
    })
    .unwrap();
    let site = Site::with_tls(dir, tls).await;
    let export = Arc::new(MemoryExport::new(1 << 20));
    site.add("disk", export.clone());
    (site, export)
}

#[tokio::test]
async fn libnbd_copies_over_tls() {
    let (site, export) = site().await;
    let address = site.tcp.unwrap();
    let image = site.path("image");
    std::fs::write(&image, vec![5; 1 << 20]).unwrap();
    let certificates = site.dir.path().display();
    let uri = format!("nbds://localhost:{}/disk?tls-certificates={certificates}", address.port());
    run("nbdcopy", &[&image, &uri]).await;
    assert_eq!(export.allocated(), 1 << 20);
    let text = run("nbdinfo", &[&uri]).await;
    assert!(text.contains("with TLS"), "{text}");
    run("nbdcopy", &[&uri, &site.path("back")]).await;
    assert!(std::fs::read(site.path("back")).unwrap() == std::fs::read(&image).unwrap());
}

#[tokio::test]
async fn qemu_writes_over_tls() {
    let (site, export) = site().await;
    let port = site.tcp.unwrap().port();
    let credentials = format!("tls-creds-x509,id=tls,endpoint=client,dir={}", site.dir.path().display());
    let image = format!(
        "driver=nbd,server.type=inet,server.host=localhost,server.port={port},export=disk,tls-creds=tls"
    );
    let arguments = [
        "--object",
        &credentials,
        "--image-opts",
        "-c",
        "write -P 8 0 64k",
        "-c",
        "read -P 8 0 64k",
        "-c",
        "flush",
        &image,
    ];
    let printed = run("qemu-io", &arguments).await;
    assert!(printed.contains("wrote 65536/65536"), "{printed}");
    assert_eq!(export.allocated(), 64 << 10);
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let (site, _) = site().await;
    // Only the authority: the client can check the server, and has nothing to show.
    let bare = TempDir::new().unwrap();
    std::fs::copy(site.dir.path().join("ca-cert.pem"), bare.path().join("ca-cert.pem")).unwrap();
    let port = site.tcp.unwrap().port();
    let uri = format!("nbds://localhost:{port}/disk?tls-certificates={}", bare.path().display());
    let refused = output("nbdinfo", &[&uri]).await;
    assert!(!refused.status.success());
    // In plain text, loopback may.
    run("nbdinfo", &[&format!("nbd://localhost:{port}/disk")]).await;
}
