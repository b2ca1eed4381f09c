//! Principals of tests: `Authorization: Bearer test.<base64url JSON>` says who is asking. Any
//! other credentials go to the authenticator of the modules under test, where there is one.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use freehold_kernel::ports::Authenticate;
use freehold_kernel::{
    Actor, Change, Cx, Error, Module, PortalLinkId, Principal, Result, ServiceAccountId, TenantId,
    Timestamp, UserId,
};
use futures_util::future::{BoxFuture, ready};
use serde::{Deserialize, Serialize};

const MARK: &str = "test.";

/// What a test's token says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Claims {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<TenantId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<UserId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) service_account: Option<ServiceAccountId>,
    pub(crate) permissions: Vec<String>,
    pub(crate) aal: u8,
    /// Seconds since a person proved who they are; programs never do.
    #[serde(default)]
    pub(crate) proved_ago: u64,
    /// For somebody who came with a link of the portal: whose customer's it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) customer: Option<String>,
}

impl Claims {
    /// As it goes after `Bearer `.
    pub(crate) fn token(&self) -> String {
        let json = serde_json::to_vec(self).expect("claims are plain data");
        format!("{MARK}{}", URL_SAFE_NO_PAD.encode(json))
    }

    fn read(token: &str, now: Timestamp) -> Option<Actor> {
        let json = URL_SAFE_NO_PAD.decode(token.strip_prefix(MARK)?).ok()?;
        let claims: Self = serde_json::from_slice(&json).ok()?;
        let principal = match (claims.user, claims.service_account, &claims.customer) {
            (Some(user), None, None) => Principal::User(user),
            (None, Some(account), None) => Principal::ServiceAccount(account),
            (None, None, Some(_)) => Principal::Portal(PortalLinkId::new()),
            _ => return None,
        };
        Some(Actor {
            tenant: claims.tenant,
            principal,
            credential: "test".to_owned(),
            permissions: claims.permissions.into_iter().collect(),
            aal: claims.aal,
            authenticated_at: claims.user.map(|_| now - Duration::from_secs(claims.proved_ago)),
            customer: claims.customer.map(Into::into),
        })
    }
}

/// Lets tests be whoever they like.
struct TestAuthenticate {
    behind: Option<Arc<dyn Authenticate>>,
}

/// Gives the modules an authenticator that knows the tokens of tests: around the one they have,
/// or in a module of its own.
pub(crate) fn admit_tests(mut modules: Vec<Module>) -> Vec<Module> {
    for place in 0..modules.len() {
        if let Some(behind) = modules[place].take_authenticator() {
            let module = modules.remove(place);
            let around = Arc::new(TestAuthenticate { behind: Some(behind) });
            modules.insert(place, module.authenticator(around));
            return modules;
        }
    }
    let alone = Arc::new(TestAuthenticate { behind: None });
    modules.push(Module::new("testkit").authenticator(alone));
    modules
}

impl Authenticate for TestAuthenticate {
    fn authenticate<'a>(&'a self, cx: &'a Cx) -> BoxFuture<'a, Result<Option<Arc<Actor>>>> {
        let header = cx.headers().get("authorization").and_then(|value| value.to_str().ok());
        let token = header.and_then(|header| header.strip_prefix("Bearer "));
        match (token.filter(|token| token.starts_with(MARK)), &self.behind, header) {
            (Some(token), _, _) => Box::pin(ready(match Claims::read(token, cx.real_now()) {
                Some(actor) => Ok(Some(Arc::new(actor))),
                None => Err(refused()),
            })),
            (None, Some(behind), _) => behind.authenticate(cx),
            (None, None, None) => Box::pin(ready(Ok(None))),
            (None, None, Some(_)) => Box::pin(ready(Err(refused()))),
        }
    }

    fn forget(&self, change: &Change) {
        if let Some(behind) = &self.behind {
            behind.forget(change);
        }
    }

    fn refusals(&self) -> &'static [&'static str] {
        self.behind.as_ref().map_or(&[], |behind| behind.refusals())
    }
}

fn refused() -> Error {
    Error::unauthenticated("core.unauthenticated", "This is not a token of a test.")
}
