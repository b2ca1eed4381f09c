//! `freehold openapi`: the document, without a database.

use freehold_egress::{Egress, Options};

use crate::settings::Settings;
use crate::{modules, say};

/// Prints the document.
pub(crate) fn openapi(settings: &Settings) -> anyhow::Result<()> {
    let public_url = settings.public_url(settings.listen.port());
    let egress = Egress::new(Options::default())?;
    let document = freehold_kernel::openapi(&public_url, modules(Default::default(), egress))?;
    say::line(&format!("{document:#}"));
    Ok(())
}
