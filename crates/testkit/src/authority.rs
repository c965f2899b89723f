//! An authority for certificates of servers on loopback, made anew by `openssl` for each test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

/// A certificate authority with one certificate for some names.
#[derive(Debug)]
pub struct Authority {
    directory: TempDir,
}

impl Authority {
    /// Makes an authority, and a certificate for these names and 127.0.0.1.
    pub fn new(names: &[&str]) -> Authority {
        let directory = tempfile::Builder::new()
            .prefix("fastness-authority-")
            .tempdir()
            .expect("a scratch directory");
        let authority = Authority { directory };
        let names = names.iter().map(|name| format!("DNS:{name},"));
        let names = names.collect::<String>();
        let extensions = format!("subjectAltName={names}IP:127.0.0.1\nbasicConstraints=CA:FALSE\n");
        fs::write(authority.path("extensions"), extensions).unwrap();
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        authority.openssl(&format!(
            "req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=Fastness-tests -days 2"
        ));
        authority.openssl(&format!(
            "req {key} -keyout server.key -out server.csr -subj /CN=server"
        ));
        authority.openssl(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile extensions",
        );
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn openssl(&self, words: &str) {
        let output = Command::new("openssl")
            .args(words.split(' '))
            .current_dir(self.directory.path())
            .output()
            .expect("openssl is missing: run scripts/setup");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {words}: {said}");
    }

    /// Returns the file with the authority's own certificate, which clients trust.
    pub fn certificate(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// Returns what a server needs to speak TLS with the certificate.
    pub fn server(&self) -> Arc<ServerConfig> {
        let read = |path: &Path| fs::read(path).unwrap();
        let chain = CertificateDer::from_pem_slice(&read(&self.path("server.pem"))).unwrap();
        let key = PrivateKeyDer::from_pem_slice(&read(&self.path("server.key"))).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)
            .unwrap();
        Arc::new(config)
    }
}
