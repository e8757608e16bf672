//! Figures and goals: collected, printed, written.

use anyhow::{Context, Result};
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
struct Figure {
    suite: &'static str,
    name: String,
    value: f64,
    unit: &'static str,
    better: &'static str,
    floor: Option<f64>,
    ratio: Option<f64>,
}

/// A goal: its number, what is compared, and whether less or more is better.
struct Gate {
    number: u8,
    what: String,
    value: f64,
    unit: &'static str,
    goal: f64,
    at_most: bool,
}

/// Everything a run found.
#[derive(Default)]
pub(crate) struct Book {
    figures: Vec<Figure>,
    gates: Vec<Gate>,
}

impl Book {
    /// A heading of the table that is printed as figures come in.
    #[expect(clippy::unused_self, reason = "the book is what is printed")]
    pub(crate) fn heading(&self, text: &str) {
        println!("\n{text:<58} {:>9} {:>9} {:>7}", "value", "floor", "ratio");
    }

    /// What has to be known to read the figures.
    #[expect(clippy::unused_self, reason = "as above")]
    pub(crate) fn note(&self, text: &str) {
        println!("note: {text}");
    }

    /// A figure of which less is better; with the floor it stands on, what it comes to in all against that.
    pub(crate) fn cost(&mut self, name: &str, value: f64, unit: &'static str, floor: Option<f64>) {
        let ratio = floor.map(|floor| (value + floor) / floor);
        self.push(name, value, unit, "lower", floor, ratio);
    }

    /// A cost as a whole, beside the least it could be.
    pub(crate) fn against(&mut self, name: &str, value: f64, unit: &'static str, floor: f64) {
        self.push(name, value, unit, "lower", Some(floor), Some(value / floor));
    }

    /// A figure, more of which is better, against a goal.
    pub(crate) fn rate(&mut self, name: &str, value: f64, unit: &'static str, goal: f64) {
        self.push(name, value, unit, "higher", Some(goal), Some(value / goal));
    }

    fn push(
        &mut self,
        name: &str,
        value: f64,
        unit: &'static str,
        better: &'static str,
        floor: Option<f64>,
        ratio: Option<f64>,
    ) {
        let number = |value: Option<f64>, places| value.map_or(String::new(), |v: f64| format!("{v:.places$}"));
        println!(
            "{name:<58} {value:>9.1} {:>9} {:>7}   {unit}",
            number(floor, 1),
            number(ratio, 2)
        );
        self.figures.push(Figure {
            suite: "kernel",
            name: name.to_owned(),
            value,
            unit,
            better,
            floor,
            ratio,
        });
    }

    /// A goal that is met by `value` or less.
    pub(crate) fn at_most(&mut self, number: u8, what: &str, value: f64, unit: &'static str, goal: f64) {
        self.gate(number, what, value, unit, goal, true);
    }

    /// A goal that is met by `value` or more.
    pub(crate) fn at_least(&mut self, number: u8, what: &str, value: f64, unit: &'static str, goal: f64) {
        self.gate(number, what, value, unit, goal, false);
    }

    fn gate(&mut self, number: u8, what: &str, value: f64, unit: &'static str, goal: f64, at_most: bool) {
        self.gates.push(Gate {
            number,
            what: what.to_owned(),
            value,
            unit,
            goal,
            at_most,
        });
    }

    /// Prints the goals, in their order, and puts them among the figures.
    pub(crate) fn gates(&mut self) {
        println!();
        self.gates.sort_by_key(|gate| gate.number);
        for gate in std::mem::take(&mut self.gates) {
            let met = if gate.at_most {
                gate.value <= gate.goal
            } else {
                gate.value >= gate.goal
            };
            println!(
                "gate {}: {:.2} {} (goal {} {}) {} — {}",
                gate.number,
                gate.value,
                gate.unit,
                if gate.at_most { "≤" } else { "≥" },
                gate.goal,
                if met { "met" } else { "not met" },
                gate.what,
            );
            self.figures.push(Figure {
                suite: "kernel",
                name: format!("gate {}: {}", gate.number, gate.what),
                value: gate.value,
                unit: gate.unit,
                better: if gate.at_most { "lower" } else { "higher" },
                floor: Some(gate.goal),
                ratio: Some(gate.value / gate.goal),
            });
        }
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.figures)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The middle of the values.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}
