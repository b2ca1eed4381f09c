//! The wrapper around every handler. In this order: size of headers, limit per address, who is
//! asking, what they may do, limit per tenant, the whole body, then — in a task of its own, so that
//! a client that hangs up never cancels a commit — handler, events, COMMIT, answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use tokio::time::timeout;

use super::answer::Answer;
use super::routes::{Access, Recent, Route};
use super::{body, headers, idempotency, problem};
use crate::actor::SystemRole;
use crate::app::App;
use crate::cx::Cx;
use crate::error::{Error, Kind, Result};
use crate::limits::{Decision, Quota};
use crate::metrics::{Measured, REFUSALS};
use crate::trace::Span;

/// The address of the connection's other end, put into the request by the server.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

pub(super) async fn serve(
    app: Arc<App>,
    route: Arc<Route>,
    segments: Vec<String>,
    request: Request,
) -> Response {
    let started = Instant::now();
    let mut span = Span::of_request(&route, request.headers());
    let measured = Measured::begin(&app, &route);
    let (head, body) = request.into_parts();
    let peer = head.extensions.get::<Peer>().map(|peer| peer.0);
    let ip = headers::caller(peer, &head.headers, &app.config().trusted_proxies);
    let request_id = headers::request_id(&head.headers);
    let cx = Cx::new(app, route, head, segments, request_id, ip, span.cause());
    let outcome = match admit(&cx, body).await {
        Ok(()) => run(cx.clone()).await,
        Err(error) => Err(error),
    };
    let answer = outcome.unwrap_or_else(|error| refuse(&cx, &error));
    measured.answered(answer.status().as_u16());
    span.answered(answer.status().as_u16());
    log(&cx, &answer, started);
    finish(&cx, answer)
}

/// Everything that may refuse a request before its body is understood.
async fn admit(cx: &Cx, body: Body) -> Result<()> {
    if let Err(refusal) = admit_head(cx).await {
        body::discard(cx.headers(), body).await;
        return Err(refusal);
    }
    cx.set_body(body::read(body, &cx.app().config().limits).await?);
    Ok(())
}

async fn admit_head(cx: &Cx) -> Result<()> {
    headers::check_size(cx)?;
    let limits = &cx.app().config().limits;
    spend(cx, "ip", limits.per_ip, cx.ip())?;
    authenticate(cx).await?;
    if cx.route().recent == Recent::Always {
        cx.signed_in()?.check_recent(cx.real_now())?;
    }
    if let Some(actor) = cx.actor()
        && let Some(tenant) = actor.tenant
    {
        // A customer's has a budget of their own: no page of theirs takes the tenant's.
        spend(cx, "tenant", limits.per_tenant, (tenant, &actor.customer))?;
    }
    Ok(())
}

/// Takes one request from a budget. The last budget asked is the one that the answer's headers
/// speak of, unless an earlier one refused.
fn spend(cx: &Cx, policy: &'static str, quota: Quota, key: impl std::hash::Hash) -> Result<()> {
    let decision: Decision = cx.app().limiter().check((policy, key), quota);
    let decides = policy == "tenant" || cx.route().access == Access::Public || !decision.allowed;
    if decides {
        cx.set_budget(policy, decision);
    }
    if decision.allowed {
        return Ok(());
    }
    cx.app().metrics().count(&REFUSALS, policy);
    let wait = decision.retry_after.as_secs() + 1;
    Err(Error::new(
        Kind::TooMany,
        "core.rate_limited",
        format!("Too many requests; the next one is welcome in {wait} s."),
    )
    .retry_after(wait))
}

