//! `freehold openapi`: the document, without a database.

use crate::settings::Settings;
use crate::{modules, say};

/// Prints the document.
pub(crate) fn openapi(settings: &Settings) -> anyhow::Result<()> {
    let public_url = settings.public_url(settings.listen.port());
    let document = freehold_kernel::openapi(&public_url, modules(Default::default()))?;
    say::line(&format!("{document:#}"));
    Ok(())
}
