//! Months of events whose time is up: dropped as a whole, noted per tenant, and never too early.

use freehold_kernel::crypto::sha256_plain;
use freehold_kernel::{Json, Module, Result, Routes, Tx, endpoint};
use freehold_testkit::{Client, Tenant, TestApp};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::due::{rests, tick};
use crate::fixture;
use crate::stream::{count, run};

const DROP: &str = "core.drop_months";
const MONTHS_OF_2015: &str = "select count(*) from pg_class
    where relname like 'events\\_2015\\_%' and relkind = 'r'";

/// The fixture with a route that tells what is missing from the log.
pub(crate) fn module() -> Module {
    let gaps = Routes::at("/api/v1/things/gaps").get("/", "things:read", read_gaps);
    fixture::module().routes(gaps)
}

/// Read what is missing from the log.
#[endpoint]
async fn read_gaps(mut tx: Tx) -> Result<Json<Value>> {
    let gaps = tx.event_gaps().await?.into_iter().map(|gap| {
        json!({
            "from": gap.from, "until": gap.until, "events": gap.events,
            "digest": hex::encode(gap.digest), "holds": gap.holds,
        })
    });
    Ok(Json(gaps.collect()))
}

pub(crate) async fn gaps(client: &Client) -> Value {
    client.get("/api/v1/things/gaps").await.expect(200).json().clone()
}

