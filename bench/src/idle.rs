//! What a node costs that has nothing to do: processor time, and what it asks PostgreSQL.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::Client;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};

use crate::cpu;
use crate::place::Place;
use crate::report::{Figure, Report, progress};
use crate::start;

/// What the first moments bring (first ticks of schedules) is not what idleness costs.
const SETTLING: Duration = Duration::from_secs(5);
const ALONE: Duration = Duration::from_secs(20);

/// Measures `freehold up` left alone, or says loudly why not.
pub(crate) async fn measure(place: &Place, report: &mut Report) -> Result<()> {
    let Some(binary) = start::binary("idleness", report)? else { return Ok(()) };
    let folder = place.path("idle");
    let client = Client::builder().timeout(Duration::from_secs(30)).build()?;
    let (mut running, _) = start::start(&binary, &folder, &client).await?;
    // Its kept connection would be somebody to serve.
    drop(client);
    let postmaster = cpu::child_called("postgres", running.pid())?.context("no PostgreSQL")?;
    let mut database = connect(postmaster).await?;
    log_statements(&mut database, true).await?;
    tokio::time::sleep(SETTLING).await;
    let log = folder.join("postgres.log");
    let from = std::fs::metadata(&log)?.len();
    let used = || anyhow::Ok((cpu::of_process(running.pid())?, cpu::of_postgres(postmaster)?));
    let (before, began) = (used()?, Instant::now());
    tokio::time::sleep(ALONE).await;
    let (after, took) = (used()?, began.elapsed().as_secs_f64());
    let text = read(&log, from)?;
    log_statements(&mut database, false).await?;
    drop(database);
    running.stop()?;
    let statements = statements(&text);
    let count: u32 = statements.values().sum();
    ensure!(count > 0, "not even the pulse was logged: {text}");
    progress(&format!("what an idle node asks within {took:.0} s:"));
    for (statement, count) in &statements {
        progress(&format!("  {count:>4} × {statement}"));
    }
    let share = |now: f64, before: f64| 100.0 * (now - before) / took;
    report.add(Figure::percent("idle: processor time, of one core", share(after.0, before.0)));
    report.add(Figure::percent("idle: its PostgreSQL's, of one core", share(after.1, before.1)));
    let name = "idle: statements at PostgreSQL, counted with log_statement";
    report.add(Figure::rate(name, vec![f64::from(count) / took]));
    Ok(())
}

/// As the superuser, on the socket that the postmaster names in its folder.
async fn connect(postmaster: u32) -> Result<PgConnection> {
    let file = std::fs::read_to_string(format!("/proc/{postmaster}/cwd/postmaster.pid"))?;
    let mut lines = file.lines().skip(3);
    let port = lines.next().context("no port")?.trim().parse()?;
    let socket = lines.next().context("no socket")?.trim();
    let options = PgConnectOptions::new_without_pgpass()
        .socket(socket)
        .port(port)
        .username(freehold_embedded_postgres::SUPERUSER)
        .database("postgres");
    options.connect().await.context("the superuser cannot log in")
}

async fn log_statements(database: &mut PgConnection, all: bool) -> Result<()> {
    let statement = if all {
        "alter system set log_statement = 'all'"
    } else {
        "alter system reset log_statement"
    };
    sqlx::raw_sql(statement).execute(&mut *database).await?;
    sqlx::raw_sql("select pg_reload_conf()").execute(&mut *database).await?;
    Ok(())
}

fn read(log: &Path, from: u64) -> Result<String> {
    let bytes = std::fs::read(log)?;
    let new = bytes.get(usize::try_from(from)?..).context("the log has been moved aside")?;
    Ok(String::from_utf8_lossy(new).into_owned())
}

/// Statements and how often each came, from PostgreSQL's log. Their lines after the first begin
/// with a tab.
fn statements(log: &str) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for entry in log.replace("\n\t", " ").lines() {
        let Some((_, entry)) = entry.split_once("LOG:  ") else { continue };
        let statement = match entry.split_once(": ") {
            Some(("statement", statement)) => statement,
            Some((name, statement)) if name.starts_with("execute ") => statement,
            _ => continue,
        };
        let words: Vec<&str> = statement.split_whitespace().collect();
        *counts.entry(words.join(" ")).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    #[test]
    fn statements_are_found_in_the_log_over_their_lines_and_counted() {
        let log = "2026-01-01 00:00:00.000 UTC [7] LOG:  statement: begin\n\
                   2026-01-01 00:00:00.000 UTC [7] LOG:  execute sqlx_s_1: select a,\n\
                   \t   b from c\n\
                   2026-01-01 00:00:00.000 UTC [7] DETAIL:  parameters: $1 = 'x: y'\n\
                   2026-01-01 00:00:01.000 UTC [8] LOG:  execute <unnamed>: select a, b\n\
                   \tfrom c\n\
                   2026-01-01 00:00:01.000 UTC [8] LOG:  checkpoint starting: time\n";
        let counts: Vec<_> = super::statements(log).into_iter().collect();
        let expected = [("begin".to_owned(), 1), ("select a, b from c".to_owned(), 2)];
        assert_eq!(counts, expected);
    }
}
