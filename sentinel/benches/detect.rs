//! What a verdict and its explanation cost with the model that ships, on one thread.
//!
//! `cargo bench -p sentinel --bench detect -- [--json FILE] [--features T.csv] [--model M]`. Without a table, flows are drawn
//! from a seed: their cost is like that of real ones, their verdicts mean nothing. A model that is not calibrated asks its
//! families' forests of every flow above its gate, one that is does not.

use sentinel::features::{FEATURES, Vector, WIDTH};
use sentinel::model::{Method, Scorer, Variant};
use sentinel::train::{Table, file};
use serde_json::json;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What issue 4 asks for, µs.
const VERDICT: f64 = 5.0;
const EXPLANATION: f64 = 20.0;
/// Time a figure is taken over.
const LONG: Duration = Duration::from_secs(3);

/// Values between 0 and about a thousand, small ones as often as large ones; shares and flags up to 1.
fn drawn() -> Vec<Vector> {
    let mut state = 1u64;
    let mut unit = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let value = |at: usize, unit: f64| match FEATURES[at].unit {
        "" => unit,
        _ => (unit * 7.0).exp_m1().round(),
    };
    (0..4096)
        .map(|_| Vector(std::array::from_fn::<f64, WIDTH, _>(|at| value(at, unit()))))
        .collect()
}

/// µs a call.
fn cost(vectors: &[Vector], mut call: impl FnMut(&Vector)) -> f64 {
    vectors.iter().take(100).for_each(&mut call);
    let began = Instant::now();
    let mut calls = 0u32;
    for vector in vectors.iter().cycle() {
        call(vector);
        calls += 1;
        if calls.is_multiple_of(16) && began.elapsed() > LONG {
            break;
        }
    }
    began.elapsed().as_secs_f64() * 1e6 / f64::from(calls)
}

fn row(name: &str, value: f64, unit: &str, floor: Option<f64>) -> serde_json::Value {
    println!("{name:<28} {value:>14.2} {unit}");
    let ratio = floor.map(|floor| value / floor);
    json!({ "suite": "detect", "name": name, "value": value, "unit": unit, "better": "lower", "floor": floor, "ratio": ratio })
}

fn figures(scorer: &Scorer, vectors: &[Vector], out: &mut Vec<serde_json::Value>) {
    let name = |what: &str| format!("{}_{what}", scorer.variant().as_str());
    let verdict = cost(vectors, |v| {
        black_box(scorer.verdict(v));
    });
    out.push(row(&name("verdict"), verdict, "µs", Some(VERDICT)));
    let shares = cost(vectors, |v| {
        black_box(scorer.path_shares(v));
    });
    out.push(row(&name("path_shares"), shares, "µs", Some(EXPLANATION)));
    let told = cost(vectors, |v| drop(black_box(scorer.explain(v, Method::Path))));
    out.push(row(&name("explained_in_words"), told, "µs", None));
    let exact = cost(vectors, |v| drop(black_box(scorer.explain(v, Method::TreeShap))));
    out.push(row(&name("treeshap"), exact, "µs", None));
    let flag = scorer.levels()[1].score.unwrap_or(1.0);
    let softer = cost(vectors, |v| drop(black_box(scorer.counterfactual(v, flag))));
    out.push(row(&name("counterfactual"), softer, "µs", None));
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str| {
        arguments
            .iter()
            .position(|a| a == name)
            .and_then(|i| arguments.get(i + 1))
    };
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/models/default.model");
    let given = after("--model").map(PathBuf::from);
    let (model, bytes) = file::read_model(given.as_deref().unwrap_or(&shipped))?;
    let vectors = match after("--features") {
        Some(path) => Table::read(&[PathBuf::from(path)])?.vectors,
        None => drawn(),
    };
    let mut out = vec![row("model_size", bytes as f64 / 1e6, "MB", Some(5.0))];
    for variant in Variant::ALL {
        figures(model.scorer(variant), &vectors, &mut out);
    }
    if let Some(path) = after("--json") {
        std::fs::write(path, serde_json::to_vec_pretty(&out)?)?;
    }
    Ok(())
}
