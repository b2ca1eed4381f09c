//! TLS to a local server whose authority we are.

use std::sync::Arc;

use freehold_egress::{
    CertificateDer, Egress, Failure, Limits, Method, Options, Policy, Request, TlsFault,
};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::name_server::{NameServer, Record};
use crate::receiver::{OK, Receiver};

const NAME: &str = "hooks.customer.com";

/// A server with a certificate for `NAME`, as changed by the test, from an authority of its own.
struct SecureReceiver {
    port: u16,
    authority: CertificateDer<'static>,
}

impl SecureReceiver {
    async fn start(alpn: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut root = CertificateParams::new(Vec::new()).unwrap();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
        let mut leaf = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        change(&mut leaf);
        let key = KeyPair::generate().unwrap();
        let leaf = leaf.signed_by(&key, &root).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config))));
        Self { port, authority: root.as_ref().der().clone() }
    }

    /// A GET by name, trusting `roots` besides the system's.
    async fn get(&self, roots: Vec<CertificateDer<'static>>) -> Result<String, Failure> {
        let names = NameServer::start(vec![(NAME, vec![vec![Record::A("127.0.0.1")]])]).await;
        let policy = Policy { loopback: true, ..Policy::default() };
        let name_servers = vec![names.address];
        let limits = Limits::default();
        let options =
            Options { policy, limits, extra_roots: roots, name_servers, ..Options::default() };
        let egress = Egress::new(options).unwrap();
        let target = egress.check_url(&format!("https://{NAME}:{}/", self.port)).unwrap();
        let answer = egress.send(Request::new(Method::GET, target)).await?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    async fn fault(&self) -> TlsFault {
        let failure = self.get(vec![self.authority.clone()]).await.unwrap_err();
        assert!(!failure.may_have_arrived());
        let Failure::Tls(fault, _) = failure else { panic!("{failure:?}") };
        fault
    }
}

/// Answers with the version of HTTP it was asked in.
async fn serve(listener: TcpListener, tls: TlsAcceptor) {
    while let Ok((tcp, _)) = listener.accept().await {
        let tls = tls.clone();
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(tcp).await else { return };
            let version = service_fn(|request: hyper::Request<hyper::body::Incoming>| async move {
                let text = format!("{:?}", request.version());
                Ok::<_, hyper::Error>(hyper::Response::new(Full::new(Bytes::from(text))))
            });
            let server = auto::Builder::new(TokioExecutor::new());
            let _ended = server.serve_connection(TokioIo::new(stream), version).await;
        });
    }
}

#[tokio::test]
async fn an_extra_root_is_trusted_and_http_2_is_spoken_where_offered() {
    let receiver = SecureReceiver::start(&["h2", "http/1.1"], |_| {}).await;
    assert_eq!(receiver.get(vec![receiver.authority.clone()]).await.unwrap(), "HTTP/2.0");
    let receiver = SecureReceiver::start(&[], |_| {}).await;
    assert_eq!(receiver.get(vec![receiver.authority.clone()]).await.unwrap(), "HTTP/1.1");
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let receiver = SecureReceiver::start(&[], |_| {}).await;
    let failure = receiver.get(Vec::new()).await.unwrap_err();
    assert!(matches!(failure, Failure::Tls(TlsFault::UnknownIssuer, _)), "{failure:?}");
}

#[tokio::test]
async fn the_sentence_tells_what_is_wrong_with_a_certificate() {
    let expired =
        SecureReceiver::start(&[], |leaf| leaf.not_after = date_time_ymd(2020, 1, 1)).await;
    assert_eq!(expired.fault().await, TlsFault::Expired);
    let early =
        SecureReceiver::start(&[], |leaf| leaf.not_before = date_time_ymd(4000, 1, 1)).await;
    assert_eq!(early.fault().await, TlsFault::NotYetValid);
    let other = CertificateParams::new(vec!["other.customer.com".to_owned()]).unwrap();
    let other = SecureReceiver::start(&[], |leaf| *leaf = other).await;
    assert_eq!(other.fault().await, TlsFault::WrongName);
}

#[tokio::test]
async fn a_server_without_tls_is_told_to_speak_it() {
    let plain = Receiver::talking(|mut peer| async move { peer.say(OK.as_bytes()).await }).await;
    let egress = crate::receiver::development();
    let target = egress.check_url(&plain.url().replace("http:", "https:")).unwrap();
    let failure = egress.send(Request::new(Method::GET, target)).await.unwrap_err();
    assert!(matches!(failure, Failure::Tls(TlsFault::Handshake, _)), "{failure:?}");
    assert!(failure.to_string().contains("TLS 1.2 or 1.3"));
}

#[test]
fn a_root_that_is_no_certificate_is_refused_at_start() {
    let extra_roots = vec![CertificateDer::from(vec![1, 2, 3])];
    let refused = Egress::new(Options { extra_roots, ..Options::default() });
    assert!(refused.unwrap_err().to_string().starts_with("TLS cannot be set up"));
}
