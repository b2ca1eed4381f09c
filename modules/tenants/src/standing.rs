//! Where a tenant stands, and which way it may go from there: one table, and no other way.

use std::time::Duration;

use freehold_kernel::{Error, Result, Timestamp};
use serde::Deserialize;
use utoipa::ToSchema;

/// How long a closed tenant can be reopened.
pub(crate) const REOPENS_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Where a tenant stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", try_from = "String")]
#[schema(as = tenants::Status)]
pub(crate) enum Status {
    /// Works.
    Active,
    /// Its owners may read; nobody may do anything else.
    Suspended,
    /// Closed: nobody gets in, and after 30 days nothing is left of it.
    Inactive,
}

/// What a change of standing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is there already.
    Stay,
    /// It works again.
    Activate,
    /// It stops working.
    Suspend,
    /// It is closed.
    Close,
}

impl Status {
    pub(crate) const ALL: [Self; 3] = [Self::Active, Self::Suspended, Self::Inactive];

    /// As the database has it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Inactive => "inactive",
        }
    }

    pub(crate) fn read(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

impl TryFrom<String> for Status {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::read(&text).ok_or("active, suspended or inactive")
    }
}

/// The table.
const fn step(from: Status, to: Status) -> Option<Step> {
    use Status::{Active, Inactive, Suspended};
    match (from, to) {
        (Active, Active) | (Suspended, Suspended) | (Inactive, Inactive) => Some(Step::Stay),
        (Active, Suspended) => Some(Step::Suspend),
        (Active | Suspended, Inactive) => Some(Step::Close),
        (Suspended | Inactive, Active) => Some(Step::Activate),
        (Inactive, Suspended) => None,
    }
}

/// The step from one standing to another, for a tenant of a kind that was closed at some time.
///
/// # Errors
/// 409 for a way that there is not, for the platform's own tenant, and for one that was closed too
/// long ago.
pub(crate) fn check(
    kind: &str,
    from: Status,
    to: Status,
    closed_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<Step> {
    let Some(step) = step(from, to) else {
        let (from, to) = (from.as_str(), to.as_str());
        return Err(Error::conflict(
            "tenants.no_such_step",
            format!("No way leads from {from} to {to}; make it active first."),
        ));
    };
    if kind == "platform" && step != Step::Stay {
        return Err(Error::conflict(
            "tenants.platform_stays",
            "The operators' own tenant can be neither suspended nor closed.",
        ));
    }
    let is_over = closed_at.is_some_and(|at| now.since(at) >= REOPENS_FOR);
    if from == Status::Inactive && step == Step::Activate && is_over {
        return Err(Error::conflict(
            "tenants.closed_for_good",
            "A tenant can be reopened within 30 days of its closing.",
        ));
    }
    Ok(step)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(1_700_000_000 + seconds).unwrap()
    }

    #[test]
    fn the_table_is_what_the_manual_says() {
        let way = |from, to| check("live", from, to, None, at(0)).map_err(|error| error.code());
        use Status::{Active, Inactive, Suspended};
        assert_eq!(way(Active, Suspended), Ok(Step::Suspend));
        assert_eq!(way(Suspended, Active), Ok(Step::Activate));
        assert_eq!(way(Active, Inactive), Ok(Step::Close));
        assert_eq!(way(Suspended, Inactive), Ok(Step::Close));
        assert_eq!(way(Inactive, Active), Ok(Step::Activate));
        assert_eq!(way(Inactive, Suspended), Err("tenants.no_such_step"));
        for status in Status::ALL {
            assert_eq!(way(status, status), Ok(Step::Stay));
            assert_eq!(Status::read(status.as_str()), Some(status));
        }
    }

    fn status() -> impl Strategy<Value = Status> {
        prop::sample::select(&Status::ALL[..])
    }

    proptest! {
        #[test]
        fn a_tenant_that_walks_the_table_is_never_where_it_must_not_be(
            kind in prop::sample::select(&["live", "sandbox", "platform"][..]),
            walk in prop::collection::vec((status(), 0_i64..40 * 86_400), 1..30),
        ) {
            let (mut stands, mut closed_at, mut now) = (Status::Active, None, 0_i64);
            for (to, later) in walk {
                now += later;
                let refused = match check(kind, stands, to, closed_at, at(now)) {
                    Ok(step) => {
                        prop_assert_eq!(step == Step::Stay, stands == to);
                        // Back from being closed only in time, and to work.
                        if stands == Status::Inactive && to != stands {
                            prop_assert_eq!(to, Status::Active);
                            let closed = closed_at.unwrap();
                            prop_assert!(at(now).since(closed) < REOPENS_FOR);
                        }
                        if to == Status::Inactive && stands != to {
                            closed_at = Some(at(now));
                        } else if to != Status::Inactive {
                            closed_at = None;
                        }
                        stands = to;
                        continue;
                    }
                    Err(error) => error.code(),
                };
                prop_assert_ne!(to, stands, "staying is never refused");
                let expected = match (kind, stands, to) {
                    (_, Status::Inactive, Status::Suspended) => "tenants.no_such_step",
                    ("platform", ..) => "tenants.platform_stays",
                    _ => "tenants.closed_for_good",
                };
                prop_assert_eq!(refused, expected);
            }
            prop_assert!(kind != "platform" || stands == Status::Active);
            prop_assert_eq!(closed_at.is_some(), stands == Status::Inactive);
        }
    }
}
