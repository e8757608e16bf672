//! What the benchmarks hand back.

use serde_json::{Value, json};

/// One figure as `cargo xtask bench --json` writes it; `better` is `lower` or `higher`.
pub(super) fn figure(suite: &str, name: &str, value: f64, unit: &str, better: &str, floor: Option<f64>) -> Value {
    let ratio = floor.filter(|floor| *floor > 0.0).map(|floor| value / floor);
    json!({
        "suite": suite, "name": name, "value": value, "unit": unit, "better": better, "floor": floor, "ratio": ratio,
    })
}

/// The value at a share `q` of a sorted list (nearest rank); zero of an empty one.
pub(super) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (sorted.len() as f64 * q).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}
