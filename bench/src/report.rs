//! The table, and what is said on the way to it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the one file that prints")]

use std::fmt::Write;

use crate::svix::Table;

/// Says how far we are, where it does not mix with the table.
pub(crate) fn progress(text: &str) {
    eprintln!("{text}");
}

/// What a figure should reach.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64),
    /// And so much of the ceiling, 0 to 1.
    WithShare(f64, f64),
    /// The median, and the p99 in milliseconds.
    AtMost(f64, f64),
    /// The median.
    NoMore(f64),
}

/// A row of the table.
pub(crate) struct Figure {
    name: &'static str,
    unit: Unit,
    samples: Vec<f64>,
    p99_ms: Vec<f64>,
    ceiling: Option<&'static str>,
    target: Option<Target>,
}

/// What a figure counts.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    PerSecond,
    Seconds,
    Milliseconds,
    Microseconds,
    Megabytes,
    Percent,
    Count,
}

impl Figure {
    /// So many a second.
    pub(crate) fn rate(name: &'static str, samples: Vec<f64>) -> Self {
        Self::new(name, Unit::PerSecond, samples)
    }

    /// A duration.
    pub(crate) fn seconds(name: &'static str, samples: Vec<f64>) -> Self {
        Self::new(name, Unit::Seconds, samples)
    }

    /// A short duration.
    pub(crate) fn milliseconds(name: &'static str, samples: Vec<f64>) -> Self {
        Self::new(name, Unit::Milliseconds, samples)
    }

    /// A share of one core.
    pub(crate) fn percent(name: &'static str, sample: f64) -> Self {
        Self::new(name, Unit::Percent, vec![sample])
    }

    /// Memory.
    pub(crate) fn megabytes(name: &'static str, sample: f64) -> Self {
        Self::new(name, Unit::Megabytes, vec![sample])
    }

    /// How long 99 of 100 took at most.
    pub(crate) fn p99(self, p99_ms: Vec<f64>) -> Self {
        Self { p99_ms, ..self }
    }

    /// The row that it is compared with.
    pub(crate) fn beside(self, ceiling: Option<&'static str>) -> Self {
        Self { ceiling, ..self }
    }

    /// What it should reach.
    pub(crate) fn aim(self, target: Option<Target>) -> Self {
        Self { target, ..self }
    }

    fn new(name: &'static str, unit: Unit, samples: Vec<f64>) -> Self {
        Self { name, unit, samples, p99_ms: Vec::new(), ceiling: None, target: None }
    }

    fn median(&self) -> f64 {
        median(&self.samples)
    }

    fn range(&self) -> String {
        let least = self.samples.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.samples.iter().copied().fold(0.0, f64::max);
        if self.samples.len() < 2 {
            return String::new();
        }
        format!("{} – {}", self.unit.text(least), self.unit.text(most))
    }
}

impl Unit {
    pub(crate) fn text(self, value: f64) -> String {
        match self {
            Self::PerSecond if value < 100.0 => format!("{value:.1}/s"),
            Self::PerSecond => format!("{}/s", thousands(value)),
            Self::Seconds => format!("{value:.2} s"),
            Self::Milliseconds => format!("{value:.1} ms"),
            Self::Microseconds => format!("{} µs", thousands(value)),
            Self::Count => thousands(value),
            Self::Percent => format!("{value:.2} %"),
            Self::Megabytes => format!("{value:.0} MB"),
        }
    }
}

/// Everything measured in one run.
pub(crate) struct Report {
    figures: Vec<Figure>,
    notes: Vec<String>,
    beside: Option<Table>,
}

