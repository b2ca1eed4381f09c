//! What a run says: figures with what they mean, counts, errors, and everything that somebody who
//! quotes a figure has to quote with it.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::cpu::{Shares, Used};
use super::installation::Installation;
use super::{Options, What};

/// What a figure counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    PerSecond,
    Milliseconds,
    Seconds,
}

/// One figure, measured once in each round.
pub(super) struct Series {
    name: String,
    unit: Unit,
    meaning: &'static str,
    samples: Vec<f64>,
}

impl Series {
    pub(super) fn new(name: &str, unit: Unit, meaning: &'static str) -> Self {
        Self { name: name.to_owned(), unit, meaning, samples: Vec::new() }
    }

    pub(super) fn latencies(name: &str, meaning: &'static str) -> Latencies {
        let shares = [("p50", 500), ("p95", 950), ("p99", 990), ("p99.9", 999)];
        Latencies(shares.map(|(share, permille)| {
            (permille, Self::new(&format!("{name}, {share}"), Unit::Milliseconds, meaning))
        }))
    }

    pub(super) fn push(&mut self, sample: f64) {
        self.samples.push(sample);
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name, "unit": self.unit.name(), "meaning": self.meaning,
            "median": rounded(median(&self.samples)),
            "rounds": self.samples.iter().copied().map(rounded).collect::<Vec<_>>(),
        })
    }
}

/// How long requests took: the same share of them in each round.
pub(super) struct Latencies([(usize, Series); 4]);

impl Latencies {
    /// One round's, in microseconds.
    pub(super) fn push(&mut self, mut micros: Vec<u32>) {
        micros.sort_unstable();
        for (permille, series) in &mut self.0 {
            if let Some(value) = percentile(&micros, *permille) {
                series.push(f64::from(value) / 1000.0);
            }
        }
    }
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::PerSecond => "per second",
            Self::Milliseconds => "milliseconds",
            Self::Seconds => "seconds",
        }
    }

    fn text(self, value: f64) -> String {
        match self {
            Self::PerSecond if value < 100.0 => format!("{value:.1}/s"),
            Self::PerSecond => format!("{}/s", thousands(value)),
            Self::Milliseconds => format!("{value:.2} ms"),
            Self::Seconds => format!("{value:.2} s"),
        }
    }
}

/// Everything measured in one run.
pub(super) struct Report {
    what: What,
    about: Map<String, Value>,
    series: Vec<Series>,
    counts: BTreeMap<&'static str, u64>,
    errors: BTreeMap<String, u64>,
    processor: Vec<(&'static str, Shares)>,
    notes: Vec<String>,
}

impl Report {
    pub(super) fn new(what: What, options: &Options, installation: &Installation) -> Self {
        let settings = json!({
            "seconds": options.seconds, "rounds": options.rounds,
            "connections": options.connections, "tenants": installation.tenants.len(),
        });
        let about = json!({
            "bench": what.name(),
            "freehold": installation.freehold,
            "postgresql": installation.postgres,
            "installation": installation.folder.as_ref().map_or(installation.url.as_str(), |_| "scratch"),
            "machine": super::machine::describe(),
            "settings": settings,
        });
        let mut report = Self {
            what,
            about: about.as_object().cloned().unwrap_or_default(),
            series: Vec::new(),
            counts: BTreeMap::new(),
            errors: BTreeMap::new(),
            processor: Vec::new(),
            notes: Vec::new(),
        };
        report.circumstances(installation);
        report
    }

    /// What makes a figure worth more or less.
    fn circumstances(&mut self, installation: &Installation) {
        match &installation.folder {
            Some(folder) => self.note(&format!(
                "load, Freehold and PostgreSQL shared this machine; the database was durable and lay \
                 in {folder} (TMPDIR moves it)"
            )),
            None => self.note(
                "the audit log and the events of the tenant keep what was done, as they keep \
                 everything",
            ),
        }
        if cfg!(debug_assertions) {
            self.note("this is a debug build: its figures are no figures");
        }
    }

    pub(super) fn add(&mut self, series: Series) {
        self.series.push(series);
    }

    pub(super) fn add_latencies(&mut self, latencies: Latencies) {
        self.series.extend(latencies.0.into_iter().map(|(_, series)| series));
    }

    pub(super) fn count(&mut self, name: &'static str, count: u64) {
        *self.counts.entry(name).or_default() += count;
    }

    pub(super) fn errors(&mut self, errors: BTreeMap<String, u64>) {
        for (code, count) in errors {
            *self.errors.entry(code).or_default() += count;
        }
    }

    /// Whose processor time a part took; the last round's is kept.
    pub(super) fn processor(
        &mut self,
        part: &'static str,
        before: Option<Used>,
        after: Option<Used>,
    ) {
        let (Some(before), Some(after)) = (before, after) else { return };
        self.processor.retain(|(known, _)| *known != part);
        self.processor.push((part, after.since(&before)));
    }

