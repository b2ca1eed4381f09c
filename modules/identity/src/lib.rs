#![doc = include_str!("../README.md")]

mod access_token;
pub mod admin;
mod api_keys;
mod authenticator;
mod change_password;
mod email;
mod explained;
mod flood;
#[doc(hidden)]
pub mod fuzzing;
mod grants;
mod key_secret;
mod known_device;
mod lockout;
mod login;
mod me;
mod member_removal;
mod members;
mod network;
mod operator;
mod owners;
mod password;
mod permissions;
mod portal_links;
mod portal_token;
mod principal;
mod reach;
mod reauthentication;
mod refresh;
mod refresh_token;
mod registration;
mod revocation;
mod role_holders;
mod roles;
mod security_events;
mod service_accounts;
mod session;
mod session_cleanup;
mod sessions;
mod signing_key_rotation;
mod signing_keys;
mod step_up;
mod switch_tenant;
mod tenant_people;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use freehold_kernel::SystemRole::{Admin, Agent, Member, Operator, Owner, Viewer};
use freehold_kernel::{Module, Quota, directory};

pub use access_token::{Claims, SigningKey, SigningKeyId, TokenKeys};
pub use authenticator::Authenticator;
pub use operator::NewOperator;
pub use session::{Session, SessionId};
pub use signing_key_rotation::{RotatedKeys, rotate_signing_keys};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// What an installation decides about identity.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How people may join.
    pub registration: Registration,
    /// Made at start when the installation has no operator yet.
    pub operator: Option<NewOperator>,
    /// Sign-ins from one address, on devices that are not known, that are not right.
    pub bad_sign_ins: Quota,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            registration: Registration::default(),
            operator: None,
            bad_sign_ins: Quota::per_minute(6, 30),
        }
    }
}

/// How people may join.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Registration {
    /// At once, with tokens; a known e-mail is answered 409, so addresses can be enumerated.
    #[default]
    Open,
    /// By a link sent to the address. Needs a mailer; until there is one, registering answers 503.
    Verified,
}

/// The identity module.
#[must_use]
pub fn module(settings: Settings) -> Module {
    module_with(settings, Arc::new(Authenticator::default()))
}

/// The same with an authenticator that the caller keeps a hand on, to measure it.
#[must_use]
pub fn module_with(settings: Settings, authenticator: Arc<Authenticator>) -> Module {
    let keys = authenticator.keys().clone();
    let last_used = authenticator.clone();
    let authenticator = Arc::new(explained::Explained(authenticator));
    portal(sessions_and_lockout(people_and_roles(Module::new("identity"))))
        .migrations(&MIGRATIONS)
        .resource("user", "users")
        .resource("session", "sessions")
        .resource("auth", "auth")
        .resource("role", "roles")
        .resource("apikey", "api-keys")
        .resource("serviceaccount", "service-accounts")
        .id::<session::Session>()
        .id::<api_keys::ApiKey>()
        .id::<access_token::SigningKey>()
        .permission(
            "roles:read",
            "See roles and permissions",
            &[Owner, Admin, Member, Agent, Viewer],
        )
        .permission("api-keys:read", "See one's own API keys", &[Owner, Admin, Member])
        .permission("api-keys:write", "Make and rotate one's own API keys", &[Owner, Admin, Member])
        .permission("api-keys:delete", "Remove one's own API keys", &[Owner, Admin, Member])
        .permission("service-accounts:read", "See service accounts and all keys", &[Owner, Admin])
        .permission(
            "service-accounts:write",
            "Make service accounts and their keys",
            &[Owner, Admin],
        )
        .permission(
            "service-accounts:delete",
            "Remove service accounts and any key",
            &[Owner, Admin],
        )
        .publishes::<registration::UserCreated>()
        .publishes::<me::UserUpdated>()
        .publishes::<session::SessionCreated>()
        .publishes::<session::SessionRevoked>()
        .publishes::<api_keys::ApiKeyCreated>()
        .publishes::<api_keys::ApiKeyRotated>()
        .publishes::<api_keys::ApiKeyRevoked>()
        .publishes::<service_accounts::ServiceAccountCreated>()
        .publishes::<service_accounts::ServiceAccountDeleted>()
        .routes(registration::routes())
        .routes(login::routes())
        .routes(refresh::routes())
        .routes(switch_tenant::routes())
        .routes(me::routes())
        .routes(signing_keys::routes())
        .routes(roles::routes())
        .routes(api_keys::routes())
        .routes(service_accounts::routes())
        .state(settings.registration)
        .state(keys.clone())
        .state(Arc::new(password::Hasher::default()))
        .state(Arc::new(flood::Flood::new(settings.bad_sign_ins)))
        .authenticator(authenticator)
        .on_start(move |app| async move { operator::ensure(&app, settings.operator).await })
        .on_start(move |app| async move {
            let next = signing_key_rotation::look_after(&app, &keys).await?;
            app.run(signing_key_rotation::keep(app.clone(), keys, next));
            Ok(())
        })
        .on_start(move |app| async move {
            app.run(authenticator::note_last_used(app.clone(), last_used));
            Ok(())
        })
}

