//! Every route, asked by every kind of principal, with another tenant's ids in every place where an
//! id can stand.

mod attacks;
mod canaries;
mod described;
mod matrix;
mod untouched;
mod verdict;

pub use matrix::{Matrix, matrix};

use freehold_kernel::TenantId;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value;

use crate::{Answer, Report, Request, Result, Subject, Wire};
use attacks::{Attack, Cursors};
use canaries::Canaries;
use described::Described;
use untouched::Untouched;

/// Requests under way at any time.
const AT_ONCE: usize = 24;

/// Who takes part.
pub struct Cast {
    /// One of each kind of principal. None of them belongs to the other tenant.
    pub callers: Vec<Caller>,
    /// The tenant of most of them.
    pub own: Side,
    /// The tenant that nobody may reach.
    pub other: Side,
    /// Bodies that say more than the example of the operation: `POST /api/v1/webhooks` → body.
    pub bodies: Vec<(String, Value)>,
    /// Routes that show what the tenant's own people have asked, as an audit log does: what callers
    /// say of the other tenant stands there afterwards.
    pub repeats: Vec<String>,
    /// The modules whose routes are asked; all, if none is named.
    pub modules: Vec<String>,
}

/// Somebody who asks.
pub struct Caller {
    /// The kind: `owner`, `expired token`.
    pub name: &'static str,
    /// A token or a key.
    pub credential: Option<String>,
    /// Whether seeing every tenant is what they are for. They are not asked about the routes of
    /// operators.
    pub oversees: bool,
    /// Whether they belong to the own tenant, so that its things are theirs.
    pub belongs: bool,
}

/// A tenant that has lived.
pub struct Side {
    /// The tenant.
    pub tenant: TenantId,
    /// Its name in URLs.
    pub slug: String,
    /// Values of parameters of paths that are no ids, by the parameter's name; the slug is that of all
    /// others.
    pub segments: Vec<(&'static str, String)>,
    /// A thing of each kind; the prefix says of which.
    pub ids: Vec<String>,
    /// Words that only its own may read: names, addresses.
    pub words: Vec<String>,
    /// Its owner's token, to read its cursors.
    pub credential: String,
    /// `Idempotency-Key`s that it has used.
    pub idempotency_keys: Vec<String>,
}

impl Side {
    /// What stands in a path for a parameter that is no id.
    fn segment(&self, name: &str) -> String {
        let known = self.segments.iter().find(|(known, _)| *known == name);
        known.map_or(&self.slug, |(_, value)| value).clone()
    }

    /// Its thing of a kind.
    fn id(&self, prefix: &str) -> Option<&str> {
        let is = |id: &&String| id.split('_').next() == Some(prefix);
        self.ids.iter().find(is).map(String::as_str)
    }
}

/// Plants canaries in the other tenant's rows, asks everything there is to ask, searches the answers
/// and compares the other tenant's rows with what they were. The other tenant is of no use
/// afterwards.
///
/// # Errors
/// When a request gets no answer, or there is nothing to try it on.
pub async fn sweep(subject: &Subject, cast: &Cast) -> Result<Report> {
    let (wire, routes) = (Wire::to(&subject.base)?, Described::all(&subject.app, cast));
    let cursors = Cursors::read(&wire, &routes, cast).await?;
    let mut report = Report::default();
    untouched::settle(subject, cast.other.tenant).await?;
    let canaries = Canaries::plant(subject, &cast.other, &mut report).await?;
    let before = Untouched::look(subject, cast.other.tenant).await?;
    for risk in 0..=Described::RISKS {
        for caller in &cast.callers {
            let attacks = of_one(subject, cast, &routes, &cursors, caller, risk, &mut report);
            let sent = attacks.into_iter().map(|attack| ask(&wire, &canaries, caller, attack));
            let mut sent = stream::iter(sent).buffer_unordered(AT_ONCE);
            while let Some((requests, findings)) = sent.try_next().await? {
                report.tried += requests;
                report.findings.extend(findings);
            }
        }
    }
    let after = Untouched::look(subject, cast.other.tenant).await?;
    report.findings.extend(before.differences(&after));
    Ok(report)
}

/// What one caller tries on the routes of one risk.
fn of_one(
    subject: &Subject,
    cast: &Cast,
    routes: &[Described],
    cursors: &Cursors,
    caller: &Caller,
    risk: u8,
    report: &mut Report,
) -> Vec<Attack> {
    let mut attacks = Vec::new();
    for route in routes.iter().filter(|route| route.risk() == risk) {
        if caller.oversees && route.is_for_operators(&subject.app) {
            report.left_out.push(format!(
                "{} by the {}, who may see and change every tenant; each look is an event of it",
                route.name, caller.name
            ));
            continue;
        }
        attacks.extend(attacks::on(route, cast, cursors));
    }
    attacks
}

/// One attack and its twin, which asks the same about nothing.
async fn ask(
    wire: &Wire,
    canaries: &Canaries,
    caller: &Caller,
    attack: Attack,
) -> Result<(u64, Vec<String>)> {
    let by =
        |request: &Request| Request { credential: caller.credential.clone(), ..request.clone() };
    let answer = wire.send(&by(&attack.request)).await?;
    let twin: Option<Answer> = match &attack.twin {
        // Whoever is not known at all was refused before anything was looked up.
        Some(twin) if answer.status != 401 => Some(wire.send(&by(twin)).await?),
        _ => None,
    };
    let requests = 1 + u64::from(twin.is_some());
    Ok((requests, verdict::of(caller, &attack, &answer, twin.as_ref(), canaries)))
}