    pub(super) fn note(&mut self, text: &str) {
        if self.notes.iter().all(|known| known != text) {
            self.notes.push(text.to_owned());
        }
    }

    /// How much did not end well.
    pub(super) fn faults(&self) -> u64 {
        self.errors.values().sum()
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let mut all = self.about.clone();
        let processor = self.processor.iter().map(|(part, shares)| {
            json!({
                "part": part, "loadPercent": rounded(shares.load),
                "freeholdPercent": shares.freehold.map(rounded),
                "postgresqlPercent": shares.postgres.map(rounded),
            })
        });
        let rest = [
            ("figures", self.series.iter().map(Series::json).collect()),
            ("counts", json!(self.counts)),
            ("errors", json!({"total": self.faults(), "byCode": self.errors})),
            ("processor", processor.collect()),
            ("notes", json!(self.notes)),
        ];
        all.extend(rest.map(|(name, value)| (name.to_owned(), value)));
        Value::Object(all)
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = self.heading();
        // Writing to a String cannot fail.
        for series in self.series.iter().filter(|series| !series.samples.is_empty()) {
            let median = series.unit.text(median(&series.samples));
            let _ = writeln!(text, "  {:<44}{median:>12}   {}", series.name, series.range());
        }
        text.push('\n');
        for (part, shares) in &self.processor {
            let _ = writeln!(text, "  processor, {part}: {}", shares_text(shares));
        }
        let counts: Vec<String> =
            self.counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let _ = writeln!(text, "  counted: {}", counts.join(", "));
        let errors: Vec<String> =
            self.errors.iter().map(|(code, count)| format!("{code} {count}")).collect();
        let none = errors.is_empty();
        let _ =
            writeln!(text, "  errors: {}", if none { "none".into() } else { errors.join(", ") });
        for note in &self.notes {
            let _ = writeln!(text, "  note: {note}");
        }
        let _ = write!(
            text,
            "\nfreehold bench {} --help says what each figure means.",
            self.what.name()
        );
        text
    }

    fn heading(&self) -> String {
        let about =
            |name: &str| self.about[name].as_str().unwrap_or("of unknown version").to_owned();
        let (machine, settings) = (&self.about["machine"], &self.about["settings"]);
        let postgres = match &self.about["postgresql"] {
            Value::String(version) => format!(", PostgreSQL {version}"),
            _ => String::new(),
        };
        format!(
            "freehold bench {}: {}\nFreehold {}{postgres}; {} cores, {}, {} MB, {}\n\
             medians of {} rounds of {} s after a second that does not count; {} connections, {} \
             tenants\n\n",
            about("bench"),
            about("installation"),
            about("freehold"),
            machine["cores"],
            machine["processor"].as_str().unwrap_or("unknown processor"),
            machine["memoryMb"],
            machine["system"].as_str().unwrap_or("unknown system"),
            settings["rounds"],
            settings["seconds"],
            settings["connections"],
            settings["tenants"],
        )
    }
}

impl Series {
    fn range(&self) -> String {
        if self.samples.len() < 2 {
            return String::new();
        }
        let least = self.samples.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.samples.iter().copied().fold(0.0, f64::max);
        format!("({} – {})", self.unit.text(least), self.unit.text(most))
    }
}

fn shares_text(shares: &Shares) -> String {
    let mut parts = vec![format!("this load {:.0} %", shares.load)];
    let others = [("Freehold", shares.freehold), ("PostgreSQL", shares.postgres)];
    for (name, share) in others {
        parts.extend(share.map(|share| format!("{name} {share:.0} %")));
    }
    format!("{} of one core", parts.join(", "))
}

/// Of every thousand sorted samples, so many are at most this.
fn percentile(sorted: &[u32], permille: usize) -> Option<u32> {
    let place = (sorted.len() * permille).div_ceil(1000).max(1);
    sorted.get(place - 1).copied()
}

fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        length if length.is_multiple_of(2) => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

/// More digits than anybody should quote are no more truth.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// `12345.6` as `12,346`.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let sorted: Vec<u32> = (1..=2000).collect();
        let found = [500, 990, 999].map(|permille| percentile(&sorted, permille));
        assert_eq!(found, [Some(1000), Some(1980), Some(1998)]);
        assert_eq!(percentile(&[7], 500), Some(7));
        assert_eq!(percentile(&[], 500), None);
    }

    #[test]
    fn the_median_of_the_rounds_counts_and_their_range_is_shown() {
        let mut series = Series::new("reads", Unit::PerSecond, "…");
        [12_500.0, 900.0, 13_000.4].into_iter().for_each(|sample| series.push(sample));
        assert!((median(&series.samples) - 12_500.0).abs() < 1e-9);
        assert_eq!(series.range(), "(900/s – 13,000/s)");
        assert!((median(&[1.0, 3.0]) - 2.0).abs() < 1e-9);
    }
}
