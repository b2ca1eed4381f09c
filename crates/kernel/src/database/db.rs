//! The handle that queries run on.

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use sqlx::postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Describe, Either, Execute, Executor, Postgres, SqlStr};

use super::pool::Lease;
use crate::config::Pooler;

/// An open transaction. Implements [`Executor`], forwards to the connection, counts statements,
/// and leaves them unnamed where a pooler in transaction mode stands between.
pub struct Db {
    lease: Lease,
    read_only: bool,
    unnamed: bool,
    statements: u32,
}

impl Db {
    pub(super) fn new(lease: Lease, read_only: bool, pooler: Pooler) -> Self {
        let unnamed = pooler == Pooler::Transaction;
        Self { lease, read_only, unnamed, statements: 0 }
    }

    /// How many statements have run, for the test that lists do not query in a loop.
    #[must_use]
    pub fn statements(&self) -> u32 {
        self.statements
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    pub(crate) async fn commit(self) -> Result<(), sqlx::Error> {
        self.lease.commit().await
    }

    pub(crate) async fn rollback(self) -> Result<(), sqlx::Error> {
        self.lease.rollback().await
    }

    /// Ends a transaction that has only read, without waiting for it. A pooler gives nobody else its
    /// connection before it has heard of the end; so there it hears at once.
    pub(crate) fn end(self) {
        if self.unnamed {
            drop(self.lease);
        } else {
            self.lease.end();
        }
    }

    fn count(&mut self) {
        self.statements += 1;
        tracing::trace!(statement = self.statements, "query");
    }
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db").field("statements", &self.statements).finish_non_exhaustive()
    }
}

/// A query that is prepared for this once only.
struct Unnamed<E>(E);

impl<'q, E: Execute<'q, Postgres>> Execute<'q, Postgres> for Unnamed<E> {
    fn sql(self) -> SqlStr {
        self.0.sql()
    }

    fn statement(&self) -> Option<&PgStatement> {
        None
    }

    fn take_arguments(
        &mut self,
    ) -> Result<Option<sqlx::postgres::PgArguments>, sqlx::error::BoxDynError> {
        self.0.take_arguments()
    }

    fn persistent(&self) -> bool {
        false
    }
}

impl<'c> Executor<'c> for &'c mut Db {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        self.count();
        if self.unnamed {
            (&mut **self.lease.connection()).fetch_many(Unnamed(query))
        } else {
            (&mut **self.lease.connection()).fetch_many(query)
        }
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        self.count();
        if self.unnamed {
            (&mut **self.lease.connection()).fetch_optional(Unnamed(query))
        } else {
            (&mut **self.lease.connection()).fetch_optional(query)
        }
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        (&mut **self.lease.connection()).prepare_with(sql, parameters)
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        'c: 'e,
    {
        (&mut **self.lease.connection()).describe(sql)
    }
}
