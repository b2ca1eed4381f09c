//! Path parameters. What does not read as the right kind of id is simply not there: 404.

use std::future::{Future, ready};

use serde_json::{Value, json};

use super::input::Input;
use super::operation::Operation;
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::{Id, Named};

/// The parameters of the path, in the order they stand there.
pub struct Path<T>(pub T);

/// Something one segment of a path can be read as.
pub trait FromSegment: Sized + Send + 'static {
    /// The parameter's OpenAPI schema.
    fn schema() -> Value;

    /// Reads the segment; `None` means 404.
    fn from_segment(segment: &str) -> Option<Self>;
}

impl<T: Named> FromSegment for Id<T> {
    fn schema() -> Value {
        json!({"type": "string", "pattern": format!("^{}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$", T::PREFIX)})
    }

    fn from_segment(segment: &str) -> Option<Self> {
        segment.parse().ok()
    }
}

impl<T: FromSegment> Input for Path<T> {
    type Parsed = Self;

    fn describe(operation: &mut Operation) {
        operation.takes_segments(vec![T::schema()]);
    }

    fn parse(cx: &Cx) -> Result<Self> {
        let segment = cx.segments().first().ok_or_else(Error::not_found)?;
        T::from_segment(segment).map(Self).ok_or_else(Error::not_found)
    }

    fn make(parsed: Self, _: &Cx) -> impl Future<Output = Result<Self>> + Send {
        ready(Ok(parsed))
    }
}

impl<A: FromSegment, B: FromSegment> Input for Path<(A, B)> {
    type Parsed = Self;

    fn describe(operation: &mut Operation) {
        operation.takes_segments(vec![A::schema(), B::schema()]);
    }

    fn parse(cx: &Cx) -> Result<Self> {
        let [first, second] = cx.segments() else { return Err(Error::not_found()) };
        match (A::from_segment(first), B::from_segment(second)) {
            (Some(first), Some(second)) => Ok(Self((first, second))),
            _ => Err(Error::not_found()),
        }
    }

    fn make(parsed: Self, _: &Cx) -> impl Future<Output = Result<Self>> + Send {
        ready(Ok(parsed))
    }
}
