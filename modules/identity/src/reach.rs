//! How far a credential reaches in a tenant that is suspended or closed.

use freehold_kernel::{Access, Error, Result};

/// How far a credential reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// As far as its permissions allow.
    Everything,
    /// It may read, and do what concerns the person alone.
    Reading,
    /// What concerns the person alone: their sessions, their password, another tenant.
    Oneself,
    /// Nowhere.
    Nothing,
}

impl Reach {
    /// For a person in a tenant that stands so, with a session.
    ///
    /// # Errors
    /// 403 in a closed tenant.
    pub(crate) fn of_person(status: &str, is_owner: bool) -> Result<Self> {
        match status {
            "active" => Ok(Self::Everything),
            "suspended" if is_owner => Ok(Self::Reading),
            "suspended" => Ok(Self::Oneself),
            _ => Err(Error::forbidden("identity.tenant_not_active", "This tenant is closed.")),
        }
    }

    /// The same for a key: nobody sits behind it who could read.
    pub(crate) fn with_a_key(self) -> Self {
        if self == Self::Everything { self } else { Self::Nothing }
    }

    /// Whether a route is within reach.
    ///
    /// # Errors
    /// 403 `tenants.suspended`, saying who may do what.
    pub(crate) fn check(self, access: Access, reads: bool) -> Result<()> {
        let within = match self {
            Self::Everything => true,
            Self::Reading => reads || access == Access::SignedIn,
            Self::Oneself => access == Access::SignedIn,
            Self::Nothing => false,
        };
        if within {
            return Ok(());
        }
        Err(Error::forbidden(
            "tenants.suspended",
            "This tenant is suspended: its owners may read when they are signed in, and nobody may \
             do anything else.",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: Access = Access::Permission("tenants:read");

    #[test]
    fn in_a_suspended_tenant_owners_read_and_nobody_writes() {
        for (status, is_owner, key, reads, writes, oneself) in [
            ("active", true, false, true, true, true),
            ("active", false, true, true, true, true),
            ("suspended", true, false, true, false, true),
            ("suspended", false, false, false, false, true),
            ("suspended", true, true, false, false, false),
            ("suspended", false, true, false, false, false),
        ] {
            let reach = Reach::of_person(status, is_owner).unwrap();
            let reach = if key { reach.with_a_key() } else { reach };
            let may = |access, reading| reach.check(access, reading).is_ok();
            assert_eq!(may(ROUTE, true), reads, "{status} {is_owner} {key} reads");
            assert_eq!(may(ROUTE, false), writes, "{status} {is_owner} {key} writes");
            assert_eq!(may(Access::SignedIn, false), oneself, "{status} {is_owner} {key} oneself");
        }
    }

    #[test]
    fn nobody_gets_into_a_closed_tenant_nor_into_one_that_stands_we_know_not_how() {
        for status in ["inactive", "whatever"] {
            assert_eq!(
                Reach::of_person(status, true).unwrap_err().code(),
                "identity.tenant_not_active"
            );
        }
    }
}
