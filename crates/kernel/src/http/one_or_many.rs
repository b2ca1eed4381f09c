//! A body that is one object or a list of them.

use std::fmt;
use std::future::{Future, ready};
use std::marker::PhantomData;

use garde::Validate;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use utoipa::ToSchema;

use super::input::Input;
use super::json::{check_content_type, decode, decode_any, invalid, scan};
use super::operation::Operation;
use super::query;
use crate::cx::Cx;
use crate::error::{Error, Result};

/// A JSON body that is one object or a list of 1 to `MAX` of them, each under the rules of
/// [`Json`](super::Json). What is wrong with one of a list is refused with its place: `/3/type`.
pub enum OneOrMany<T, const MAX: usize> {
    /// An object by itself.
    One(T),
    /// A list.
    Many(Vec<T>),
}

impl<T, const MAX: usize> Input for OneOrMany<T, MAX>
where
    T: DeserializeOwned + Validate<Context = ()> + ToSchema + Send + 'static,
{
    type Parsed = Self;

    fn describe(operation: &mut Operation) {
        operation.takes_one_or_many::<T>(MAX);
    }

    fn parse(cx: &Cx) -> Result<Self> {
        query::check(cx)?;
        check_content_type(cx)?;
        scan(cx.body(), cx.app().config().limits.json_depth)?;
        if !cx.body().trim_ascii_start().starts_with(b"[") {
            let one: T = decode(cx.body())?;
            one.validate().map_err(|report| invalid("", &report))?;
            return Ok(Self::One(one));
        }
        let many: Vec<Object<T>> = decode_any(cx.body())?;
        if many.is_empty() || many.len() > MAX {
            let given = many.len();
            let words = format!("a list of 1 to {MAX} is expected, not of {given}");
            return Err(Error::invalid("", "core.rule", words));
        }
        for (at, Object(one)) in many.iter().enumerate() {
            one.validate().map_err(|report| invalid(&format!("/{at}"), &report))?;
        }
        Ok(Self::Many(many.into_iter().map(|Object(one)| one).collect()))
    }

    fn make(parsed: Self, _: &Cx) -> impl Future<Output = Result<Self>> + Send {
        ready(Ok(parsed))
    }
}

/// An object, and not the list of its fields that serde would take as well.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<T, M::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}
