//! The platform tenant and its first operator, made at start when they are missing.

use std::fmt;
use std::sync::Arc;

use freehold_kernel::directory::{self, NewTenant, TenantKind};
use freehold_kernel::{App, Error, Kind, Result, SystemRole};

use crate::password::Hasher;
use crate::registration::{UserCreated, create_user};

/// The first operator of an installation.
#[derive(Clone)]
pub struct NewOperator {
    /// The address to sign in with.
    pub email: String,
    /// What to call them.
    pub name: String,
    /// Their first password.
    pub password: String,
}

impl fmt::Debug for NewOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewOperator").field("email", &self.email).finish_non_exhaustive()
    }
}

/// Makes what is missing. Several nodes may do this at once; one wins.
pub(crate) async fn ensure(app: &Arc<App>, operator: Option<NewOperator>) -> Result<()> {
    let mut tx = app.account_tx().await?;
    sqlx::query!("select pg_advisory_xact_lock(7235410003)").execute(tx.db()).await?;
    let platform = match directory::platform_tenant(&mut tx).await {
        Err(error) if error.kind() == Kind::NotFound => {
            let new = NewTenant { name: "Platform", slug: "platform", kind: TenantKind::Platform };
            directory::create_tenant(&mut tx, &new).await?
        }
        found => found?,
    };
    let staffed = sqlx::query_scalar!(
        r#"select exists (select from core.memberships where tenant_id = $1) as "staffed!""#,
        *platform,
    )
    .fetch_one(tx.db())
    .await?;
    if let Some(new) = operator.filter(|_| !staffed) {
        let hash = Hasher::default().hash(&new.password).await?;
        let user = create_user(&mut tx, &new.email, &new.name, &hash).await?;
        directory::add_member(&mut tx, platform, user, SystemRole::Operator).await?;
        tx.emit(platform, UserCreated { user_id: user, email: new.email }).await?;
    }
    tx.commit().await.map_err(|error| Error::internal(format!("the operator: {error}")))
}
