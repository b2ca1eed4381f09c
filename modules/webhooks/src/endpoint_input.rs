//! What an endpoint is made from and changed by, and what is refused.

use freehold_kernel::{Patch, rules};
use garde::Validate;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::events::is_word;
use crate::options::{
    Headers, Options, check_filter, check_headers, check_schedule, check_signing, patch_whole,
    patch_wholes, whole, wholes,
};
use crate::signature::check_secret;

/// An endpoint to make.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = webhooks::NewWebhook)]
pub(crate) struct NewEndpoint {
    /// Where to send events: https; plain http only where the installation allows it.
    #[garde(length(max = 2048))]
    #[schema(example = "https://example.org/hooks/freehold", format = "uri", max_length = 2048)]
    pub(crate) url: String,
    /// Whose it is: your own id of your customer, who may manage it with a portal link;
    /// one of yours if absent. Stays as it is.
    #[garde(inner(length(chars, max = 64), custom(rules::readable)))]
    #[schema(example = "cust_4711", format = "name", max_length = 64)]
    pub(crate) customer: Option<String>,
    /// Which events: names, `resource.*`, or `*`.
    #[garde(length(min = 1, max = 100), inner(custom(event_pattern)))]
    #[schema(
        example = json!(["user.*"]),
        pattern = r"^(\*|[a-z0-9_-]+(\.[a-z0-9_-]+)*\.(\*|[a-z0-9_-]+))$",
        max_length = 128,
        min_items = 1,
        max_items = 100
    )]
    pub(crate) events: Vec<String>,
    /// What it is for.
    #[serde(default)]
    #[garde(length(chars, max = 500))]
    #[schema(example = "CRM sync", max_length = 500)]
    pub(crate) description: String,
    /// Whether to send events at once; true when absent.
    #[garde(skip)]
    #[schema(example = true)]
    pub(crate) is_active: Option<bool>,
    /// Headers of your own with each request, as for a gateway. Kept sealed; only their names are shown.
    #[serde(default)]
    #[garde(length(max = 20), custom(check_headers))]
    #[schema(value_type = Object, example = json!({"Authorization": "Bearer 4711"}))]
    pub(crate) headers: Headers,
    /// Only events whose `data` passes: an expression of JSONPath (RFC 9535), `@` being the data.
    #[garde(inner(length(chars, min = 1, max = 500), custom(check_filter)))]
    #[schema(example = "@.total > 100", min_length = 1, max_length = 500)]
    pub(crate) filter: Option<String>,
    /// `hmac-sha256` (a shared secret) or `ed25519` (a key pair); stays as it is.
    #[garde(inner(custom(check_signing)))]
    #[schema(example = "hmac-sha256", max_length = 20)]
    pub(crate) signing: Option<String>,
    /// The signing secret that your receiver has already, as from another service: `whsec_` and the
    /// base64 of 24 to 64 bytes. Absent: a new one. Only with `hmac-sha256`.
    #[garde(inner(custom(check_secret)))]
    #[schema(
        example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        pattern = r"^whsec_(([A-Za-z0-9+/]{4}){8,21}([A-Za-z0-9+/][AQgw]==)?|([A-Za-z0-9+/]{4}){8,20}[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)$",
        max_length = 94
    )]
    pub(crate) secret: Option<String>,
    /// Seconds from each failed request to the next, 72 hours in all; absent: 5, 10, 20, 40 and 80.
    #[serde(default, deserialize_with = "wholes")]
    #[garde(inner(
        length(min = 1, max = 20),
        inner(range(min = 1, max = 259_200)),
        custom(check_schedule)
    ))]
    #[schema(example = json!([60, 3600]), min_items = 1, max_items = 20, minimum = 1, maximum = 259_200)]
    pub(crate) retry_seconds: Option<Vec<u32>>,
    /// Requests that may begin within any second; absent: as many as there are.
    #[serde(default, deserialize_with = "whole")]
    #[garde(inner(range(min = 1, max = 1_000)))]
    #[schema(example = 50, minimum = 1, maximum = 1_000)]
    pub(crate) rate_per_second: Option<u32>,
    /// Requests at once; absent: 10.
    #[serde(default, deserialize_with = "whole")]
    #[garde(inner(range(min = 1, max = 32)))]
    #[schema(example = 4, minimum = 1, maximum = 32)]
    pub(crate) concurrency: Option<u32>,
}

