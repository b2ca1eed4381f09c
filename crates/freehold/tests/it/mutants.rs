//! The application weakened on purpose, in one place at a time: dropped and widened policies and
//! grants, statements that have lost their tenant, routes that have lost their permission. At least
//! 95 of 100 must be noticed by what guards isolation.
//!
//! `FREEHOLD_SEED` chooses the samples; every run prints its own. The long forms try all.

use std::path::Path;
use std::time::Instant;

use freehold_kernel::{Module, TenantId};
use freehold_proof::mutants::{
    Guards, Original, RouteMutant, SchemaMutant, Score, login_mutants, route_mutants,
    schema_mutants,
};
use freehold_proof::routes;
use freehold_testkit::{TestApp, isolation};
use xtask::rules::sql::{ACROSS_TENANTS, UNPARSED};
use xtask::tree::Tree;
use xtask::{lost_predicates, sql_text};

use crate::isolation::cast;
use crate::life::{app, live, modules};
use crate::many_tasks::seed;

/// How many of a hundred must be noticed.
const PERCENT: usize = 95;
const PUBLIC_URL: &str = "http://localhost:3000";

/// Prints the score, and fails when too many have lived or hardly any were tried.
fn assert_noticed(what: &str, score: &Score, least: usize, began: Instant) {
    println!("{what}: {score} ({:.1} s)", began.elapsed().as_secs_f64());
    assert!(score.all() >= least, "there were but {} mutants", score.all());
    assert!(score.reaches(PERCENT), "{what}: {score}");
}

/// An application in which two tenants have lived, stopped, and all that can be done to its schema.
async fn lived() -> (TestApp, Original, (TenantId, TenantId), Vec<SchemaMutant>) {
    let app = app().await;
    let tenants = (live(&app, "Acme").await.tenant.id, live(&app, "Umbrella").await.tenant.id);
    app.stop().await;
    let mutants = schema_mutants(app.sql()).await.unwrap();
    let original = Original::of(&app.subject()).await.unwrap();
    (app, original, tenants, mutants)
}

async fn try_all(guards: &Guards<'_>, mutants: &[SchemaMutant]) -> Score {
    let mut score = Score::default();
    for mutant in mutants {
        let noticed = Box::pin(guards.notice(mutant)).await.unwrap();
        score.add(format!("{} {}", mutant.subject, mutant.kind), noticed);
    }
    for mutant in login_mutants() {
        let noticed = Box::pin(guards.notice_login(&mutant)).await.unwrap();
        score.add(mutant.name.to_owned(), noticed);
    }
    score
}

/// One of each kind, made to something or other.
fn sample(mutants: &[SchemaMutant]) -> Vec<SchemaMutant> {
    let seed = seed();
    println!("a sample of {} mutants (seed {seed})", mutants.len());
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut kinds: Vec<&str> = mutants.iter().map(|mutant| mutant.kind).collect();
    kinds.dedup();
    let one_of = |kind: &&str| {
        let alike: Vec<&SchemaMutant> = mutants.iter().filter(|m| m.kind == *kind).collect();
        alike[rng.usize(..alike.len())].clone()
    };
    kinds.iter().map(one_of).collect()
}

#[tokio::test]
async fn a_schema_that_is_weakened_in_one_place_is_noticed() {
    let began = Instant::now();
    let (_app, original, tenants, mutants) = lived().await;
    let guards = Guards::over(&original, &modules, tenants).await.unwrap();
    let score = try_all(&guards, &sample(&mutants)).await;
    assert_noticed("lost policies, grants and logins, a sample", &score, 30, began);
}

#[tokio::test]
#[ignore = "hundreds of databases, part of make check-long"]
async fn long_a_schema_that_is_weakened_anywhere_is_noticed() {
    let began = Instant::now();
    let (_app, original, tenants, mutants) = lived().await;
    let guards = Guards::over(&original, &modules, tenants).await.unwrap();
    let score = try_all(&guards, &mutants).await;
    for (mutant, guard) in &score.killed {
        println!("  {mutant}: {guard}");
    }
    assert_noticed("lost policies, grants and logins", &score, 300, began);
}

#[test]
fn a_statement_that_has_lost_its_tenant_is_found() {
    let began = Instant::now();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let tree = Tree::load(&root).unwrap();
    let tables = &tree.catalogue.tenant_tables;
    let mut score = Score::default();
    let checked = tree.offline.iter().filter(|offline| {
        let sql = &offline.query;
        let marked = [ACROSS_TENANTS, UNPARSED].iter().any(|mark| sql_text::marked(sql, mark));
        !marked && lost_predicates::names_any(sql, tables)
    });
    for offline in checked {
        assert!(!lost_predicates::is_found(&offline.query, tables), "{}", offline.query);
        for lost in lost_predicates::copies(&offline.query) {
            let noticed = lost_predicates::is_found(&lost.sql, tables);
            score.add(format!("{}: {}", lost.edit, lost.sql), noticed.then(|| "tidy".to_owned()));
        }
    }
    assert_noticed("lost predicates", &score, 100, began);
}

/// Whether each of these routes is noticed: by the start, or by the description kept in git.
fn try_routes(mutants: &[RouteMutant]) -> Score {
    let mut score = Score::default();
    let document = |modules: Vec<Module>| freehold_kernel::openapi(PUBLIC_URL, modules);
    let usual = document(modules()).unwrap();
    for mutant in mutants {
        let mut modules = modules();
        mutant.apply(&mut modules);
        let noticed = match document(modules) {
            Err(refusal) => Some(format!("every start: {refusal}")),
            Ok(document) => (document != usual).then(|| "snapshots/openapi.json".to_owned()),
        };
        score.add(mutant.name.clone(), noticed);
    }
    score
}

#[test]
fn a_route_that_has_lost_its_permission_is_found() {
    let (began, mut mutants) = (Instant::now(), route_mutants(modules()));
    let seed = seed();
    println!("a sample of {} mutants (seed {seed})", mutants.len());
    fastrand::Rng::with_seed(seed).shuffle(&mut mutants);
    let score = try_routes(&mutants[..40]);
    assert_noticed("lost permissions, a sample", &score, 40, began);
}

#[test]
#[ignore = "every route in every way, part of make check-long"]
fn long_any_route_that_has_lost_its_permission_is_found() {
    let began = Instant::now();
    assert_noticed("lost permissions", &try_routes(&route_mutants(modules())), 100, began);
}

/// What says its tenant in the statement needs no row-level security; either alone holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "ten thousand requests, part of make check-long"]
async fn long_no_route_relies_on_row_level_security_alone() {
    let app = app().await;
    let cast = cast(&app).await;
    sqlx::raw_sql(
        "do $$ declare t regclass; begin
           for t in select c.oid::regclass from pg_class c
             where c.relrowsecurity and obj_description(c.oid, 'pg_class') ~ '^(tenant|claims): '
           loop execute format('alter table %s disable row level security', t); end loop;
         end $$",
    )
    .execute(app.sql())
    .await
    .unwrap();
    assert!(!isolation::catalogue(&app).await.is_empty(), "row-level security is still on");
    let report = Box::pin(routes::sweep(&app.subject(), &cast)).await.unwrap();
    println!("without row-level security: {} requests", report.tried);
    assert!(
        report.findings.is_empty(),
        "these rely on row-level security alone:\n{}",
        report.findings.join("\n")
    );
}
