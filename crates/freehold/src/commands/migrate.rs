//! `freehold migrate`: brings a database's schema up to date and says what it did.

use anyhow::bail;
use freehold_kernel::migrations;

use super::schema;
use freehold_egress::{Egress, Options};

use crate::settings::Settings;
use crate::{modules, say};

/// Migrates the database of `DATABASE_OWNER_URL`.
pub(crate) async fn migrate(settings: &Settings) -> anyhow::Result<()> {
    let Some(owner_url) = &settings.database.owner_url else {
        bail!(
            "DATABASE_OWNER_URL is not set. Set it to the URL of the database, as somebody who may \
             make roles: postgres://postgres:PASSWORD@HOST:5432/freehold"
        );
    };
    let modules = modules(Default::default(), Egress::new(Options::default())?);
    for done in schema::bring_up_to_date(owner_url, &migrations(&modules)).await? {
        say::line(&done.to_string());
    }
    Ok(())
}
