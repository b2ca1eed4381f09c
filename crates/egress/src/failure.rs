//! What went wrong with a request: a sentence for the customer's delivery log, which says what to do
//! and nothing of our network, and the cause for ours.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::CertificateError;

use crate::refusal::Refusal;

/// The inside cause: `source()` of the failure, for logs only.
pub(crate) type Cause = Arc<dyn Error + Send + Sync>;

/// Why there is no answer. `Display` is for the customer, [`Error::source`] for the operator.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The request is not sent, now or later.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The name has no address, or nobody who knows answered.
    #[error("The host name has no public address; check its DNS records.")]
    Dns(#[source] Cause),
    /// No connection could be opened.
    #[error(
        "No connection could be opened; check that the server runs, and that its firewall lets it be reached on this port."
    )]
    Connect(#[source] Cause),
    /// The TLS handshake failed.
    #[error("{0}")]
    Tls(TlsFault, #[source] Cause),
    /// The time was up.
    #[error("{} within {} ms; {}", .phase.lateness(), .limit.as_millis(), .phase.remedy())]
    Timeout {
        /// What was waited for.
        phase: Phase,
        /// How long it was given.
        limit: Duration,
    },
    /// The connection stood, but no whole answer came over it.
    #[error("{0}")]
    Broken(Fault, #[source] Cause),
}

/// What was waited for when the time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The name's addresses.
    Dns,
    /// The TCP connection.
    Connect,
    /// The TLS handshake.
    Tls,
    /// The status and the headers.
    Head,
    /// The whole body.
    Body,
}

/// What is wrong with the receiver's TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFault {
    /// Out of date.
    #[error("The server's certificate has expired; renew it.")]
    Expired,
    /// Dated in the future.
    #[error("The server's certificate is not valid yet; check its dates.")]
    NotYetValid,
    /// For another host.
    #[error("The server's certificate is for another host name; get one for the name in the URL.")]
    WrongName,
    /// Signed by nobody known, or the chain is not complete.
    #[error(
        "The server's certificate is not signed by a known authority; send the whole chain, and use a public authority."
    )]
    UnknownIssuer,
    /// Anything else.
    #[error("The TLS handshake failed; check that the server speaks TLS 1.2 or 1.3 on this port.")]
    Handshake,
}

/// What is wrong with the receiver's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The connection was closed or reset.
    #[error("The server closed the connection before its answer was complete; check its log.")]
    Closed,
    /// Something else than HTTP.
    #[error("The server's answer is not valid HTTP; check that a web server listens on this port.")]
    NotHttp,
    /// Too many headers, or too long ones.
    #[error("The server's answer has too many or too large headers; send fewer.")]
    HeadTooLarge,
}

impl Failure {
    /// Whether the receiver may have seen the request. If not, sending it again cannot repeat it.
    #[must_use]
    pub fn may_have_arrived(&self) -> bool {
        matches!(self, Self::Broken(..) | Self::Timeout { phase: Phase::Head | Phase::Body, .. })
    }

    pub(crate) fn tls(error: io::Error) -> Self {
        let fault = match find::<rustls::Error>(&error) {
            Some(rustls::Error::InvalidCertificate(invalid)) => TlsFault::of(invalid),
            _ => TlsFault::Handshake,
        };
        Self::Tls(fault, Arc::new(error))
    }

    /// From the client: what the connector said, or what became of the connection.
    pub(crate) fn of(error: impl Error + Send + Sync + 'static) -> Self {
        if let Some(failure) = find::<Self>(&error) {
            return failure.clone();
        }
        let fault = match find::<hyper::Error>(&error) {
            Some(hyper) if hyper.is_parse_too_large() => Fault::HeadTooLarge,
            Some(hyper) if hyper.is_parse() => Fault::NotHttp,
            _ => Fault::Closed,
        };
        Self::Broken(fault, Arc::new(error))
    }
}

impl TlsFault {
    fn of(invalid: &CertificateError) -> Self {
        match invalid {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::WrongName
            }
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            _ => Self::Handshake,
        }
    }
}

impl Phase {
    fn lateness(self) -> &'static str {
        match self {
            Self::Dns => "The host name's DNS servers did not answer",
            Self::Connect => "No connection could be opened",
            Self::Tls => "The TLS handshake was not finished",
            Self::Head => "The server did not answer",
            Self::Body => "The server did not finish its answer",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Dns => "check its DNS records.",
            Self::Connect => "check that the server runs and that its firewall lets it be reached.",
            Self::Tls => "check that the server speaks TLS on this port.",
            Self::Head | Self::Body => "answer first and do the work afterwards.",
        }
    }
}

/// The first error of type `E` in the chain.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // `source` of an `io::Error` skips what it wraps.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}
