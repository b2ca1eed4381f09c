//! The rows, measured in rounds in which the two take turns, and turns at being first.

use anyhow::{Result, ensure};

use super::settle::{Asked, settle};
use super::side::{Side, Whose};
use super::table::Table;
use crate::Options;
use crate::application::POOL_SIZE;
use crate::books::{self, Keeper, Tally};
use crate::cpu;
use crate::latency::PER_SECOND;
use crate::load::Amount;
use crate::open_loop::{self, Posted};
use crate::place::Place;
use crate::receiver::Receiver;
use crate::report::{Unit, percentile, progress};

#[derive(Clone, Copy)]
enum Row {
    /// As many as go through.
    Events,
    /// So many a second, whatever becomes of them.
    Rate(u32),
}

/// What a run says: what was measured, in what, and how much it was.
type Figures = Vec<(String, Unit, f64)>;

pub(crate) struct Rounds<'a> {
    options: &'a Options,
    place: &'a Place,
    receiver: &'a Receiver,
    /// Freehold, then svix-server.
    sides: [Side; 2],
    redis: u32,
    table: Table,
    /// What svix-server sent more than once.
    repeated: i64,
    /// What it stored and never sent, because wrk hung up before it had answered.
    unanswered: i64,
    /// What reaches the receiver, of each.
    bytes: [u64; 2],
}

impl<'a> Rounds<'a> {
    pub(crate) fn new(
        options: &'a Options,
        place: &'a Place,
        receiver: &'a Receiver,
        sides: [Side; 2],
        redis: u32,
    ) -> Self {
        let (table, bytes) = (Table::default(), [0; 2]);
        Self { options, place, receiver, sides, redis, table, repeated: 0, unanswered: 0, bytes }
    }

    /// Measures those of the rows that were asked for.
    pub(crate) async fn run(&mut self) -> Result<()> {
        let (wants, rate) = (|row| self.options.wants(row), self.options.rate);
        let rows = [
            wants("svix-events").then_some(Row::Events),
            wants("svix-latency").then_some(Row::Rate(PER_SECOND)),
            wants("svix-rate").then_some(Row::Rate(rate)),
        ];
        let rows: Vec<Row> = rows.into_iter().flatten().collect();
        progress("warming up: a second of each");
        for side in 0..self.sides.len() {
            self.measure(Row::Events, side, 1).await?;
            self.measure(Row::Rate(PER_SECOND), side, 1).await?;
        }
        (self.repeated, self.unanswered) = (0, 0);
        for round in 1..=self.options.rounds {
            let order = if round % 2 == 1 { [0, 1] } else { [1, 0] };
            for row in &rows {
                for side in order {
                    progress(&format!("round {round}: {}", self.sides[side].whose.name()));
                    let figures = self.measure(*row, side, self.options.seconds).await?;
                    self.table.add(side, figures);
                }
            }
        }
        Ok(())
    }

    /// What came of it, and how it came about.
    pub(crate) fn table(mut self, version: &str) -> Table {
        version.clone_into(&mut self.table.version);
        let [ours, theirs] = self.bytes;
        self.table.note(format!(
            "the same for both: receiver, PostgreSQL {} (durable, Unix socket, a database each, \
             {POOL_SIZE} connections), load, {} customers with a webhook each, one event in a request, {ours} \
             bytes ({theirs} from svix-server) to the receiver",
            self.place.postgres_version(),
            self.options.tenants,
        ));
        self.table.note(
            "not the same: svix-server's queue and cache are in a Redis that writes nothing to the \
             disk, Freehold's are in PostgreSQL; svix-server takes no batches, so Freehold's are \
             not measured here; Freehold counts every request against limits, svix-server was told \
             of none and logs warnings only"
                .to_owned(),
        );
        self.table.note(format!(
            "svix-server sent {} more than once, and stored {} whose sender hung up before the \
             answer and that it never sent",
            self.repeated, self.unanswered,
        ));
        self.table
    }

    async fn measure(&mut self, row: Row, side: usize, seconds: u64) -> Result<Figures> {
        self.receiver.forget().await?;
        let (figures, unanswered) = match row {
            Row::Events => self.events(&self.sides[side], seconds).await?,
            Row::Rate(rate) => (self.at_rate(&self.sides[side], rate, seconds).await?, 0),
        };
        self.unanswered += unanswered;
        let seen = self.receiver.seen().await?;
        self.bytes[side] = seen.bytes / u64::try_from(seen.requests)?.max(1);
        self.repeated += seen.requests - seen.ids;
        let text = figures.iter().map(|(name, unit, value)| {
            let name = name.split_once(": ").map_or(name.as_str(), |(_, name)| name);
            format!("{name} {}", unit.text(*value))
        });
        progress(&format!("  {}", text.collect::<Vec<_>>().join("; ")));
        Ok(figures)
    }

