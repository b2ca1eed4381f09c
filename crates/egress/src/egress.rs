//! The client: checks, sends, reads no more than it must, and is done when the time is up.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, ACCEPT_LANGUAGE, LOCATION, USER_AGENT};
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::connection::Reached;
use crate::connector::Connector;
use crate::exchange::{Answer, Request};
use crate::failure::{Failure, Phase};
use crate::headers;
use crate::options::{Limits, Options};
use crate::refusal::Refusal;
use crate::resolver::Resolver;
use crate::target::Target;
use crate::tls;

/// How many bytes of an HTTP/2 answer may be on their way unasked: one stream, all streams.
const H2_WINDOWS: (u32, u32) = (64 * 1024, 1024 * 1024);
/// hyper takes no smaller one.
const SMALLEST_BUFFER: usize = 8192;
/// Longer than any caller waits.
const LONGEST: Duration = Duration::from_secs(3600);

/// The way out. One per policy; clones share connections, names and TLS sessions.
#[derive(Clone)]
pub struct Egress(Arc<Inner>);

struct Inner {
    client: Client<Connector, Full<Bytes>>,
    options: Options,
}

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// An extra root is not a certificate, or the TLS library refuses to start.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The resolver refuses its settings.
    #[error("names cannot be resolved: {0}")]
    Resolver(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Egress {
    /// Makes a client. Nothing is sent yet.
    ///
    /// # Errors
    /// An extra root that is not a certificate; resolver settings that make no sense.
    pub fn new(options: Options) -> Result<Self, SetupError> {
        let resolver =
            Resolver::new(&options).map_err(|error| SetupError::Resolver(error.into()))?;
        let connector = Connector {
            resolver,
            tls: TlsConnector::from(Arc::new(tls::client_config(&options.extra_roots)?)),
            plain_http: options.policy.plain_http,
            limit: options.limits.connect,
        };
        let client = client(connector, &options.limits);
        Ok(Self(Arc::new(Inner { client, options })))
    }

    /// Checks all of a URL that can be told without asking the DNS, and makes a target of it.
    ///
    /// # Errors
    /// The refusal says what to change.
    pub fn check_url(&self, url: &str) -> Result<Target, Refusal> {
        Target::check(&self.0.options.policy, url)
    }

    /// What this client may reach, and how long it waits.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// Sends a request and reads its answer. Any status is an answer, 3xx included.
    ///
    /// Dropping the future drops the connection too.
    ///
    /// # Errors
    /// The failure says what to do; see [`Failure::may_have_arrived`] before sending again.
    pub async fn send(&self, request: Request) -> Result<Answer, Failure> {
        headers::check_names(&request.headers)?;
        let Options { policy, limits, user_agent, .. } = &self.0.options;
        let clock = Clock::start(request.total.unwrap_or(limits.total));
        let cap = request.response_body_bytes.unwrap_or(limits.response_body_bytes);
        let follows = matches!(request.method, Method::GET | Method::HEAD);
        let mut hops = if follows { request.redirects } else { 0 };
        let Request { method, mut target, mut headers, body, .. } = request;
        headers.entry(USER_AGENT).or_insert_with(|| user_agent.clone());
        loop {
            let mut message = http::Request::new(Full::new(body.clone()));
            *message.method_mut() = method.clone();
            *message.uri_mut() = target.uri().clone();
            *message.headers_mut() =
                if hops == 0 { std::mem::take(&mut headers) } else { headers.clone() };
            let answer = self.exchange(message, clock, cap).await?;
            let Some(location) = location(&answer).filter(|_| hops > 0) else {
                return Ok(answer);
            };
            let next = target.redirected(policy, location)?;
            if !next.same_origin(&target) {
                headers = for_strangers(&headers);
            }
            target = next;
            hops -= 1;
        }
    }

    async fn exchange(
        &self,
        message: http::Request<Full<Bytes>>,
        clock: Clock,
        cap: usize,
    ) -> Result<Answer, Failure> {
        let late = |phase| move |_| Failure::Timeout { phase, limit: clock.limit };
        let sent = timeout_at(clock.deadline, self.0.client.request(message));
        let answer = sent.await.map_err(late(Phase::Head))?.map_err(Failure::of)?;
        let head = clock.started.elapsed();
        let (parts, body) = answer.into_parts();
        let body = timeout_at(clock.deadline, read(body, cap));
        let (body, truncated) = body.await.map_err(late(Phase::Body))?.map_err(Failure::of)?;
        Ok(Answer {
            status: parts.status.as_u16(),
            address: parts.extensions.get::<Reached>().map(|reached| reached.0),
            headers: parts.headers,
            body,
            truncated,
            head,
            total: clock.started.elapsed(),
        })
    }
}

/// The time all of one `send` shares.
#[derive(Clone, Copy)]
struct Clock {
    started: Instant,
    deadline: Instant,
    limit: Duration,
}

impl Clock {
    fn start(limit: Duration) -> Self {
        let (started, limit) = (Instant::now(), limit.min(LONGEST));
        Self { started, deadline: started + limit, limit }
    }
}

fn client(connector: Connector, limits: &Limits) -> Client<Connector, Full<Bytes>> {
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(limits.idle)
        .pool_max_idle_per_host(limits.idle_per_host)
        .http1_max_buf_size(limits.response_head_bytes.max(SMALLEST_BUFFER))
        .http2_initial_stream_window_size(H2_WINDOWS.0)
        .http2_initial_connection_window_size(H2_WINDOWS.1)
        .build(connector)
}

/// The first `cap` bytes of a body, and whether there is more. Dropping what is left of a body closes
/// an HTTP/1.1 connection and resets an HTTP/2 stream, so the rest is neither read nor waited for.
async fn read(mut body: Incoming, cap: usize) -> Result<(Bytes, bool), hyper::Error> {
    let mut kept = BytesMut::new();
    while !body.is_end_stream()
        && let Some(frame) = body.frame().await
    {
        let Ok(data) = frame?.into_data() else { continue };
        let room = cap - kept.len();
        kept.extend_from_slice(data.get(..room).unwrap_or(&data));
        if data.len() > room {
            return Ok((kept.freeze(), true));
        }
    }
    Ok((kept.freeze(), false))
}

fn location(answer: &Answer) -> Option<&str> {
    let redirects = matches!(answer.status, 301 | 302 | 303 | 307 | 308);
    answer.headers.get(LOCATION).filter(|_| redirects)?.to_str().ok()
}

/// What may go to another origin than the caller named: any other header may be a secret.
fn for_strangers(headers: &HeaderMap) -> HeaderMap {
    let harmless = [ACCEPT, ACCEPT_LANGUAGE, USER_AGENT];
    let kept = harmless.into_iter().filter_map(|name| {
        let value = headers.get(&name)?.clone();
        Some((name, value))
    });
    kept.collect()
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Egress").field("options", &self.0.options).finish_non_exhaustive()
    }
}
