//! Words that stand in one tenant's rows only, and where they show up.

use std::collections::{BTreeMap, HashMap, HashSet};

use freehold_kernel::{Id, Named};
use regex::Regex;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use super::Side;
use crate::{Error, Report, Result, Subject};

/// Every column of a tenant table, with its type.
const COLUMNS: &str = "
select c.oid::regclass::text, quote_ident(a.attname),
  case when t.typname in ('text', 'varchar', 'bpchar') then 'text'
       when t.typname in ('_text', '_varchar') then 'texts' else t.typname::text end
from pg_class c join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
join pg_type t on t.oid = a.atttypid
where c.relkind in ('r', 'p') and not c.relispartition and pg_get_userbyid(n.nspowner) = 'freehold_owner'
  and obj_description(c.oid, 'pg_class') ~ '^(tenant|claims): '
order by 1, a.attnum";

/// What must not show up, and what it is.
pub(super) struct Canaries {
    known: HashMap<String, String>,
    /// Those that callers say themselves, in one request or another.
    told: HashSet<String>,
    pattern: Regex,
}

/// What whoever answers has heard from the callers.
#[derive(Clone, Copy)]
pub(super) enum Heard<'a> {
    /// This request.
    Sent(&'a str),
    /// This and earlier ones.
    Anything,
}

impl Canaries {
    /// Plants a canary in each column that holds text, in all of the tenant's rows, and knows the
    /// tenant's ids, its slug and its words besides.
    pub(super) async fn plant(subject: &Subject, side: &Side, report: &mut Report) -> Result<Self> {
        let mut known = BTreeMap::new();
        for word in &side.words {
            known.insert(word.clone(), "a word".to_owned());
        }
        known.insert(side.slug.clone(), "the slug".to_owned());
        let columns: Vec<(String, String, String)> =
            sqlx::query_as(COLUMNS).fetch_all(&subject.superuser).await?;
        for (table, column, kind) in &columns {
            if kind == "uuid" {
                for id in ids(&subject.superuser, side, table, column).await? {
                    known.insert(suffix(id), format!("an id in {table}.{column}"));
                    known.insert(id.to_string(), format!("an id in {table}.{column}"));
                }
            }
        }
        for (table, column, kind) in &columns {
            if kind == "bytea" {
                let why = "which holds bytes, sealed or hashed";
                report.left_out.push(format!("no canary is in {table}.{column}, {why}"));
            }
            if !["text", "texts", "jsonb"].contains(&kind.as_str()) {
                continue;
            }
            let canary = format!("{:032x}", rand::random::<u128>());
            match plant(&subject.superuser, side, table, column, kind, &canary).await? {
                Planted::InRows => {
                    known.insert(canary, format!("planted in {table}.{column}"));
                }
                Planted::NoRows => {}
                Planted::Refused(why) => report
                    .left_out
                    .push(format!("no canary is in {table}.{column}, which refuses it: {why}")),
            }
        }
        let words: Vec<String> = known.keys().map(|word| regex::escape(word)).collect();
        let pattern = Regex::new(&words.join("|"))
            .map_err(|error| Error::Missing(format!("the canaries make no pattern: {error}")))?;
        let told = side.ids.iter().chain(&side.words).chain([&side.slug]);
        // Ids are found by how they end.
        let told = told.map(|word| word.split_once('_').map_or(&**word, |(_, end)| end));
        let told = told.map(ToOwned::to_owned).chain([side.tenant.uuid().to_string()]).collect();
        Ok(Self { known: known.into_iter().collect(), told, pattern })
    }

    /// The canaries in `text` that were not heard from a caller, and what each is.
    pub(super) fn found<'a>(&'a self, text: &'a str, heard: Heard<'_>) -> Vec<(&'a str, &'a str)> {
        let mut found: Vec<_> = self
            .pattern
            .find_iter(text)
            .map(|found| found.as_str())
            .filter(|word| match heard {
                Heard::Sent(request) => !request.contains(word),
                Heard::Anything => !self.told.contains(*word),
            })
            .filter_map(|word| Some((word, self.known.get(word)?.as_str())))
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

enum Planted {
    InRows,
    NoRows,
    Refused(String),
}

/// The ids in a column of this tenant's rows that no other tenant has.
async fn ids(sql: &PgPool, side: &Side, table: &str, column: &str) -> Result<Vec<Uuid>> {
    let query = format!(
        "select distinct {column} from {table} t where tenant_id = $1 and {column} is not null
         and not exists (select from {table} o where o.tenant_id <> $1 and o.{column} = t.{column})"
    );
    Ok(sqlx::query_scalar(AssertSqlSafe(query)).bind(*side.tenant).fetch_all(sql).await?)
}

/// How an id ends on the wire, whatever its kind.
fn suffix(id: Uuid) -> String {
    enum Any {}
    impl Named for Any {
        const PREFIX: &'static str = "zzz";
    }
    Id::<Any>::from_uuid(id).to_string().replace("zzz_", "")
}

/// Adds a canary to what a column holds; where a constraint refuses that, puts it in its place.
async fn plant(
    sql: &PgPool,
    side: &Side,
    table: &str,
    column: &str,
    kind: &str,
    canary: &str,
) -> Result<Planted> {
    let values: &[&str] = match kind {
        "text" => &["{} || ' CANARY'", "{} || '.CANARY'", "left('CANARY', 20 + 12)"],
        "texts" => &["array_append({}, 'CANARY')"],
        _ => &[
            "case when jsonb_typeof({}) = 'object' then {} || '{\"canary\": \"CANARY\"}' else {} end",
        ],
    };
    let mut refused = String::new();
    for value in values {
        let value = value.replace("{}", column).replace("CANARY", canary);
        let statement = format!(
            "update {table} set {column} = {value} where tenant_id = $1 and {column} is not null"
        );
        match sqlx::query(AssertSqlSafe(statement)).bind(*side.tenant).execute(sql).await {
            Ok(done) if done.rows_affected() == 0 => return Ok(Planted::NoRows),
            Ok(_) => return Ok(Planted::InRows),
            Err(sqlx::Error::Database(refusal)) => refused = refusal.message().to_owned(),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Planted::Refused(refused))
}
