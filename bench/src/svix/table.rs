//! The table of the two: a line for each figure, with both medians.

use std::fmt::Write;

use crate::report::{Unit, median};

/// What one figure came to, in all rounds.
struct Line {
    name: String,
    unit: Unit,
    samples: [Vec<f64>; 2],
}

/// All figures, in the order in which they first came.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) version: String,
    lines: Vec<Line>,
    notes: Vec<String>,
}

impl Table {
    /// Adds what one run of one side came to.
    pub(crate) fn add(&mut self, side: usize, figures: Vec<(String, Unit, f64)>) {
        for (name, unit, value) in figures {
            let place = self.lines.iter().position(|line| line.name == name);
            let place = place.unwrap_or_else(|| {
                self.lines.push(Line { name, unit, samples: [Vec::new(), Vec::new()] });
                self.lines.len() - 1
            });
            self.lines[place].samples[side].push(value);
        }
    }

    /// Adds the resident memory of both servers, and says how much Redis needs beside.
    pub(crate) fn memory(&mut self, servers: [f64; 2], redis: f64) {
        for (side, value) in servers.into_iter().enumerate() {
            let name = "resident memory of the server at the end".to_owned();
            self.add(side, vec![(name, Unit::Megabytes, value)]);
        }
        self.note(format!("svix-server's Redis has {} more", Unit::Megabytes.text(redis)));
    }

    pub(crate) fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    pub(crate) fn text(&self, notes: &[String]) -> String {
        let version = &self.version;
        let mut text =
            format!("| What | Freehold | svix-server {version} | Ratio |\n|---|--:|--:|--:|\n");
        for Line { name, unit, samples } in &self.lines {
            let [ours, theirs] = [&samples[0], &samples[1]].map(|samples| median(samples));
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "| {name} | {} | {} | {} |",
                unit.text(ours),
                unit.text(theirs),
                ratio(ours, theirs),
            );
        }
        let notes: Vec<&str> = notes.iter().chain(&self.notes).map(String::as_str).collect();
        let _ = write!(text, "\nRatio: Freehold's by svix-server's; {}.", notes.join("; "));
        text
    }
}

fn ratio(ours: f64, theirs: f64) -> String {
    let ratio = ours / theirs;
    if ratio.is_finite() { format!("{ratio:.2}") } else { "–".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_medians_stand_in_one_line_with_what_one_is_of_the_other() {
        let mut table = Table { version: "1.2.3".to_owned(), ..Table::default() };
        for (ours, theirs) in [(4_000.0, 1_000.0), (9_000.0, 2_000.0), (5_000.0, 4_000.0)] {
            // Who comes first must not matter.
            table.add(1, vec![("events".to_owned(), Unit::PerSecond, theirs)]);
            table.add(0, vec![("events".to_owned(), Unit::PerSecond, ours)]);
        }
        table.add(0, vec![("behind".to_owned(), Unit::Seconds, 0.5)]);
        table.add(1, vec![("behind".to_owned(), Unit::Seconds, 0.0)]);
        let text = table.text(&["3 rounds".to_owned()]);
        let rows = "| What | Freehold | svix-server 1.2.3 | Ratio |\n|---|--:|--:|--:|\n\
                    | events | 5,000/s | 2,000/s | 2.50 |\n| behind | 0.50 s | 0.00 s | – |\n";
        assert!(text.starts_with(rows), "{text}");
        assert!(text.ends_with("; 3 rounds."), "{text}");
    }
}
