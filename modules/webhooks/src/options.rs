//! What an endpoint may say about how it wants its requests.

use std::collections::BTreeMap;
use std::time::Duration;

use freehold_egress::check_header;
use freehold_kernel::{KeyLimits, Patch, Rate, Result, Tx};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::endpoints::EndpointId;
use crate::filter::Filter;
use crate::signature::{ED25519, HMAC};

/// Requests at once, if the endpoint does not say.
pub(crate) const CONCURRENCY: usize = 10;
/// All retries together; a receiver that is away for longer is switched off before it misses more.
const RETRIES_WITHIN_S: u32 = 72 * 60 * 60;

/// How an endpoint wants its requests. What is null is as for every other endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
#[schema(as = webhooks::Options)]
pub(crate) struct Options {
    /// Only events whose `data` passes: an expression of JSONPath (RFC 9535), `@` being the data.
    #[schema(example = "@.total > 100 && @.currency == 'EUR'")]
    pub(crate) filter: Option<String>,
    /// Seconds from each failed request to the next; null: 5, 10, 20, 40 and 80.
    #[schema(example = json!([60, 3600, 86400]))]
    pub(crate) retry_seconds: Option<Vec<u32>>,
    /// Requests that may begin within any second; null: as many as there are.
    #[schema(example = 50)]
    pub(crate) rate_per_second: Option<u32>,
    /// Requests at once; null: 10.
    #[schema(example = 4)]
    pub(crate) concurrency: Option<u32>,
}

impl Options {
    /// How many requests at once, and how fast they begin.
    pub(crate) fn limits(&self) -> KeyLimits {
        let whole = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let within = Duration::from_secs(1);
        KeyLimits {
            at_once: self.concurrency.map_or(CONCURRENCY, whole),
            rate: self.rate_per_second.map(|starts| Rate { starts: whole(starts), within }),
        }
    }
}

/// Headers of the customer's, by name.
pub(crate) type Headers = BTreeMap<String, String>;

/// Headers as they are kept: they may hold passwords.
pub(crate) async fn seal(
    tx: &mut Tx,
    id: &EndpointId,
    headers: &Headers,
) -> Result<Option<Vec<u8>>> {
    if headers.is_empty() {
        return Ok(None);
    }
    tx.seal(&place(id), &serde_json::to_vec(headers)?).await.map(Some)
}

/// Where headers belong.
pub(crate) fn place(id: &EndpointId) -> [&[u8]; 2] {
    [b"webhooks.endpoints.sealed_headers", id.as_bytes()]
}

/// A whole number as JSON Schema sees it: 7.0 is one.
struct Whole(u32);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "compared below"
        )]
        let whole = number as u32;
        if f64::from(whole) == number {
            return Ok(Self(whole));
        }
        Err(D::Error::custom("a whole number that is not negative"))
    }
}

/// A number that may be absent.
pub(crate) fn whole<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u32>, D::Error> {
    Ok(Option::<Whole>::deserialize(d)?.map(|Whole(number)| number))
}

/// Numbers that may be absent.
pub(crate) fn wholes<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Vec<u32>>, D::Error> {
    let numbers = Option::<Vec<Whole>>::deserialize(d)?;
    Ok(numbers.map(|numbers| numbers.into_iter().map(|Whole(number)| number).collect()))
}

/// The same in a patch.
pub(crate) fn patch_whole<'de, D: Deserializer<'de>>(d: D) -> Result<Patch<u32>, D::Error> {
    Ok(whole(d)?.map_or(Patch::Clear, Patch::Set))
}

/// The same in a patch.
pub(crate) fn patch_wholes<'de, D: Deserializer<'de>>(d: D) -> Result<Patch<Vec<u32>>, D::Error> {
    Ok(wholes(d)?.map_or(Patch::Clear, Patch::Set))
}

/// A rule for garde: names and values that can be sent and are the customer's to choose.
pub(crate) fn check_headers(headers: &Headers, _: &()) -> garde::Result {
    for (name, value) in headers {
        let (name, _) = check_header(name, value).map_err(garde::Error::new)?;
        let name = name.as_str();
        let is_ours = name.starts_with("webhook-")
            || matches!(name, "x-webhook-signature" | "content-type" | "user-agent");
        if is_ours {
            return Err(garde::Error::new(format!("{name} is set by Freehold")));
        }
    }
    Ok(())
}

/// A rule for garde: an expression that can be understood.
pub(crate) fn check_filter(text: &str, _: &()) -> garde::Result {
    Filter::parse(text).map(drop).map_err(garde::Error::new)
}

/// A rule for garde: no more than three days in all.
pub(crate) fn check_schedule(seconds: &[u32], _: &()) -> garde::Result {
    let all = seconds.iter().fold(0_u32, |sum, next| sum.saturating_add(*next));
    if all > RETRIES_WITHIN_S {
        return Err(garde::Error::new("all retries together take longer than 72 hours"));
    }
    Ok(())
}

/// A rule for garde: a way of signing.
pub(crate) fn check_signing(signing: &str, _: &()) -> garde::Result {
    if [HMAC, ED25519].contains(&signing) {
        return Ok(());
    }
    Err(garde::Error::new(format!("{HMAC} or {ED25519}")))
}
