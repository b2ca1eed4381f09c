//! Databases: one template for each set of migrations, a clone of it for each test.

use std::time::Duration;

use freehold_kernel::Migration;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

use crate::cluster::Cluster;
use crate::pooler::Pooler;

/// Only one template is made at a time: all of them make roles, which belong to the cluster.
const TEMPLATE_LOCK: i64 = 7_235_410_031;
/// Templates that a fresh start leaves; each set of migrations ever run has one of 8 MB.
const TEMPLATES_KEPT: i64 = 16;

/// The database of one test. Removed when the test has succeeded.
pub(crate) struct Database {
    cluster: &'static Cluster,
    pub(crate) name: String,
    /// What stands between, if it is wanted.
    pooler: Option<Pooler>,
}

impl Database {
    /// A new database in which the migrations have run.
    pub(crate) async fn create(migrations: &[Migration]) -> Result<Self, Error> {
        let cluster = Cluster::get().await;
        let fingerprint = hex::encode(freehold_kernel::fingerprint(migrations));
        let template = format!("template_{}", &fingerprint[..16]);
        let mut admin = connect(&cluster.superuser_url("postgres")).await?;
        if !is_template(&mut admin, &template).await? {
            make_template(cluster, &mut admin, &template, migrations).await?;
        }
        let id = Uuid::now_v7().simple().to_string();
        let name = format!("t_{}", &id[id.len() - 12..]);
        // Copying the files takes half as long as writing every page to the log.
        let clone = format!("create database {name} template {template} strategy file_copy");
        run(&mut admin, clone).await?;
        admin.close().await?;
        let wanted = Pooler::is_wanted();
        let pooler = wanted.then(|| Pooler::start(cluster.socket_dir())).transpose()?;
        Ok(Self { cluster, name, pooler })
    }

    /// Where a role connects.
    pub(crate) fn url(&self, user: &str) -> String {
        self.cluster.url(user, &self.name)
    }

    /// Where the application connects as a role.
    pub(crate) fn application_url(&self, user: &str) -> String {
        let direct = self.url(user);
        self.pooler.as_ref().map_or_else(|| direct.clone(), |pooler| pooler.before(&direct))
    }

    /// Whether a pooler stands between.
    pub(crate) fn is_pooled(&self) -> bool {
        self.pooler.is_some()
    }

    /// Where the superuser connects.
    pub(crate) fn superuser_url(&self) -> String {
        self.cluster.superuser_url(&self.name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("The database is kept: psql '{}'", self.superuser_url());
            return;
        }
        let (admin, name) = (self.cluster.superuser_url("postgres"), self.name.clone());
        // The test's own runtime is about to end, and cannot wait inside a destructor.
        let removal = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut admin = connect(&admin).await?;
                run(&mut admin, format!("drop database if exists {name} with (force)")).await
            })
        });
        // Best effort: what is left is swept when the cluster starts the next time.
        let _: Result<Result<(), Error>, _> = removal.join();
    }
}

/// What goes wrong here goes to a person.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// Removes what earlier runs have left: databases of tests, and all but the newest templates.
pub(crate) async fn sweep(cluster: &Cluster) -> Result<(), Error> {
    let mut admin = connect(&cluster.superuser_url("postgres")).await?;
    let leftovers: Vec<String> = sqlx::query_scalar(
        "(select datname::text from pg_database where datname ~ '^t_[0-9a-f]+$')
         union all
         (select datname::text from pg_database where datname ~ '^template_[0-9a-f]{16}$'
          order by oid desc offset $1)",
    )
    .bind(TEMPLATES_KEPT)
    .fetch_all(&mut admin)
    .await?;
    for name in leftovers {
        remove(&mut admin, &name).await?;
    }
    admin.close().await?;
    Ok(())
}

async fn make_template(
    cluster: &Cluster,
    admin: &mut PgConnection,
    name: &str,
    migrations: &[Migration],
) -> Result<(), Error> {
    sqlx::query("select pg_advisory_lock($1)").bind(TEMPLATE_LOCK).execute(&mut *admin).await?;
    // Somebody else may have made it while we waited.
    if !is_template(admin, name).await? {
        // Whoever made half of one was killed.
        remove(admin, name).await?;
        run(admin, format!("create database {name}")).await?;
        freehold_kernel::migrate(&cluster.superuser_url(name), migrations).await?;
        let closed = format!("alter database {name} with allow_connections false is_template true");
        run(admin, closed).await?;
    }
    sqlx::query("select pg_advisory_unlock($1)").bind(TEMPLATE_LOCK).execute(admin).await?;
    Ok(())
}

async fn is_template(admin: &mut PgConnection, name: &str) -> Result<bool, Error> {
    let query = "select exists (select from pg_database where datname = $1 and datistemplate)";
    Ok(sqlx::query_scalar(query).bind(name).fetch_one(admin).await?)
}

async fn remove(admin: &mut PgConnection, name: &str) -> Result<(), Error> {
    let known: bool =
        sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(name)
            .fetch_one(&mut *admin)
            .await?;
    if known {
        run(admin, format!("alter database {name} with is_template false")).await?;
        run(admin, format!("drop database {name} with (force)")).await?;
    }
    Ok(())
}

/// Names in these statements are our own: letters, digits, underscores.
async fn run(admin: &mut PgConnection, sql: String) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(admin).await?;
    Ok(())
}

async fn connect(url: &str) -> Result<PgConnection, Error> {
    let mut tries = 0;
    loop {
        match PgConnection::connect(url).await {
            Ok(connection) => return Ok(connection),
            // Many tests at once may take all connections there are for a moment.
            Err(sqlx::Error::Database(refusal))
                if refusal.code().as_deref() == Some("53300") && tries < 100 =>
            {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
