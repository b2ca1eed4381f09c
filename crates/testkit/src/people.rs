//! Tenants and people of a test, and the clients they use.

use std::time::Duration;

use freehold_kernel::directory::{self, NewTenant, TenantKind};
use freehold_kernel::{AccountTx, ServiceAccountId, SystemRole, TenantId, UserId};

use crate::app::TestApp;
use crate::authenticator::Claims;
use crate::client::Client;

/// A tenant with an owner, as [`TestApp::tenant`] makes it.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Its name in URLs.
    pub slug: String,
    /// Who owns it.
    pub owner: UserId,
}

impl From<&Tenant> for TenantId {
    fn from(tenant: &Tenant) -> Self {
        tenant.id
    }
}

impl TestApp {
    /// A live tenant with an owner.
    pub async fn tenant(&self, name: &str) -> Tenant {
        let slug = slug(name);
        let mut tx = self.kernel().account_tx().await.expect("a transaction");
        let new = NewTenant { name, slug: &slug, kind: TenantKind::Live };
        let id = directory::create_tenant(&mut tx, &new).await.expect("a new tenant");
        let owner = insert_person(&mut tx, &format!("Owner of {name}")).await;
        directory::add_member(&mut tx, id, owner, SystemRole::Owner).await.expect("an owner");
        tx.commit().await.expect("a tenant with an owner");
        Tenant { id, slug, owner }
    }

    /// The platform's tenant, made if no module has, and an operator in the place of its owner: what
    /// they do is done by `principal(&platform).role(SystemRole::Operator)`.
    pub async fn platform(&self) -> Tenant {
        let mut tx = self.kernel().account_tx().await.expect("a transaction");
        let slug = "platform".to_owned();
        let id = match directory::platform_tenant(&mut tx).await {
            Ok(id) => id,
            Err(_) => {
                let new = NewTenant { name: "Platform", slug: &slug, kind: TenantKind::Platform };
                directory::create_tenant(&mut tx, &new).await.expect("the platform tenant")
            }
        };
        let owner = insert_person(&mut tx, "Operator").await;
        directory::add_member(&mut tx, id, owner, SystemRole::Operator).await.expect("an operator");
        tx.commit().await.expect("a platform with an operator");
        Tenant { id, slug, owner }
    }

    /// Another member of a tenant.
    pub async fn member(&self, tenant: &Tenant, role: SystemRole) -> UserId {
        let mut tx = self.kernel().account_tx().await.expect("a transaction");
        let person = insert_person(&mut tx, role.name()).await;
        directory::add_member(&mut tx, tenant.id, person, role).await.expect("a new member");
        tx.commit().await.expect("a member");
        person
    }

    /// Somebody in the tenant: its owner, unless said otherwise. Goes on with what they may do.
    #[must_use]
    pub fn principal(&self, tenant: &Tenant) -> Principal<'_> {
        let claims = Claims {
            tenant: Some(tenant.id),
            user: Some(tenant.owner),
            service_account: None,
            permissions: Vec::new(),
            aal: 1,
            proved_ago: 0,
            customer: None,
        };
        Principal { app: self, claims }
    }

    /// A client without credentials.
    #[must_use]
    pub fn anonymous(&self) -> Client {
        Client::new(self.shared().clone(), None)
    }

    /// A client with a token of the application's own, or one that should not hold.
    #[must_use]
    pub fn bearer(&self, token: &str) -> Client {
        Client::new(self.shared().clone(), Some(token.to_owned()))
    }
}

/// Who a client is. Ends with [`Principal::with`], [`Principal::role`] or
/// [`Principal::everything`].
pub struct Principal<'a> {
    app: &'a TestApp,
    claims: Claims,
}

impl Principal<'_> {
    /// This person instead of the owner.
    #[must_use]
    pub fn user(mut self, user: UserId) -> Self {
        self.claims.user = Some(user);
        self.claims.service_account = None;
        self
    }

    /// A program instead of a person.
    #[must_use]
    pub fn service_account(mut self, account: ServiceAccountId) -> Self {
        self.claims.service_account = Some(account);
        self.claims.user = None;
        self
    }

    /// A customer of the tenant's, through a link of the portal.
    #[must_use]
    pub fn customer(mut self, customer: &str) -> Self {
        self.claims.user = None;
        self.claims.service_account = None;
        self.claims.customer = Some(customer.to_owned());
        self
    }

    /// Somebody who is in no tenant yet.
    #[must_use]
    pub fn without_tenant(mut self) -> Self {
        self.claims.tenant = None;
        self
    }

    /// How surely they are who they say: 1 = one factor, 2 = two.
    #[must_use]
    pub fn aal(mut self, aal: u8) -> Self {
        self.claims.aal = aal;
        self
    }

    /// How long ago they proved who they are: a moment, unless said otherwise.
    #[must_use]
    pub fn proved_ago(mut self, ago: Duration) -> Self {
        self.claims.proved_ago = ago.as_secs();
        self
    }

    /// A client that may do exactly this.
    #[must_use]
    pub fn with(mut self, permissions: &[&str]) -> Client {
        self.claims.permissions = permissions.iter().map(ToString::to_string).collect();
        self.client()
    }

    /// A client that may do what a system role may.
    #[must_use]
    pub fn role(mut self, role: SystemRole) -> Client {
        let held = self.app.kernel().permissions_of(&[role]);
        self.claims.permissions = held.iter().map(ToOwned::to_owned).collect();
        self.client()
    }

    /// A client that may do everything there is.
    #[must_use]
    pub fn everything(mut self) -> Client {
        let all = self.app.kernel().permissions().iter();
        self.claims.permissions = all.map(|permission| permission.name.to_owned()).collect();
        self.client()
    }

    fn client(self) -> Client {
        Client::new(self.app.shared().clone(), Some(self.claims.token()))
    }
}

async fn insert_person(tx: &mut AccountTx, name: &str) -> UserId {
    let (id, now) = (UserId::new(), tx.real_now());
    let email = format!("{id}@example.com");
    sqlx::query(
        "insert into core.users (id, email, email_normalised, verified_at, name, created_at)
         values ($1, $2, $2, $3, $4, $3)",
    )
    .bind(*id)
    .bind(email)
    .bind(now)
    .bind(name)
    .execute(tx.db())
    .await
    .expect("a new person");
    id
}

/// `Acme, Inc.` → `acme-inc`; a name that is too short for one gets a tail.
fn slug(name: &str) -> String {
    let lower = name.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let slug = words.collect::<Vec<_>>().join("-");
    if slug.len() < 3 { format!("{slug}-tenant") } else { slug }
}
