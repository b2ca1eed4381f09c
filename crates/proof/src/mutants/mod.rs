//! Mutants: the application weakened on purpose, in one place at a time and without building it
//! anew. Whatever guards isolation must notice each of them; one that lives shows a gap.

mod copies;
mod routes;
mod schema;

use std::fmt;

pub use copies::Original;
pub use routes::{RouteMutant, route_mutants};
pub use schema::{Guards, LoginMutant, SchemaMutant, login_mutants, schema_mutants};

/// The mutants of one kind and what became of them.
#[derive(Clone, Debug, Default)]
pub struct Score {
    /// Each mutant that was noticed, and by what.
    pub killed: Vec<(String, String)>,
    /// Those that nothing has noticed.
    pub survivors: Vec<String>,
}

impl Score {
    /// Notes what became of one.
    pub fn add(&mut self, name: String, noticed_by: Option<String>) {
        match noticed_by {
            Some(guard) => self.killed.push((name, guard)),
            None => self.survivors.push(name),
        }
    }

    /// How many there were.
    #[must_use]
    pub fn all(&self) -> usize {
        self.killed.len() + self.survivors.len()
    }

    /// Whether at least this many of a hundred were noticed.
    #[must_use]
    pub fn reaches(&self, percent: usize) -> bool {
        self.all() > 0 && self.killed.len() * 100 >= self.all() * percent
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mutants: {} of {} killed; survivors: ", self.killed.len(), self.all())?;
        match self.survivors.as_slice() {
            [] => f.write_str("none"),
            survivors => write!(f, "\n  {}", survivors.join("\n  ")),
        }
    }
}
