//! TLS: aws-lc-rs, TLS 1.2 and 1.3, and whom to trust.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

/// Hosts whose TLS session is remembered, which saves a round trip and a signature.
const REMEMBERED_HOSTS: usize = 1024;

/// The provider is named, so nobody has to install a process-wide one first.
pub(crate) fn client_config(
    extra_roots: &[CertificateDer<'static>],
) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(extra_roots)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.resumption = Resumption::in_memory_sessions(REMEMBERED_HOSTS);
    Ok(config)
}

/// The system's authorities (`SSL_CERT_FILE` is honoured); Mozilla's, which are compiled in, where the
/// system has none, as in an empty container; and the extra ones.
fn roots(extra: &[CertificateDer<'static>]) -> Result<RootCertStore, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        tracing::info!("the system has no certificate authorities; using the built-in ones");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    extra.iter().try_for_each(|root| roots.add(root.clone()))?;
    Ok(roots)
}