async fn authenticate(cx: &Cx) -> Result<()> {
    let access = cx.route().access;
    if access == Access::Public {
        return Ok(());
    }
    if let Some(actor) = cx.app().authenticator().authenticate(cx).await? {
        cx.sign_in(actor);
    }
    let actor = cx.signed_in()?;
    if actor.customer.is_some() && !cx.route().portal {
        let words = "This link is for managing webhooks, and this is not part of that.";
        return Err(Error::forbidden("core.not_for_portal", words));
    }
    let Access::Permission(permission) = access else { return Ok(()) };
    cx.tenant()?;
    if actor.permissions.allow(permission) {
        return Ok(());
    }
    let holders: Vec<&str> =
        cx.app().holders(permission).into_iter().map(SystemRole::name).collect();
    Err(Error::forbidden(
        "core.permission_missing",
        format!("This needs the permission {permission}; it comes with: {}.", holders.join(", ")),
    ))
}

async fn run(cx: Cx) -> Result<Answer> {
    // In a box: a task is moved about when it is made and when it ends, and this one is large.
    let task = tokio::spawn(Box::pin(async move {
        let handled = timeout(cx.app().config().limits.request_timeout, handle(&cx)).await;
        let outcome = handled.unwrap_or_else(|_| {
            Err(Error::unavailable("core.timeout", "This took too long; nothing was changed.", 1))
        });
        let keep = outcome.as_ref().is_ok_and(|(_, keep)| *keep);
        // From here on nothing may interrupt: COMMIT is never cancelled.
        let committed = cx.slot().finish(keep).await;
        match (outcome, committed) {
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok((answer, _)), Ok(())) => Ok(answer),
        }
    }));
    task.await.unwrap_or_else(|panic| Err(Error::internal(panic)))
}

/// Answers, and says whether the transaction is to be kept.
async fn handle(cx: &Cx) -> Result<(Answer, bool)> {
    let held = idempotency::hold(cx).await?;
    let held = match held {
        Some((_, Some(earlier))) => return Ok((earlier, false)),
        Some((held, None)) => Some(held),
        None => None,
    };
    let answer = (cx.route().endpoint.call)(cx.clone()).await?;
    let keep = answer.status().is_success();
    if let (Some(held), true) = (held, keep) {
        held.keep(cx, &answer).await?;
    }
    Ok((answer, keep))
}

fn refuse(cx: &Cx, error: &Error) -> Answer {
    let status = error.kind().status();
    if status >= 500 {
        let cause = error.cause().map(tracing::field::display);
        tracing::error!(request_id = cx.request_id(), code = error.code(), cause, "request failed");
    }
    problem::answer(error, cx.path(), cx.request_id())
}

fn log(cx: &Cx, answer: &Answer, started: Instant) {
    let tenant = cx.actor().and_then(|actor| actor.tenant);
    tracing::debug!(
        target: "freehold::request",
        request_id = cx.request_id(),
        method = cx.method().as_str(),
        route = cx.route().path,
        status = answer.status().as_u16(),
        tenant = tenant.map(tracing::field::debug),
        duration_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        "request"
    );
}

fn finish(cx: &Cx, answer: Answer) -> Response {
    let mut response = answer.map(Body::from);
    let config = cx.app().config();
    let headers = response.headers_mut();
    headers::secure(headers, config.public_url.starts_with("https://"));
    if let Some((policy, decision)) = cx.budget() {
        let quota =
            if *policy == "tenant" { config.limits.per_tenant } else { config.limits.per_ip };
        headers::budget(headers, policy, quota, *decision);
    }
    if let Ok(id) = HeaderValue::from_str(cx.request_id()) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    response
}

/// What is answered where no route is: 404 and 405, as problems like all others.
pub(super) fn unrouted(app: &App, request: &Request, error: &Error) -> Response {
    let request_id = headers::request_id(request.headers());
    let mut response = problem::answer(error, request.uri().path(), &request_id).map(Body::from);
    app.metrics().unrouted(request.method(), response.status().as_u16());
    headers::secure(response.headers_mut(), app.config().public_url.starts_with("https://"));
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(HeaderName::from_static("x-request-id"), id);
    }
    response
}
