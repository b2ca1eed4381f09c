//! What a proof has to say: a line as each part ends, and everything at the end.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::say;

/// A part of the proof that has ended.
pub(super) struct Part {
    /// Its name in one word.
    pub(super) name: &'static str,
    /// How many things were tried.
    pub(super) tried: u64,
    /// What they are, in the plural.
    pub(super) unit: &'static str,
    /// What got through.
    pub(super) findings: Vec<String>,
    /// What was not tried, and why.
    pub(super) left_out: Vec<String>,
}

/// What is known so far.
pub(super) struct Report {
    seed: u64,
    is_json: bool,
    began: Instant,
    parts: Mutex<Vec<(Part, Duration)>>,
}

impl Report {
    pub(super) fn new(seed: u64, is_json: bool) -> Self {
        Self { seed, is_json, began: Instant::now(), parts: Mutex::default() }
    }

    /// Tells a person, not a program.
    pub(super) fn note(&self, text: &str) {
        if !self.is_json {
            say::line(text);
        }
    }

    /// Tells how a part has ended.
    pub(super) fn add(&self, part: Part, took: Duration) {
        let Part { name, tried, unit, findings, left_out } = &part;
        let (count, seconds) = (findings.len(), took.as_secs_f64());
        self.note(&format!(
            "{name:<10} {tried:>8} {unit:<12} {count:>4} findings {seconds:>7.1} s"
        ));
        findings.iter().for_each(|finding| self.note(&format!("  ! {finding}")));
        left_out.iter().for_each(|left_out| self.note(&format!("  left out: {left_out}")));
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).push((part, took));
    }

    /// How much got through.
    pub(super) fn findings(&self) -> usize {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().map(|(part, _)| part.findings.len()).sum()
    }

    /// The last line, or the whole document.
    pub(super) fn end(&self) -> String {
        let (findings, seconds) = (self.findings(), self.began.elapsed().as_secs_f64());
        if self.is_json {
            return format!("{:#}", self.document(findings, seconds));
        }
        match findings {
            0 => format!(
                "Isolation holds: nothing got through in {seconds:.0} s (seed {})",
                self.seed
            ),
            _ => format!("{findings} got through in {seconds:.0} s (seed {})", self.seed),
        }
    }

    fn document(&self, findings: usize, seconds: f64) -> Value {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = parts.iter().map(|(part, took)| {
            json!({
                "part": part.name, "tried": part.tried, "unit": part.unit,
                "seconds": rounded(took.as_secs_f64()), "findings": part.findings,
                "leftOut": part.left_out,
            })
        });
        json!({
            "ok": findings == 0, "version": env!("CARGO_PKG_VERSION"), "seed": self.seed,
            "seconds": rounded(seconds), "findings": findings, "parts": parts.collect::<Vec<_>>(),
        })
    }
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}
