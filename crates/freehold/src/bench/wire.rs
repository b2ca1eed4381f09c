//! HTTP as load needs it: one connection, kept, with as little between as can be. The load shares
//! the machine with what it measures, so every layer less makes the figure truer.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Longer than an installation lets an answer take.
const PATIENCE: Duration = Duration::from_secs(40);
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("freehold-bench/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Where an installation answers.
pub(super) struct Address {
    host: String,
    port: u16,
    /// What the `Host` header says.
    authority: HeaderValue,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Address {
    /// From `http://host:port` or `https://host`.
    pub(super) fn parse(url: &str) -> anyhow::Result<Arc<Self>> {
        let must =
            || anyhow!("{url} is not the URL of an installation, like https://app.example.com");
        let uri: Uri = url.trim_end_matches('/').parse().map_err(|_| must())?;
        let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else { return Err(must()) };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(must());
        }
        let (tls, usual) = match scheme {
            "http" => (None, 80),
            "https" => (Some((connector()?, ServerName::try_from(host.to_owned())?)), 443),
            _ => return Err(must()),
        };
        let authority = uri.authority().ok_or_else(must)?.as_str();
        Ok(Arc::new(Self {
            // An IPv6 address stands in brackets in a URL, and without them everywhere else.
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(usual),
            authority: HeaderValue::from_str(authority)?,
            tls,
        }))
    }
}

/// Trusts whom the system trusts.
fn connector() -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        bail!("this system trusts no certificate authority; SSL_CERT_FILE names a file of some");
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A request to send.
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) path: String,
    /// `Bearer …`; nobody in particular when absent.
    pub(super) credential: Option<HeaderValue>,
    pub(super) body: Option<Bytes>,
}

/// What came back.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// One connection, opened when it is needed and again when the other side has closed it.
pub(super) struct Connection {
    address: Arc<Address>,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    pub(super) fn new(address: &Arc<Address>) -> Self {
        Self { address: address.clone(), sender: None }
    }

    /// Sends and reads the whole answer.
    pub(super) async fn send(&mut self, ask: Ask) -> anyhow::Result<Reply> {
        let request = self.request(ask)?;
        let answered = timeout(PATIENCE, self.exchange(request)).await;
        let outcome = answered.unwrap_or_else(|_| Err(anyhow!("no answer in time")));
        if outcome.is_err() {
            self.sender = None;
        }
        outcome
    }

    fn request(&self, ask: Ask) -> anyhow::Result<Request<Full<Bytes>>> {
        let mut request = Request::new(Full::new(ask.body.clone().unwrap_or_default()));
        *request.method_mut() = ask.method;
        *request.uri_mut() = ask.path.parse()?;
        let headers = request.headers_mut();
        headers.insert(HOST, self.address.authority.clone());
        headers.insert(USER_AGENT, AGENT);
        if let Some(credential) = ask.credential {
            headers.insert(AUTHORIZATION, credential);
        }
        if ask.body.is_some() {
            headers.insert(CONTENT_TYPE, JSON);
        }
        Ok(request)
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Reply> {
        if let Some(kept) = &mut self.sender
            && kept.ready().await.is_err()
        {
            // Idle connections are closed by the other side, which is nobody's fault.
            self.sender = None;
        }
        let sender = match &mut self.sender {
            Some(kept) => kept,
            none => none.insert(connect(&self.address).await?),
        };
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Reply { status: head.status, headers: head.headers, body })
    }
}

async fn connect(address: &Address) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let Address { host, port, tls, .. } = address;
    let stream = TcpStream::connect((host.as_str(), *port)).await;
    let stream = stream.with_context(|| format!("nobody answers at {host}:{port}"))?;
    stream.set_nodelay(true)?;
    match tls {
        None => speak(TokioIo::new(stream)).await,
        Some((connector, name)) => {
            let secured = connector.connect(name.clone(), stream).await;
            speak(TokioIo::new(secured.with_context(|| format!("no TLS with {host}:{port}"))?))
                .await
        }
    }
}

async fn speak<T>(stream: T) -> anyhow::Result<SendRequest<Full<Bytes>>>
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(stream).await?;
    // It ends when the sender is dropped; what goes wrong, the sender is told.
    tokio::spawn(connection);
    Ok(sender)
}