    /// And how many were stored and not sent.
    async fn events(&self, side: &Side, seconds: u64) -> Result<(Figures, i64)> {
        let load = side.load(self.place.path("beside.targets"))?;
        let connections = self.options.connections;
        let (before, since) = (self.used(side)?, books::now()?);
        let sample = load.run(Amount { seconds, connections }).await?;
        let ended = books::now()?;
        let answered = sample.answered.unwrap_or_default();
        ensure!(answered > 0, "nothing was answered");
        let asked = Asked { since, answered, cut: i64::from(connections) };
        let tally = self.close(side, asked).await?;
        ensure!(
            tally.logged >= answered,
            "{answered} were accepted, and only these kept: {tally:?}"
        );
        let after = self.used(side)?;
        #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
        let logged = tally.logged as f64;
        let each = |before: f64, after: f64| (after - before) * 1e6 / logged;
        let figure =
            |name: &str, unit, value| (format!("as many as go through: {name}"), unit, value);
        let figures = vec![
            figure("accepted, sent and logged", Unit::PerSecond, logged / tally.seconds),
            figure("accepted, p99", Unit::Milliseconds, sample.p99_ms.unwrap_or(f64::NAN)),
            figure("behind when the load ends", Unit::Seconds, (tally.last - ended).max(0.0)),
            figure(
                "processor time for each, server and Redis",
                Unit::Microseconds,
                each(before[0], after[0]),
            ),
            figure(
                "processor time for each, PostgreSQL",
                Unit::Microseconds,
                each(before[1], after[1]),
            ),
        ];
        Ok((figures, tally.taken - tally.logged))
    }

    async fn at_rate(&self, side: &Side, rate: u32, seconds: u64) -> Result<Figures> {
        let since = books::now()?;
        let posted = open_loop::post(side.letters()?, rate, seconds).await?;
        let answered = i64::try_from(posted.len())?;
        self.close(side, Asked { since, answered, cut: 0 }).await?;
        let arrivals = self.receiver.arrivals().await?;
        let times = open_loop::pair(&posted, &arrivals)?;
        let (first, last) = span(&posted);
        #[allow(clippy::cast_precision_loss, reason = "far less than 2^52")]
        let (late, span) = (
            arrivals.values().filter(|at| **at > last).count() as f64,
            (last - first) as f64 / 1e9,
        );
        // The load itself may have been late: then the figures are of another rate.
        let planned = f64::from(rate) * f64::from(u32::try_from(seconds)?) - 1.0;
        progress(&format!("  posted at {:.0}/s", planned / span.max(1e-9)));
        let figure = |name: &str, unit, value| (format!("at {rate}/s: {name}"), unit, value);
        let of = |name: &str, times: &[f64], share| {
            figure(&format!("{name}, p{share}"), Unit::Milliseconds, percentile(times, share))
        };
        Ok(vec![
            of("from post to receiver", &times.received, 50),
            of("from post to receiver", &times.received, 99),
            of("accepted", &times.accepted, 50),
            of("accepted", &times.accepted, 99),
            figure("not at the receiver when the last is posted", Unit::Count, late),
        ])
    }

    /// Waits until everything is done.
    async fn close(&self, side: &Side, asked: Asked) -> Result<Tally> {
        match side.whose {
            Whose::Freehold => {
                Keeper::Application.close(&side.database, self.receiver, asked.since).await
            }
            Whose::Svix => settle(&side.database, self.receiver, asked).await,
        }
    }

    /// Seconds of processor time so far: of the server and what is its own, and of PostgreSQL.
    fn used(&self, side: &Side) -> Result<[f64; 2]> {
        let redis = match side.whose {
            Whose::Freehold => 0.0,
            Whose::Svix => cpu::of_process(self.redis)?,
        };
        let server = cpu::of_process(side.pid)? + redis;
        Ok([server, cpu::of_postgres(self.place.postmaster()?)?])
    }
}

/// When the first and the last were posted.
fn span(posted: &[Posted]) -> (i64, i64) {
    let sent = || posted.iter().map(|post| post.sent);
    (sent().min().unwrap_or_default(), sent().max().unwrap_or_default())
}
