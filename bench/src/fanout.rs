//! One event to many receivers, many tenants with one receiver each, and one receiver that never
//! answers among a hundred.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use reqwest::Client;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;

use crate::application::{Person, register};
use crate::books;
use crate::cpu::Used;
use crate::customers::{Customer, key_of, make};
use crate::events;
use crate::load::{Amount, Load};
use crate::report::{Figure, Report, Target, progress};
use crate::webhooks::Scene;

/// Receivers of one event.
const WIDTH: i64 = 100;
const TENANTS: u32 = 1_000;
/// Tenants with a hundred receivers each: one may hold a quarter of a node's places.
const WIDE_TENANTS: u32 = 8;
/// Registering hashes a password.
const AT_ONCE: u32 = 4;
/// So that what is posted is delivered within the time of a round or two.
const WIDE_CONNECTIONS: u32 = 2;
const PATIENCE: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(100);

const ONE: &str = "deliveries, 8 tenants with one webhook each, batches of 100";
const WIDE: &str = "deliveries, each event to 100 webhooks";
const MANY: &str = "deliveries, 1,000 tenants with one webhook each, batches of 100";
const ONE_DEAD: &str = "deliveries to 99 webhooks beside one that never answers";

/// Customers who post, and what each of their events comes to.
struct Crowd {
    name: &'static str,
    load: Load,
    connections: u32,
    /// Webhooks that answer, for each event.
    width: i64,
    besides: Option<(&'static str, f64)>,
}

/// Measures them, in rounds.
pub(crate) async fn measure(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    let crowds = crowds(scene).await?;
    progress("warming up: a second of each");
    for crowd in &crowds {
        crowd.run(scene, 1).await?;
    }
    let mut rates: Vec<Vec<f64>> = crowds.iter().map(|_| Vec::new()).collect();
    for round in 1..=scene.options.rounds {
        for (crowd, rates) in crowds.iter().zip(&mut rates) {
            let rate = crowd.run(scene, scene.options.seconds).await?;
            progress(&format!("round {round}: {rate:>7.0}/s  {}", crowd.name));
            rates.push(rate);
        }
    }
    forget_what_waits(scene).await?;
    for (crowd, rates) in crowds.iter().zip(rates) {
        let (beside, share) = crowd.besides.unzip();
        let target = share.map(|share| Target::WithShare(0.0, share));
        report.add(Figure::rate(crowd.name, rates).beside(beside).aim(target));
    }
    Ok(())
}

async fn crowds(scene: &Scene<'_>) -> Result<Vec<Crowd>> {
    let one = events::load_of(scene, &scene.customers, "one.targets", events::batch()).await?;
    let many = people(scene, 10_000, TENANTS).await?;
    let many = sign_up(scene, &many, &["hook"]).await?;
    let many = events::load_of(scene, &many, "many.targets", events::batch()).await?;
    let hooks = vec!["hook"; usize::try_from(WIDTH)?];
    let wide = people(scene, 20_000, WIDE_TENANTS).await?;
    let wide = sign_up(scene, &wide, &hooks).await?;
    let wide = events::load_of(scene, &wide, "wide.targets", events::one()).await?;
    let mut one_dead = hooks.clone();
    one_dead[0] = "hang";
    let dead = people(scene, 30_000, WIDE_TENANTS).await?;
    let dead = sign_up(scene, &dead, &one_dead).await?;
    let dead = events::load_of(scene, &dead, "dead.targets", events::one()).await?;
    let crowd =
        |name, load, connections, width, besides| Crowd { name, load, connections, width, besides };
    Ok(vec![
        crowd(ONE, one, events::BATCH_CONNECTIONS, 1, None),
        crowd(MANY, many, events::BATCH_CONNECTIONS, 1, Some((ONE, 0.8))),
        crowd(WIDE, wide, WIDE_CONNECTIONS, WIDTH, Some((ONE, 0.8))),
        crowd(ONE_DEAD, dead, WIDE_CONNECTIONS, WIDTH - 1, Some((WIDE, 0.95))),
    ])
}

/// People who join, each with a tenant.
async fn people(scene: &Scene<'_>, first: u32, count: u32) -> Result<Vec<Person>> {
    let client = Client::builder().timeout(Duration::from_secs(30)).build()?;
    let base = format!("http://{}/api/v1", scene.application.address);
    let mut joining = JoinSet::new();
    for part in 0..AT_ONCE {
        let (client, base) = (client.clone(), base.clone());
        joining.spawn(async move {
            let mut joined = Vec::new();
            for number in (first + part..first + count).step_by(AT_ONCE as usize) {
                joined.push(register(&client, &base, number).await?);
            }
            anyhow::Ok(joined)
        });
    }
    let joined: Result<Vec<Vec<Person>>> = joining.join_all().await.into_iter().collect();
    Ok(joined?.into_iter().flatten().collect())
}

/// Gives each a key and webhooks at these paths of the receiver.
async fn sign_up(scene: &Scene<'_>, people: &[Person], paths: &[&str]) -> Result<Vec<Customer>> {
    let base = format!("http://{}/api/v1", scene.application.address);
    let client = Client::new();
    let mut customers = Vec::new();
    for person in people {
        customers.push(key_of(&client, &base, person).await?);
        for path in paths {
            let webhook = json!({"url": scene.receiver.at(path), "events": ["order.*"]});
            make(&client, &format!("{base}/webhooks"), person, &webhook).await?;
        }
    }
    Ok(customers)
}

impl Crowd {
    /// Deliveries a second, from the first event to the last line of the log.
    async fn run(&self, scene: &Scene<'_>, seconds: u64) -> Result<f64> {
        let Scene { place, receiver, .. } = scene;
        receiver.forget().await?;
        let used = || Used::now(place.postmaster()?, receiver.pid());
        let (before, began) = (used()?, books::now()?);
        self.load.run(Amount { seconds, connections: self.connections }).await?;
        let mut database = PgConnection::connect(&place.superuser_url()).await?;
        let started = Instant::now();
        let (delivered, took) = loop {
            let (events, delivered, took) = counted(&mut database, began).await?;
            if delivered == events * self.width {
                break (delivered, took);
            }
            ensure!(delivered < events * self.width, "{delivered} deliveries of {events} events");
            ensure!(started.elapsed() < PATIENCE, "{delivered} of {} arrived", events * self.width);
            tokio::time::sleep(POLL).await;
        };
        let seen = receiver.seen().await?;
        ensure!(seen.requests == delivered, "{delivered} are logged, {seen:?} arrived");
        progress(&format!("  each: {}", used()?.each_since(&before, delivered)));
        #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
        Ok(delivered as f64 / took)
    }
}

/// What waits for the one that never answers would wait in the rows after this one, too.
async fn forget_what_waits(scene: &Scene<'_>) -> Result<()> {
    let mut database = PgConnection::connect(&scene.place.superuser_url()).await?;
    let forget = "delete from core.jobs where kind = 'webhooks.deliver'";
    sqlx::query(forget).execute(&mut database).await?;
    Ok(())
}

/// Events, what was delivered of them, and the seconds between the first and the last of it.
async fn counted(database: &mut PgConnection, since: f64) -> Result<(i64, i64, f64)> {
    let counted = sqlx::query_as(
        "select
           (select count(*) from core.events
            where source = 'custom' and type like 'order.%' and at >= to_timestamp($1)),
           count(*),
           coalesce(extract(epoch from max(delivered_at) - min(event_at)), 0)::float8
         from webhooks.deliveries where event_at >= to_timestamp($1) and status = 'delivered'",
    );
    Ok(counted.bind(since).fetch_one(database).await?)
}
