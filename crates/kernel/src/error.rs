//! The one error of the whole API: a closed kind, a stable code, and a message for the person
//! outside kept apart from the cause inside.

use std::fmt;

/// What handlers answer.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A refusal or a failure, on its way to becoming a problem document (RFC 9457).
///
/// `code` is `module.reason`, stable, for programs; `detail` is for the person reading the answer
/// and must hold nothing they may not know; `cause` goes to the log and nowhere else.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    code: &'static str,
    detail: String,
    fields: Vec<FieldError>,
    retry_after_s: Option<u64>,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What is wrong with one field of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Where, as a JSON Pointer (RFC 6901) into the body, or the name of a query parameter.
    pub pointer: String,
    /// Stable name of the rule that was broken.
    pub code: &'static str,
    /// The rule, in words.
    pub detail: String,
}

/// Every kind of refusal there is, one HTTP status each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 400: not HTTP or JSON that can be read.
    Malformed,
    /// 401: no credentials, or none that hold.
    Unauthenticated,
    /// 403: known, but not allowed.
    Forbidden,
    /// 404: not there, or not yours.
    NotFound,
    /// 405: the path exists, the method does not.
    MethodNotAllowed,
    /// 408: the body came too slowly.
    TooSlow,
    /// 409: clashes with what is there.
    Conflict,
    /// 412: somebody else changed it first.
    Stale,
    /// 413: more bytes than the route takes.
    TooLarge,
    /// 415: not the content type the route takes.
    UnsupportedType,
    /// 422: readable, but not valid.
    Invalid,
    /// 429: too many requests.
    TooMany,
    /// 431: headers too large.
    HeadersTooLarge,
    /// 500: our fault.
    Internal,
    /// 503: not now; try again.
    Unavailable,
}

impl Kind {
    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::TooSlow => 408,
            Self::Conflict => 409,
            Self::Stale => 412,
            Self::TooLarge => 413,
            Self::UnsupportedType => 415,
            Self::Invalid => 422,
            Self::TooMany => 429,
            Self::HeadersTooLarge => 431,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }

    /// The short summary that never changes between occurrences.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Malformed => "The request cannot be read",
            Self::Unauthenticated => "Sign in first",
            Self::Forbidden => "Not allowed",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::TooSlow => "The request came too slowly",
            Self::Conflict => "Conflict",
            Self::Stale => "Changed by somebody else",
            Self::TooLarge => "The request is too large",
            Self::UnsupportedType => "Unsupported content type",
            Self::Invalid => "The input is not valid",
            Self::TooMany => "Too many requests",
            Self::HeadersTooLarge => "The headers are too large",
            Self::Internal => "Something went wrong on our side",
            Self::Unavailable => "Not available right now",
        }
    }
}