/// Who is in a tenant, and the roles that say what they may do.
fn people_and_roles(module: Module) -> Module {
    module
        .permission("roles:write", "Make and change roles of the tenant's own", &[Owner, Admin])
        .permission("roles:delete", "Remove roles of the tenant's own", &[Owner, Admin])
        .permission(
            "users:read",
            "See people and their roles",
            &[Owner, Admin, Member, Agent, Viewer],
        )
        .permission("users:write", "Change the roles of people", &[Owner, Admin])
        .permission("users:delete", "Remove people from the tenant", &[Owner, Admin])
        .permission("users:transfer", "Make and unmake owners", &[Owner])
        .permission("users:oversee", "See the people of every tenant", &[Operator])
        .publishes::<tenant_people::UserReadByOperator>()
        .routes(tenant_people::routes())
        .publishes::<members::UserRoleChanged>()
        .publishes::<member_removal::UserDeleted>()
        .publishes::<directory::UserRestored>()
        .publishes::<roles::RoleCreated>()
        .publishes::<roles::RoleUpdated>()
        .publishes::<roles::RoleDeleted>()
        .publishes::<service_accounts::ServiceAccountRoleChanged>()
        .routes(role_holders::routes())
        .routes(permissions::routes())
        .routes(members::routes())
        .routes(member_removal::routes())
}

/// Links for customers of the tenant's.
fn portal(module: Module) -> Module {
    module
        .resource("portallink", "portal-links")
        .permission(
            "portal-links:write",
            "Make and take back links with which customers manage their webhooks",
            &[Owner, Admin],
        )
        .publishes::<portal_links::PortalLinkCreated>()
        .publishes::<portal_links::PortalLinkEnded>()
        .schedule("identity.forget_portal_links", Duration::from_secs(3600), |tx| {
            Box::pin(portal_links::forget(tx))
        })
        .routes(portal_links::routes())
}

/// Where people are signed in, and what keeps others from it.
fn sessions_and_lockout(module: Module) -> Module {
    module
        .resource("securityevent", "security-events")
        .permission(
            "security-events:read",
            "See failed sign-ins, lockouts and replayed tokens",
            &[Owner, Admin, Operator],
        )
        .resource("signingkey", "signing-keys")
        .publishes::<signing_key_rotation::SigningKeyCreated>()
        .publishes::<signing_key_rotation::SigningKeyWithdrawn>()
        .publishes::<change_password::UserPasswordChanged>()
        .publishes::<lockout::AuthFailed>()
        .publishes::<lockout::AuthLocked>()
        .publishes::<refresh::AuthReplayed>()
        .publishes::<security_events::SecurityEventRead>()
        .schedule("identity.forget_sessions", session_cleanup::EVERY, |tx| {
            Box::pin(session_cleanup::forget(tx))
        })
        .routes(sessions::routes())
        .routes(change_password::routes())
        .routes(step_up::routes())
        .routes(security_events::routes())
}
