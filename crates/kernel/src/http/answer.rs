//! What handlers answer: a value and how it goes out.

use axum::http::{HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use super::operation::Operation;
use crate::cx::Cx;
use crate::error::Result;

/// An answer with its whole body, so that it can be kept for a repeated request.
pub type Answer = Response<Bytes>;

/// What a handler may return.
pub trait Output: Send + 'static {
    /// Says in the OpenAPI operation what the answer looks like.
    fn describe(operation: &mut Operation);

    /// Writes the answer.
    ///
    /// # Errors
    /// When the value cannot be written as JSON.
    fn answer(self, cx: &Cx) -> Result<Answer>;
}

impl<T: Serialize + ToSchema + Send + 'static> Output for super::Json<T> {
    fn describe(operation: &mut Operation) {
        operation.answers_json::<T>(200, "The resource");
    }

    fn answer(self, _: &Cx) -> Result<Answer> {
        json(StatusCode::OK, &self.0)
    }
}

/// 201: the new resource, and where it is (`Location`: the request's path, then the new id, or the
/// name of what goes by its name).
pub struct Created<T>(pub T);

impl<T: Serialize + ToSchema + Send + 'static> Output for Created<T> {
    fn describe(operation: &mut Operation) {
        operation.answers_json::<T>(201, "Created");
        operation.answers_header("Location", "Where the new resource is");
    }

    fn answer(self, cx: &Cx) -> Result<Answer> {
        let value = serde_json::to_value(&self.0)?;
        let mut answer = json(StatusCode::CREATED, &value)?;
        let id = value.get("id").or_else(|| value.get("name"));
        if let Some(id) = id.and_then(serde_json::Value::as_str) {
            let location = format!("{}/{id}", cx.path().trim_end_matches('/'));
            if let Ok(location) = HeaderValue::from_str(&location) {
                answer.headers_mut().insert(header::LOCATION, location);
            }
        }
        Ok(answer)
    }
}

/// 202: taken; the rest happens after this answer.
pub struct Accepted<T>(pub T);

impl<T: Serialize + ToSchema + Send + 'static> Output for Accepted<T> {
    fn describe(operation: &mut Operation) {
        operation.answers_json::<T>(202, "Taken");
    }

    fn answer(self, _: &Cx) -> Result<Answer> {
        json(StatusCode::ACCEPTED, &self.0)
    }
}

/// 204: done, and nothing to say.
pub struct NoContent;

impl Output for NoContent {
    fn describe(operation: &mut Operation) {
        operation.answers_nothing(204, "Done");
    }

    fn answer(self, _: &Cx) -> Result<Answer> {
        let mut answer = Answer::new(Bytes::new());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        Ok(answer)
    }
}

/// 200 with an `ETag`: the version to send back in `If-Match`.
pub struct WithEtag<T> {
    /// The version of the resource.
    pub version: i64,
    /// The resource.
    pub value: T,
}

impl<T: Serialize + ToSchema + Send + 'static> Output for WithEtag<T> {
    fn describe(operation: &mut Operation) {
        operation.answers_json::<T>(200, "The resource");
        operation.answers_header("ETag", "The version, for `If-Match`");
    }

    fn answer(self, _: &Cx) -> Result<Answer> {
        let mut answer = json(StatusCode::OK, &self.value)?;
        if let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", self.version)) {
            answer.headers_mut().insert(header::ETAG, etag);
        }
        Ok(answer)
    }
}

pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Result<Answer> {
    let mut answer = Answer::new(serde_json::to_vec(value)?.into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(answer)
}
