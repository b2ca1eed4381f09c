//! Problem documents: what an [`Error`] looks like on the wire (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::Answer;
use crate::error::{Error, Kind};

/// Why a request was refused.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = core::Problem)]
pub(crate) struct Problem<'a> {
    /// A URI that names the kind of problem; `code` is the finer name.
    #[schema(example = "https://freehold.dev/problems/conflict")]
    r#type: String,
    /// The kind of problem in a few words, always the same for one status.
    #[schema(example = "Conflict")]
    title: &'static str,
    /// The HTTP status.
    #[schema(example = 409)]
    status: u16,
    /// What happened this time, for a person.
    #[schema(example = "This slug is taken.")]
    detail: &'a str,
    /// The path that was asked for.
    #[schema(example = "/api/v1/tenant")]
    instance: &'a str,
    /// Stable `module.reason`, for programs.
    #[schema(example = "tenants.slug_taken")]
    code: &'a str,
    /// Names this request in logs and audit; quote it to support.
    #[schema(example = "req_01jz8q6k3mf1g8tvkh4z6c9x2b")]
    request_id: &'a str,
    /// What is wrong field by field; present with status 422.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldProblem<'a>>,
}

/// What is wrong with one field.
#[derive(Serialize, ToSchema)]
#[schema(as = core::FieldProblem)]
struct FieldProblem<'a> {
    /// JSON Pointer (RFC 6901) into the body, or the name of the query parameter.
    #[schema(example = "/slug")]
    pointer: &'a str,
    /// Stable name of the rule that was broken.
    #[schema(example = "core.format")]
    code: &'a str,
    /// The rule, in words.
    #[schema(example = "3 to 40 lower-case letters, digits and hyphens")]
    detail: &'a str,
}

/// Writes the problem document. Nothing of the cause gets into it.
pub(crate) fn answer(error: &Error, path: &str, request_id: &str) -> Answer {
    let kind = error.kind();
    let problem = Problem {
        r#type: format!("https://freehold.dev/problems/{}", slug(kind)),
        title: kind.title(),
        status: kind.status(),
        detail: error.detail(),
        instance: path,
        code: error.code(),
        request_id,
        errors: error
            .fields()
            .iter()
            .map(|field| FieldProblem {
                pointer: &field.pointer,
                code: field.code,
                detail: &field.detail,
            })
            .collect(),
    };
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut answer = Answer::new(body.into());
    *answer.status_mut() =
        StatusCode::from_u16(kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(seconds) = error.retry_after_s() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if kind == Kind::Unauthenticated {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    answer
}

/// The last part of the type URI: the title in lower case with hyphens.
fn slug(kind: Kind) -> String {
    kind.title().split_whitespace().map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-")
}