/// What may be changed about an endpoint; absent fields stay.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = webhooks::UpdateWebhook)]
pub(crate) struct UpdateEndpoint {
    /// Where to send events.
    #[garde(inner(length(max = 2048)))]
    #[schema(example = "https://example.org/hooks/freehold", format = "uri", max_length = 2048)]
    pub(crate) url: Option<String>,
    /// Which events.
    #[garde(inner(length(min = 1, max = 100), inner(custom(event_pattern))))]
    #[schema(
        example = json!(["user.*"]),
        pattern = r"^(\*|[a-z0-9_-]+(\.[a-z0-9_-]+)*\.(\*|[a-z0-9_-]+))$",
        max_length = 128,
        min_items = 1,
        max_items = 100
    )]
    pub(crate) events: Option<Vec<String>>,
    /// What it is for; null for nothing.
    #[serde(default)]
    #[garde(inner(length(chars, max = 500)))]
    #[schema(value_type = Option<String>, example = "CRM sync", max_length = 500)]
    pub(crate) description: Patch<String>,
    /// Whether events are sent at all.
    #[garde(skip)]
    #[schema(example = false)]
    pub(crate) is_active: Option<bool>,
    /// Headers of your own, in place of all there were; null for none.
    #[serde(default)]
    #[garde(inner(length(max = 20), custom(check_headers)))]
    #[schema(value_type = Option<Object>, example = json!({"Authorization": "Bearer 4711"}))]
    pub(crate) headers: Patch<Headers>,
    /// Only events whose `data` passes; null for all.
    #[serde(default)]
    #[garde(inner(length(chars, min = 1, max = 500), custom(check_filter)))]
    #[schema(value_type = Option<String>, example = "@.total > 100", min_length = 1, max_length = 500)]
    pub(crate) filter: Patch<String>,
    /// Seconds from each failed request to the next; null for 5, 10, 20, 40 and 80.
    #[serde(default, deserialize_with = "patch_wholes")]
    #[garde(inner(
        length(min = 1, max = 20),
        inner(range(min = 1, max = 259_200)),
        custom(check_schedule)
    ))]
    #[schema(value_type = Option<Vec<u32>>, example = json!([60, 3600]), min_items = 1, max_items = 20, minimum = 1, maximum = 259_200)]
    pub(crate) retry_seconds: Patch<Vec<u32>>,
    /// Requests that may begin within any second; null for as many as there are.
    #[serde(default, deserialize_with = "patch_whole")]
    #[garde(inner(range(min = 1, max = 1_000)))]
    #[schema(value_type = Option<u32>, example = 50, minimum = 1, maximum = 1_000)]
    pub(crate) rate_per_second: Patch<u32>,
    /// Requests at once; null for 10.
    #[serde(default, deserialize_with = "patch_whole")]
    #[garde(inner(range(min = 1, max = 32)))]
    #[schema(value_type = Option<u32>, example = 4, minimum = 1, maximum = 32)]
    pub(crate) concurrency: Patch<u32>,
}

impl NewEndpoint {
    /// How it wants its requests.
    pub(crate) fn options(&self) -> Options {
        Options {
            filter: self.filter.clone(),
            retry_seconds: self.retry_seconds.clone(),
            rate_per_second: self.rate_per_second,
            concurrency: self.concurrency,
        }
    }
}

impl UpdateEndpoint {
    /// How it wants its requests afterwards.
    pub(crate) fn options(&self, before: &Options) -> Options {
        let before = before.clone();
        Options {
            filter: self.filter.clone().apply(before.filter),
            retry_seconds: self.retry_seconds.clone().apply(before.retry_seconds),
            rate_per_second: self.rate_per_second.clone().apply(before.rate_per_second),
            concurrency: self.concurrency.clone().apply(before.concurrency),
        }
    }
}

/// A rule for garde: a name as events have them, `resource.*`, or `*`.
pub(crate) fn event_pattern(pattern: &str, _: &()) -> garde::Result {
    let named = match pattern.strip_suffix(".*") {
        Some(prefix) => prefix.split('.').all(is_word),
        None => pattern.contains('.') && pattern.split('.').all(is_word),
    };
    if pattern == "*" || (named && pattern.len() <= 128) {
        return Ok(());
    }
    Err(garde::Error::new("a name as in user.created (lower case), `user.*`, or `*`"))
}
