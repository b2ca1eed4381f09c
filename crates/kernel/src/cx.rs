//! One request, as handlers and the authenticator see it.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use axum::http::{HeaderMap, Method, request::Parts};
use bytes::Bytes;

use crate::actor::Actor;
use crate::app::App;
use crate::claims::Claim;
use crate::directory::TenantId;
use crate::error::{Error, Result};
use crate::http::Route;
use crate::limits::Decision;
use crate::time::Timestamp;
use crate::trace::Cause;
use crate::tx::{AccountTx, Opening, PlatformTx, Slot, SystemTx, Tx};

/// The request a handler answers. Handlers that hash, call out or wait take this instead of a
/// [`Tx`] and open short transactions themselves: [`Cx::tx`], [`Cx::account_tx`].
#[derive(Clone)]
pub struct Cx(Arc<Inner>);

struct Inner {
    origin: Arc<Origin>,
    route: Arc<Route>,
    head: Parts,
    segments: Vec<String>,
    body: OnceLock<Bytes>,
    budget: OnceLock<(&'static str, Decision)>,
    slot: Slot,
}

/// Where a change comes from; stays with every transaction, for the audit record.
pub(crate) struct Origin {
    pub(crate) app: Arc<App>,
    pub(crate) request_id: String,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) user_agent: Option<String>,
    pub(crate) actor: OnceLock<Arc<Actor>>,
    /// The trace that this is a part of, where somebody wants it.
    pub(crate) trace: Option<Cause>,
}

impl Cx {
    pub(crate) fn new(
        app: Arc<App>,
        route: Arc<Route>,
        head: Parts,
        segments: Vec<String>,
        request_id: String,
        ip: Option<IpAddr>,
        trace: Option<Cause>,
    ) -> Self {
        let user_agent = head
            .headers
            .get("user-agent")
            .and_then(|value| value.to_str().ok())
            .map(|text| text.chars().take(512).collect());
        let origin = Origin { app, request_id, ip, user_agent, actor: OnceLock::new(), trace };
        Self(Arc::new(Inner {
            origin: Arc::new(origin),
            route,
            head,
            segments,
            body: OnceLock::new(),
            budget: OnceLock::new(),
            slot: Slot::default(),
        }))
    }

    /// The running application.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.0.origin.app
    }

    /// The route that matched.
    #[must_use]
    pub fn route(&self) -> &Route {
        &self.0.route
    }

    /// The HTTP method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.0.head.method
    }

    /// The path that was asked for.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.head.uri.path()
    }

    /// The query string, without the question mark.
    #[must_use]
    pub fn query(&self) -> &str {
        self.0.head.uri.query().unwrap_or_default()
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.0.head.headers
    }

    /// The parameters in the path, decoded, in order.
    #[must_use]
    pub fn segments(&self) -> &[String] {
        &self.0.segments
    }

    /// The whole body.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        static NONE: Bytes = Bytes::new();
        self.0.body.get().unwrap_or(&NONE)
    }

    /// Names this request in logs, in the audit record and in the answer.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.0.origin.request_id
    }

    /// The caller's address, as seen by us or told by a proxy we trust.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.0.origin.ip
    }

    /// Who is asking; `None` on public routes without credentials.
    #[must_use]
    pub fn actor(&self) -> Option<&Arc<Actor>> {
        self.0.origin.actor.get()
    }

    /// Who is asking, on routes that are not public.
    ///
    /// # Errors
    /// 401 when nobody is.
    pub fn signed_in(&self) -> Result<&Arc<Actor>> {
        self.actor().ok_or_else(|| {
            Error::unauthenticated("core.unauthenticated", "Send a token or an API key.")
        })
    }

    /// Real time: tokens, sessions, limits.
    #[must_use]
    pub fn real_now(&self) -> Timestamp {
        self.app().config().clock.now()
    }

    /// A transaction in the caller's tenant. Nothing is kept unless it is committed.
    ///
    /// # Errors
    /// 403 for a caller who is in no tenant, 503 when the database is away.
    pub async fn tx(&self) -> Result<Tx> {
        let tenant = self.tenant()?;
        Tx::begin(self.0.origin.clone(), tenant, Opening::ReadWrite, Slot::default()).await
    }

    /// A transaction on the tables that span tenants, for what happens before a tenant is known.
    /// Nothing is kept unless it is committed.
    ///
    /// # Errors
    /// 503 when the database is away.
    pub async fn account_tx(&self) -> Result<AccountTx> {
        AccountTx::begin(self.0.origin.clone()).await
    }

    /// A transaction over all tenants, for operators.
    ///
    /// # Errors
    /// 503 when the database is away.
    pub async fn platform_tx(&self) -> Result<PlatformTx> {
        PlatformTx::begin(self.0.origin.clone()).await
    }

    /// The transaction that one request of many tenants' commits for all that wait with it. Only for
    /// `POST /events` (docs/adr/0013): whoever writes in it names the tenant in every row.
    ///
    /// # Errors
    /// 503 when the database is away.
    pub async fn group_tx(app: &Arc<App>) -> Result<SystemTx> {
        SystemTx::begin(app.origin()).await
    }

    /// Whether its transaction must be its own: it is to be repeated word for word, or its trace is
    /// followed.
    pub(crate) fn is_apart(&self) -> bool {
        self.0.origin.trace.is_some() || self.0.slot.has_begun()
    }

    /// Whom an installation-wide name or secret belongs to (see [`Tx::claim`]).
    ///
    /// # Errors
    /// 503 when the database is away.
    pub async fn resolve(&self, kind: &str, key: &[u8]) -> Result<Option<Claim>> {
        self.account_tx().await?.resolve(kind, key).await
    }

    pub(crate) fn tenant(&self) -> Result<TenantId> {
        self.signed_in()?.tenant.ok_or_else(|| {
            Error::forbidden("core.no_tenant", "You are in no tenant yet; join or make one first.")
        })
    }

    /// The request's own transaction: the one the wrapper opened, or a new one that the wrapper
    /// will find in the slot.
    pub(crate) async fn request_tx(&self) -> Result<Tx> {
        if let Some(tx) = Tx::resume(&self.0.slot) {
            return Ok(tx);
        }
        let reads = matches!(*self.method(), Method::GET | Method::HEAD) && !self.route().recorded;
        let opening = if reads { Opening::ReadOnly } else { Opening::ReadWrite };
        self.open_request_tx(opening).await
    }

    pub(crate) async fn open_request_tx(&self, opening: Opening) -> Result<Tx> {
        Tx::begin(self.0.origin.clone(), self.tenant()?, opening, self.0.slot.clone()).await
    }

    pub(crate) fn slot(&self) -> &Slot {
        &self.0.slot
    }

    /// Says who is asking. The wrapper does it before any handler runs; on public routes sign-up
    /// and sign-in do, so that what they record carries the person's name. The first word counts.
    pub fn sign_in(&self, actor: Arc<Actor>) {
        let _ = self.0.origin.actor.set(actor);
    }

    pub(crate) fn set_body(&self, body: Bytes) {
        let _ = self.0.body.set(body);
    }

    pub(crate) fn set_budget(&self, policy: &'static str, decision: Decision) {
        let _ = self.0.budget.set((policy, decision));
    }

    pub(crate) fn budget(&self) -> Option<&(&'static str, Decision)> {
        self.0.budget.get()
    }
}
