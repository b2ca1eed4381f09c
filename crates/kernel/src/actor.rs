//! Who is asking: the principal, its tenant, and what it may do.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::directory::{ServiceAccountId, TenantId, UserId};
use crate::error::{Error, Result};
use crate::time::Timestamp;

/// How long a proof of who one is counts as recent.
pub(crate) const RECENT: Duration = Duration::from_secs(5 * 60);

/// The one who makes a request, as the [`Authenticate`](crate::ports::Authenticate) port found
/// them. Shared by all requests of one credential, hence immutable.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The tenant this request acts in; `None` for a person who is in no tenant yet.
    pub tenant: Option<TenantId>,
    /// The person or program.
    pub principal: Principal,
    /// The session or key they came with, by its id.
    pub credential: String,
    /// What they may do in the tenant.
    pub permissions: Permissions,
    /// Authenticator assurance level (NIST SP 800-63B): 1 = one factor, 2 = two.
    pub aal: u8,
    /// When the person last proved who they are; keys prove nobody's presence and have none.
    pub authenticated_at: Option<Timestamp>,
    /// The one customer of the tenant's to whom they are confined, if they came with a link of the
    /// portal.
    pub customer: Option<Arc<str>>,
}

impl Actor {
    /// Refuses what somebody who found an open screen, or a token in a log, must not do: the person
    /// has to have proved who they are within the last five minutes. Routes that need it always say
    /// [`recent`](crate::Routes::recent); those that need it at times say
    /// [`recent_when`](crate::Routes::recent_when), and their handler calls this.
    ///
    /// # Errors
    /// 403 `core.step_up_required`, saying what to call.
    pub fn check_recent(&self, now: Timestamp) -> Result<()> {
        let detail = match self.authenticated_at {
            Some(at) if now.since(at) <= RECENT => return Ok(()),
            Some(_) => {
                "Prove again that it is you with POST /api/v1/auth/step-up, then repeat this within \
                 five minutes with the access token that it answers."
            }
            None => "Only a person who signed in within the last five minutes may; a key may not.",
        };
        Err(Error::forbidden("core.step_up_required", detail))
    }
}

/// A person, or a program with an identity of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// A person, through a session or a key of theirs.
    User(UserId),
    /// A program that belongs to the tenant.
    ServiceAccount(ServiceAccountId),
    /// A customer of the tenant's, through a link that the tenant gave them.
    Portal(PortalLinkId),
    /// Freehold itself: schedules, start-up, retention.
    System,
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => id.fmt(f),
            Self::ServiceAccount(id) => id.fmt(f),
            Self::Portal(id) => id.fmt(f),
            Self::System => f.write_str("system"),
        }
    }
}

/// A set of permission names, cheap to clone and to ask.
#[derive(Clone, Debug, Default)]
pub struct Permissions(Arc<[Box<str>]>);

impl Permissions {
    /// Whether `permission` (as in `webhooks:read`) is in the set.
    #[must_use]
    pub fn allow(&self, permission: &str) -> bool {
        self.0.binary_search_by(|held| (**held).cmp(permission)).is_ok()
    }

    /// Those also in `others`, as for a key that was given fewer than its owner has.
    #[must_use]
    pub fn intersect(&self, others: &Self) -> Self {
        self.iter().filter(|held| others.allow(held)).collect()
    }

    /// The names, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|held| &**held)
    }
}

impl<S: Into<Box<str>>> FromIterator<S> for Permissions {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let mut names: Vec<Box<str>> = names.into_iter().map(Into::into).collect();
        names.sort();
        names.dedup();
        Self(names.into())
    }
}

/// The roles every tenant has. A module names them where it declares a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SystemRole {
    /// Everything, ownership transfer and closing the tenant included.
    Owner,
    /// Everything but ownership transfer and closing the tenant.
    Admin,
    /// Works with content.
    Member,
    /// Works with conversations, contacts and tickets.
    Agent,
    /// Sees, changes nothing.
    Viewer,
    /// The platform's own staff; exists in the platform tenant only.
    Operator,
}

impl SystemRole {
    /// All of them, most powerful first.
    pub const ALL: [Self; 6] =
        [Self::Owner, Self::Admin, Self::Member, Self::Agent, Self::Viewer, Self::Operator];

    /// The role's id, the same in every installation.
    #[must_use]
    pub const fn id(self) -> RoleId {
        // Version 8 (custom) UUIDs, RFC 9562: "freehold" in ASCII, then the number of the role.
        let number = match self {
            Self::Owner => 1,
            Self::Admin => 2,
            Self::Member => 3,
            Self::Agent => 4,
            Self::Viewer => 5,
            Self::Operator => 6,
        };
        RoleId::from_uuid(uuid::Uuid::from_u128(0x6672_6565_686f_8c64_8000_0000_0000_0000 | number))
    }

    /// The system role with this id, if it is one.
    #[must_use]
    pub fn from_id(id: RoleId) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.id() == id)
    }

    /// The name as a person reads it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owner => "Owner",
            Self::Admin => "Admin",
            Self::Member => "Member",
            Self::Agent => "Agent",
            Self::Viewer => "Viewer",
            Self::Operator => "Operator",
        }
    }
}

/// Names a role, a system role or one of a tenant's own.
pub enum Role {}

impl crate::Named for Role {
    const PREFIX: &'static str = "rol";
}

/// The id of a role.
pub type RoleId = crate::Id<Role>;

/// Names a link with which a tenant's customer manages what is theirs.
pub enum PortalLink {}

impl crate::Named for PortalLink {
    const PREFIX: &'static str = "ptl";
}

/// The id of such a link.
pub type PortalLinkId = crate::Id<PortalLink>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_hold_what_they_were_given_and_nothing_else() {
        let all: Permissions = ["b:write", "a:read", "b:write"].into_iter().collect();
        assert_eq!(all.iter().collect::<Vec<_>>(), ["a:read", "b:write"]);
        assert!(all.allow("a:read") && !all.allow("a") && !all.allow("a:read:x"));
        let key: Permissions = ["b:write", "c:delete"].into_iter().collect();
        assert_eq!(key.intersect(&all).iter().collect::<Vec<_>>(), ["b:write"]);
    }

    #[test]
    fn a_proof_is_recent_for_five_minutes_and_a_key_never_is_one() {
        let at = |seconds| Timestamp::from_unix_seconds(seconds).unwrap();
        let actor = |authenticated_at| Actor {
            tenant: None,
            principal: Principal::User(UserId::new()),
            credential: "test".to_owned(),
            permissions: Permissions::default(),
            aal: 1,
            authenticated_at,
            customer: None,
        };
        assert!(actor(Some(at(1000))).check_recent(at(1300)).is_ok());
        assert!(actor(Some(at(1001))).check_recent(at(1000)).is_ok(), "clocks of two nodes differ");
        for (authenticated_at, says) in [(Some(at(999)), "/auth/step-up"), (None, "a key may not")]
        {
            let refused = actor(authenticated_at).check_recent(at(1300)).unwrap_err();
            assert_eq!(refused.code(), "core.step_up_required");
            assert!(refused.detail().contains(says), "{}", refused.detail());
        }
    }

    #[test]
    fn system_roles_are_found_by_their_fixed_ids() {
        for role in SystemRole::ALL {
            assert_eq!(SystemRole::from_id(role.id()), Some(role));
        }
        assert_eq!(
            SystemRole::Owner.id().uuid().to_string(),
            "66726565-686f-8c64-8000-000000000001"
        );
    }
}