impl Report {
    pub(crate) fn new(rounds: u32, seconds: u64, connections: u32) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let notes = vec![
            format!("medians of {rounds} rounds of {seconds} s, {connections} connections"),
            format!("{cores} cores, shared by load, application and PostgreSQL"),
        ];
        Self { figures: Vec::new(), notes, beside: None }
    }

    pub(crate) fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    pub(crate) fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }

    /// Somebody else's figures beside ours.
    pub(crate) fn set_beside(&mut self, table: Table) {
        self.beside = Some(table);
    }

    /// Prints the tables that have rows.
    pub(crate) fn print(&self) {
        let ours = (!self.figures.is_empty()).then(|| self.text());
        let beside = self.beside.as_ref().map(|table| table.text(&self.notes));
        let tables: Vec<String> = ours.into_iter().chain(beside).collect();
        println!("{}", tables.join("\n\n"));
    }

    fn text(&self) -> String {
        let mut text = String::from(
            "| What | Median | Least – most | p99 | Of its ceiling | Target | |\n\
             |---|--:|--:|--:|--:|--:|---|\n",
        );
        for figure in &self.figures {
            let p99 = if figure.p99_ms.is_empty() {
                String::new()
            } else {
                format!("{:.1} ms", median(&figure.p99_ms))
            };
            let share = self.share(figure);
            let (target, verdict) = goal(figure, share);
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "| {} | {} | {} | {p99} | {} | {target} | {verdict} |",
                figure.name,
                figure.unit.text(figure.median()),
                figure.range(),
                share.map(percent).unwrap_or_default(),
            );
        }
        let _ = write!(text, "\n{}.", self.notes.join("; "));
        text
    }

    fn share(&self, figure: &Figure) -> Option<f64> {
        let name = figure.ceiling?;
        let ceiling = self.figures.iter().find(|other| other.name == name)?;
        Some(figure.median() / ceiling.median())
    }
}

/// What was wanted, and whether it was reached.
fn goal(figure: &Figure, share: Option<f64>) -> (String, &'static str) {
    let Some(target) = figure.target else { return (String::new(), "") };
    let median = figure.median();
    let (text, reached) = match target {
        Target::AtLeast(least) => (figure.unit.text(least), median >= least),
        Target::WithShare(least, wanted) => (
            format!("{}, {}", figure.unit.text(least), percent(wanted)),
            median >= least && share.is_some_and(|share| share >= wanted),
        ),
        Target::AtMost(most, p99) => (
            format!("≤ {}, p99 ≤ {p99:.1} ms", figure.unit.text(most)),
            median <= most && self::median(&figure.p99_ms) <= p99,
        ),
        Target::NoMore(most) => (format!("≤ {}", figure.unit.text(most)), median <= most),
    };
    (text, if reached { "reached" } else { "**missed**" })
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// Of every hundred samples, so many are at most this.
pub(crate) fn percentile(samples: &[f64], percent: usize) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(place - 1).copied().unwrap_or(f64::NAN)
}

pub(crate) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        length if length.is_multiple_of(2) => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
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
    fn a_figure_is_compared_with_its_ceiling_and_its_target() {
        let mut report = Report::new(3, 6, 32);
        let aim = Some(Target::WithShare(12_000.0, 0.55));
        let read = Figure::rate("read", vec![12_500.0, 13_000.4, 900.0]);
        report.add(read.p99(vec![1.0, 3.0]).beside(Some("bare")).aim(aim));
        report.add(Figure::rate("bare", vec![25_000.0]));
        let text = report.text();
        let row =
            "| read | 12,500/s | 900/s – 13,000/s | 2.0 ms | 50 % | 12,000/s, 55 % | **missed** |";
        assert!(text.contains(row), "{text}");
    }

    #[test]
    fn what_should_be_short_misses_its_target_by_its_median_or_its_p99() {
        let verdict = |median: f64, p99: f64| {
            let figure = Figure::milliseconds("accept", vec![median]).p99(vec![p99]);
            goal(&figure.aim(Some(Target::AtMost(2.0, 4.0))), None).1
        };
        assert_eq!(verdict(2.0, 4.0), "reached");
        assert_eq!(verdict(2.1, 4.0), "**missed**");
        assert_eq!(verdict(2.0, 4.1), "**missed**");
    }

    #[test]
    fn percentiles_are_samples() {
        let samples: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!([50, 99, 100].map(|share| percentile(&samples, share)), [100.0, 198.0, 200.0]);
        assert!(percentile(&[], 50).is_nan());
    }
}