impl Error {
    /// An error of any kind; the functions below read better.
    #[must_use]
    pub fn new(kind: Kind, code: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            code,
            detail: detail.into(),
            fields: Vec::new(),
            retry_after_s: None,
            cause: None,
        }))
    }

    /// A refusal with status 412: somebody else was faster.
    #[must_use]
    pub fn stale() -> Self {
        let words =
            "Somebody changed this since you read it; read it again and repeat your change.";
        Self::new(Kind::Stale, "core.stale", words)
    }

    /// A refusal with status 401.
    #[must_use]
    pub fn unauthenticated(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Kind::Unauthenticated, code, detail)
    }

    /// A refusal with status 403.
    #[must_use]
    pub fn forbidden(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Kind::Forbidden, code, detail)
    }

    /// Status 404. One code and one text for everything, so that the answer for another tenant's thing is
    /// the answer for a thing that never was.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(Kind::NotFound, "core.not_found", "There is nothing here by that name.")
    }

    /// A refusal with status 409.
    #[must_use]
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, code, detail)
    }

    /// Status 422 for one field.
    #[must_use]
    pub fn invalid(
        pointer: impl Into<String>,
        code: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self::invalid_fields(vec![FieldError {
            pointer: pointer.into(),
            code,
            detail: detail.into(),
        }])
    }

    /// Status 422 for several fields at once.
    #[must_use]
    pub fn invalid_fields(fields: Vec<FieldError>) -> Self {
        let mut error = Self::new(
            Kind::Invalid,
            "core.invalid",
            "Some of the input is not valid; `errors` says which and why.",
        );
        error.0.fields = fields;
        error
    }

    /// Status 500. The cause is logged; the person outside learns nothing of it.
    #[must_use]
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let mut error = Self::new(
            Kind::Internal,
            "core.internal",
            "This is our fault. Tell support the request id.",
        );
        error.0.cause = Some(cause.into());
        error
    }

    /// Status 503, with the seconds after which trying again makes sense.
    #[must_use]
    pub fn unavailable(code: &'static str, detail: impl Into<String>, retry_after_s: u64) -> Self {
        Self::new(Kind::Unavailable, code, detail).retry_after(retry_after_s)
    }

    /// Adds `Retry-After`, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after_s = Some(seconds);
        self
    }

    /// Adds what the log should say.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// The message for the person outside.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// What is wrong field by field.
    #[must_use]
    pub fn fields(&self) -> &[FieldError] {
        &self.0.fields
    }

    /// Seconds for `Retry-After`.
    #[must_use]
    pub fn retry_after_s(&self) -> Option<u64> {
        self.0.retry_after_s
    }

    /// The cause, for the log.
    #[must_use]
    pub fn cause(&self) -> Option<&(dyn std::error::Error + Send + Sync)> {
        self.0.cause.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.detail)?;
        match &self.0.cause {
            Some(cause) => write!(f, " ({cause})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

impl From<crate::crypto::CryptoError> for Error {
    fn from(error: crate::crypto::CryptoError) -> Self {
        Self::internal(error)
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::internal(error)
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::RowNotFound => Self::not_found(),
            sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::WorkerCrashed => database_away().because(error),
            sqlx::Error::Database(refusal) => match refusal.code().as_deref() {
                Some("FH409") => Self::conflict(
                    "core.idempotency_in_flight",
                    "A request with this Idempotency-Key is still being answered.",
                )
                .retry_after(1),
                Some("FH410") => Self::conflict(
                    "core.job_lost",
                    "Somebody else has taken this job over; nothing of this run was kept.",
                )
                .because(error),
                // Serialization failure, deadlock, statement timeout: right the next time.
                Some("40001" | "40P01" | "57014" | "55P03") => {
                    Self::unavailable("core.busy", "Too much is going on at once; try again.", 1)
                        .because(error)
                }
                Some("53100") => Self::unavailable(
                    "core.database_full",
                    "The database has no room left; nothing was changed. Reading goes on.",
                    30,
                )
                .because(error),
                // Class 08 connection, 57P shutting down or starting up, 53 out of resources.
                Some(code)
                    if ["08", "57P", "53", "55000"].iter().any(|class| code.starts_with(class)) =>
                {
                    database_away().because(error)
                }
                _ => Self::internal(error),
            },
            _ => Self::internal(error),
        }
    }
}

fn database_away() -> Error {
    Error::unavailable("core.database_unavailable", "The database does not answer; try again.", 2)
}

/// Lets the database refuse and the handler name the refusal.
pub trait OnConstraint<T> {
    /// Turns a violation of `constraint` into the error of `refusal`; leaves all else as it is.
    ///
    /// # Errors
    /// The named refusal, or the database's error as [`Error`].
    fn on_constraint(self, constraint: &str, refusal: impl FnOnce() -> Error) -> Result<T>;
}

impl<T> OnConstraint<T> for Result<T, sqlx::Error> {
    fn on_constraint(self, constraint: &str, refusal: impl FnOnce() -> Error) -> Result<T> {
        self.map_err(|error| match &error {
            sqlx::Error::Database(violated) if violated.constraint() == Some(constraint) => {
                refusal()
            }
            _ => error.into(),
        })
    }
}
