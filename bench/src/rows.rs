//! The rows that take requests: the application's, and the ceilings they are compared with. One
//! round measures each once, so that whatever else the machine does falls on all of them.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::Options;
use crate::application::{Application, Person};
use crate::ceiling::Ceiling;
use crate::load::{Amount, Http, Load, Sample, Sql};
use crate::place::Place;
use crate::report::{Figure, Report, Target, progress};

/// How many there are.
pub(crate) const LOADS: usize = 7;

const BARE_READ: &str = "ceiling A: bare axum + sqlx, select by key";
const BARE_WRITE: &str = "ceiling B: bare axum + sqlx, two inserts";
const SQL_READ: &str = "ceiling C: pgbench, select by key";
const SQL_WRITE: &str = "ceiling C: pgbench, two inserts";

struct Row {
    /// What `--only` calls it; a ceiling goes with all that are compared with it.
    asked_by: &'static [&'static str],
    name: &'static str,
    load: Load,
    ceiling: Option<&'static str>,
    target: Option<Target>,
}

/// Measures them all, in rounds.
pub(crate) async fn measure(
    options: &Options,
    place: &Place,
    application: &Application,
    report: &mut Report,
) -> Result<()> {
    let ceiling = Ceiling::start(place).await?;
    let mut rows = rows(place, application, &ceiling).await?;
    rows.retain(|row| row.asked_by.iter().any(|name| options.wants(name)));
    let amount = Amount { seconds: options.seconds, connections: options.connections };
    progress("warming up: a second of each");
    for row in &rows {
        row.load.run(Amount { seconds: 1, ..amount }).await.context(row.name)?;
    }
    let mut samples: Vec<Vec<Sample>> = rows.iter().map(|_| Vec::new()).collect();
    for round in 1..=options.rounds {
        for (row, samples) in rows.iter().zip(&mut samples) {
            let sample = row.load.run(amount).await.context(row.name)?;
            progress(&format!("round {round}: {:>9.0}/s  {}", sample.per_second, row.name));
            samples.push(sample);
        }
    }
    for (row, samples) in rows.into_iter().zip(samples) {
        let rates = samples.iter().map(|sample| sample.per_second).collect();
        let p99s = samples.iter().filter_map(|sample| sample.p99_ms).collect();
        report.add(Figure::rate(row.name, rates).p99(p99s).beside(row.ceiling).aim(row.target));
    }
    report.note(&format!("PostgreSQL {}, durable, Unix socket", place.postgres_version()));
    ceiling.stop().await;
    Ok(())
}

/// Application and ceiling stand next to each other, so that a round measures them close in time.
async fn rows(place: &Place, application: &Application, ceiling: &Ceiling) -> Result<Vec<Row>> {
    let [read, bare_read] = reads(place, application, ceiling).await?;
    let [post, patch, bare_write] = writes(place, application, ceiling).await?;
    let wanted = |at_least, share| Some(Target::WithShare(at_least, share));
    let row = |asked_by, name, load| Row { asked_by, name, load, ceiling: None, target: None };
    Ok(vec![
        Row {
            ceiling: Some(BARE_READ),
            target: wanted(12_000.0, 0.55),
            ..row(&["read"], "authenticated read by id: GET /api/v1/tenant", Load::Http(read))
        },
        Row { ceiling: Some(SQL_READ), ..row(&["read"], BARE_READ, Load::Http(bare_read)) },
        row(&["read"], SQL_READ, script(place, "select.sql", include_str!("select.sql")).await?),
        Row {
            ceiling: Some(BARE_WRITE),
            target: wanted(4_000.0, 0.55),
            ..row(&["post"], "audited write: POST /api/v1/service-accounts", Load::Http(post))
        },
        Row {
            ceiling: Some(SQL_WRITE),
            ..row(&["post", "patch"], BARE_WRITE, Load::Http(bare_write))
        },
        Row {
            ceiling: Some(BARE_WRITE),
            ..row(&["patch"], "audited change: PATCH /api/v1/tenant", Load::Http(patch))
        },
        row(
            &["post", "patch"],
            SQL_WRITE,
            script(place, "insert.sql", include_str!("insert.sql")).await?,
        ),
    ])
}

async fn reads(place: &Place, application: &Application, ceiling: &Ceiling) -> Result<[Http; 2]> {
    let of_tenant = |person: &Person| format!("/api/v1/tenant {}", person.token);
    let bare = |person: &Person| format!("/tenants/{}", person.tenant.uuid());
    let person = application.people.first().context("nobody registered")?;
    let answers = [
        answer(&format!("http://{}/api/v1/tenant", application.address), &person.token).await?,
        answer(&format!("http://{}{}", ceiling.address, bare(person)), "").await?,
    ];
    ensure!(answers[0] == answers[1], "application and ceiling answer differently: {answers:?}");
    Ok([
        Http {
            base: format!("http://{}", application.address),
            method: "GET",
            targets: targets(place, "read", application, of_tenant).await?,
            body: None,
        },
        Http {
            base: format!("http://{}", ceiling.address),
            method: "GET",
            targets: targets(place, "bare-read", application, bare).await?,
            body: None,
        },
    ])
}

async fn writes(place: &Place, application: &Application, ceiling: &Ceiling) -> Result<[Http; 3]> {
    let after = format!("\",\"roleIds\":[\"{}\"]}}", application.role_id);
    let new = Some(("{\"name\":\"".to_owned(), after));
    let of_accounts = |person: &Person| format!("/api/v1/service-accounts {}", person.token);
    let of_tenant = |person: &Person| format!("/api/v1/tenant {}", person.token);
    let bare = |person: &Person| format!("/tenants/{}/items", person.tenant.uuid());
    let base = format!("http://{}", application.address);
    Ok([
        Http {
            base: base.clone(),
            method: "POST",
            targets: targets(place, "post", application, of_accounts).await?,
            body: new.clone(),
        },
        Http {
            base,
            method: "PATCH",
            targets: targets(place, "patch", application, of_tenant).await?,
            body: Some(("{\"name\":\"".to_owned(), "\"}".to_owned())),
        },
        Http {
            base: format!("http://{}", ceiling.address),
            method: "POST",
            targets: targets(place, "bare-write", application, bare).await?,
            body: new,
        },
    ])
}

/// Writes the file of targets, one for each person.
async fn targets(
    place: &Place,
    name: &str,
    application: &Application,
    target: impl Fn(&Person) -> String,
) -> Result<PathBuf> {
    let path = place.path(&format!("{name}.targets"));
    let lines: Vec<String> = application.people.iter().map(target).collect();
    tokio::fs::write(&path, lines.join("\n") + "\n").await?;
    Ok(path)
}

async fn script(place: &Place, name: &str, text: &str) -> Result<Load> {
    let script = place.path(name);
    tokio::fs::write(&script, text).await?;
    Ok(Load::Sql(Sql { pgbench: place.pgbench(), url: place.superuser_url(), script }))
}

async fn answer(url: &str, token: &str) -> Result<String> {
    let answer = reqwest::Client::new().get(url).bearer_auth(token).send().await?;
    Ok(answer.error_for_status()?.text().await?)
}
