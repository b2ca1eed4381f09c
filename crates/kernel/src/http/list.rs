//! Lists: keyset pages with sealed cursors, newest first, filters decoded strictly.

use std::collections::HashSet;
use std::future::{Future, ready};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::{Answer, Output, json};
use super::input::Input;
use super::json::field_error;
use super::operation::Operation;
use super::query;
use crate::crypto::Keyring;
use crate::cx::Cx;
use crate::error::{Error, Result};

const LIMIT_DEFAULT: u16 = 50;
const LIMIT_MAX: u16 = 200;

/// What a list was asked for: `?limit=`, `?cursor=`, and the filters of `F`, which must refuse
/// unknown fields. Filters are read as strings first, so use strings, ids and timestamps.
pub struct List<F> {
    /// The filters.
    pub filter: F,
    limit: u16,
    after: Option<Vec<u8>>,
    /// What a cursor is sealed to: tenant, route and filters.
    place: Vec<u8>,
    cx: Cx,
}

/// For lists without filters.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = core::NoFilter)]
pub struct NoFilter {}

impl<F> List<F> {
    /// How many rows to fetch: one more than the page, to know whether there is a next one.
    #[must_use]
    pub fn fetch_limit(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// The key of the last row of the page before, if this is not the first.
    ///
    /// # Errors
    /// 422 when the cursor holds another kind of key.
    pub fn after<K: DeserializeOwned>(&self) -> Result<Option<K>> {
        self.after
            .as_deref()
            .map(|key| serde_json::from_slice(key).map_err(|_| bad_cursor()))
            .transpose()
    }

    /// Makes the page from the fetched rows and the key that each is ordered by.
    ///
    /// # Errors
    /// When the cursor cannot be sealed.
    pub fn page<T, K: Serialize>(self, rows: Vec<T>, key: impl Fn(&T) -> K) -> Result<Page<T>> {
        self.page_while(rows, |_| true, key)
    }

    /// As [`page`](Self::page), of those rows alone that `fits` lets pass, up to the first it does not.
    ///
    /// # Errors
    /// When the cursor cannot be sealed.
    pub fn page_while<T, K: Serialize>(
        self,
        mut rows: Vec<T>,
        fits: impl Fn(&T) -> bool,
        key: impl Fn(&T) -> K,
    ) -> Result<Page<T>> {
        let taken = rows.iter().take(self.limit.into()).take_while(|row| fits(row)).count();
        let more = rows.len() > taken;
        rows.truncate(taken);
        let next_cursor = match rows.last().filter(|_| more) {
            None => None,
            Some(last) => {
                let key = serde_json::to_vec(&key(last))?;
                Some(seal_cursor(self.cx.app().keyring(), &self.place, &key)?)
            }
        };
        Ok(Page { data: rows, next_cursor })
    }
}

impl<F: DeserializeOwned + ToSchema + Send + 'static> Input for List<F> {
    type Parsed = Self;

    fn describe(operation: &mut Operation) {
        operation.takes_page(LIMIT_DEFAULT, LIMIT_MAX);
        operation.takes_query::<F>();
    }

    fn parse(cx: &Cx) -> Result<Self> {
        query::check(cx)?;
        let Asked { limit, cursor, filters } = Asked::read(cx.query())?;
        let filters = serde_urlencoded::to_string(&filters).map_err(Error::internal)?;
        let filter = serde_urlencoded::from_str(&filters)
            .map_err(|error| query_error(&error.to_string()))?;
        let tenant = cx.actor().and_then(|actor| actor.tenant).map(|tenant| *tenant);
        let place = crate::crypto::sha256(&[
            tenant.unwrap_or_default().as_bytes(),
            cx.route().path.as_bytes(),
            filters.as_bytes(),
        ])
        .to_vec();
        let keyring = cx.app().keyring();
        let after = cursor.map(|cursor| open_cursor(keyring, &place, &cursor)).transpose()?;
        Ok(Self { filter, limit, after, place, cx: cx.clone() })
    }

    fn make(parsed: Self, _: &Cx) -> impl Future<Output = Result<Self>> + Send {
        ready(Ok(parsed))
    }
}

/// A query taken apart: the page's own parameters, and the rest in the order they came.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) limit: u16,
    pub(super) cursor: Option<String>,
    pub(super) filters: Vec<(String, String)>,
}

impl Asked {
    pub(super) fn read(query: &str) -> Result<Self> {
        let mut asked = Self { limit: LIMIT_DEFAULT, cursor: None, filters: Vec::new() };
        let mut seen = HashSet::new();
        for (name, value) in query::parameters(query)? {
            // Which of two was meant, nobody knows.
            if !seen.insert(name.clone()) {
                return Err(Error::invalid(name, "core.duplicate_field", "say this once"));
            }
            if value.contains('\0') {
                return Err(Error::invalid(name, "core.null_byte", "U+0000 cannot be stored"));
            }
            match name.as_str() {
                "limit" => {
                    asked.limit =
                        value.parse().ok().filter(|n| (1..=LIMIT_MAX).contains(n)).ok_or_else(
                            || Error::invalid("limit", "core.range", format!("1 to {LIMIT_MAX}")),
                        )?;
                }
                "cursor" => asked.cursor = Some(value),
                _ => asked.filters.push((name, value)),
            }
        }
        Ok(asked)
    }
}

pub(super) fn seal_cursor(keyring: &Keyring, place: &[u8], key: &[u8]) -> Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(keyring.seal("cursor", place, key)?))
}

pub(super) fn open_cursor(keyring: &Keyring, place: &[u8], cursor: &str) -> Result<Vec<u8>> {
    if cursor.len() > 1_024 {
        return Err(bad_cursor());
    }
    let sealed = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| bad_cursor())?;
    keyring.open("cursor", place, &sealed).map_err(|_| bad_cursor())
}

fn bad_cursor() -> Error {
    Error::invalid(
        "cursor",
        "core.cursor",
        "not a cursor of this list with these filters; start again without one",
    )
}

/// A parameter is named plainly, not by a pointer.
fn query_error(sentence: &str) -> Error {
    let error = field_error(String::new(), sentence);
    let mut fields = error.fields().to_vec();
    for field in &mut fields {
        field.pointer = field.pointer.trim_start_matches('/').to_owned();
    }
    Error::invalid_fields(fields)
}

/// One page of a list.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    data: Vec<T>,
    next_cursor: Option<String>,
}

impl<T: Serialize + ToSchema + Send + 'static> Output for Page<T> {
    fn describe(operation: &mut Operation) {
        operation.answers_page::<T>();
    }

    fn answer(self, _: &Cx) -> Result<Answer> {
        json(axum::http::StatusCode::OK, &self)
    }
}
