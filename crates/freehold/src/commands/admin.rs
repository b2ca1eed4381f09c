//! `freehold admin`: what somebody with a shell on the installation may do without signing in. It is a
//! node of its own for a moment: the same settings, the same audit log, the same word to others.

use std::sync::Arc;

use anyhow::{anyhow, bail};
use clap::ArgMatches;
use freehold_egress::{Egress, Options};
use freehold_embedded_postgres::Running;
use freehold_identity::admin::{self as people, Added};
use freehold_kernel::{App, Duties, Error, Kind};

use super::credentials::password;
use super::database::{Database, NAME, logins};
use super::folder::Folder;
use super::node::explain;
use crate::settings::{Logins, Settings};
use crate::{modules, say};

/// Connections of this node, which one person waits for.
const POOL_SIZE: u32 = 2;

/// Does what was typed after `admin`.
pub(crate) async fn admin(settings: &Settings, matches: &ArgMatches) -> anyhow::Result<()> {
    let (server, logins) = reach(settings).await?;
    let outcome = act(settings, logins, matches).await;
    let stopped = match server {
        Some(database) => database.stop().await,
        None => Ok(()),
    };
    outcome.and(stopped)
}

async fn act(settings: &Settings, logins: Logins, matches: &ArgMatches) -> anyhow::Result<()> {
    let secret_key = secret_key(settings)?;
    let mut config =
        settings.kernel_config(Duties::Requests, logins, secret_key, settings.listen.port());
    config.pool_size = POOL_SIZE;
    let modules = modules(Default::default(), Egress::new(Options::default())?);
    let app = App::start(config, modules).await.map_err(|error| explain(&error))?;
    let outcome = Box::pin(perform(&app, matches)).await;
    app.stop().await;
    outcome
}

async fn perform(app: &Arc<App>, matches: &ArgMatches) -> anyhow::Result<()> {
    let Some((noun, matches)) = matches.subcommand() else { return Ok(()) };
    match (noun, matches.subcommand()) {
        ("rotate-keys", _) => rotate_keys(app).await,
        ("operator", Some(("add", matches))) => add(app, matches).await,
        ("operator", Some(("remove", matches))) => remove(app, email(matches)).await,
        ("operator", _) => list(app).await,
        // clap lets nothing else through.
        (_, Some((_, matches))) => revoke_sessions(app, email(matches)).await,
        _ => Ok(()),
    }
}

/// The installation's database: the one that is named, or the private one, which `up` may be keeping
/// or we start for as long as we need it.
async fn reach(settings: &Settings) -> anyhow::Result<(Option<Database>, Logins)> {
    if let Some(url) = &settings.database.url {
        return Ok((None, logins(&settings.database, url)?));
    }
    if let Some(running) = Running::find(&settings.data_dir) {
        let login = |role| running.url(role, NAME);
        let logins = Logins { app: login("freehold_app"), system: login("freehold_system") };
        return Ok((None, logins));
    }
    if !settings.data_dir.join("instance.json").exists() {
        bail!(
            "There is no Freehold in {}. Name the folder of `freehold up` with --data-dir, or set \
             DATABASE_URL and FREEHOLD_SECRET_KEY as they are for its nodes.",
            settings.data_dir.display()
        );
    }
    let database = Database::open(settings).await?;
    let logins = database.logins.clone();
    Ok((Some(database), logins))
}

/// As the nodes have it: set, or kept in the folder of `up`.
fn secret_key(settings: &Settings) -> anyhow::Result<Vec<u8>> {
    if let Some(key) = &settings.secret_key {
        return Ok(key.clone());
    }
    Folder::existing(&settings.data_dir).kept_secret_key()?.ok_or_else(|| {
        anyhow!(
            "FREEHOLD_SECRET_KEY is not set, and there is no {}. Set it to what the nodes have.",
            settings.data_dir.join("secret.key").display()
        )
    })
}

async fn add(app: &Arc<App>, matches: &ArgMatches) -> anyhow::Result<()> {
    let (email, password) = (email(matches), password()?);
    let name = matches.get_one::<String>("name").map_or("Operator", String::as_str);
    match people::add_operator(app, email, name, &password).await.map_err(|e| told(&e, email))? {
        Added::New => say::line(&format!(
            "{email} is an operator now, with a new account. Its password, shown only this once:\n  \
             {password}\nIt should be changed after the first sign-in: POST \
             /api/v1/auth/change-password"
        )),
        Added::Known => say::line(&format!(
            "{email} is an operator now, with the password they have. Signed in elsewhere, they \
             change to the tenant `platform`: POST /api/v1/auth/switch-tenant\nAddresses are not \
             confirmed yet: make sure that it was they who registered with it, and not somebody \
             in their name."
        )),
        Added::Already => {
            say::line(&format!("{email} has been an operator before; nothing has changed."));
        }
    }
    Ok(())
}

async fn list(app: &Arc<App>) -> anyhow::Result<()> {
    let operators = people::list_operators(app).await.map_err(|error| told(&error, ""))?;
    if operators.is_empty() {
        say::line("There is no operator. Make one: freehold admin operator add EMAIL");
    }
    for operator in operators {
        let people::Operator { id, email, name, since } = operator;
        say::line(&format!("{email}  {name}  {id}  since {since}"));
    }
    Ok(())
}

async fn remove(app: &Arc<App>, email: &str) -> anyhow::Result<()> {
    people::remove_operator(app, email).await.map_err(|error| match error.kind() {
        Kind::NotFound => anyhow!(
            "{email} is no operator; nothing has changed. See who is: freehold admin operator list"
        ),
        _ if error.code() == "identity.last_operator" => anyhow!(
            "{email} is the only operator; nothing has changed. Make another one first: freehold \
             admin operator add EMAIL"
        ),
        _ => told(&error, email),
    })?;
    say::line(&format!(
        "{email} is no operator any more. Their account and their other tenants stay; to end all \
         their sessions: freehold admin sessions revoke {email}"
    ));
    Ok(())
}

async fn revoke_sessions(app: &Arc<App>, email: &str) -> anyhow::Result<()> {
    match people::revoke_sessions(app, email).await.map_err(|error| told(&error, email))? {
        0 => say::line(&format!("{email} is signed in nowhere; nothing has changed.")),
        sessions => say::line(&format!(
            "{sessions} of {email}'s sessions ended; no node takes their tokens after a second. API \
             keys are no sessions: DELETE /api/v1/api-keys/{{id}} removes one."
        )),
    }
    Ok(())
}

async fn rotate_keys(app: &Arc<App>) -> anyhow::Result<()> {
    let rotated = freehold_identity::rotate_signing_keys(app).await.map_err(|e| told(&e, ""))?;
    say::line(&format!(
        "{} signs access tokens now; {} withdrawn. No node takes a token of theirs after a second; \
         people go on by refreshing their sessions, and need not sign in again.",
        rotated.signs,
        match &rotated.withdrawn[..] {
            [] => "none was".to_owned(),
            [one] => format!("{one} was"),
            all => format!("{} keys were", all.len()),
        }
    ));
    Ok(())
}

fn email(matches: &ArgMatches) -> &str {
    // clap requires it.
    matches.get_one::<String>("email").map_or("", String::as_str)
}

/// A refusal in the words of somebody at a terminal.
fn told(error: &Error, email: &str) -> anyhow::Error {
    match error.kind() {
        Kind::NotFound => anyhow!("Nobody has the address {email}; nothing has changed."),
        Kind::Invalid => anyhow!("`{email}` is no e-mail address; nothing has changed."),
        _ => anyhow!("{error}. Nothing has changed; `freehold doctor` may know why."),
    }
}