/// As many events of a tenant in January 2015 as there are digests.
pub(crate) async fn live_in_2015(app: &TestApp, tenant: &Tenant, digests: &[&str]) {
    // The tick that comes by itself would take these months away before anything is in them.
    rests(app, DROP).await;
    run(app, "select core.make_event_partitions('2015-01-01', 1)").await;
    for (day, digest) in digests.iter().enumerate() {
        sqlx::query(
            "insert into core.events (tenant_id, id, at, source, type, actor, subject, data, digest)
             values ($1, gen_random_uuid(), '2015-01-01'::timestamptz + $2 * interval '1 day',
               'freehold', 'thing.done', 'system', 'x', '{}', $3)",
        )
        .bind(*tenant.id)
        .bind(i32::try_from(day).unwrap())
        .bind(digest.as_bytes())
        .execute(app.sql())
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn a_month_whose_time_is_up_is_dropped_and_each_tenant_is_told_of_its_own_part() {
    let app = TestApp::start([module()]).await;
    let (acme, other) = (app.tenant("Acme").await, app.tenant("Other").await);
    live_in_2015(&app, &acme, &["one", "two", "three"]).await;
    live_in_2015(&app, &other, &["four"]).await;
    let before = app.events(&acme).await.len();
    tick(&app, DROP).await;
    assert_eq!(count(&app, MONTHS_OF_2015).await, 0);
    assert_eq!(app.events(&acme).await.len(), before - 3, "what is recent stays");
    let chain = ["one", "two", "three"].iter().fold(Vec::new(), |chain, digest| {
        sha256_plain(&[chain.as_slice(), digest.as_bytes()].concat()).to_vec()
    });
    let month = |events: i64, digest: &[u8]| {
        json!([{
            "from": "2015-01-01T00:00:00.000Z", "until": "2015-02-01T00:00:00.000Z",
            "events": events, "digest": hex::encode(digest), "holds": true,
        }])
    };
    let acme = app.principal(&acme).everything();
    assert_eq!(gaps(&acme).await, month(3, &chain));
    assert_eq!(gaps(&app.principal(&other).everything()).await, month(1, &sha256_plain(b"four")));
    tick(&app, DROP).await;
    assert_eq!(gaps(&acme).await, month(3, &chain), "once is enough");
}

#[tokio::test]
async fn a_month_is_kept_for_as_many_months_as_were_asked_for() {
    let app = TestApp::with([module()])
        .config(|config| config.limits.events_kept_months = 1)
        .start()
        .await;
    rests(&app, DROP).await;
    run(
        &app,
        "select core.make_event_partitions((now() at time zone 'UTC' - interval '2 months')::date, 1)",
    )
    .await;
    let months = "select count(*) from pg_inherits where inhparent = 'core.events'::regclass";
    // The last two, this one, and three that are ahead.
    assert_eq!(count(&app, months).await, 6);
    tick(&app, DROP).await;
    assert_eq!(count(&app, months).await, 5);
    let last = "select count(*) from pg_class where relname = 'events_' ||
        to_char(date_trunc('month', now() at time zone 'UTC') - interval '1 month', 'YYYY_MM')";
    assert_eq!(count(&app, last).await, 1);
    assert_eq!(count(&app, "select count(*) from core.event_gaps").await, 0, "nothing was in it");
}

#[tokio::test]
async fn a_month_with_events_that_nobody_has_handled_stays_until_somebody_has() {
    let app = TestApp::start([module()]).await;
    let acme = app.tenant("Acme").await;
    live_in_2015(&app, &acme, &["one"]).await;
    for (waits, handled) in [
        (
            "insert into core.outbox (subscriber, event_id, tenant_id, event_at)
             select 'gone', id, tenant_id, at from core.events where at < '2016-01-01'",
            "delete from core.outbox where subscriber = 'gone'",
        ),
        (
            "insert into core.outbox_dead (subscriber, event_id, tenant_id, event_at, error)
             select 'gone', id, tenant_id, at, 'x' from core.events where at < '2016-01-01'",
            "delete from core.outbox_dead where subscriber = 'gone'",
        ),
    ] {
        run(&app, waits).await;
        tick(&app, DROP).await;
        // February, in which nothing happened, may go.
        assert_eq!(count(&app, MONTHS_OF_2015).await, 1, "{waits}");
        assert_eq!(count(&app, "select count(*) from core.event_gaps").await, 0);
        run(&app, handled).await;
    }
    tick(&app, DROP).await;
    assert_eq!(count(&app, MONTHS_OF_2015).await, 0);
    assert_eq!(count(&app, "select count(*) from core.event_gaps").await, 1);
}

#[tokio::test]
async fn a_note_of_what_was_dropped_that_was_written_by_hand_does_not_hold() {
    let app = TestApp::start([module()]).await;
    let acme = app.tenant("Acme").await;
    live_in_2015(&app, &acme, &["one"]).await;
    tick(&app, DROP).await;
    let acme = app.principal(&acme).everything();
    assert_eq!(gaps(&acme).await[0]["holds"], true);
    for forgery in [
        "update core.event_gaps set events = 2",
        "update core.event_gaps set events = 1, until_at = '2015-03-01'",
        "update core.event_gaps set until_at = '2015-02-01', digest = sha256('two')",
        "update core.event_gaps set digest = sha256('one'), mac = null",
    ] {
        run(&app, forgery).await;
        assert_eq!(gaps(&acme).await[0]["holds"], false, "{forgery}");
    }
}

#[tokio::test]
async fn no_login_drops_a_month_or_changes_what_is_said_about_it() {
    let app = TestApp::start([module()]).await;
    let acme = app.tenant("Acme").await;
    live_in_2015(&app, &acme, &["one"]).await;
    tick(&app, DROP).await;
    live_in_2015(&app, &acme, &["two"]).await;
    let refused = "42501";
    let gap = "insert into core.event_gaps (tenant_id, from_at, until_at, events, digest)
               select tenant_id, '2014-01-01', '2014-02-01', 1, '' from core.event_gaps";
    for (role, statement, code) in [
        ("app", "select core.drop_event_partitions('2015-03-01')", refused),
        ("app", "drop table core.events_2015_01", refused),
        ("app", gap, refused),
        ("app", "update core.event_gaps set mac = null", refused),
        ("app", "delete from core.event_gaps", refused),
        ("account", "select core.drop_event_partitions('2015-03-01')", refused),
        ("platform", "select core.drop_event_partitions('2015-03-01')", refused),
        ("dispatch", gap, refused),
        ("dispatch", "update core.event_gaps set events = 2", refused),
        ("dispatch", "delete from core.event_gaps", refused),
        // A clock that is wrong does not take the present away.
        ("dispatch", "select core.drop_event_partitions('2999-01-01')", "P0001"),
    ] {
        assert_eq!(code_of(&app, &acme, role, statement).await, code, "{role}: {statement}");
    }
    let this_month = "select core.drop_event_partitions('2015-02-01')";
    assert_eq!(code_of(&app, &acme, "dispatch", this_month).await, "23505", "noted once only");
    assert_eq!(count(&app, MONTHS_OF_2015).await, 2);
}

/// How PostgreSQL refuses a statement of a role in a tenant.
async fn code_of(app: &TestApp, tenant: &Tenant, role: &str, statement: &'static str) -> String {
    let login = if role == "app" { "freehold_app" } else { "freehold_system" };
    let mut connection = PgConnection::connect(&app.database_url(login)).await.unwrap();
    let begin = format!(
        "begin; set local role freehold_{role}; set local app.tenant_id = '{}'",
        tenant.id.uuid()
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(begin)).execute(&mut connection).await.unwrap();
    let refusal = sqlx::raw_sql(statement).execute(&mut connection).await;
    refusal.unwrap_err().as_database_error().unwrap().code().unwrap().into_owned()
}
