//! `freehold serve` and `freehold work`: nodes of an installation whose database somebody else runs.
//! Nothing is made here and nothing is guessed: what is missing is named, with what to do.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{anyhow, bail};
use freehold_egress::{Egress, Options};
use freehold_kernel::{App, Duties, Server, StartError};

use super::database::logins;
use super::stop::Stop;
use super::{address, metrics};
use crate::settings::Settings;
use crate::{ModuleSettings, modules, say};

/// Answers requests until somebody says stop.
pub(crate) async fn serve(settings: Settings) -> anyhow::Result<()> {
    let began = Instant::now();
    if settings.public_url.is_none() {
        bail!(
            "FREEHOLD_PUBLIC_URL is not set. Set it to the URL under which people reach this \
             installation, like https://app.example.com: tokens and links are made with it."
        );
    }
    let address = address::settle(settings.listen)?;
    let collectors = metrics::listen(settings.metrics).await?;
    let stop = Stop::listen()?;
    let app = start(&settings, Duties::Requests, address.port()).await?;
    metrics::serve(&app, collectors)?;
    let server = Server::bind(app, address).await.map_err(|e| address::refusal(address, &e))?;
    let mut serving = tokio::spawn(server.run(stop.clone().asked()));
    say::line(&format!(
        "Freehold serves {} on {address} ({:.1} s)",
        settings.public_url(address.port()),
        began.elapsed().as_secs_f32()
    ));
    tokio::select! {
        ended = &mut serving => ended?,
        () = stop.insisted() => serving.abort(),
    }
    Ok(())
}

/// Works on events, jobs and schedules until somebody says stop.
pub(crate) async fn work(settings: Settings) -> anyhow::Result<()> {
    let began = Instant::now();
    let collectors = metrics::listen(settings.metrics).await?;
    let stop = Stop::listen()?;
    let app = start(&settings, Duties::Work, settings.listen.port()).await?;
    metrics::serve(&app, collectors)?;
    say::line(&format!("Freehold works ({:.1} s)", began.elapsed().as_secs_f32()));
    stop.clone().asked().await;
    tokio::select! {
        () = app.drain(std::future::ready(())) => {}
        () = stop.insisted() => {}
    }
    Ok(())
}

async fn start(settings: &Settings, duties: Duties, port: u16) -> anyhow::Result<Arc<App>> {
    let Some(url) = &settings.database.url else {
        bail!(
            "DATABASE_URL is not set. Set it to the login of freehold_app: \
             postgres://freehold_app:PASSWORD@HOST:5432/freehold. To try Freehold out on this \
             computer without a database of your own, type: freehold up"
        );
    };
    let Some(secret_key) = settings.secret_key.clone() else {
        bail!(
            "FREEHOLD_SECRET_KEY is not set. Every node needs the same one; make it once with: \
             openssl rand -hex 32"
        );
    };
    let identity =
        freehold_identity::Settings { registration: settings.registration, ..Default::default() };
    let policy = settings.egress.clone();
    policy.notices().iter().for_each(|notice| say::line(notice));
    let egress = Egress::new(Options { policy, ..Options::default() })?;
    let logins = logins(&settings.database, url)?;
    let config = settings.kernel_config(duties, logins, secret_key, port);
    App::start(config, modules(ModuleSettings { identity, webhooks: settings.webhooks }, egress))
        .await
        .map_err(|error| explain(&error))
}

/// A login that nobody has made is one more way to say that nothing has been migrated.
pub(super) fn explain(error: &StartError) -> anyhow::Error {
    match error {
        StartError::Database(_) => anyhow!(
            "{error} If this database has never been migrated, set DATABASE_OWNER_URL to an \
             administrator's login and type: freehold migrate"
        ),
        other => anyhow!("{other}"),
    }
}
